//! What a weight can be rounded to: a grid with a zero point among its codes, or one with a zero point between them.

use super::{Cell, Grid};

/// The codes of a [`Grid`] with a cell, by which a code has a value.
pub(crate) trait Rounding {
    /// What the weights of a group share.
    type Cell: Copy;

    /// A cell that takes no part, until a group's turn comes.
    const UNIT: Self::Cell;

    /// Codes and groups.
    fn grid(&self) -> &Grid;

    /// The code that is nearest to x.
    fn code(&self, cell: Self::Cell, x: f32) -> i32;

    /// What a code stands for.
    fn value(&self, cell: Self::Cell, code: i32) -> f32;
}

impl Rounding for Grid {
    type Cell = Cell;

    const UNIT: Cell = Cell { scale: 1.0, zero_point: 0 };

    fn grid(&self) -> &Grid {
        self
    }

    fn code(&self, cell: Cell, x: f32) -> i32 {
        Grid::code(self, cell, x)
    }

    fn value(&self, cell: Cell, code: i32) -> f32 {
        cell.value(code)
    }
}

/// A scale, positive and finite, and a finite zero point that need not be a code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FloatCell {
    pub(crate) scale: f32,
    pub(crate) zero: f32,
}

impl FloatCell {
    /// x̂ = s · (q − z), in 32-bit floats.
    pub(crate) fn value(self, code: i32) -> f32 {
        (code as f32 - self.zero) * self.scale
    }
}

/// The codes of a grid around a float zero point.
pub(crate) struct FloatGrid<'a>(pub(crate) &'a Grid);

impl Rounding for FloatGrid<'_> {
    type Cell = FloatCell;

    const UNIT: FloatCell = FloatCell { scale: 1.0, zero: 0.0 };

    fn grid(&self) -> &Grid {
        self.0
    }

    fn code(&self, cell: FloatCell, x: f32) -> i32 {
        float_code(self.0, x, cell.scale, f64::from(cell.zero)) as i32
    }

    fn value(&self, cell: FloatCell, code: i32) -> f32 {
        cell.value(code)
    }
}

/// q = clamp(round_half_even(w / s + z), qmin, qmax), in 64-bit floats: the zero point comes before rounding, as it has
/// to where it is no integer.
pub(crate) fn float_code(grid: &Grid, w: f32, scale: f32, zero: f64) -> f64 {
    let (qmin, qmax) = grid.limits();
    (f64::from(w) / f64::from(scale) + zero).round_ties_even().clamp(f64::from(qmin), f64::from(qmax))
}
