//! Arithmetic that several losses share, and that keeps its precision and its gradients where the obvious form loses
//! them.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

use crate::{Error, Feature};

/// Below this a norm counts as zero, as in PyTorch's `normalize`.
pub(crate) const TINY: f64 = 1e-12;

/// `x / divisor`, as a product.
///
/// Burn's backward pass of a division by a number takes the reciprocal in f32 whatever the precision of the tensor is,
/// which costs an f64 gradient half its digits; that of a product does not.
pub(crate) fn divide<const D: usize>(x: Tensor<D>, divisor: f64) -> Tensor<D> {
    x.mul_scalar(1.0 / divisor)
}

/// Sum of all elements: along each row, then over the rows.
///
/// Not `sum()` at once: on the CPU, Burn adds four million elements and more in an order that depends on the threads,
/// and the same run must give the same bits.
pub(crate) fn sum_rows(rows: Tensor<2>) -> Tensor<1> {
    rows.sum_dim(1).sum()
}

/// Mean of all elements of a tensor of any rank.
pub(crate) fn mean_all<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let (rows, elements) = (x.dims()[0], x.shape().num_elements());
    divide(sum_rows(x.reshape([rows, elements / rows.max(1)])), elements as f64)
}

/// The shape `[batch, classes]`, both at least 1.
pub(crate) fn check_logits(logits: &Tensor<2>) -> Result<[usize; 2], Error> {
    let shape = logits.dims();
    if shape.contains(&0) { Err(Error::Empty { shape: shape.to_vec() }) } else { Ok(shape) }
}

/// The shape of both logits.
pub(crate) fn check_pair(student: &Tensor<2>, teacher: &Tensor<2>) -> Result<[usize; 2], Error> {
    let shape = check_logits(student)?;
    match teacher.dims() == shape {
        true => Ok(shape),
        false => Err(Error::LogitShapes { student: shape, teacher: teacher.dims() }),
    }
}

/// The shape of two features that are compared element by element.
pub(crate) fn check_same<const D: usize>(
    student: &Tensor<D>,
    teacher: &Tensor<D>,
) -> Result<[usize; D], Error> {
    let shape = student.dims();
    if shape != teacher.dims() {
        return Err(Error::FeatureShapes { student: shape.to_vec(), teacher: teacher.dims().to_vec() });
    }
    if shape.contains(&0) { Err(Error::Empty { shape: shape.to_vec() }) } else { Ok(shape) }
}

/// The labels, one for each of `batch` examples, as a column.
pub(crate) fn column(targets: &Tensor<1, Int>, batch: usize) -> Result<Tensor<2, Int>, Error> {
    match targets.dims() {
        [labels] if labels == batch => Ok(targets.clone().reshape([batch, 1])),
        [labels] => Err(Error::Labels { examples: batch, labels }),
    }
}

/// `log softmax(z / t)` along the classes.
pub(crate) fn log_p(logits: Tensor<2>, t: f64) -> Tensor<2> {
    log_softmax(divide(logits, t), 1)
}

/// `x / max(‖x‖₂, floor)` for each row; at a row of zeros both the value and the gradient are finite.
pub(crate) fn unit_rows(x: Tensor<2>, floor: f64) -> Tensor<2> {
    let square = x.clone().square().sum_dim(1);
    // The root's derivative is infinite at 0; there the floor stands in, and the row is a constant multiple of x.
    let small = square.clone().lower_equal_elem(floor * floor);
    let norm = square.mask_fill(small, floor * floor).sqrt();
    x / norm
}

/// `√x` with a gradient of 0 where `x` is at most `floor`, and `√floor` there.
pub(crate) fn safe_sqrt<const D: usize>(x: Tensor<D>, floor: f64) -> Tensor<D> {
    let small = x.clone().lower_equal_elem(floor);
    x.mask_fill(small, floor).sqrt()
}

/// PyTorch's `smooth_l1_loss` without reduction, β = 1: `½d²` below 1, `|d| − ½` above.
pub(crate) fn smooth_l1<const D: usize>(difference: Tensor<D>) -> Tensor<D> {
    let size = difference.clone().abs();
    let near = size.clone().lower_elem(1.0);
    let far = size.sub_scalar(0.5);
    far.mask_where(near, difference.square().mul_scalar(0.5))
}

/// A feature of a loss that works on one rank only.
pub(crate) fn ranked<const D: usize>(
    loss: &'static str,
    input: &'static str,
    expected: &'static str,
    x: Feature,
) -> Result<Tensor<D>, Error>
where
    Tensor<D>: TryFrom<Feature>,
{
    let found = x.dims();
    let wrong = || Error::Shape { loss, input, expected, found: found.clone() };
    if found.contains(&0) {
        return Err(Error::Empty { shape: found });
    }
    x.try_into().map_err(|_| wrong())
}
