//! LSQ: the step size is a parameter.
//!
//! Esser et al., "Learned Step Size Quantization" (2020), arXiv 1902.08153. Public implementations: torch's
//! `_fake_quantize_learnable_per_tensor_affine` (which adds the zero point before it rounds and multiplies by 1/s),
//! MQBench's `fake_quantize/lsq.py`.

use burn::tensor::Tensor;

use super::carry::{Rounded, carry, legal, mean_size, positive};

/// x̂ = s · clamp(round_half_even(x / s), qmin, qmax), with gradients to `x` and to the scale.
///
/// ```text
/// ∂x̂/∂x = 1 inside, 0 outside
/// ∂x̂/∂s = gradient_scale · { round(x/s) − x/s  inside;  qmin below;  qmax above }
/// ```
///
/// Inside is where rounding needs no clipping, as in [`fake_quant`](crate::fake_quant); the paper compares x / s with
/// the limits instead, which differs within half a step of them. `scale` broadcasts to `x`: `[1, 1]` for a tensor,
/// `[out, 1, 1, 1]` for the channels of a convolution. [`lsq_gradient_scale`] is the usual factor; 1 gives the bare
/// derivative.
pub fn lsq<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    qmin: i32,
    qmax: i32,
    gradient_scale: f64,
) -> Tensor<D> {
    let divisor = positive(scale.clone());
    let rounded =
        Rounded::of(x.clone().without_autodiff(), divisor.clone(), divisor.zeros_like(), qmin, qmax);
    let by_scale = scale * rounded.of_scale().mul_scalar(gradient_scale);
    carry(rounded.value, x.mask_fill(rounded.clipped, 0.0) + by_scale)
}

/// 1 / √(elements · qmax): keeps updates of a scale in proportion to those of the `elements` numbers that share it.
///
/// For a weight that is its number of elements, per scale; for an activation that of its features, without the batch.
pub fn lsq_gradient_scale(elements: usize, qmax: i32) -> f64 {
    1.0 / (elements.max(1) as f64 * f64::from(qmax.max(1))).sqrt()
}

/// Where the scale starts: 2 · mean|x| / √qmax, for each index of `axis` or for the whole; 1 where `x` is zero.
pub fn lsq_initial_scale<const D: usize>(x: Tensor<D>, axis: Option<usize>, qmax: i32) -> Tensor<D> {
    let mean = mean_size(x.without_autodiff(), axis);
    legal(mean.mul_scalar(2.0 / f64::from(qmax.max(1)).sqrt()))
}
