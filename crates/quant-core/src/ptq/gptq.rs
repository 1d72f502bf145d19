//! GPTQ: columns are rounded one after the other, and those still to come make up for the errors so far.
//!
//! Which knobs are worth it was measured, and the table stands at [`Gptq`].

use serde::{Deserialize, Serialize};

use super::grid::numbered;
use super::matrix::{check_knob, check_size};
use super::refit::{Refit, refit};
use super::rounding::{FloatGrid, Rounding};
use super::sweep::{Sweep, Swept};
use super::{FloatZero, Grid, GroupRange, Hessian, Matrix, Quantized};
use crate::{Error, Symmetry};

/// Knobs of [`gptq`] and [`gptq_float`].
///
/// The authors' algorithm has choices that cost nothing when a model runs: the order of columns, the range of a group,
/// the scale once codes stand, and whether a zero point has to be a code. Errors on inputs not seen, as shares of
/// round-to-nearest's, geometric means over 35 layers of seven kinds; in brackets, on how many HQQ with float zero points
/// is beaten; 32 inputs in groups of 16, and 128 in groups of 64:
///
/// | | 32, int2 | 32, int3 | 32, int4 | 128, int2 | 128, int3 | 128, int4 |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | [`hqq`](super::hqq) | 0.608 | 0.575 | 0.616 | 0.784 | 0.697 | 0.740 |
/// | [`Gptq::PAPER`] | 0.382 (21) | 0.342 (25) | 0.331 (29) | 0.156 (35) | 0.126 (35) | 0.130 (35) |
/// | and [`Order::Activation`] | 0.225 (30) | 0.202 (29) | 0.205 (30) | 0.074 (35) | 0.067 (35) | 0.067 (35) |
/// | and [`GroupRange::Search`] | 0.186 (34) | 0.192 (30) | 0.198 (30) | 0.051 (35) | 0.058 (35) | 0.064 (35) |
/// | and [`Gptq::refit`] | 0.151 (35) | 0.155 (30) | 0.165 (31) | 0.044 (35) | 0.052 (35) | 0.058 (35) |
/// | and [`Groups::Static`]: the default | 0.157 (35) | 0.151 (30) | 0.158 (30) | 0.044 (35) | 0.052 (35) | 0.059 (35) |
/// | [`gptq_float`] with the default | 0.074 (35) | 0.088 (35) | 0.087 (35) | 0.031 (35) | 0.040 (35) | 0.047 (35) |
///
/// `cargo run --release -p quant-core --example gptq_knobs` prints all combinations. Static groups are the default because
/// they are as good as updated ones and fit every layout.
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
    /// Whether, once all codes are chosen, least squares on the layer's outputs finds each row's scales anew, and float
    /// zero points with them.
    pub refit: bool,
}

impl Gptq {
    /// The algorithm as in the paper, and the defaults of the authors' code.
    pub const PAPER: Self = Self {
        damping: 0.01,
        order: Order::AsStored,
        groups: Groups::Updated,
        range: GroupRange::Full,
        refit: false,
    };
}

impl Default for Gptq {
    fn default() -> Self {
        Self {
            damping: 0.01,
            order: Order::Activation,
            groups: Groups::Static,
            range: GroupRange::Search,
            refit: true,
        }
    }
}

/// In which order columns are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// From the first to the last.
    AsStored,
    /// The largest H_jj first, the lower index in a tie ("act-order"): important columns are rounded while there are
    /// many others left to make up for them. Hardly ever worse, and far better where a few inputs are large.
    #[default]
    Activation,
}

/// What a group's scale is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// The weights as they are when the group's turn comes. With [`Order::Activation`] a group is made of columns that
    /// are neighbors in that order, and [`Quantized::group_of`] says which ("g_idx"), for which not every layout has
    /// a place.
    Updated,
    /// The weights as given, before anything is rounded; groups are neighbors as stored.
    #[default]
    Static,
}

/// Result of [`gptq`].
#[derive(Debug, Clone, PartialEq)]
pub struct GptqWeight {
    /// Codes, scales, zero points.
    pub quantized: Quantized,
    /// The damping that was enough; above the knob where H could not be factored with that.
    pub damping: f64,
}

/// Result of [`gptq_float`].
#[derive(Debug, Clone, PartialEq)]
pub struct GptqFloat {
    /// Codes, scales, float zero points.
    pub quantized: FloatZero,
    /// As [`GptqWeight::damping`].
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
/// With [`Gptq::refit`] the scales are then those with the least damped error for these codes, row by row; a row's error
/// on the calibration data never rises by it, but for what damping adds.
///
/// Against [`hqq`](super::hqq), whose zero points are floats, this wins in all tests where layers have 128 inputs in
/// groups of 32 or 64. On a narrow layer (32 inputs, groups of 16, with little in common but a mean) the freedom of float
/// zero points can be worth more at 3 and 4 bits; [`gptq_float`] has it as well and wins there too. Against
/// [`hqq_integer`](super::hqq_integer), whose zero points are codes as well, this wins in all of them.
///
/// Source: Frantar et al. 2022, arXiv 2210.17323; IST-DASLab/gptq, `gptq.py`. Two differences: there an updated group's scale is
/// computed from weights that miss the updates of their own block of 128 columns; here updates are never late. And there
/// dead columns count 1 each in the mean of the diagonal.
///
/// # Errors
///
/// [`Error::Setting`], [`Error::Size`], [`Error::NotPositive`] where no damping up to 1 helps, [`Error::TooWide`].
pub fn gptq(weight: Matrix<'_>, hessian: &Hessian, grid: &Grid, knobs: &Gptq) -> Result<GptqWeight, Error> {
    swept(weight, None, hessian, grid, knobs)
}

/// [`gptq`] of a weight with a mask `[rows, columns]`, row-major: elements that it does not keep are exactly 0 afterwards,
/// which every [`Grid`] has a code for.
///
/// In its turn such an element has taken on errors of the columns before, as every other one has; it becomes 0, and what
/// that costs goes to the columns behind it. This is what SparseGPT does with a mask that is given (Frantar and Alistarh
/// 2023, arXiv 2301.00774).
///
/// # Errors
///
/// As [`gptq`], and [`Error::Size`] for a mask of another size.
pub fn gptq_masked(
    weight: Matrix<'_>,
    mask: &[bool],
    hessian: &Hessian,
    grid: &Grid,
    knobs: &Gptq,
) -> Result<GptqWeight, Error> {
    check_size("elements of the mask", weight.values().len(), mask.len())?;
    swept(weight, Some(mask), hessian, grid, knobs)
}

fn swept(
    weight: Matrix<'_>,
    mask: Option<&[bool]>,
    hessian: &Hessian,
    grid: &Grid,
    knobs: &Gptq,
) -> Result<GptqWeight, Error> {
    let len = grid.group_len(weight.columns());
    let fit = |group: &[f32]| knobs.range.fit(grid, group.iter().copied());
    let (swept, damping) = run(weight, mask, hessian, grid, len, knobs, &fit)?;
    let (rows, columns) = (weight.rows(), weight.columns());
    let Swept { codes, cells, group_of } = swept;
    Ok(GptqWeight { quantized: Quantized { grid: *grid, rows, columns, codes, cells, group_of }, damping })
}

/// [`gptq`] on a grid whose zero points need not be codes:
///
/// ```text
/// ŵ_j = s · (clamp(round(w_j / s + z), qmin, qmax) − z)
/// ```
///
/// The same pass otherwise. What it gains over an integer zero point is most in small groups. 0 need not be
/// on the grid, so that columns that never saw an input become the value nearest to it.
///
/// # Errors
///
/// As [`gptq`], and [`Error::Setting`] for a grid that is not affine.
pub fn gptq_float(
    weight: Matrix<'_>,
    hessian: &Hessian,
    grid: &Grid,
    knobs: &Gptq,
) -> Result<GptqFloat, Error> {
    let affine = grid.symmetry() == Symmetry::Affine;
    check_knob("a grid for float zero points", "that is affine", f64::from(grid.bits()), affine)?;
    let len = grid.group_len(weight.columns());
    let fit = |group: &[f32]| knobs.range.fit_float(grid, group);
    let (swept, damping) = run(weight, None, hessian, &FloatGrid(grid), len, knobs, &fit)?;
    let Swept { codes, cells, group_of } = swept;
    let quantized = FloatZero {
        grid: *grid,
        rows: weight.rows(),
        columns: weight.columns(),
        codes,
        scale: cells.iter().map(|cell| cell.scale).collect(),
        zero: cells.iter().map(|cell| cell.zero).collect(),
        group_of,
        kept: 0,
    };
    Ok(GptqFloat { quantized, damping })
}

/// The cell of a group's weights.
type Fit<'a, C> = dyn Fn(&[f32]) -> Result<C, Error> + 'a;

/// Fits groups of `len`, makes the pass, fits once more; also the damping that was enough.
fn run<R: Rounding<Cell: Refit>>(
    weight: Matrix<'_>,
    mask: Option<&[bool]>,
    hessian: &Hessian,
    rounding: &R,
    len: usize,
    knobs: &Gptq,
    fit: &Fit<'_, R::Cell>,
) -> Result<(Swept<R::Cell>, f64), Error> {
    weight.check_columns(hessian.columns())?;
    let sweep = Sweep::new(hessian, knobs.damping, knobs.order)?;
    let cells = match knobs.groups {
        Groups::Updated => None,
        Groups::Static => {
            // Weights that never met an input are about to be zero.
            let alive = |(w, dead): (&f32, &bool)| if *dead { 0.0 } else { *w };
            let alive = |row: &[f32]| row.iter().zip(&sweep.dead).map(alive).collect::<Vec<f32>>();
            let rows: Vec<Vec<f32>> = weight.iter_rows().map(alive).collect();
            let groups = rows.iter().flat_map(|row| row.chunks(len)).enumerate();
            let fit = |(index, group): (usize, &[f32])| fit(group).map_err(|error| numbered(error, index));
            Some(groups.map(fit).collect::<Result<_, _>>()?)
        }
    };
    let narrowed = |_: usize, group: &[f64]| fit(&group.iter().map(|&w| w as f32).collect::<Vec<_>>());
    let (mut swept, _) = sweep.run(weight, mask, rounding, cells, f64::INFINITY, &narrowed)?;
    if knobs.refit {
        refit(weight, hessian, &sweep, &mut swept);
    }
    Ok((swept, sweep.damping))
}
