//! Quantize and dequantize in one, on tensors, with a straight-through gradient.
//!
//! The value comes from constants, the gradient from a clamped copy that adds exactly zero:
//! `fq(x).detach() + (c − c.detach())`. The usual `x + (fq(x) − x).detach()` misses the grid by a rounding for over
//! half of the clipped values, and then what is trained is not what is shipped.

use burn::tensor::Tensor;

use crate::{Scheme, Symmetry};

/// x̂ = s · (clamp(round_half_even(x / s) + z, qmin, qmax) − z), with the clipped straight-through gradient.
///
/// `scale` and `zero_point` have the rank of `x` and broadcast to it; no gradient reaches them. On the CPU backend
/// the value equals [`quantize`](crate::quantize) then [`dequantize`](crate::dequantize) bit for bit. The gradient is
/// 1 from half a step below the smallest code's value to half a step above the largest code's, where rounding, not
/// clipping, decides; 0 beyond.
///
/// Source: Jacob et al. 2018, arXiv 1712.05877; torch's `fake_quantize_per_channel_affine`, whose mask this is up to
/// the two ties at its ends.
pub fn fake_quant<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    zero_point: Tensor<D>,
    qmin: i32,
    qmax: i32,
) -> Tensor<D> {
    let dims = x.dims();
    let (scale, zero_point) = (scale.expand(dims).detach(), zero_point.expand(dims).detach());
    let code = (x.clone().detach() / scale.clone()).round() + zero_point.clone();
    let code = code.clamp(qmin as f32, qmax as f32);
    let value = ((code - zero_point.clone()) * scale.clone()).detach();
    let low = (zero_point.clone().neg().add_scalar(qmin as f32 - 0.5)) * scale.clone();
    let high = (zero_point.neg().add_scalar(qmax as f32 + 0.5)) * scale;
    through(value, x.max_pair(low).min_pair(high))
}

/// [`fake_quant`] with one scale and one zero point, in fewer passes over the data.
pub fn fake_quant_scalar<const D: usize>(
    x: Tensor<D>,
    scale: f32,
    zero_point: i32,
    qmin: i32,
    qmax: i32,
) -> Tensor<D> {
    let zero = zero_point as f32;
    let code = x.clone().without_autodiff().div_scalar(scale).round().add_scalar(zero);
    let code = code.clamp(qmin as f32, qmax as f32);
    let value = code.sub_scalar(zero).mul_scalar(scale);
    if !x.is_autodiff() {
        return value;
    }
    let (low, high) = ((qmin as f32 - zero - 0.5) * scale, (qmax as f32 - zero + 0.5) * scale);
    through(value.autodiff(), x.clamp(low, high))
}

/// `value`, with the gradient of `clamped`.
fn through<const D: usize>(value: Tensor<D>, clamped: Tensor<D>) -> Tensor<D> {
    value + (clamped.clone() - clamped.detach())
}

/// Scales and zero points of a weight, computed on its device by the rule of
/// [`QParams::from_range`](crate::QParams::from_range), in the same order and so with the same bits on the CPU backend.
///
/// `axis` has a scale for each index; none gives one for the whole. Both results broadcast to `weight`.
pub fn weight_scale<const D: usize>(
    weight: Tensor<D>,
    axis: Option<usize>,
    scheme: &Scheme,
) -> (Tensor<D>, Tensor<D>) {
    let weight = weight.without_autodiff();
    let (qmin, qmax) = scheme.limits();
    let reduce = |x: Tensor<D>, f: fn(Tensor<D>, usize) -> Tensor<D>| {
        (0..D).filter(|dim| Some(*dim) != axis).fold(x, f)
    };
    match scheme.symmetry {
        Symmetry::Symmetric => {
            let largest = reduce(weight.abs(), Tensor::max_dim);
            let scale = legal(largest.div_scalar(qmax as f32));
            let zero_point = scale.zeros_like();
            (scale, zero_point)
        }
        Symmetry::Affine => {
            let low = reduce(weight.clone(), Tensor::min_dim).clamp_max(0.0);
            let high = reduce(weight, Tensor::max_dim).clamp_min(0.0);
            let scale = legal((high - low.clone()).div_scalar((qmax - qmin) as f32));
            let zero_point = (low / scale.clone()).round().neg().add_scalar(qmin as f32);
            (scale, zero_point.clamp(qmin as f32, qmax as f32))
        }
    }
}

fn legal<const D: usize>(scale: Tensor<D>) -> Tensor<D> {
    let zero = scale.clone().equal_elem(0.0);
    scale.clamp_min(f32::MIN_POSITIVE).mask_fill(zero, 1.0)
}
