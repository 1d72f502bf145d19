//! Cross-layer equalization: two layers share their ranges, so that one scale a tensor suits all channels.

use super::Matrix;
use super::matrix::{check_finite, check_knob, check_size};
use crate::Error;

/// Result of [`equalize`].
#[derive(Debug, Clone, PartialEq)]
pub struct Equalized {
    /// s, one a channel between the layers: activations between them are divided by it.
    pub scale: Vec<f32>,
    /// W₁ / s.
    pub first: Vec<f32>,
    /// b₁ / s.
    pub bias: Option<Vec<f32>>,
    /// W₂ · s.
    pub second: Vec<f32>,
}

/// s_i = √(r₁ᵢ / r₂ᵢ), r₁ᵢ the largest weight of the first layer's output i and r₂ᵢ that of the second layer's input i;
/// W₁ and b₁ are divided by s, W₂ multiplied. Afterwards both ranges are √(r₁ r₂).
///
/// The function of the network stays, to roundings, if what stands between is positively homogeneous, f(s x) = s f(x):
/// nothing, ReLU, PReLU, pooling; not sigmoid, GELU or a ReLU6 that clips. One pass is the fixed point for two layers; for a chain,
/// go over its pairs until scales are near 1. A channel with an empty range on either side keeps s = 1. Scales for each
/// channel make it pointless for W₁, not for the activations between.
///
/// `first` is `[channels, K₁]`; `second` is `[out, channels · inner]`, inner the elements of a convolution's kernel
/// (1 for a linear layer).
///
/// Source: Nagel et al. 2019, arXiv 1906.04721; torch, `ao/quantization/_equalize.py`.
///
/// # Errors
///
/// [`Error::Setting`] where the second layer's columns are no multiple of the channels, [`Error::Size`],
/// [`Error::NotFiniteIn`].
pub fn equalize(first: Matrix<'_>, bias: Option<&[f32]>, second: Matrix<'_>) -> Result<Equalized, Error> {
    let channels = first.rows();
    let inner = second.columns() / channels;
    let divides = inner > 0 && second.columns().is_multiple_of(channels);
    check_knob("columns", "a multiple of the channels before", second.columns() as f64, divides)?;
    if let Some(bias) = bias {
        check_size("a bias", channels, bias.len())?;
        check_finite("bias", bias.iter().map(|&x| f64::from(x)))?;
    }
    let columns = second.column_max();
    let after = columns.chunks_exact(inner).map(|max| max.iter().fold(0.0_f32, |a, b| a.max(*b)));
    let scale: Vec<f32> = (first.row_max().into_iter().zip(after))
        .map(|(before, after)| {
            let s = (f64::from(before) / f64::from(after)).sqrt() as f32;
            if s > 0.0 && s.is_finite() { s } else { 1.0 }
        })
        .collect();
    let divided = |row: &[f32], s: f32| -> Vec<f32> { row.iter().map(|w| w / s).collect() };
    let first = first.iter_rows().zip(&scale).flat_map(|(row, s)| divided(row, *s)).collect();
    let bias = bias.map(|bias| bias.iter().zip(&scale).map(|(b, s)| b / s).collect());
    let multiply = |(index, w): (usize, &f32)| w * scale[index % second.columns() / inner];
    let second = second.values().iter().enumerate().map(multiply).collect();
    Ok(Equalized { scale, first, bias, second })
}
