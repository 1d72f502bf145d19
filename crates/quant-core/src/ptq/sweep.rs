//! The pass over columns that GPTQ and SpQR share, for whatever a weight is rounded to.

use super::grid::numbered;
use super::linalg::{axpy, inverse_factor};
use super::matrix::check_knob;
use super::rounding::Rounding;
use super::{Grid, Hessian, Matrix, Order};
use crate::Error;

/// What the pass over columns needs to know of the inputs.
pub(crate) struct Sweep {
    columns: usize,
    /// Columns in the order of rounding.
    order: Vec<usize>,
    /// U in that order.
    factor: Vec<f64>,
    pub(crate) dead: Vec<bool>,
    /// The damping that was enough, as a share of the mean diagonal element.
    pub(crate) damping: f64,
    /// What it adds to the diagonal.
    pub(crate) ridge: f64,
}

/// Codes `[rows, columns]`, cells `[rows, groups]`, and the group of each column.
pub(crate) struct Swept<C> {
    pub(crate) codes: Vec<i32>,
    pub(crate) cells: Vec<C>,
    pub(crate) group_of: Vec<usize>,
}

/// The cell of a group: position of its first column, its weights in the order of rounding.
pub(crate) type FitGroup<'a, C> = dyn Fn(usize, &[f64]) -> Result<C, Error> + 'a;

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
                return Ok(Self { columns, order: by, factor, dead, damping: share, ridge: share * mean });
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
    /// column, its weights). A weight whose squared error e² exceeds `most` stays as it is, with the code of 0. A weight
    /// that `mask` does not keep becomes 0, and others make up for all that it would have been.
    pub(crate) fn run<R: Rounding>(
        &self,
        weight: Matrix<'_>,
        mask: Option<&[bool]>,
        rounding: &R,
        cells: Option<Vec<R::Cell>>,
        most: f64,
        fit: &FitGroup<'_, R::Cell>,
    ) -> Result<(Swept<R::Cell>, Vec<Kept>), Error> {
        let grid: &Grid = rounding.grid();
        let (rows, columns) = (weight.rows(), self.columns);
        let (len, groups) = (grid.group_len(columns), grid.groups(columns));
        let mut group_of = grid.in_order(columns);
        let fixed = cells.is_some();
        if !fixed {
            self.order.iter().enumerate().for_each(|(p, &j)| group_of[j] = p / len);
        }
        let mut cells = cells.unwrap_or_else(|| vec![R::UNIT; rows * groups]);
        let masked = |row: usize, column: usize| mask.is_some_and(|keep| !keep[row * columns + column]);
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
                        let places = self.order[p..].iter().zip(&w[p..]).take(len);
                        let group = places.map(|(&j, &w)| if masked(row, j) { 0.0 } else { w });
                        *cell = fit(p, &group.collect::<Vec<f64>>())
                            .map_err(|error| numbered(error, row * groups + p / len))?;
                    }
                    let gone = masked(row, j);
                    let mut code = rounding.code(*cell, if gone { 0.0 } else { w[p] as f32 });
                    let mut error = (w[p] - f64::from(rounding.value(*cell, code))) / pivot;
                    if !gone && error * error > most {
                        let value = w[p] as f32;
                        kept.push((row, j, value));
                        code = rounding.code(*cell, 0.0);
                        error = (w[p] - f64::from(value)) / pivot;
                    }
                    codes[row * columns + j] = code;
                    axpy(-error, later, &mut w[p + 1..]);
                }
            }
        }
        kept.sort_by_key(|(row, column, _)| (*row, *column));
        Ok((Swept { codes, cells, group_of }, kept))
    }

    fn start(&self, row: &[f32], column: usize) -> f64 {
        if self.dead[column] { 0.0 } else { f64::from(row[column]) }
    }
}
