//! SpQR without its quantized statistics: GPTQ that keeps the few weights it cannot afford to round.

use serde::{Deserialize, Serialize};

use super::matrix::{check_knob, check_size};
use super::sweep::{Sweep, Swept};
use super::{Cell, Grid, Hessian, Matrix, Order, Quantized};
use crate::Error;

/// Knobs of [`spqr`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spqr {
    /// As [`Gptq::damping`](super::Gptq::damping).
    pub damping: f64,
    /// Which column comes first.
    pub order: Order,
    /// τ, above 0: the lower, the more weights are kept. 0.2 keeps about 1 % of a language model's.
    pub threshold: f64,
}

impl Default for Spqr {
    fn default() -> Self {
        Self { damping: 0.01, order: Order::AsStored, threshold: 0.2 }
    }
}

/// A weight that is kept in full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Output.
    pub row: usize,
    /// Input.
    pub column: usize,
    /// The weight, with what it makes up for.
    pub value: f32,
}

/// Result of [`spqr`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpqrWeight {
    /// All weights; those of outliers have the code of 0.
    pub quantized: Quantized,
    /// The weights that are kept, by row, then column.
    pub outliers: Vec<Outlier>,
    /// The damping that was enough.
    pub damping: f64,
}

impl SpqrWeight {
    /// Ŵ with outliers in their places.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut values = self.quantized.dequantize();
        for outlier in &self.outliers {
            values[outlier.row * self.quantized.columns + outlier.column] = outlier.value;
        }
        values
    }
}

/// GPTQ with sparse outliers. With t = τ · mean over weights of Var_rows(w_j) / U_jj²:
///
/// 1. When a group's turn comes, each of its weights is left out once. Where that lowers the group's error
///    Σ (w − ŵ)² / U_jj² by more than t, the weight does not count for the group's range.
/// 2. A weight whose own error (w − ŵ)² / U_jj² exceeds t stays as it is, and leaves no error for others.
///
/// The paper also quantizes scales and zero points, to 3 bits in groups of 16; here they stay as they are, which is the
/// simple variant of the name. A layer of one output has no variance over rows, and w_j² stands in.
///
/// Source: Dettmers et al. 2023, arXiv 2306.03078; Vahe1994/SpQR, `spqr_engine.py`.
///
/// # Errors
///
/// As [`gptq`](super::gptq).
pub fn spqr(weight: Matrix<'_>, hessian: &Hessian, grid: &Grid, knobs: &Spqr) -> Result<SpqrWeight, Error> {
    swept(weight, None, hessian, grid, knobs)
}

/// [`spqr`] of a weight with a mask, as [`gptq_masked`](super::gptq_masked); no masked element is an outlier.
///
/// # Errors
///
/// As [`gptq_masked`](super::gptq_masked).
pub fn spqr_masked(
    weight: Matrix<'_>,
    mask: &[bool],
    hessian: &Hessian,
    grid: &Grid,
    knobs: &Spqr,
) -> Result<SpqrWeight, Error> {
    check_size("elements of the mask", weight.values().len(), mask.len())?;
    swept(weight, Some(mask), hessian, grid, knobs)
}

fn swept(
    weight: Matrix<'_>,
    mask: Option<&[bool]>,
    hessian: &Hessian,
    grid: &Grid,
    knobs: &Spqr,
) -> Result<SpqrWeight, Error> {
    weight.check_columns(hessian.columns())?;
    check_knob("a threshold", "above 0", knobs.threshold, knobs.threshold > 0.0)?;
    let sweep = Sweep::new(hessian, knobs.damping, knobs.order)?;
    let pivots = sweep.pivots();
    let sensitivity = sweep.order().iter().zip(&pivots).map(|(&j, u)| variance(weight, j) / (u * u));
    let most = knobs.threshold * sensitivity.sum::<f64>() / weight.columns() as f64;
    let fit = |p: usize, group: &[f64]| fit_without_outliers(grid, group, &pivots[p..], most);
    let (Swept { codes, cells, group_of }, kept) = sweep.run(weight, mask, grid, None, most, &fit)?;
    let (rows, columns) = (weight.rows(), weight.columns());
    let quantized = Quantized { grid: *grid, rows, columns, codes, cells, group_of };
    let outliers = kept.into_iter().map(|(row, column, value)| Outlier { row, column, value }).collect();
    Ok(SpqrWeight { quantized, outliers, damping: sweep.damping })
}

fn fit_without_outliers(grid: &Grid, group: &[f64], pivots: &[f64], most: f64) -> Result<Cell, Error> {
    let without = |left_out: Option<usize>| {
        move |(index, w): (usize, &f64)| (Some(index) != left_out).then_some(*w as f32)
    };
    let error = |left_out: Option<usize>| -> Result<f64, Error> {
        let cell = grid.fit(group.iter().enumerate().filter_map(without(left_out)))?;
        let term = |(w, u): (&f64, &f64)| {
            let x = *w as f32;
            ((w - f64::from(cell.value(grid.code(cell, x)))) / u).powi(2)
        };
        let all = group.iter().zip(pivots).enumerate().filter(|(index, _)| Some(*index) != left_out);
        Ok(all.map(|(_, pair)| term(pair)).sum())
    };
    let base = error(None)?;
    let mut stay = Vec::with_capacity(group.len());
    for (index, w) in group.iter().enumerate() {
        if base - error(Some(index))? <= most {
            stay.push(*w as f32);
        }
    }
    grid.fit(stay)
}

fn variance(weight: Matrix<'_>, column: usize) -> f64 {
    let rows = weight.rows() as f64;
    let values = || weight.iter_rows().map(|row| f64::from(row[column]));
    if weight.rows() == 1 {
        return values().map(|w| w * w).sum();
    }
    let mean = values().sum::<f64>() / rows;
    values().map(|w| (w - mean).powi(2)).sum::<f64>() / (rows - 1.0)
}
