//! Removing channels end to end: capture, plan, cut, proof, on small networks with every kind of coupling.

#![allow(clippy::unwrap_used, reason = "tests")]

mod nets;

mod coupling;
mod plan;
mod proof;
