//! The integer grid that all weight algorithms round to: one definition, so that they differ in nothing but choices.
//!
//! Codes are signed. An unsigned format's are the same with 2^(bits − 1) added to codes and zero points, because
//! rounding comes before the zero point.

use serde::{Deserialize, Serialize};

use super::matrix::{Matrix, check_knob};
use crate::scheme::{ScaleFormat, fit};
use crate::{Error, Symmetry};

/// Bits, columns that share a scale, and symmetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    bits: u32,
    group: Option<usize>,
    symmetry: Symmetry,
}

/// A scale, positive and finite, and a zero point among the codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Width of a step.
    pub scale: f32,
    /// Code of zero.
    pub zero_point: i32,
}

impl Grid {
    /// A grid of `bits` (1 ..= 16) with a scale for each row and each `group` neighboring columns; none gives one for
    /// the whole row. The last group of a row may be shorter.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`].
    pub fn new(bits: u32, group: Option<usize>, symmetry: Symmetry) -> Result<Self, Error> {
        let (least, expected) = match symmetry {
            Symmetry::Narrow | Symmetry::NoClip => (2, "from 2 to 16"),
            Symmetry::FullHalfStep | Symmetry::Affine => (1, "from 1 to 16"),
        };
        check_knob("bits", expected, f64::from(bits), (least..=16).contains(&bits))?;
        check_knob("a group", "of at least one column", 0.0, group != Some(0))?;
        Ok(Self { bits, group, symmetry })
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Columns that share a scale; none for whole rows.
    pub fn group(&self) -> Option<usize> {
        self.group
    }

    /// Where zero is.
    pub fn symmetry(&self) -> Symmetry {
        self.symmetry
    }

    /// Smallest and largest code.
    pub fn limits(&self) -> (i32, i32) {
        let half = 1 << (self.bits - 1);
        match self.symmetry {
            Symmetry::Narrow => (1 - half, half - 1),
            _ => (-half, half - 1),
        }
    }

    /// Columns of a group in a row of `columns`; only the last one can be shorter.
    pub fn group_len(&self, columns: usize) -> usize {
        self.group.unwrap_or(columns).min(columns)
    }

    /// Groups in a row of `columns`.
    pub fn groups(&self, columns: usize) -> usize {
        columns.div_ceil(self.group_len(columns))
    }

    /// Scale and zero point for finite numbers, in 32-bit floats, the range widened to contain 0. A scale of 0 becomes
    /// 1, any other below the smallest normal number is raised to it.
    ///
    /// # Errors
    ///
    /// [`Error::TooWide`], with cell 0, where a value of the grid would overflow.
    pub fn fit(&self, values: impl IntoIterator<Item = f32>) -> Result<Cell, Error> {
        let (low, high) = values.into_iter().fold((0.0_f32, 0.0_f32), |(l, h), x| (l.min(x), h.max(x)));
        fit(self.symmetry, self.limits(), ScaleFormat::F32, (low, high))
            .map(|(scale, zero_point)| Cell { scale, zero_point })
            .ok_or(Error::TooWide { cell: 0, min: low, max: high })
    }

    /// q = clamp(round_half_even(x / s) + z, qmin, qmax), in 32-bit floats.
    pub fn code(&self, cell: Cell, x: f32) -> i32 {
        let (qmin, qmax) = self.limits();
        let code = (x / cell.scale).round_ties_even() + cell.zero_point as f32;
        code.clamp(qmin as f32, qmax as f32) as i32
    }

    /// Cells of every group of every row, `[rows, groups]`.
    pub(crate) fn fit_all(&self, weight: Matrix<'_>) -> Result<Vec<Cell>, Error> {
        let len = self.group_len(weight.columns());
        let groups = weight.iter_rows().flat_map(|row| row.chunks(len));
        let fit = |(index, group): (usize, &[f32])| {
            self.fit(group.iter().copied()).map_err(|error| numbered(error, index))
        };
        groups.enumerate().map(fit).collect()
    }
}

/// A grid's error with the number of its cell.
pub(crate) fn numbered(error: Error, cell: usize) -> Error {
    match error {
        Error::TooWide { min, max, .. } => Error::TooWide { cell, min, max },
        error => error,
    }
}

impl Cell {
    /// x̂ = s · (q − z), in 32-bit floats.
    pub fn value(self, code: i32) -> f32 {
        (code - self.zero_point) as f32 * self.scale
    }
}

/// A weight on a [`Grid`].
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The grid.
    pub grid: Grid,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// `[rows, columns]`.
    pub codes: Vec<i32>,
    /// `[rows, groups]`.
    pub cells: Vec<Cell>,
    /// The group of each column: column / group length, unless columns were quantized in another order.
    pub group_of: Vec<usize>,
}

impl Quantized {
    /// Codes of `weight` on given cells.
    pub(crate) fn on_cells(weight: Matrix<'_>, grid: &Grid, cells: Vec<Cell>) -> Self {
        let (rows, columns) = (weight.rows(), weight.columns());
        let mut quantized =
            Self { grid: *grid, rows, columns, codes: Vec::new(), cells, group_of: grid.in_order(columns) };
        quantized.codes = (0..rows * columns)
            .map(|index| grid.code(quantized.cell(index / columns, index % columns), weight.values()[index]))
            .collect();
        quantized
    }

    /// The cell of an element.
    pub fn cell(&self, row: usize, column: usize) -> Cell {
        self.cells[row * self.grid.groups(self.columns) + self.group_of[column]]
    }

    /// x̂ = s · (q − z) of every element, `[rows, columns]`.
    pub fn dequantize(&self) -> Vec<f32> {
        let columns = self.columns;
        let value = |(index, &code): (usize, &i32)| self.cell(index / columns, index % columns).value(code);
        self.codes.iter().enumerate().map(value).collect()
    }
}

impl Grid {
    /// The group of each column where columns keep their order.
    pub(crate) fn in_order(&self, columns: usize) -> Vec<usize> {
        let len = self.group_len(columns);
        (0..columns).map(|column| column / len).collect()
    }
}
