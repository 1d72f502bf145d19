//! Codes from values and values from codes, on slices.

use crate::number::parallel::{self, Watch, Wrong};
use crate::{Error, Layout, QParams};

/// q = clamp(round_half_even(x / s) + z, qmin, qmax), element by element, in 32-bit floats.
///
/// Infinities go to the outermost codes; NaN is refused.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Axis`] for a layout that does not fit, [`Error::Cells`] for another number of
/// scales, [`Error::Scale`], [`Error::ZeroPoint`] and [`Error::Codes`] for illegal ones, [`Error::NotFinite`] for NaN.
pub fn quantize(values: &[f32], layout: &Layout, qparams: &QParams) -> Result<Vec<i32>, Error> {
    layout.check(values.len())?;
    qparams.check(layout.cells())?;
    let cells = Cells::new(layout, qparams);
    let (qmin, qmax) = (qparams.qmin as f32, qparams.qmax as f32);
    let watch = Watch::default();
    let codes = cells.fill(values, |values, codes, cells| {
        watch.see(parallel::any(values, f32::is_nan));
        let each = codes.iter_mut().zip(values);
        if qmax - qmin <= SMALL {
            // The limits are integers: clamping before rounding and adding z is the same, and leaves numbers so small
            // that a sum rounds them.
            let code = |x: f32, (scale, zero): (f32, f32)| {
                let q = (x / scale).max(qmin - zero).min(qmax - zero);
                (q + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32 + zero as i32
            };
            match cells {
                Part::One(cell) => each.for_each(|(q, &x)| *q = code(x, cell)),
                Part::Each(cells) => each.zip(cells).for_each(|((q, &x), &cell)| *q = code(x, cell)),
            }
        } else {
            let code = |x: f32, (scale, zero): (f32, f32)| {
                ((x / scale).round_ties_even() + zero).clamp(qmin, qmax) as i32
            };
            each.enumerate().for_each(|(index, (q, &x))| *q = code(x, cells.at(index)));
        }
    });
    watch.finish(codes).map_err(|Wrong| {
        let index = values.iter().position(|x| x.is_nan()).unwrap_or(0);
        Error::NotFinite { index, value: values[index] }
    })
}

/// x̂ = s · (q − z), element by element, in 32-bit floats.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Axis`] for a layout that does not fit, [`Error::Cells`] for another number of
/// scales, [`Error::Scale`], [`Error::ZeroPoint`] and [`Error::Codes`] for illegal ones, [`Error::Code`] for a code that is not in use.
pub fn dequantize(codes: &[i32], layout: &Layout, qparams: &QParams) -> Result<Vec<f32>, Error> {
    layout.check(codes.len())?;
    qparams.check(layout.cells())?;
    let (qmin, qmax) = (qparams.qmin, qparams.qmax);
    let cells = Cells::new(layout, qparams);
    let watch = Watch::default();
    let values = cells.fill(codes, |codes, values, cells| {
        watch.see(parallel::any(codes, |q| (q < qmin) | (q > qmax)));
        let each = values.iter_mut().zip(codes);
        // Differences of codes are exact in f32.
        let value = |q: i32, (scale, zero): (f32, f32)| q.wrapping_sub(zero as i32) as f32 * scale;
        match cells {
            Part::One(cell) => each.for_each(|(x, &q)| *x = value(q, cell)),
            Part::Each(cells) => each.zip(cells).for_each(|((x, &q), &cell)| *x = value(q, cell)),
        }
    });
    watch.finish(values).map_err(|Wrong| {
        let index = codes.iter().position(|code| !(qmin..=qmax).contains(code)).unwrap_or(0);
        Error::Code { index, code: codes[index], qmin, qmax }
    })
}

/// 1.5 · 2^23: adding it leaves the whole part in the mantissa, to nearest even, of either sign.
const WHOLE: f32 = 12_582_912.0;

/// Differences of codes up to here are within what [`WHOLE`] rounds.
const SMALL: f32 = 4_194_304.0;

/// Cells with fewer neighbours are written out.
const SHORT: usize = 64;

/// At least so many pairs are written out.
const LONG: usize = 4096;

/// Scales and zero points, in the order in which a loop meets them.
struct Cells {
    /// What lies behind one cell.
    inner: usize,
    /// A pair a cell, or where cells are short a pair a value, over and over.
    pairs: Vec<(f32, f32)>,
}

/// The pairs of some values.
#[derive(Clone, Copy)]
enum Part<'a> {
    One((f32, f32)),
    Each(&'a [(f32, f32)]),
}

impl Part<'_> {
    fn at(self, index: usize) -> (f32, f32) {
        match self {
            Self::One(pair) => pair,
            Self::Each(pairs) => pairs[index],
        }
    }
}

impl Cells {
    fn new(layout: &Layout, qparams: &QParams) -> Self {
        let inner = layout.axis.map_or(usize::MAX, |axis| layout.inner(axis).max(1));
        // Zero points are exact in f32.
        let zeros = qparams.zero_point.iter().map(|&zero| zero as f32);
        let pairs = qparams.scale.iter().copied().zip(zeros);
        if inner >= SHORT {
            return Self { inner, pairs: pairs.collect() };
        }
        let pairs: Vec<_> = pairs.flat_map(|pair| std::iter::repeat_n(pair, inner)).collect();
        // Long enough that a loop seldom starts again.
        let times = LONG.div_ceil(pairs.len().max(1));
        Self { inner: 1, pairs: pairs.repeat(times) }
    }

    /// `f(from, to, pairs)` for parts of `from` that lie in one cell, or whose pairs follow each other.
    fn fill<X: Copy + Sync, T: Copy + Default + Send>(
        &self,
        from: &[X],
        f: impl Fn(&[X], &mut [T], Part<'_>) + Sync,
    ) -> Vec<T> {
        let count = self.pairs.len().max(1);
        parallel::fill(from.len(), |start, to| {
            let from = &from[start..start + to.len()];
            let (mut cell, mut offset) = (start / self.inner % count, start % self.inner);
            let mut at = 0;
            while at < to.len() {
                let left = to.len() - at;
                let (len, part) = match self.inner {
                    1 => {
                        let len = left.min(count - cell);
                        (len, Part::Each(&self.pairs[cell..cell + len]))
                    }
                    inner => (left.min(inner - offset), Part::One(self.pairs[cell])),
                };
                f(&from[at..at + len], &mut to[at..at + len], part);
                let passed = if self.inner == 1 { len } else { 1 };
                cell = if cell + passed == count { 0 } else { cell + passed };
                (at, offset) = (at + len, 0);
            }
        })
    }
}
