//! The layers that losses bring along, as functions of their parameters, and numbers that are checked when read.

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::loss::math::divide;
use crate::{Error, Feature, SitePair, View};

/// What PyTorch's batch normalization adds to the variance.
const EPSILON: f64 = 1e-5;

/// A convolution with a square kernel of odd size that keeps height and width.
pub(super) fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let padding = weight.dims()[3] / 2;
    conv2d(x, weight, bias, ConvOptions::new([1, 1], [padding, padding], [1, 1], 1))
}

/// Batch normalization with the statistics of this batch, as a layer in training does it.
pub(super) fn batch_norm(x: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    let shape = x.dims();
    let channels = shape[1];
    let rows = standard(channel_rows(x), EPSILON);
    let rows = rows * scale.reshape([channels, 1]) + shift.reshape([channels, 1]);
    from_channel_rows(rows, shape)
}

/// `(x − mean) / √(variance + epsilon)` of each row; the variance is the mean squared deviation.
pub(super) fn standard(rows: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let (centered, squares) = deviations(rows);
    let count = centered.dims()[1];
    centered / divide(squares, count as f64).add_scalar(epsilon).sqrt()
}

/// Each row less its mean, and the sum of its squares, `[rows, 1]`.
pub(super) fn deviations(rows: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let count = rows.dims()[1] as f64;
    let centered = rows.clone() - divide(rows.sum_dim(1), count);
    let squares = centered.clone().square().sum_dim(1);
    (centered, squares)
}

/// `[B, C, H, W]` as `[C, B·H·W]`.
pub(super) fn channel_rows(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.swap_dims(0, 1).reshape([channels, batch * height * width])
}

/// The way back from [`channel_rows`].
pub(super) fn from_channel_rows(rows: Tensor<2>, shape: [usize; 4]) -> Tensor<4> {
    let [batch, channels, height, width] = shape;
    rows.reshape([channels, batch, height, width]).swap_dims(0, 1)
}

/// One row of channels for each position: `[B, D]`, `[B, L, D]` and `[B, C, H, W]` as `[positions, channels]`.
pub(super) fn position_rows(loss: &'static str, input: &'static str, x: Feature) -> Result<Tensor<2>, Error> {
    let found = x.dims();
    if found.contains(&0) {
        return Err(Error::Empty { shape: found });
    }
    match x {
        Feature::D2(x) => Ok(x),
        Feature::D3(x) => {
            let [batch, length, width] = x.dims();
            Ok(x.reshape([batch * length, width]))
        }
        Feature::D4(x) => {
            let [batch, channels, height, width] = x.dims();
            Ok(x.permute([0, 2, 3, 1]).reshape([batch * height * width, channels]))
        }
        Feature::D1(_) => {
            Err(Error::Shape { loss, input, expected: "[B, D], [B, L, D] or [B, C, H, W]", found })
        }
    }
}

/// Channels of a feature of rank 2 to 4: the second dimension of maps, the last one of others.
pub(super) fn channels(shape: &[usize]) -> usize {
    if shape.len() == 4 { shape[1] } else { shape.last().copied().unwrap_or(0) }
}

/// The two features of a pair where the teacher also has a site that is an input of the loss and none to compare: an
/// empty name is the only other one.
pub(super) fn pair_beside(
    view: &View<'_>,
    loss: &'static str,
    pair: &SitePair,
    input: &str,
) -> Result<(Feature, Feature), Error> {
    let mut pair = pair.clone();
    let mut others = view.teacher(loss)?.features.sites().filter(|site| *site != input);
    if let ("", Some(only), None) = (pair.teacher.as_str(), others.next(), others.next()) {
        pair.teacher = only.to_string();
    }
    view.pair_as_it_is(loss, &pair)
}
