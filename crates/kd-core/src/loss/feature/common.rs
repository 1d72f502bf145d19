//! What losses of feature maps share: maps of two models that meet at one size, and knobs that are checked when read.
//!
//! Public implementations compare heights only and pool to a square; here height and width are each the smaller of the
//! two, so that maps of any two shapes meet.

use burn::tensor::Tensor;
use burn::tensor::module::adaptive_avg_pool2d;

use crate::loss::math::ranked;
use crate::{Error, Feature, SitePair, View};

/// What a loss of maps expects.
const MAP: &str = "[B, C, H, W]";

/// The maps at a pair of sites: as they are, or the student's after a connector where the recipe asks for one.
pub(super) fn maps(
    loss: &'static str,
    view: &View<'_>,
    pair: &SitePair,
) -> Result<(Tensor<4>, Tensor<4>), Error> {
    let (student, teacher) = match pair.connector {
        None => view.pair_as_it_is(loss, pair)?,
        Some(_) => view.pair(loss, pair)?,
    };
    both(loss, student, teacher)
}

/// The maps at a pair of sites, the student's after its connector.
pub(super) fn joined_maps(
    loss: &'static str,
    view: &View<'_>,
    pair: &SitePair,
) -> Result<(Tensor<4>, Tensor<4>), Error> {
    let (student, teacher) = view.pair(loss, pair)?;
    both(loss, student, teacher)
}

fn both(loss: &'static str, student: Feature, teacher: Feature) -> Result<(Tensor<4>, Tensor<4>), Error> {
    Ok((ranked(loss, "student.SITE", MAP, student)?, ranked(loss, "teacher.SITE", MAP, teacher)?))
}

/// A map, or a vector of features as a map of one position.
pub(super) fn map_or_vector(loss: &'static str, input: &'static str, x: Feature) -> Result<Tensor<4>, Error> {
    match x {
        Feature::D2(x) if !x.dims().contains(&0) => {
            let [batch, features] = x.dims();
            Ok(x.reshape([batch, features, 1, 1]))
        }
        x => ranked(loss, input, "[B, C, H, W] or [B, C]", x),
    }
}

/// `x` at another height and width, each cell the mean of the positions that it covers, as PyTorch's
/// `adaptive_avg_pool2d`.
pub(super) fn pool(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == size { x } else { adaptive_avg_pool2d(x, size) }
}

/// Two maps of the same examples at the smaller height and the smaller width.
pub(super) fn meet(student: Tensor<4>, teacher: Tensor<4>) -> Result<(Tensor<4>, Tensor<4>), Error> {
    let (s, t) = (student.dims(), teacher.dims());
    if let Some(empty) = [s, t].into_iter().find(|shape| shape.contains(&0)) {
        return Err(Error::Empty { shape: empty.to_vec() });
    }
    if s[0] != t[0] {
        return Err(Error::FeatureShapes { student: s.to_vec(), teacher: t.to_vec() });
    }
    let size = [s[2].min(t[2]), s[3].min(t[3])];
    Ok((pool(student, size), pool(teacher, size)))
}

/// `[B, C, H·W]`
pub(super) fn planes(x: Tensor<4>) -> Tensor<3> {
    x.flatten(2, 3)
}

/// One row for each position, `[B·H·W, C]`.
pub(super) fn positions(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.permute([0, 2, 3, 1]).reshape([batch * height * width, channels])
}

/// `‖x‖₂` of each row, `[rows, 1]`, with a gradient of 0 at a row of zeros.
pub(super) fn norm_rows(x: Tensor<2>) -> Tensor<2> {
    let square = x.square().sum_dim(1);
    let zero = square.clone().equal_elem(0.0);
    square.mask_fill(zero.clone(), 1.0).sqrt().mask_fill(zero, 0.0)
}
