//! HQQ: a better zero point without any data, by half-quadratic splitting.

use serde::{Deserialize, Serialize};

use super::matrix::check_knob;
use super::rounding::{FloatCell, float_code};
use super::{Cell, Grid, Matrix, Quantized, rtn};
use crate::{Error, Symmetry};

/// Knobs of [`hqq`] and [`hqq_integer`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hqq {
    /// Power p of the norm ‖W − Ŵ‖_p^p, above 0 and up to 1: the lower, the less outliers count.
    pub lp: f64,
    /// First weight of the splitting, above 0.
    pub beta: f64,
    /// Its factor from one iteration to the next, at least 1.
    pub kappa: f64,
    /// Iterations.
    pub iterations: usize,
    /// Whether to stop after the first iteration that does not lower mean|W − Ŵ| over the whole weight.
    pub early_stop: bool,
}

impl Default for Hqq {
    fn default() -> Self {
        Self { lp: 0.7, beta: 10.0, kappa: 1.01, iterations: 20, early_stop: true }
    }
}

/// A weight with zero points that are no codes: x̂ = s · (q − z) in 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatZero {
    /// The grid, affine.
    pub grid: Grid,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// `[rows, columns]`.
    pub codes: Vec<i32>,
    /// `[rows, groups]`.
    pub scale: Vec<f32>,
    /// `[rows, groups]`; codes' own numbering, so from about qmin to qmax.
    pub zero: Vec<f32>,
    /// The group of each column: column / group length, unless columns were quantized in another order.
    pub group_of: Vec<usize>,
    /// Groups that round-to-nearest served better, and kept; 0 from [`gptq_float`](super::gptq_float).
    pub kept: usize,
}

impl FloatZero {
    /// x̂ = s · (q − z) of every element, `[rows, columns]`.
    pub fn dequantize(&self) -> Vec<f32> {
        let groups = self.grid.groups(self.columns);
        let value = |(index, &code): (usize, &i32)| {
            let cell = index / self.columns * groups + self.group_of[index % self.columns];
            FloatCell { scale: self.scale[cell], zero: self.zero[cell] }.value(code)
        };
        self.codes.iter().enumerate().map(value).collect()
    }
}

/// Moves each group's zero point so that ‖W − Ŵ‖_p^p falls.
///
/// s = (max − min) / (qmax − qmin) and z = qmin − min / s, rounded at 4 bits, to begin with; then, in f64,
///
/// ```text
/// q = clamp(round(w / s + z), qmin, qmax)      ŵ = s · (q − z)      e = shrink(w − ŵ)      z ← mean(q − (w − e) / s)
/// shrink(x) = sign(x) · max(|x| − |x|^(p − 1) / β, 0)               β ← κ β
/// ```
///
/// Unlike round-to-nearest's, the range need not contain 0, and 0 need not be on the grid. A group whose squared error
/// does not fall below [`rtn`]'s keeps what `rtn` gives it, so that the result is never worse; of weights that lie
/// symmetrically few groups gain much. No data means that correlations of inputs are not made use of: where they are
/// strong, GPTQ's outputs are closer by far. Where little but a common mean correlates inputs, a float zero point can be
/// worth more, as it keeps the mean of a group's errors near 0.
///
/// Source: Badri and Shaji 2023, mobiusml/hqq, `hqq/core/optimize.py`; the stopping rule is that of torchao's
/// `optimize_weights_proximal_legacy`, which lets the zero point move once more in the iteration that stops it.
///
/// # Errors
///
/// [`Error::Setting`] for knobs and for a grid that is not affine, [`Error::TooWide`].
pub fn hqq(weight: Matrix<'_>, grid: &Grid, knobs: &Hqq) -> Result<FloatZero, Error> {
    search(weight, grid, knobs)?.float(weight, 0)
}

/// [`hqq`] for layouts whose zero points are codes: each is rounded to the nearest code at the end, and where that does
/// not beat [`rtn`] the group keeps `rtn`'s. The second result counts those groups.
///
/// Rounding takes nearly all of the gain away: expect most groups to be kept.
///
/// # Errors
///
/// As [`hqq`].
pub fn hqq_integer(weight: Matrix<'_>, grid: &Grid, knobs: &Hqq) -> Result<(Quantized, usize), Error> {
    search(weight, grid, knobs)?.integer(weight, 0)
}

fn search(weight: Matrix<'_>, grid: &Grid, knobs: &Hqq) -> Result<HqqSearch, Error> {
    let mut search = HqqSearch::new(grid, knobs, weight.columns())?;
    search.start(weight)?;
    while search.more() {
        search.step(weight, 0);
        search.finish();
    }
    Ok(search)
}

/// The iterations of [`hqq`] over a weight in pieces of whole rows, for weights that do not fit into memory: 12 bytes a
/// group stay. Every piece passes [`HqqSearch::start`], then, while there are [`HqqSearch::more`], every piece passes
/// [`HqqSearch::step`] before [`HqqSearch::finish`]; always in order. Results are those of the whole weight.
#[derive(Debug, Clone)]
pub struct HqqSearch {
    grid: Grid,
    knobs: Hqq,
    columns: usize,
    scale: Vec<f32>,
    zero: Vec<f64>,
    beta: f64,
    /// mean|W − Ŵ| of the last iteration, times the number of weights, and of the one at hand.
    best: f64,
    total: f64,
    /// Iterations left.
    left: usize,
}

impl HqqSearch {
    /// A search for a weight of so many columns.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for knobs and for a grid that is not affine.
    pub fn new(grid: &Grid, knobs: &Hqq, columns: usize) -> Result<Self, Error> {
        let Hqq { lp, beta, kappa, iterations, .. } = *knobs;
        check_knob("lp", "above 0 and up to 1", lp, lp > 0.0 && lp <= 1.0)?;
        check_knob("beta", "above 0 and finite", beta, beta > 0.0 && beta.is_finite())?;
        check_knob("kappa", "from 1, finite", kappa, kappa >= 1.0 && kappa.is_finite())?;
        let affine = grid.symmetry() == Symmetry::Affine;
        check_knob("a grid for HQQ", "that is affine", f64::from(grid.bits()), affine)?;
        Ok(Self {
            grid: *grid,
            knobs: *knobs,
            columns,
            scale: Vec::new(),
            zero: Vec::new(),
            beta,
            best: f64::INFINITY,
            total: 0.0,
            left: iterations,
        })
    }

    /// Finds where the groups of the next rows begin.
    ///
    /// # Errors
    ///
    /// [`Error::Size`], [`Error::TooWide`].
    pub fn start(&mut self, rows: Matrix<'_>) -> Result<(), Error> {
        rows.check_columns(self.columns)?;
        let (qmin, qmax) = self.grid.limits();
        for (_, w, _) in self.pieces(rows) {
            let (min, max) = w.iter().fold((f32::MAX, f32::MIN), |(l, h), &w| (l.min(w), h.max(w)));
            let width = (f64::from(max) - f64::from(min)) / f64::from(qmax - qmin);
            let s = crate::scheme::legal(width as f32);
            if f64::from(s) * 2.0 * f64::from(qmax - qmin) >= f64::from(f32::MAX) {
                return Err(Error::TooWide { cell: self.scale.len(), min, max });
            }
            let z = f64::from(qmin) - f64::from(min) / f64::from(s);
            self.scale.push(s);
            self.zero.push(if self.grid.bits() == 4 { z.round_ties_even() } else { z });
        }
        Ok(())
    }

    /// Whether another iteration follows.
    pub fn more(&self) -> bool {
        self.left > 0
    }

    /// Moves the zero points of rows from `first` on.
    pub fn step(&mut self, rows: Matrix<'_>, first: usize) {
        let (grid, lp, offset) = (self.grid, self.knobs.lp, self.offset(first));
        for (cell, w, _) in self.pieces(rows) {
            let cell = offset + cell;
            let (s, z, mut sum) = (f64::from(self.scale[cell]), self.zero[cell], 0.0);
            for &w in w {
                let (q, x) = (float_code(&grid, w, self.scale[cell], z), f64::from(w));
                let rest = x - s * (q - z);
                self.total += rest.abs();
                let shrunk = (rest.abs() - rest.abs().powf(lp - 1.0) / self.beta).max(0.0).copysign(rest);
                sum += q - (x - shrunk) / s;
            }
            self.zero[cell] = sum / w.len() as f64;
        }
    }

    /// Ends an iteration.
    pub fn finish(&mut self) {
        self.beta *= self.knobs.kappa;
        let stop = self.knobs.early_stop && self.total >= self.best;
        self.left = if stop { 0 } else { self.left - 1 };
        self.best = std::mem::take(&mut self.total);
    }

    /// The result for rows from `first` on.
    ///
    /// # Errors
    ///
    /// [`Error::TooWide`].
    pub fn float(&self, rows: Matrix<'_>, first: usize) -> Result<FloatZero, Error> {
        let (grid, offset, nearest) = (&self.grid, self.offset(first), rtn(rows, &self.grid)?);
        let mut result = FloatZero {
            grid: *grid,
            rows: rows.rows(),
            columns: rows.columns(),
            codes: nearest.codes,
            scale: nearest.cells.iter().map(|cell| cell.scale).collect(),
            zero: nearest.cells.iter().map(|cell| cell.zero_point as f32).collect(),
            group_of: nearest.group_of,
            kept: 0,
        };
        for (cell, w, range) in self.pieces(rows) {
            let (s, z) = (self.scale[offset + cell], self.zero[offset + cell] as f32);
            let codes: Vec<i32> = w.iter().map(|&w| float_code(grid, w, s, f64::from(z)) as i32).collect();
            let old = squared(w, &result.codes[range.clone()], result.scale[cell], result.zero[cell]);
            if squared(w, &codes, s, z) < old {
                result.codes[range].copy_from_slice(&codes);
                (result.scale[cell], result.zero[cell]) = (s, z);
            } else {
                result.kept += 1;
            }
        }
        Ok(result)
    }

    /// The result with zero points that are codes, as [`hqq_integer`] says.
    ///
    /// # Errors
    ///
    /// [`Error::TooWide`].
    pub fn integer(&self, rows: Matrix<'_>, first: usize) -> Result<(Quantized, usize), Error> {
        let (grid, offset) = (&self.grid, self.offset(first));
        let mut result = rtn(rows, grid)?;
        let (qmin, qmax) = grid.limits();
        let mut kept = 0;
        for (index, w, range) in self.pieces(rows) {
            let zero = self.zero[offset + index];
            let zero_point = zero.round_ties_even().clamp(f64::from(qmin), f64::from(qmax)) as i32;
            let (old, new) = (result.cells[index], Cell { scale: self.scale[offset + index], zero_point });
            let codes: Vec<i32> = w.iter().map(|&w| grid.code(new, w)).collect();
            let before = squared(w, &result.codes[range.clone()], old.scale, old.zero_point as f32);
            if squared(w, &codes, new.scale, zero_point as f32) < before {
                result.codes[range].copy_from_slice(&codes);
                result.cells[index] = new;
            } else {
                kept += 1;
            }
        }
        Ok((result, kept))
    }

    fn offset(&self, first: usize) -> usize {
        first * self.grid.groups(self.columns)
    }

    fn pieces<'a>(
        &self,
        rows: Matrix<'a>,
    ) -> impl Iterator<Item = (usize, &'a [f32], std::ops::Range<usize>)> + use<'a> {
        pieces(rows, self.grid.group_len(self.columns), self.grid.groups(self.columns))
    }
}

/// Number, weights and place of every group.
fn pieces<'a>(
    weight: Matrix<'a>,
    len: usize,
    groups: usize,
) -> impl Iterator<Item = (usize, &'a [f32], std::ops::Range<usize>)> {
    let columns = weight.columns();
    (0..weight.rows() * groups).map(move |cell| {
        let (row, start) = (cell / groups, cell % groups * len);
        let range = row * columns + start..row * columns + columns.min(start + len);
        (cell, &weight.values()[range.clone()], range)
    })
}

fn squared(w: &[f32], codes: &[i32], scale: f32, zero: f32) -> f64 {
    let error = |(w, q): (&f32, &i32)| f64::from(*w) - f64::from((*q as f32 - zero) * scale);
    w.iter().zip(codes).map(error).map(|e| e * e).sum()
}
