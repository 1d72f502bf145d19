//! Round to nearest: the baseline that every other algorithm has to beat.

use super::{Grid, Matrix, Quantized};
use crate::Error;

/// Each group's scale from its own range, each weight to the nearest code.
///
/// q = clamp(round_half_even(w / s) + z, qmin, qmax), with s and z as [`Symmetry`](crate::Symmetry) says, s
/// the 32-bit float that is stored. It is the best choice of codes for ‖W − Ŵ‖, not for ‖X(W − Ŵ)‖ when inputs are
/// correlated, and its range is not the best one where a few weights are large.
///
/// # Errors
///
/// [`Error::TooWide`] where a grid would overflow, with the row-major number of the group.
pub fn rtn(weight: Matrix<'_>, grid: &Grid) -> Result<Quantized, Error> {
    Ok(Quantized::on_cells(weight, grid, grid.fit_all(weight)?))
}
