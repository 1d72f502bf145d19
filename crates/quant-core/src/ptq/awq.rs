//! AWQ: columns with large inputs get finer steps, by a scale that the inputs are divided by.

use serde::{Deserialize, Serialize};

use super::grid::numbered;
use super::matrix::{check_finite, check_knob, check_size};
use super::smooth::scale_columns;
use super::{Cell, Grid, Hessian, Matrix, Quantized};
use crate::Error;

/// Knobs of [`awq`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Awq {
    /// Ratios tried: 0, 1/n, …, (n − 1)/n. At least 1, which leaves columns as they are.
    pub ratios: usize,
    /// Ranges tried for each group: 1, 1 − 1/20, … of its own, this many. At least 1, which clips nothing.
    pub clips: usize,
}

impl Default for Awq {
    fn default() -> Self {
        Self { ratios: 20, clips: 10 }
    }
}

/// Result of [`awq`]: y = (x / s) Ŵᵀ with Ŵ close to W · s.
#[derive(Debug, Clone, PartialEq)]
pub struct AwqWeight {
    /// s, one an input column, above 0: what inputs are to be divided by.
    pub input_scale: Vec<f32>,
    /// The ratio that s comes from.
    pub ratio: f64,
    /// Ŵ.
    pub quantized: Quantized,
    /// Groups whose range was clipped.
    pub clipped: usize,
    /// E‖W x − Ŵ (x / s)‖², before clipping, for each ratio tried.
    pub errors: Vec<f64>,
}

impl AwqWeight {
    /// Ŵ / s, `[rows, columns]`: the weight that the layer has in effect.
    pub fn effective(&self) -> Vec<f32> {
        let columns = self.quantized.columns;
        let values = self.quantized.dequantize().into_iter().enumerate();
        values.map(|(index, value)| value / self.input_scale[index % columns]).collect()
    }
}

/// Tries s = importance^ratio, at least 1e-4, divided by √(max s · min s), for every ratio; keeps the one with the
/// smallest error of the layer's output, the smaller ratio in a tie. Then tries smaller ranges for each group of W · s,
/// against the error of its own part of the output, and keeps the largest of the best.
///
/// The importance of a column is E|x| ([`InputStats::mean_abs`](super::InputStats::mean_abs)), or where only a Hessian
/// is known √E\[x²\] ([`Hessian::root_mean_square`]). Whoever uses the result divides inputs by s, best in the layer
/// before. Ratio 0 is round-to-nearest, so that the result is never worse on the calibration data.
///
/// Source: Lin et al. 2023, arXiv 2306.00978; mit-han-lab/llm-awq, `awq/quantize/auto_scale.py` and `auto_clip.py`,
/// where clipping looks at 512 tokens; here at all of them, through the Hessian.
///
/// # Errors
///
/// [`Error::Setting`], [`Error::Size`], [`Error::NotFiniteIn`], [`Error::TooWide`].
pub fn awq(
    weight: Matrix<'_>,
    hessian: &Hessian,
    importance: &[f64],
    grid: &Grid,
    knobs: &Awq,
) -> Result<AwqWeight, Error> {
    weight.check_columns(hessian.columns())?;
    check_size("importance", weight.columns(), importance.len())?;
    check_finite("importance", importance.iter().copied())?;
    let least = importance.iter().copied().fold(0.0, f64::min);
    check_knob("importance", "of at least 0", least, least >= 0.0)?;
    check_knob("ratios", "of at least 1", knobs.ratios as f64, knobs.ratios > 0)?;
    check_knob("clips", "from 1 to 20", knobs.clips as f64, (1..=20).contains(&knobs.clips))?;
    let mut best: Option<(f64, Vec<f32>, f64)> = None;
    let mut errors = Vec::with_capacity(knobs.ratios);
    for step in 0..knobs.ratios {
        let ratio = step as f64 / knobs.ratios as f64;
        let scale = input_scale(importance, ratio);
        let error = scaled_error(weight, hessian, grid, &scale)?;
        errors.push(error);
        if best.as_ref().is_none_or(|(least, ..)| error < *least) {
            best = Some((error, scale, ratio));
        }
    }
    let (_, input_scale, ratio) = best.ok_or(Error::NothingSeen)?;
    let scaled = scale_columns(weight, &input_scale)?;
    let scaled = Matrix::new("scaled weight", weight.rows(), weight.columns(), &scaled)?;
    let (cells, clipped) = clip(scaled, hessian, &input_scale, grid, knobs.clips)?;
    let quantized = Quantized::on_cells(scaled, grid, cells);
    Ok(AwqWeight { input_scale, ratio, quantized, clipped, errors })
}

fn input_scale(importance: &[f64], ratio: f64) -> Vec<f32> {
    let raw: Vec<f64> = importance.iter().map(|x| x.powf(ratio).max(1e-4)).collect();
    let (min, max) = raw.iter().fold((f64::MAX, 0.0_f64), |(l, h), &x| (l.min(x), h.max(x)));
    let middle = (min * max).sqrt();
    raw.iter().map(|x| (x / middle) as f32).collect()
}

fn scaled_error(weight: Matrix<'_>, hessian: &Hessian, grid: &Grid, scale: &[f32]) -> Result<f64, Error> {
    let scaled = scale_columns(weight, scale)?;
    let scaled = Matrix::new("scaled weight", weight.rows(), weight.columns(), &scaled)?;
    let values = Quantized::on_cells(scaled, grid, grid.fit_all(scaled)?).dequantize();
    let error = |(w, values): (&[f32], &[f32])| {
        let delta: Vec<f64> = (w.iter().zip(values).zip(scale))
            .map(|((w, value), s)| f64::from(*value) / f64::from(*s) - f64::from(*w))
            .collect();
        hessian.quadratic(&delta)
    };
    Ok(weight.iter_rows().zip(values.chunks_exact(weight.columns())).map(error).sum())
}

/// The best cell of each group, and how many of them clip.
fn clip(
    scaled: Matrix<'_>,
    hessian: &Hessian,
    scale: &[f32],
    grid: &Grid,
    clips: usize,
) -> Result<(Vec<Cell>, usize), Error> {
    let (columns, len) = (scaled.columns(), grid.group_len(scaled.columns()));
    let (mut cells, mut clipped) = (Vec::new(), 0);
    for row in scaled.iter_rows() {
        for (group, start) in row.chunks(len).zip((0..).step_by(len)) {
            let largest = group.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
            let mut best: Option<(f64, Cell)> = None;
            let mut step_of_best = 0;
            for step in 0..clips {
                let most = largest * (1.0 - step as f32 / 20.0);
                let cell = grid
                    .fit(group.iter().map(|w| w.clamp(-most, most)))
                    .map_err(|error| numbered(error, cells.len()))?;
                let delta: Vec<f64> = (group.iter().zip(&scale[start..]))
                    .map(|(w, s)| {
                        (f64::from(cell.value(grid.code(cell, *w))) - f64::from(*w)) / f64::from(*s)
                    })
                    .collect();
                let mut error = 0.0;
                for (i, d) in delta.iter().enumerate() {
                    let h = &hessian.values()[(start + i) * columns + start..];
                    error += d * delta.iter().zip(h).map(|(d, h)| d * h).sum::<f64>();
                }
                if best.is_none_or(|(least, _)| error < least) {
                    (best, step_of_best) = (Some((error, cell)), step);
                }
            }
            clipped += usize::from(step_of_best > 0);
            cells.extend(best.map(|(_, cell)| cell));
        }
    }
    Ok((cells, clipped))
}
