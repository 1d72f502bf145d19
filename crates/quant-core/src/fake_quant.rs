//! Quantize and dequantize in one, on tensors, with a straight-through gradient.
//!
//! The result is a sum `q + t`. `q` is the rounded value, computed outside autodiff. `t = x − x` is zero everywhere
//! and carries the gradient 1; where the code was clipped it is filled with zero once more, which cuts the gradient.
//! The usual `x + (q − x).detach()` misses the grid by a rounding for many clipped values, and then what is trained
//! is not what is shipped. Adding `t` keeps the bits that the codecs give:
//!
//! | q | t | q + t |
//! | --- | --- | --- |
//! | a number but −0 | +0 | q |
//! | −0, a small negative number rounded | +0 | +0, as [`dequantize`](crate::dequantize): codes have no −0 |
//! | the end of the grid, x = ±∞ | ∞ − ∞, filled with +0 | q |
//! | NaN | +0 | NaN, so that a broken activation reaches the loss |
//!
//! Clipping shows as a difference between the code before and after the clamp, one comparison for both ends. Burn's
//! own `clamp` under autodiff makes four passes over the data forward and two backward.

use burn::tensor::{Bool, Tensor};

use crate::Symmetry;

/// x̂ = s · (clamp(round_half_even(x / s) + z, qmin, qmax) − z), with the clipped straight-through gradient.
///
/// `scale` and `zero_point` have the rank of `x` and broadcast to it; no gradient reaches them. Scales are positive
/// and finite, zero points integers from `qmin` to `qmax`. On the CPU backend the value equals
/// [`quantize`](crate::quantize) then [`dequantize`](crate::dequantize) bit for bit, and NaN stays NaN.
///
/// The gradient is exactly 1 where `qmin ≤ round_half_even(x / s) + z ≤ qmax` and exactly 0 elsewhere: it reaches as
/// far as rounding, not clipping, decides, half a step beyond the outermost grid points. So the largest value of a
/// range keeps its gradient although `x / s` may exceed `qmax − z` by a rounding.
///
/// Source: Jacob et al. 2018, arXiv 1712.05877; the mask of torch's `fake_quantize_per_channel_affine`, which differs
/// in one point: torch multiplies by 1/s, so that its codes differ where x / s is nearly a tie.
pub fn fake_quant<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    zero_point: Tensor<D>,
    qmin: i32,
    qmax: i32,
) -> Tensor<D> {
    let (scale, zero_point) = (scale.without_autodiff(), zero_point.without_autodiff());
    let clamp = |code: Tensor<D>| code.clamp(qmin as f32, qmax as f32);
    let code = |x: Tensor<D>| (x / scale.clone()).round() + zero_point.clone();
    let value = |code: Tensor<D>| (code - zero_point.clone()) * scale.clone();
    if !x.is_tracked() {
        return value(clamp(code(x)));
    }
    let code = code(x.clone().without_autodiff());
    let clamped = clamp(code.clone());
    let clipped = code.not_equal(clamped.clone());
    straight_through(value(clamped), x, clipped)
}

/// [`fake_quant`] with one scale and one zero point, in as few passes over the data as Burn's operations allow:
/// eight forward and one backward for a tensor that is trained, five for one that is not.
pub fn fake_quant_scalar<const D: usize>(
    x: Tensor<D>,
    scale: f32,
    zero_point: i32,
    qmin: i32,
    qmax: i32,
) -> Tensor<D> {
    // k = q − z: shifting the two limits instead of every code saves two passes, and is exact below 2²⁴.
    let (low, high) = ((qmin - zero_point) as f32, (qmax - zero_point) as f32);
    if !x.is_tracked() {
        // The zero added last turns −0 into +0, what `straight_through` does otherwise.
        return x.div_scalar(scale).round().clamp(low, high).mul_scalar(scale).add_scalar(0.0);
    }
    let code = x.clone().without_autodiff().div_scalar(scale).round();
    let clamped = code.clone().clamp(low, high);
    let clipped = code.not_equal(clamped.clone());
    straight_through(clamped.mul_scalar(scale), x, clipped)
}

/// `value`, a constant, with the gradient of `x` except where it was clipped.
fn straight_through<const D: usize>(value: Tensor<D>, x: Tensor<D>, clipped: Tensor<D, Bool>) -> Tensor<D> {
    // Not `detach()`, which keeps the `require_grad` of a leaf and would send it a gradient of its own.
    let same = x.clone().without_autodiff();
    value + (x - same).mask_fill(clipped, 0.0)
}

/// Scales and zero points of a weight, computed on its device by the rule of
/// [`QParams::from_range`](crate::QParams::from_range) for scales in f32, in the same order and so with the same bits on
/// the CPU backend.
///
/// `axis` has a scale for each index: 0 for a convolution's weight `[out, in, …]`, 1 for Burn's linear
/// `[in, out]`; none gives one for the whole. Both results have the rank of `weight`, broadcast to it, and are constants.
/// Nothing is read back from the device, so a weight that is not finite gives scales that are not, and ranges that
/// `QParams::from_range` refuses as too wide are not refused here.
pub fn weight_scale<const D: usize>(
    weight: Tensor<D>,
    axis: Option<usize>,
    symmetry: Symmetry,
    (qmin, qmax): (i32, i32),
) -> (Tensor<D>, Tensor<D>) {
    let weight = weight.without_autodiff();
    let reduce = |x: Tensor<D>, f: fn(Tensor<D>, usize) -> Tensor<D>| {
        (0..D).filter(|dim| Some(*dim) != axis).fold(x, f)
    };
    let (first, last) = (qmin as f32, qmax as f32);
    let half_step = |divisor: f32| {
        let largest = reduce(weight.clone().abs(), Tensor::max_dim);
        legal(largest.div_scalar(divisor))
    };
    let ends = || {
        let low = reduce(weight.clone(), Tensor::min_dim).clamp_max(0.0);
        let high = reduce(weight.clone(), Tensor::max_dim).clamp_min(0.0);
        (low, high)
    };
    let scale = match symmetry {
        Symmetry::Narrow => half_step(last),
        Symmetry::FullHalfStep => half_step((last - first) / 2.0),
        Symmetry::NoClip => {
            let (low, high) = ends();
            legal(low.div_scalar(first).max_pair(high.div_scalar(last)))
        }
        Symmetry::Affine => {
            let (low, high) = ends();
            let scale = legal((high - low.clone()).div_scalar(last - first));
            let zero_point = (low / scale.clone()).round().neg().add_scalar(first);
            return (scale, zero_point.clamp(first, last));
        }
    };
    let zero_point = scale.zeros_like();
    (scale, zero_point)
}

fn legal<const D: usize>(scale: Tensor<D>) -> Tensor<D> {
    let zero = scale.clone().equal_elem(0.0);
    scale.clamp_min(f32::MIN_POSITIVE).mask_fill(zero, 1.0)
}
