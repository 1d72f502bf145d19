//! LSQ+: the place of zero is a parameter too.
//!
//! Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and better initialization" (2020),
//! arXiv 2004.09576. Helps activations with a small negative part (swish, h-swish, leaky ReLU). In two forms: the
//! paper's offset in units of the value, and the integer zero point of torch and MQBench, which an engine can run.

use burn::tensor::Tensor;

use super::carry::{Rounded, carry, positive};

/// x̂ = s · (clamp(round_half_even(x / s) + z, qmin, qmax) − z) with z = clamp(round_half_even(zero_point), qmin, qmax).
///
/// ```text
/// ∂x̂/∂x = 1 inside, 0 outside
/// ∂x̂/∂s = gradient_scale · { round(x/s) − x/s  inside;  qmin − z below;  qmax − z above }
/// ∂x̂/∂zero_point = gradient_scale · { 0 inside;  −s outside }
/// ```
///
/// The trained zero point is a real number, straight through its own rounding. Zero stays on the grid. Source: torch's
/// `_fake_quantize_learnable_per_tensor_affine`; it rounds `x/s + z` at once, so that ties differ where z is odd.
pub fn lsq_plus<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    zero_point: Tensor<D>,
    qmin: i32,
    qmax: i32,
    gradient_scale: f64,
) -> Tensor<D> {
    let divisor = positive(scale.clone());
    let integer = zero_point.clone().without_autodiff().round().clamp(qmin as f32, qmax as f32);
    let rounded = Rounded::of(x.clone().without_autodiff(), divisor.clone(), integer, qmin, qmax);
    let by_scale = scale * rounded.of_scale().mul_scalar(gradient_scale);
    let by_zero = zero_point * (rounded.outside() * divisor).mul_scalar(-gradient_scale);
    carry(rounded.value, x.mask_fill(rounded.clipped, 0.0) + by_scale + by_zero)
}

/// x̂ = s · clamp(round_half_even((x − β) / s), qmin, qmax) + β, the paper's form.
///
/// ```text
/// ∂x̂/∂s = gradient_scale · { round(v) − v inside, v = (x − β)/s;  qmin below;  qmax above }
/// ∂x̂/∂β = gradient_scale · { 0 inside;  1 outside }
/// ```
///
/// Zero is on the grid only if β is a multiple of s: not for tensors that are padded with zeros or run by an integer
/// engine.
pub fn lsq_plus_offset<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    offset: Tensor<D>,
    qmin: i32,
    qmax: i32,
    gradient_scale: f64,
) -> Tensor<D> {
    let divisor = positive(scale.clone());
    let constant = offset.clone().without_autodiff();
    let shifted = x.clone().without_autodiff() - constant.clone();
    let rounded = Rounded::of(shifted, divisor.clone(), divisor.zeros_like(), qmin, qmax);
    let by_scale = scale * rounded.of_scale().mul_scalar(gradient_scale);
    let by_offset = offset * rounded.outside().mul_scalar(gradient_scale);
    carry(rounded.value + constant, x.mask_fill(rounded.clipped, 0.0) + by_scale + by_offset)
}
