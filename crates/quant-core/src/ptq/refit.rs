//! Scales and zero points that suit the codes once these are chosen: least squares on the layer's outputs.

use super::linalg::{axpy, dot, inverse_factor};
use super::rounding::FloatCell;
use super::sweep::{Sweep, Swept};
use super::{Cell, Hessian, Matrix};

/// A cell with a scale and a zero point that least squares can move.
pub(crate) trait Refit: Copy {
    /// Whether the zero point moves as well.
    const ZERO: bool;

    /// (q − z), by which the scale is multiplied.
    fn steps(self, code: i32) -> f64;

    /// The cell with its scale changed by `scale` and its values by `shift`; none where that is no cell.
    fn moved(self, scale: f64, shift: f64) -> Option<Self>;

    /// What a code stands for.
    fn value(self, code: i32) -> f32;
}

impl Refit for Cell {
    const ZERO: bool = false;

    fn steps(self, code: i32) -> f64 {
        f64::from(code - self.zero_point)
    }

    fn moved(self, scale: f64, _: f64) -> Option<Self> {
        legal(f64::from(self.scale) + scale).map(|scale| Self { scale, ..self })
    }

    fn value(self, code: i32) -> f32 {
        Self::value(self, code)
    }
}

impl Refit for FloatCell {
    const ZERO: bool = true;

    fn steps(self, code: i32) -> f64 {
        f64::from(code) - f64::from(self.zero)
    }

    fn moved(self, scale: f64, shift: f64) -> Option<Self> {
        let scale = legal(f64::from(self.scale) + scale)?;
        let zero = (f64::from(self.zero) - shift / f64::from(scale)) as f32;
        // Beyond 2^23 a step from code to code would get lost in the difference.
        (zero.abs() < 8_388_608.0).then_some(Self { scale, zero })
    }

    fn value(self, code: i32) -> f32 {
        Self::value(self, code)
    }
}

/// Least of scales: 2^16 steps of it are still far from overflow, and from subnormal numbers.
fn legal(scale: f64) -> Option<f32> {
    (f64::from(f32::MIN_POSITIVE)..1e30).contains(&scale).then_some(scale as f32)
}

/// For each row, the scales (and float zero points) with the least (w − ŵ) (H + ridge · I) (w − ŵ)ᵀ for the codes that
/// it has; a row keeps its own where roundings or a scale below 0 would spoil them. Dead columns have no say.
///
/// A row costs as much as its sweep: K² operations for a float zero point as for an integer one, since the half of the
/// equations that belongs to zero points is the same for all rows.
pub(crate) fn refit<C: Refit>(weight: Matrix<'_>, hessian: &Hessian, sweep: &Sweep, swept: &mut Swept<C>) {
    let columns = weight.columns();
    let groups = swept.cells.len() / weight.rows();
    let mut h = hessian.values().to_vec();
    (0..columns).filter(|j| !sweep.dead[*j]).for_each(|j| h[j * columns + j] += sweep.ridge);
    let equations = Equations::new(&h, &swept.group_of, groups, C::ZERO);
    for (row, w) in weight.iter_rows().enumerate() {
        let codes = &swept.codes[row * columns..(row + 1) * columns];
        let cells = &mut swept.cells[row * groups..(row + 1) * groups];
        let errors = |cells: &[C]| -> Vec<f64> {
            let error = |j: usize| f64::from(w[j]) - f64::from(cells[swept.group_of[j]].value(codes[j]));
            (0..columns).map(|j| if sweep.dead[j] { 0.0 } else { error(j) }).collect()
        };
        let steps: Vec<f64> = (0..columns).map(|j| cells[swept.group_of[j]].steps(codes[j])).collect();
        let before = errors(cells);
        let Some(change) = equations.solve(&steps, &before) else { continue };
        let shift = |group: usize| if C::ZERO { change[groups + group] } else { 0.0 };
        let moved = cells.iter().enumerate().map(|(group, cell)| cell.moved(change[group], shift(group)));
        let Some(moved) = moved.collect::<Option<Vec<C>>>() else { continue };
        if equations.size(&errors(&moved)) < equations.size(&before) {
            cells.copy_from_slice(&moved);
        }
    }
}

/// The normal equations of a row: what is the same for all rows.
struct Equations<'a> {
    h: &'a [f64],
    group_of: &'a [usize],
    groups: usize,
    /// Σ_{j in group} H_jk `[groups, K]`; empty where zero points stay.
    sums: Vec<f64>,
}

impl<'a> Equations<'a> {
    fn new(h: &'a [f64], group_of: &'a [usize], groups: usize, zero: bool) -> Self {
        let mut equations = Self { h, group_of, groups, sums: Vec::new() };
        if zero {
            equations.sums = equations.weighted(&vec![1.0; group_of.len()]);
        }
        equations
    }

    /// Σ_{j in group} a_j H_jk, `[groups, K]`.
    fn weighted(&self, a: &[f64]) -> Vec<f64> {
        let columns = self.group_of.len();
        let mut sums = vec![0.0; self.groups * columns];
        for (j, h) in self.h.chunks_exact(columns).enumerate().filter(|(j, _)| a[*j] != 0.0) {
            let group = self.group_of[j];
            axpy(a[j], h, &mut sums[group * columns..(group + 1) * columns]);
        }
        sums
    }

    /// The changes of scales, then of values, that a row's errors ask for; none where nothing can be solved.
    fn solve(&self, steps: &[f64], errors: &[f64]) -> Option<Vec<f64>> {
        let (columns, groups) = (self.group_of.len(), self.groups);
        let mut rows = self.weighted(steps);
        rows.extend_from_slice(&self.sums);
        let count = rows.len() / columns;
        let (mut m, mut right) = (vec![0.0; count * count], Vec::with_capacity(count));
        for (row, sums) in rows.chunks_exact(columns).enumerate() {
            right.push(dot(sums, errors));
            let m = &mut m[row * count..(row + 1) * count];
            for (k, x) in sums.iter().enumerate() {
                m[self.group_of[k]] += x * steps[k];
                if count > groups {
                    m[groups + self.group_of[k]] += x;
                }
            }
        }
        for at in 0..count {
            // A direction without a say, such as the scale of a group of zeros, stays where it is.
            let own = &mut m[at * count + at];
            *own = if *own > 0.0 { *own * (1.0 + 1e-9) } else { 1.0 };
        }
        let u = inverse_factor(&m, count)?;
        // M⁻¹ = Uᵀ U.
        let mut change = vec![0.0; count];
        for u in u.chunks_exact(count) {
            axpy(dot(u, &right), u, &mut change);
        }
        Some(change)
    }

    /// δ H δᵀ.
    fn size(&self, errors: &[f64]) -> f64 {
        let columns = self.group_of.len();
        self.h.chunks_exact(columns).zip(errors).map(|(h, e)| e * dot(h, errors)).sum()
    }
}
