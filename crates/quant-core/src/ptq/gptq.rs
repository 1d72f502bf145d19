//! GPTQ: columns are rounded one after the other, and those still to come make up for the errors so far.

use serde::{Deserialize, Serialize};

use super::grid::{Cell, numbered};
use super::linalg::{axpy, inverse_factor};
use super::matrix::check_knob;
use super::{Grid, Hessian, Matrix, Quantized};
use crate::Error;

/// Knobs of [`gptq`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gptq {
    /// Added to the diagonal of H, as a share of its mean over live columns; 0 ..= 1. Raised tenfold, from at least
    /// 1e-6, as long as H cannot be factored.
    pub damping: f64,
    /// Which column comes first.
    pub order: Order,
    /// What a group's scale is computed from.
    pub groups: Groups,
    /// How wide a group's grid is.
    pub range: GroupRange,
}

impl Default for Gptq {
    fn default() -> Self {
        Self { damping: 0.01, order: Order::AsStored, groups: Groups::Updated, range: GroupRange::Full }
    }
}

/// In which order columns are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// From the first to the last.
    #[default]
    AsStored,
    /// The largest H_jj first, the lower index in a tie ("act-order"): important columns are rounded while there are
    /// many others left to make up for them.
    Activation,
}

/// What a group's scale is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// The weights as they are when the group's turn comes. With [`Order::Activation`] a group is made of columns that
    /// are neighbors in that order, and [`Quantized::group_of`] says which ("g_idx").
    #[default]
    Updated,
    /// The weights as given, before anything is rounded; groups are neighbors as stored.
    Static,
}

/// How wide a group's grid is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupRange {
    /// From the smallest weight to the largest.
    #[default]
    Full,
    /// The share 1, 0.99, … 0.21 of it with the least Σ |w − ŵ|^2.4, the larger in a tie ("mse" in the authors' code).
    /// For 2 bits, where a full range spends its few codes on rare weights.
    Search,
}

impl GroupRange {
    fn fit(self, grid: &Grid, group: impl Iterator<Item = f32> + Clone) -> Result<Cell, Error> {
        let full = grid.fit(group.clone())?;
        if self == Self::Full {
            return Ok(full);
        }
        let (low, high) = group.clone().fold((0.0_f32, 0.0_f32), |(l, h), w| (l.min(w), h.max(w)));
        let (mut best, mut least) = (full, f64::INFINITY);
        for step in 0..80_u8 {
            let share = 1.0 - f32::from(step) / 100.0;
            let cell = grid.fit([share * low, share * high])?;
            let error = |w: f32| (f64::from(cell.value(grid.code(cell, w))) - f64::from(w)).abs().powf(2.4);
            let sum: f64 = group.clone().map(error).sum();
            if sum < least {
                (best, least) = (cell, sum);
            }
        }
        Ok(best)
    }
}

/// Result of [`gptq`].
#[derive(Debug, Clone, PartialEq)]
pub struct GptqWeight {
    /// Codes, scales, zero points.
    pub quantized: Quantized,
    /// The damping that was enough; above the knob where H could not be factored with that.
    pub damping: f64,
}

/// Minimizes E‖(W − Ŵ) x‖² column by column.
///
/// With Uᵀ U the inverse of the damped H, U upper triangular, for each column j in order:
///
/// ```text
/// ŵ_j = s · (clamp(round(w_j / s) + z) − z)        e = (w_j − ŵ_j) / U_jj        w_k ← w_k − e · U_jk   for k > j
/// ```
///
/// all in f64 but for the rounding itself, which is [`Grid::code`] of the weight in f32: with a diagonal H the codes are
/// [`rtn`](super::rtn)'s. Columns that never saw an input (H_jj = 0) become 0 and do not count for the mean of the
/// diagonal. It overfits where there are fewer tokens than columns and little damping.
///
/// Source: Frantar et al. 2022, arXiv 2210.17323; IST-DASLab/gptq, `gptq.py`. Two differences: there a group's scale is
/// computed from weights that miss the updates of their own block of 128 columns; here updates are never late. And there
/// dead columns count 1 each in the mean of the diagonal.
///
/// # Errors
///
/// [`Error::Setting`], [`Error::Size`], [`Error::NotPositive`] where no damping up to 1 helps, [`Error::TooWide`].
pub fn gptq(weight: Matrix<'_>, hessian: &Hessian, grid: &Grid, knobs: &Gptq) -> Result<GptqWeight, Error> {
    weight.check_columns(hessian.columns())?;
    let sweep = Sweep::new(hessian, knobs.damping, knobs.order)?;
    let cells = match knobs.groups {
        Groups::Updated => None,
        Groups::Static => {
            let len = grid.group_len(weight.columns());
            let groups = weight.iter_rows().flat_map(|row| row.chunks(len)).enumerate();
            let fit = |(index, group): (usize, &[f32])| {
                knobs.range.fit(grid, group.iter().copied()).map_err(|error| numbered(error, index))
            };
            Some(groups.map(fit).collect::<Result<_, _>>()?)
        }
    };
    let fit = |_: usize, group: &[f64]| knobs.range.fit(grid, group.iter().map(|&w| w as f32));
    let (quantized, _) = sweep.run(weight, grid, cells, f64::INFINITY, &fit)?;
    Ok(GptqWeight { quantized, damping: sweep.damping })
}

/// What the pass over columns needs to know of the inputs; [`spqr`](super::spqr) makes the same pass.
pub(crate) struct Sweep {
    columns: usize,
    /// Columns in the order of rounding.
    order: Vec<usize>,
    /// U in that order.
    factor: Vec<f64>,
    dead: Vec<bool>,
    pub(crate) damping: f64,
}

/// The cell of a group: position of its first column, its weights in the order of rounding.
pub(crate) type FitGroup<'a> = dyn Fn(usize, &[f64]) -> Result<Cell, Error> + 'a;

/// Row, column and value of a weight that stays as it is.
pub(crate) type Kept = (usize, usize, f32);

/// Rows that pass a column together, so that U is read once for all of them.
const ROWS: usize = 32;

impl Sweep {
    pub(crate) fn new(hessian: &Hessian, damping: f64, order: Order) -> Result<Self, Error> {
        check_knob("a damping", "from 0 to 1", damping, (0.0..=1.0).contains(&damping))?;
        let (columns, diagonal) = (hessian.columns(), hessian.diagonal());
        let mut by: Vec<usize> = (0..columns).collect();
        if order == Order::Activation {
            by.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]).then(i.cmp(&j)));
        }
        let dead: Vec<bool> = diagonal.iter().map(|x| *x == 0.0).collect();
        let live = dead.iter().filter(|dead| !**dead).count().max(1);
        let mean = diagonal.iter().map(|x| x / live as f64).sum::<f64>();
        let mut share = damping;
        loop {
            let mut h: Vec<f64> = Vec::with_capacity(columns * columns);
            for &i in &by {
                h.extend(by.iter().map(|&j| hessian.values()[i * columns + j]));
            }
            for (p, &j) in by.iter().enumerate() {
                h[p * columns + p] = if dead[j] { 1.0 } else { h[p * columns + p] + share * mean };
            }
            if let Some(factor) = inverse_factor(&h, columns) {
                return Ok(Self { columns, order: by, factor, dead, damping: share });
            }
            if share >= 1.0 {
                return Err(Error::NotPositive { damping: share });
            }
            share = (10.0 * share).clamp(1e-6, 1.0);
        }
    }

    /// U_jj of each position in the order of rounding.
    pub(crate) fn pivots(&self) -> Vec<f64> {
        (0..self.columns).map(|p| self.factor[p * self.columns + p]).collect()
    }

    /// Columns in the order of rounding.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// One pass. Cells are those given, by stored column, or `fit`ted when a group's turn comes (position of its first
    /// column, its weights). A weight whose squared error e² exceeds `most` stays as it is, with the code of 0.
    pub(crate) fn run(
        &self,
        weight: Matrix<'_>,
        grid: &Grid,
        cells: Option<Vec<Cell>>,
        most: f64,
        fit: &FitGroup<'_>,
    ) -> Result<(Quantized, Vec<Kept>), Error> {
        let (rows, columns) = (weight.rows(), self.columns);
        let (len, groups) = (grid.group_len(columns), grid.groups(columns));
        let mut group_of = grid.in_order(columns);
        let fixed = cells.is_some();
        if !fixed {
            self.order.iter().enumerate().for_each(|(p, &j)| group_of[j] = p / len);
        }
        let mut cells = cells.unwrap_or_else(|| vec![Cell { scale: 1.0, zero_point: 0 }; rows * groups]);
        let (mut codes, mut kept) = (vec![0; rows * columns], Vec::new());
        for first in (0..rows).step_by(ROWS) {
            let mut block: Vec<Vec<f64>> = (first..rows.min(first + ROWS))
                .map(|row| self.order.iter().map(|&j| self.start(weight.row(row), j)).collect())
                .collect();
            for (p, &j) in self.order.iter().enumerate() {
                let pivot = self.factor[p * columns + p];
                let later = &self.factor[p * columns + p + 1..(p + 1) * columns];
                for (row, w) in (first..).zip(&mut block) {
                    let cell = &mut cells[row * groups + group_of[j]];
                    if !fixed && p % len == 0 {
                        *cell = fit(p, &w[p..columns.min(p + len)])
                            .map_err(|error| numbered(error, row * groups + p / len))?;
                    }
                    let mut code = grid.code(*cell, w[p] as f32);
                    let mut error = (w[p] - f64::from(cell.value(code))) / pivot;
                    if error * error > most {
                        let value = w[p] as f32;
                        kept.push((row, j, value));
                        code = grid.code(*cell, 0.0);
                        error = (w[p] - f64::from(value)) / pivot;
                    }
                    codes[row * columns + j] = code;
                    axpy(-error, later, &mut w[p + 1..]);
                }
            }
        }
        kept.sort_by_key(|(row, column, _)| (*row, *column));
        Ok((Quantized { grid: *grid, rows, columns, codes, cells, group_of }, kept))
    }

    fn start(&self, row: &[f32], column: usize) -> f64 {
        if self.dead[column] { 0.0 } else { f64::from(row[column]) }
    }
}
