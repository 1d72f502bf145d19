//! The tests of the crate's public interface, in one binary.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod conv;
mod layers;
mod sparse;
mod transformer;
