//! Ternary weight networks: a threshold decides what is zero, the rest share a size.
//!
//! Li and Liu, "Ternary Weight Networks" (2016), arXiv 1605.04711. On bell-shaped weights the error is smaller than
//! that of BitNet's rule, by 1.4 dB for normal ones.

use burn::tensor::Tensor;

use super::carry::{carry, mean_size, sign, sum_cells};

/// Ŵ = α · sign(W) where |W| > Δ, else 0; Δ = 0.7 · mean|W|, α the mean of the |W| above Δ.
///
/// For each index of `axis`, or for the whole. The gradient is 1 everywhere, and Δ and α are constants in it.
pub fn ternary<const D: usize>(weight: Tensor<D>, axis: Option<usize>) -> Tensor<D> {
    let constant = weight.clone().without_autodiff();
    let (threshold, alpha) = ternary_scale(constant.clone(), axis);
    // The sign of |W| − Δ decides, exactly.
    let small = (constant.clone().abs() - threshold).lower_equal_elem(0.0);
    let value = (sign(constant) * alpha).mask_fill(small, 0.0);
    carry(value, weight)
}

/// Δ and α of a ternary weight; both 0 where it is zero.
pub fn ternary_scale<const D: usize>(weight: Tensor<D>, axis: Option<usize>) -> (Tensor<D>, Tensor<D>) {
    let size = weight.without_autodiff().abs();
    let threshold = mean_size(size.clone(), axis).mul_scalar(0.7);
    let small = (size.clone() - threshold.clone()).lower_equal_elem(0.0);
    let number = sum_cells(size.ones_like().mask_fill(small.clone(), 0.0), axis);
    let sum = sum_cells(size.mask_fill(small, 0.0), axis);
    (threshold, sum / number.clamp_min(1.0))
}
