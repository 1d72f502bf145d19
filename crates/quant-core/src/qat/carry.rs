//! What the estimators share: a value that carries the gradient of something else, and reductions.

use burn::tensor::{Bool, Tensor};

use crate::Error;

/// `value`, a constant, with the gradient of `stand_in`, whose own value does not matter as long as it is finite.
pub(super) fn carry<const D: usize>(value: Tensor<D>, stand_in: Tensor<D>) -> Tensor<D> {
    // Not `detach()`, which keeps the `require_grad` of a leaf and would send it a gradient of its own.
    let same = stand_in.clone().without_autodiff();
    // The sum also turns −0, which no code stands for, into +0.
    value + (stand_in - same)
}

/// Constants of a rounding to the grid of a scale and an integer zero point.
pub(super) struct Rounded<const D: usize> {
    /// s · k.
    pub(super) value: Tensor<D>,
    /// k = q − z, the code less its zero point.
    pub(super) steps: Tensor<D>,
    /// x / s.
    pub(super) ratio: Tensor<D>,
    /// Where the code was clipped.
    pub(super) clipped: Tensor<D, Bool>,
}

impl<const D: usize> Rounded<D> {
    /// Rounds as [`quantize`](crate::quantize) and [`dequantize`](crate::dequantize) do. No input is tracked.
    pub(super) fn of(x: Tensor<D>, scale: Tensor<D>, zero_point: Tensor<D>, qmin: i32, qmax: i32) -> Self {
        let ratio = x / scale.clone();
        let code = ratio.clone().round() + zero_point.clone();
        let clamped = code.clone().clamp(qmin as f32, qmax as f32);
        let clipped = code.not_equal(clamped.clone());
        let steps = clamped - zero_point;
        Self { value: steps.clone() * scale, steps, ratio, clipped }
    }

    /// ∂x̂/∂s: the rounding error in steps inside, the end of the grid outside.
    pub(super) fn of_scale(&self) -> Tensor<D> {
        self.steps.clone() - self.ratio.clone().mask_fill(self.clipped.clone(), 0.0)
    }

    /// 1 where the code was clipped, 0 elsewhere.
    pub(super) fn outside(&self) -> Tensor<D> {
        self.steps.zeros_like().mask_fill(self.clipped.clone(), 1.0)
    }
}

/// A parameter's value as a divisor.
pub(super) fn positive<const D: usize>(scale: Tensor<D>) -> Tensor<D> {
    scale.without_autodiff().clamp_min(f32::MIN_POSITIVE)
}

/// A statistic as a divisor: 1 for zero, by which everything that is zero stays zero.
pub(super) fn legal<const D: usize>(scale: Tensor<D>) -> Tensor<D> {
    let zero = scale.clone().equal_elem(0.0);
    scale.clamp_min(f32::MIN_POSITIVE).mask_fill(zero, 1.0)
}

/// The sum over everything that shares an index of `axis`, or over everything; dimensions stay, with length 1.
pub(super) fn sum_cells<const D: usize>(x: Tensor<D>, axis: Option<usize>) -> Tensor<D> {
    (0..D).filter(|dim| Some(*dim) != axis).fold(x, Tensor::sum_dim)
}

/// The mean of `|x|`, over what [`sum_cells`] adds.
pub(super) fn mean_size<const D: usize>(x: Tensor<D>, axis: Option<usize>) -> Tensor<D> {
    let cells = axis.map_or(1, |axis| x.dims()[axis]);
    let elements = (x.shape().num_elements() / cells.max(1)).max(1);
    // A product: Burn's backward pass of a division by a number takes the reciprocal in 32 bits.
    sum_cells(x.abs(), axis).mul_scalar(1.0 / elements as f64)
}

/// 1 for positive numbers and zeros, −1 for negative ones.
pub(super) fn sign<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let negative = x.clone().lower_elem(0.0);
    x.ones_like().mask_fill(negative, -1.0)
}

/// `2^bits − 1`, the number of steps of an unsigned grid.
pub(super) fn steps(bits: u32) -> Result<i32, Error> {
    match bits {
        1..=16 => Ok((1 << bits) - 1),
        found => Err(Error::Setting { what: "bits", expected: "from 1 to 16", found: f64::from(found) }),
    }
}

/// An error that names the first number of a tensor that is not finite. Reads from the device.
///
/// # Errors
///
/// [`Error::NotFinite`], with the row-major position.
pub fn check_finite<const D: usize>(x: &Tensor<D>) -> Result<(), Error> {
    let x = x.clone().without_autodiff();
    if x.clone().is_finite().all().into_scalar::<bool>() {
        return Ok(());
    }
    let values = x.into_data().iter::<f64>().collect::<Vec<f64>>();
    match values.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(Error::NotFinite { index, value: values[index] as f32 }),
        None => Ok(()),
    }
}
