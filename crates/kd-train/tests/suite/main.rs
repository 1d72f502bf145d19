//! The tests of the crate's public interface, in one binary: each binary links Burn anew, which costs time and disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod blocks;
mod calibrated;
mod checkpoint_quant;
mod codes;
mod common;
mod compensate;
mod convolutional;
mod elements;
mod errors;
mod estimators;
mod gather;
mod hybrid;
mod loss_eval;
mod masks_kept;
mod network;
mod pack;
mod prune_eval;
mod ptq;
mod recipes;
mod registry;
mod removal;
mod resume;
mod schedule_eval;
mod schemes;
mod share;
mod smoke;
mod sparsify;
mod sparsify_runs;
mod stages;
mod torch;
mod transformer;
