//! Signs with a scale: binary-weight networks and XNOR-Net.
//!
//! Rastegari et al., "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks" (2016),
//! arXiv 1603.05279.

use burn::tensor::Tensor;

use super::carry::{carry, mean_size, sign};

/// x̂ = α · sign(x) with α = mean|x| over everything at an index of `axis`, or over everything; sign(0) = +1.
///
/// A binary weight has an α for each output channel (`axis` 0 for a convolution `[out, in, …]`, 1 for Burn's linear
/// `[in, out]`). XNOR-Net binarizes activations too: an α for each example, `axis` 0.
///
/// ```text
/// ∂L/∂xⱼ = gⱼ · α · 1[|xⱼ| ≤ 1] + sign(xⱼ)/n · Σᵢ gᵢ sign(xᵢ)
/// ```
///
/// The first term is the straight-through sign, the second what reaches `x` through α, summed over the n numbers that
/// share it (0 where xⱼ is 0). The paper's equation writes the second as gⱼ/n, as if each number had an α of its own.
/// Latent weights beyond ±1 lose the first term: keep them within.
pub fn binary<const D: usize>(x: Tensor<D>, axis: Option<usize>) -> Tensor<D> {
    let constant = x.clone().without_autodiff();
    let signs = sign(constant.clone());
    let level = mean_size(x.clone(), axis);
    let alpha = level.clone().without_autodiff();
    let far = constant.abs().greater_elem(1.0);
    let value = signs.clone() * alpha.clone();
    carry(value, level * signs + x.mask_fill(far, 0.0) * alpha)
}
