//! What the relational losses share: rows of two features of any width, unit vectors and distances that stay exact
//! where rows repeat or vanish, and sums that are differentiated chunk by chunk.

use std::ops::Range;

use burn::tensor::Tensor;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::loss::math::{TINY, divide, ranked, sum_rows};
use crate::{ConnectorKind, Error, Feature, Input, SitePair, View};

/// Numbers in one intermediate tensor of a chunk: 4 MiB in f32, small beside the activations of a training step.
const CHUNK: usize = 1 << 20;

/// Makes a loss of the knobs of one pair of sites and a function of two matrices of rows.
macro_rules! of_rows {
    ($knobs:ident, $function:ident) => {
        impl crate::loss::DistillLoss for $knobs {
            fn needs_teacher(&self) -> bool {
                true
            }

            fn sites(&self) -> Vec<crate::SitePair> {
                vec![self.pair_as_it_is()]
            }

            fn evaluate(&self, view: &crate::View<'_>) -> Result<Tensor<1>, Error> {
                let (student, teacher) = rows(view, NAME.name, &self.pair())?;
                $function(student, teacher)
            }
        }
    };
}

pub(super) use of_rows;

/// The student's feature of most of these losses.
pub(super) const STUDENT: Input = Input::new(
    "student.SITE",
    &["B", "D"],
    "feature of the student, any rank from 1 to 4; one row per example",
);
/// The teacher's.
pub(super) const TEACHER: Input =
    Input::new("teacher.SITE", &["B", "E"], "feature of the teacher; its rows may have another length");

/// Both features. A connector changes the student's only where one is asked for by name.
pub(super) fn features(
    view: &View<'_>,
    loss: &'static str,
    pair: &SitePair,
) -> Result<(Feature, Feature), Error> {
    if pair.connector.is_some_and(|kind| kind != ConnectorKind::AsIs) {
        view.pair(loss, pair)
    } else {
        view.pair_as_it_is(loss, pair)
    }
}

/// Both features as rows.
pub(super) fn rows(
    view: &View<'_>,
    loss: &'static str,
    pair: &SitePair,
) -> Result<(Tensor<2>, Tensor<2>), Error> {
    let (student, teacher) = features(view, loss, pair)?;
    Ok((student.rows(), teacher.rows()))
}

/// Two features `[B, C, H, W]`.
pub(super) fn maps(
    loss: &'static str,
    (student, teacher): (Feature, Feature),
) -> Result<(Tensor<4>, Tensor<4>), Error> {
    let expected = "[B, C, H, W]";
    Ok((ranked(loss, "student.SITE", expected, student)?, ranked(loss, "teacher.SITE", expected, teacher)?))
}

/// The number of examples, the same in both and at least 1.
pub(super) fn check_batch<const D: usize>(
    loss: &'static str,
    student: &Tensor<D>,
    teacher: &Tensor<D>,
) -> Result<usize, Error> {
    for x in [student, teacher] {
        if x.dims().contains(&0) {
            return Err(Error::Empty { shape: x.dims().to_vec() });
        }
    }
    if student.dims()[0] == teacher.dims()[0] {
        return Ok(student.dims()[0]);
    }
    let expected = "as many examples as `student.SITE`";
    Err(Error::Shape { loss, input: "teacher.SITE", expected, found: teacher.dims().to_vec() })
}

/// `x xᵀ`.
pub(super) fn gram(x: Tensor<2>) -> Tensor<2> {
    x.clone().matmul(x.transpose())
}

/// `x / max(size, 1e-12)`, where `size` is a norm of the last dimension that `root` makes of `measure`.
///
/// A vector whose norm is below the floor counts as a constant: the quotient's own derivative there, 1e12, would
/// throw away a student at the first duplicated or dead example.
fn over<const D: usize>(
    x: Tensor<D>,
    size: Tensor<D>,
    floor: f64,
    root: fn(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let small = size.clone().lower_equal_elem(floor);
    let size = root(size.mask_fill(small.clone(), 1.0));
    let constant = divide(x.clone().without_autodiff(), TINY);
    let shape = x.dims();
    (x / size).mask_where(small.expand(shape), constant)
}

/// `x / max(‖x‖₂, 1e-12)` along the last dimension; no gradient where the floor counts.
pub(super) fn unit<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let square = x.clone().square().sum_dim(D - 1);
    over(x, square, TINY * TINY, Tensor::sqrt)
}

/// `x / max(‖x‖₁, 1e-12)` along the last dimension; no gradient where the floor counts.
pub(super) fn unit_l1<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let size = x.clone().abs().sum_dim(D - 1);
    over(x, size, TINY, |size| size)
}

/// `‖x_i − x_j‖²` for all pairs, `[B, B]`.
///
/// The values are sums of squared differences, made in chunks outside the graph: exactly 0 on the diagonal and for
/// rows that repeat, where `‖x_i‖² + ‖x_j‖² − 2 x_i·x_j` leaves the rounding of its terms (in f32, a distance of
/// 1/1000 of the norm). The derivative is that of the latter form, which is the same and keeps only `[B, B]`.
pub(super) fn squared_distances(x: Tensor<2>) -> Tensor<2> {
    let constant = x.clone().without_autodiff();
    let [batch, width] = constant.dims();
    let all = constant.clone().reshape([1, batch, width]);
    let exact = chunks(batch, batch * width).map(|rows| {
        let count = rows.len();
        let some = constant.clone().narrow(0, rows.start, count).reshape([count, 1, width]);
        (some - all.clone()).square().sum_dim(2).reshape([count, batch])
    });
    let exact = Tensor::cat(exact.collect(), 0);
    if !x.is_autodiff() {
        return exact;
    }
    let centred = x - constant.mean_dim(0);
    let square = centred.clone().square().sum_dim(1);
    let same = square.clone() + square.transpose() - gram(centred).mul_scalar(2.0);
    exact + (same.clone() - same.without_autodiff())
}

/// `0 .. count` in ranges of as many as make [`CHUNK`] numbers of `each`, at least one.
fn chunks(count: usize, each: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (CHUNK / each.max(1)).max(1);
    (0..count).step_by(step).map(move |start| start..count.min(start + step))
}

/// `Σ part(x, range)` over `0 .. count` in chunks of about [`CHUNK`] numbers, `each` for one of `count`.
///
/// Every chunk is differentiated as soon as its value is known, so that its intermediates are gone before the next one;
/// what stays in the caller's graph is `x` and one gradient of its size. The price is that a value which nobody
/// differentiates costs its backward pass all the same, unless `x` is a constant.
pub(super) fn sum_of_chunks(
    x: Tensor<2>,
    count: usize,
    each: usize,
    part: impl Fn(Tensor<2>, Range<usize>) -> Tensor<1>,
) -> Tensor<1> {
    let constant = x.clone().without_autodiff();
    let mut value = Tensor::<1>::zeros([1], (&constant.device(), constant.dtype()));
    let mut slope = constant.zeros_like();
    for range in chunks(count, each) {
        if !x.is_autodiff() {
            value = value + part(constant.clone(), range);
            continue;
        }
        let leaf = constant.clone().autodiff().require_grad();
        let here = part(leaf.clone(), range);
        let mut gradients = here.backward();
        if let Some(gradient) = leaf.grad_remove(&mut gradients) {
            slope = slope + gradient;
        }
        value = value + here.without_autodiff();
    }
    if !x.is_autodiff() {
        return value;
    }
    // Adds 0, with the gradient that the chunks found.
    value + sum_rows((x - constant) * slope)
}

/// A number of a recipe, refused outside its range.
pub(super) fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    name: &'static str,
    expected: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    if fits(found) { Ok(found) } else { Err(D::Error::custom(Error::OutOfRange { name, expected, found })) }
}
