//! The tests of the crate's public interface, in one binary: each binary links Burn anew, which costs time and disk.

#![allow(clippy::unwrap_used, reason = "tests")]

mod blocks;
mod brecq;
mod budget;
mod codec;
mod common;
mod encode;
mod fake_quant;
mod formats;
mod gptq;
mod histogram;
mod kmeans;
mod observer;
mod pack;
mod pack_roundtrip;
mod ptq;
mod ptq_properties;
mod qat;
mod torch;
mod weight;
