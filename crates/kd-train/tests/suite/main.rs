//! The tests of the crate's public interface, in one binary: each binary links Burn anew, which costs time and disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod blocks;
mod checkpoint_quant;
mod codes;
mod common;
mod convolutional;
mod errors;
mod estimators;
mod loss_eval;
mod network;
mod ptq;
mod recipes;
mod registry;
mod resume;
mod schemes;
mod smoke;
mod stages;
mod torch;
mod transformer;
