//! The tests of the crate's public interface, in one binary: each binary links Burn anew, which costs time and disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod architectures;
mod channels;
mod criteria;
mod cut;
mod elements;
mod heads;
mod masks;
mod nets;
mod optimizer;
mod sync;
