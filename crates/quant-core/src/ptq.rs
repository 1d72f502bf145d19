//! Post-training quantization of one layer at a time, on slices, and of a block of layers, on tensors.
//!
//! Each algorithm is a function of a layer's weight `[out, K]` (two layers' weights for [`equalize`]) and of what is
//! known about its inputs; walking a model and reading data is for others. A weight comes as a [`Matrix`], which is
//! checked once, so that no algorithm meets a NaN. Inputs `[tokens, K]` stream through [`InputStats`], which holds
//! K × K numbers however many tokens there are; every error of a layer's output that is minimized here is a quadratic
//! form in its [`Hessian`], so that no algorithm needs the inputs twice. Only [`brecq`], which goes by the output of
//! several layers at once, runs them, on Burn's tensors.
//!
//! | wanted | function | needs |
//! | --- | --- | --- |
//! | the plain grid | [`rtn`] | weight |
//! | values of their own, not a grid's | [`kmeans`] | weight |
//! | a better zero point | [`hqq`], [`hqq_integer`] | weight |
//! | codes that make up for each other's errors | [`gptq`], [`gptq_float`], [`spqr`], [`adaround`] | Hessian |
//! | codes that suit a block of layers | [`brecq`] | the block itself, its inputs and outputs |
//! | scales of input columns | [`awq`], [`smooth_scales`] | Hessian and mean \|x\|; max \|x\| |
//! | what the error leaves behind | [`lorc`], [`bias_correction`] | both weights; mean x |
//! | ranges that suit one scale | [`equalize`] | two weights |
//! | large activations kept in floats | [`Int8Decomposed`] | weight; inputs when it runs |
//!
//! Everything is single-threaded and deterministic: equal arguments give equal bits.

mod adaround;
mod awq;
mod bias;
mod brecq;
mod equalize;
mod gptq;
mod grid;
mod hqq;
mod inputs;
mod kmeans;
mod linalg;
mod llm_int8;
mod lorc;
mod matrix;
mod normal;
mod range;
mod refit;
mod rounding;
mod rtn;
mod smooth;
mod soft;
mod spqr;
mod sweep;

pub use adaround::{AdaRound, AdaRounded, adaround};
pub use awq::{Awq, AwqWeight, awq};
pub use bias::{Activation, OutputShift, activation_mean, bias_correction};
pub use brecq::{Block, BlockWeight, Brecq, Reconstruction, Targets, block_error, brecq};
pub use equalize::{Equalized, equalize};
pub use gptq::{Gptq, GptqFloat, GptqWeight, Groups, Order, gptq, gptq_float, gptq_masked};
pub use grid::{Cell, Grid, Quantized};
pub use hqq::{FloatZero, Hqq, HqqSearch, hqq, hqq_integer};
pub use inputs::{Hessian, InputStats};
pub use kmeans::{Kmeans, Shared, Start, kmeans};
pub use llm_int8::{Int8Decomposed, Int8Output, OUTLIER_THRESHOLD};
pub use lorc::{LowRank, lorc};
pub use matrix::Matrix;
pub use range::GroupRange;
pub use rtn::rtn;
pub use smooth::{scale_columns, smooth_scales};
pub use soft::{rounding_regularizer, soft_bits};
pub use spqr::{Outlier, Spqr, SpqrWeight, spqr, spqr_masked};
