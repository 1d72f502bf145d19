//! The tests of the crate's public interface, in one binary: each binary links Burn anew, which costs time and disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod engines;
mod float;
mod int8;
mod int8_layers;
mod operators;
mod packed;
mod torch;
