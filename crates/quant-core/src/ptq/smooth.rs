//! SmoothQuant: moves the difficulty of large activations into weights.

use super::Matrix;
use super::matrix::{check_finite, check_knob, check_size};
use crate::Error;

/// s_j = max|x_j|^α / max|w_j|^(1 − α), the maximum over all weights that read the same inputs, in f64, then rounded.
///
/// Inputs are divided by s, best in the normalization before, and weights multiplied ([`scale_columns`]); the product
/// stays. α from 0 (all difficulty left in the activations) to 1; 0.5 is usual, 0.75 for models with large outliers.
/// Maxima of weights count as at least 1e-5, and so does s. A column that saw only zeros keeps s = 1: nothing is known
/// about it, and the reference's 1e-5 would make a later input a hundred thousand times larger.
///
/// It helps only where activations are quantized too, and per tensor or per token.
///
/// Source: Xiao et al. 2022, arXiv 2211.10438, equation 4; mit-han-lab/smoothquant, `smoothquant/smooth.py`.
///
/// # Errors
///
/// [`Error::Setting`] for α or without a weight, [`Error::Size`], [`Error::NotFiniteIn`].
pub fn smooth_scales(input_max: &[f32], weights: &[Matrix<'_>], alpha: f64) -> Result<Vec<f32>, Error> {
    check_knob("alpha", "from 0 to 1", alpha, (0.0..=1.0).contains(&alpha))?;
    check_knob("weights", "of at least 1", 0.0, !weights.is_empty())?;
    check_finite("maxima of inputs", input_max.iter().map(|&x| f64::from(x)))?;
    let mut most = vec![0.0_f32; input_max.len()];
    for weight in weights {
        weight.check_columns(input_max.len())?;
        most.iter_mut().zip(weight.column_max()).for_each(|(a, b)| *a = a.max(b));
    }
    let scale = |(&x, w): (&f32, f32)| match x == 0.0 {
        true => 1.0,
        false => {
            let w = f64::from(w).max(1e-5).powf(1.0 - alpha);
            ((f64::from(x.abs()).powf(alpha) / w).max(1e-5)) as f32
        }
    };
    Ok(input_max.iter().zip(most).map(scale).collect())
}

/// W · diag(s): what a weight becomes when its inputs are divided by s.
///
/// # Errors
///
/// [`Error::Size`], [`Error::Scale`] for a scale that is not positive and finite.
pub fn scale_columns(weight: Matrix<'_>, scale: &[f32]) -> Result<Vec<f32>, Error> {
    check_size("scales", weight.columns(), scale.len())?;
    if let Some(cell) = scale.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
        return Err(Error::Scale { cell, scale: scale[cell] });
    }
    Ok(weight.iter_rows().flat_map(|row| row.iter().zip(scale).map(|(w, s)| w * s)).collect())
}
