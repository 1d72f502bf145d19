//! Graphs of small modules, against graphs, costs and axes written out by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attention;
mod axes;
mod blocks;
mod capture;
mod cost;
mod draw;
mod fold;
mod nets;
mod operations;
mod placement;
mod random;
mod sizes;
