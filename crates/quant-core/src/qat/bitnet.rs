//! BitNet b1.58: ternary weights by their mean size, int8 activations by token.
//!
//! Ma et al., "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits" (2024), arXiv 2402.17764; its
//! published training code (`weight_quant`, `activation_quant`). That code multiplies by inverse scales and keeps them
//! from falling below 1e-5, which loses small tensors; here scales divide, and only those below 1.2e-38 are raised.

use burn::tensor::Tensor;

use super::carry::{Rounded, carry, legal, mean_size};

/// Ŵ = γ · clamp(round_half_even(W/γ), −1, 1) with γ = mean|W| over the tensor ([`bitnet_weight_scale`]).
///
/// The gradient is 1 everywhere, and γ is a constant in it.
pub fn bitnet_weight<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    let constant = weight.clone().without_autodiff();
    let scale = bitnet_weight_scale(constant.clone());
    let zero = scale.zeros_like();
    carry(Rounded::of(constant, scale, zero, -1, 1).value, weight)
}

/// γ = mean|W|, the one scale of a ternary weight; 1 where the weight is zero.
pub fn bitnet_weight_scale<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    legal(mean_size(weight.without_autodiff(), None))
}

/// x̂ = s · clamp(round_half_even(x/s), −128, 127) with s = max|x|/127 along the last axis ([`token_scale`]).
///
/// The gradient is 1 everywhere, and s is a constant in it.
pub fn bitnet_activation<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let constant = x.clone().without_autodiff();
    let scale = token_scale(constant.clone(), 127);
    let zero = scale.zeros_like();
    carry(Rounded::of(constant, scale, zero, -128, 127).value, x)
}

/// max|x|/qmax for each token, along the last axis; 1 where the token is zero.
pub fn token_scale<const D: usize>(x: Tensor<D>, qmax: i32) -> Tensor<D> {
    legal(x.without_autodiff().abs().max_dim(D - 1).div_scalar(f64::from(qmax)))
}
