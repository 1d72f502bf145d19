//! The tests of the crate's public interface, in one binary.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod csv;
mod fetch;
mod idx;
mod knobs;
mod published;
mod split;
