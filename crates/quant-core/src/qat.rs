//! Estimators for training with rounded numbers: the forward value is rounded, the gradient is a stand-in.
//!
//! Every function returns `v + (t − t̄)`. `v` is the rounded value, computed outside autodiff, by the operations of the
//! codecs and in their order; `t` is a tensor whose gradient is the estimator's, and `t̄` its constant copy. For finite
//! numbers `t − t̄` is +0, so that the forward value has the bits of `v`; where a number is not finite the result is
//! not a number, or stays infinite, and reaches the loss. [`check_finite`] names such a number beforehand, at the
//! price of reading from the device.
//!
//! | | forward | gradient | trains |
//! | --- | --- | --- | --- |
//! | [`fake_quant`](crate::fake_quant) | a grid | 1 inside | x |
//! | [`lsq`] | a grid | 1 inside; of the scale: rounding error inside, end of the grid outside | x, scale |
//! | [`lsq_plus`], [`lsq_plus_offset`] | a grid that can move | as LSQ; of the zero point or offset: outside | x, scale, zero |
//! | [`pact`] | unsigned grid up to α | 1 in `[0, α)`; of α: from there on | x, α |
//! | [`dorefa_weight`], [`dorefa_activation`] | `2^bits` levels in −1 ..= 1, in 0 ..= 1 | through tanh; 1 in 0 ..= 1 | x |
//! | [`bitnet_weight`], [`bitnet_activation`] | −γ, 0, γ; int8 by token | 1 | x |
//! | [`binary`] | −α, α | through α, and α where \|x\| ≤ 1 | x |
//! | [`ternary`] | −α, 0, α | 1 | x |
//! | [`shared_weight`] | one of a few centroids | of a centroid: the sum over its weights | centroids |
//! | [`quant_noise`] | any of these on random blocks | theirs on the blocks, 1 elsewhere | x |
//!
//! Scales that are parameters have the rank of `x` and broadcast to it; one below the smallest normal number (1.2e-38)
//! is taken as that number, and keeps its gradient, so that training can bring it back. Weight decay should leave them
//! out.

mod lsq;
mod lsq_plus;
mod pact;

mod dorefa;

mod binary;
mod bitnet;
mod ternary;

mod quant_noise;
mod shared;

mod carry;

pub use binary::binary;
pub use bitnet::{bitnet_activation, bitnet_weight, bitnet_weight_scale, token_scale};
pub use carry::check_finite;
pub use dorefa::{dorefa_activation, dorefa_weight};
pub use lsq::{lsq, lsq_gradient_scale, lsq_initial_scale};
pub use lsq_plus::{lsq_plus, lsq_plus_offset};
pub use pact::pact;
pub use quant_noise::{quant_noise, quant_noise_mask};
pub use shared::shared_weight;
pub use ternary::{ternary, ternary_scale};
