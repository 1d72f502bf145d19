//! How wide a group's grid is, when GPTQ fits one.

use serde::{Deserialize, Serialize};

use super::rounding::{FloatCell, FloatGrid, Rounding};
use super::{Cell, Grid, Hqq, Matrix, hqq};
use crate::Error;

/// How wide a group's grid is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupRange {
    /// From the smallest weight to the largest; a float zero point is the one that [`hqq`] with its own defaults gives
    /// the group.
    Full,
    /// The share 1, 0.99, … 0.21 of it with the least Σ |w − ŵ|^2.4, the larger in a tie ("mse" in the authors' code).
    /// A float zero point starts where the range keeps its middle and moves to mean(q − w / s) twice; the exponent is 2
    /// then, and the least of all three counts. At 2 bits a full range spends its few codes on rare weights, and this
    /// one's output errors are 0.7 of its; at 4 bits 0.95. Takes 80 times the time of a fit.
    #[default]
    Search,
}

impl GroupRange {
    /// The shares that are tried, from the largest.
    fn shares() -> impl Iterator<Item = f32> {
        (0..80_u8).map(|step| 1.0 - f32::from(step) / 100.0)
    }

    pub(crate) fn fit(self, grid: &Grid, group: impl Iterator<Item = f32> + Clone) -> Result<Cell, Error> {
        let full = grid.fit(group.clone())?;
        if self == Self::Full {
            return Ok(full);
        }
        let (low, high) = group.clone().fold((0.0_f32, 0.0_f32), |(l, h), w| (l.min(w), h.max(w)));
        let (mut best, mut least) = (full, f64::INFINITY);
        for share in Self::shares() {
            let cell = grid.fit([share * low, share * high])?;
            let error = |w: f32| (f64::from(cell.value(grid.code(cell, w))) - f64::from(w)).abs().powf(2.4);
            let sum: f64 = group.clone().map(error).sum();
            if sum < least {
                (best, least) = (cell, sum);
            }
        }
        Ok(best)
    }

    pub(crate) fn fit_float(self, grid: &Grid, group: &[f32]) -> Result<FloatCell, Error> {
        let row = Grid::new(grid.bits(), None, grid.symmetry())?;
        let full = hqq(Matrix::new("weight", 1, group.len(), group)?, &row, &Hqq::default())?;
        let mut best = FloatCell { scale: full.scale[0], zero: full.zero[0] };
        if self == Self::Full {
            return Ok(best);
        }
        let (qmin, qmax) = grid.limits();
        let (low, high) = group.iter().fold((f32::MAX, f32::MIN), |(l, h), &w| (l.min(w), h.max(w)));
        let (middle, half) =
            (0.5 * f64::from(low) + 0.5 * f64::from(high), 0.5 * f64::from(high) - 0.5 * f64::from(low));
        let mut least = f64::INFINITY;
        for share in Self::shares() {
            let half = f64::from(share) * half;
            let scale = crate::scheme::legal((2.0 * half / f64::from(qmax - qmin)) as f32);
            let mut zero = f64::from(qmin) - (middle - half) / f64::from(scale);
            for _ in 0..3 {
                let cell = FloatCell { scale, zero: zero as f32 };
                let (mut error, mut sum) = (0.0, 0.0);
                for &w in group {
                    let code = FloatGrid(grid).code(cell, w);
                    error += (f64::from(cell.value(code)) - f64::from(w)).powi(2);
                    sum += f64::from(code) - f64::from(w) / f64::from(scale);
                }
                if error < least {
                    (best, least) = (cell, error);
                }
                zero = sum / group.len() as f64;
            }
        }
        Ok(best)
    }
}
