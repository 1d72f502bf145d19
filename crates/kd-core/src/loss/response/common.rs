//! What several losses of the logits share: the labelled class apart from all others, rows around their mean, and
//! weights as a recipe writes them.

use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::Error;
use crate::loss::math::divide;

/// True at the label of each example and false at all other classes, `[B, C]`; `labels` is a column.
pub(crate) fn at_labels(labels: &Tensor<2, Int>, classes: usize) -> Tensor<2, Bool> {
    let [batch, _] = labels.dims();
    let count = Tensor::<1, Int>::arange(0..classes as i64, (&labels.device(), labels.dtype()));
    let count = count.reshape([1, classes]).expand([batch, classes]);
    labels.clone().expand([batch, classes]).equal(count)
}

/// `log softmax` over all classes but the label, 0 at the label itself, and the log-sum-exp of those classes, a
/// column. Needs two classes or more.
///
/// The label is left out, not pushed down by a large number, so that no logit is large enough to come back; and no
/// intermediate is infinite, so that gradients are finite at any gap.
pub(crate) fn of_others(logits: Tensor<2>, label: &Tensor<2, Bool>) -> (Tensor<2>, Tensor<2>) {
    let without = |x: Tensor<2>| x.mask_fill(label.clone(), 0.0);
    // A constant: the result does not depend on it.
    let max = logits.clone().without_autodiff().mask_fill(label.clone(), f64::NEG_INFINITY).max_dim(1);
    let below = without(logits - max.clone());
    let log_sum = without(below.clone().exp()).sum_dim(1).log();
    (without(below - log_sum.clone()), log_sum + max)
}

/// `Σ t·(log t − log s)` of each row, from the logarithms, as a column.
pub(crate) fn divergence(log_t: Tensor<2>, log_s: Tensor<2>) -> Tensor<2> {
    (log_t.clone().exp() * (log_t - log_s)).sum_dim(1)
}

/// Each row minus its mean; a row of equal numbers gives zeros, exactly.
pub(crate) fn around_mean(rows: Tensor<2>) -> Tensor<2> {
    let [_, columns] = rows.dims();
    // The mean of equal numbers may round to another number; that of zeros does not.
    let first = rows.clone().without_autodiff().narrow(1, 0, 1);
    let rows = rows - first;
    rows.clone() - divide(rows.sum_dim(1), columns as f64)
}

/// Euclidean norm of each row, as a column; the gradient at a row of zeros is 0, as PyTorch has it.
pub(crate) fn norms(rows: Tensor<2>) -> Tensor<2> {
    let square = rows.square().sum_dim(1);
    let zero = square.clone().equal_elem(0.0);
    square.mask_fill(zero.clone(), 1.0).sqrt().mask_fill(zero, 0.0)
}

/// The knob `alpha`, a weight of a part of a loss.
pub(crate) fn alpha<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    weight("alpha", from)
}

/// The knob `beta`, as [`alpha`].
pub(crate) fn beta<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    weight("beta", from)
}

/// The knob `gamma`, as [`alpha`].
pub(crate) fn gamma<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    weight("gamma", from)
}

fn weight<'de, D: Deserializer<'de>>(name: &'static str, from: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(from)?;
    let fits = found.is_finite() && found >= 0.0;
    let expected = "finite and at least 0";
    fits.then_some(found).ok_or_else(|| D::Error::custom(Error::OutOfRange { name, expected, found }))
}
