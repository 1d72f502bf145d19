//! DoReFa: weights squeezed by tanh onto a grid from −1 to 1, activations on one from 0 to 1.
//!
//! Zhou et al., "DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients" (2016),
//! arXiv 1606.06160. Public implementations: distiller's `clipped_linear.py`, MQBench's `fake_quantize/dorefa.py`.

use burn::tensor::Tensor;

use super::carry::{Rounded, carry, legal, mean_size, sign, steps, sum_cells};
use crate::Error;

/// ŵ = 2 · round(n · u)/n − 1 with u = tanh(w)/(2 max|tanh w|) + ½ and n = 2^bits − 1; for one bit sign(w) · mean|w|.
///
/// The levels are the odd fractions (2q − n)/n: zero is none of them. The gradient is that of 2u − 1, through tanh and
/// through the maximum (shared evenly by equal ones), as automatic differentiation of the public implementations has
/// it; for one bit it is 1. A tensor of zeros has u = ½.
///
/// # Errors
///
/// [`Error::Setting`] unless there are 1 to 16 bits.
pub fn dorefa_weight<const D: usize>(weight: Tensor<D>, bits: u32) -> Result<Tensor<D>, Error> {
    let steps = f64::from(steps(bits)?);
    let constant = weight.clone().without_autodiff();
    if bits == 1 {
        let value = sign(constant.clone()) * mean_size(constant, None);
        return Ok(carry(value, weight));
    }
    let tanh = constant.tanh();
    let size = tanh.clone().abs();
    let largest = (0..D).fold(size.clone(), Tensor::max_dim);
    let divisor = legal(largest.clone());
    let u = (tanh / divisor.clone()).mul_scalar(0.5).add_scalar(0.5);
    let value = u.mul_scalar(steps).round().mul_scalar(2.0).sub_scalar(steps).div_scalar(steps);

    // The maximum as the mean of those that are largest, which are equal: the value is the same, the gradient shared.
    let equals = (size - largest).equal_elem(0.0);
    let number = sum_cells(value.zeros_like().mask_fill(equals.clone(), 1.0), None);
    let tanh = weight.tanh();
    let maxima = tanh.clone().abs().mask_fill(equals.bool_not(), 0.0);
    let mean = sum_cells(maxima, None) / number;
    let maximum = carry(divisor, mean);
    Ok(carry(value, tanh / maximum))
}

/// ŷ = s · round(clamp(x, 0, 1)/s) with s = 1/(2^bits − 1), and gradient 1 for 0 ≤ x ≤ 1, else 0.
///
/// # Errors
///
/// [`Error::Setting`] unless there are 1 to 16 bits.
pub fn dorefa_activation<const D: usize>(x: Tensor<D>, bits: u32) -> Result<Tensor<D>, Error> {
    let steps = steps(bits)?;
    let constant = x.clone().without_autodiff();
    let kind = (&constant.device(), constant.dtype());
    let scale = Tensor::<D>::full([1; D], 1.0 / f64::from(steps), kind);
    let zero = scale.zeros_like();
    let rounded = Rounded::of(constant.clone(), scale, zero, 0, steps);
    let outside = constant.clone().lower_elem(0.0).bool_or(constant.greater_elem(1.0));
    Ok(carry(rounded.value, x.mask_fill(outside, 0.0)))
}
