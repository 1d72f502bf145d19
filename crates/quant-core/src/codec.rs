//! Codes from values and values from codes, on slices.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use crate::number::SIGNED_WHOLE;
use crate::number::parallel::{self, STRIP, Watch, Wrong};
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
    let nan = |values: &[f32]| watch.see(parallel::any(values, f32::is_nan));
    let codes = match qmin.abs().max(qmax.abs()) <= SMALL {
        true => cells.map(values, nan, &Small { qmin, qmax }),
        false => cells.map(values, nan, &Wide { qmin, qmax }),
    };
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
    let unused = |codes: &[i32]| watch.see(parallel::any(codes, |q| (q < qmin) | (q > qmax)));
    let values = cells.map(codes, unused, &Decoded);
    watch.finish(values).map_err(|Wrong| {
        let index = codes.iter().position(|code| !(qmin..=qmax).contains(code)).unwrap_or(0);
        Error::Code { index, code: codes[index], qmin, qmax }
    })
}

/// 2^21: codes up to here and differences of two are within what [`SIGNED_WHOLE`] rounds.
const SMALL: f32 = 2_097_152.0;

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

/// What becomes of a value under a scale and a zero point.
trait Body<X, T>: Sync {
    fn one(&self, x: X, pair: (f32, f32)) -> T;
}

/// Codes that are few enough for [`SIGNED_WHOLE`].
struct Small {
    qmin: f32,
    qmax: f32,
}

impl Body<f32, i32> for Small {
    /// The limits are integers: clamping before rounding and adding z is the same, and leaves numbers so small that a
    /// sum rounds them.
    #[inline(always)]
    fn one(&self, x: f32, (scale, zero): (f32, f32)) -> i32 {
        // One instruction each, which `max` and `min` are not: they have NaN to think of.
        let (q, min, max) = (x / scale, self.qmin - zero, self.qmax - zero);
        let q = if q > min { q } else { min };
        let q = if q < max { q } else { max };
        ((q + SIGNED_WHOLE) - SIGNED_WHOLE + zero + SIGNED_WHOLE).to_bits() as i32
            - SIGNED_WHOLE.to_bits() as i32
    }
}

/// Any codes.
struct Wide {
    qmin: f32,
    qmax: f32,
}

impl Body<f32, i32> for Wide {
    #[inline(always)]
    fn one(&self, x: f32, (scale, zero): (f32, f32)) -> i32 {
        ((x / scale).round_ties_even() + zero).clamp(self.qmin, self.qmax) as i32
    }
}

/// Values of codes.
struct Decoded;

impl Body<i32, f32> for Decoded {
    /// Differences of codes are exact in f32, and so are codes.
    #[inline(always)]
    fn one(&self, q: i32, (scale, zero): (f32, f32)) -> f32 {
        (q as f32 - zero) * scale
    }
}

/// A loop over a strip, compiled for each instruction set.
struct Strip<'a, X, T, B> {
    cells: &'a Cells,
    start: usize,
    from: &'a [X],
    body: &'a B,
    to: PhantomData<T>,
}

impl<X: Copy, T: Copy + Default, B: Body<X, T>> WithSimd for Strip<'_, X, T, B> {
    type Output = [T; STRIP];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [T; STRIP] {
        let Self { cells: Cells { inner, pairs }, start, from, body, .. } = self;
        let mut all = [T::default(); STRIP];
        let (mut cell, mut offset, mut at) = (start / inner % pairs.len(), start % inner, 0);
        while at < from.len() {
            let left = from.len() - at;
            let count = if *inner == 1 { left.min(pairs.len() - cell) } else { left.min(inner - offset) };
            let each = all[at..at + count].iter_mut().zip(&from[at..at + count]);
            if *inner == 1 {
                for ((to, &x), &pair) in each.zip(&pairs[cell..cell + count]) {
                    *to = body.one(x, pair);
                }
                cell += count;
            } else {
                let pair = pairs[cell];
                for (to, &x) in each {
                    *to = body.one(x, pair);
                }
                cell += 1;
            }
            cell = if cell == pairs.len() { 0 } else { cell };
            (at, offset) = (at + count, 0);
        }
        all
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

    /// What `body` makes of all values; `check` sees each strip of them.
    fn map<X: Copy + Sync, T: Copy + Default + Send>(
        &self,
        from: &[X],
        check: impl Fn(&[X]) + Sync,
        body: &impl Body<X, T>,
    ) -> Vec<T> {
        let arch = Arch::new();
        parallel::strips(from.len(), |range| {
            let (start, from) = (range.start, &from[range]);
            check(from);
            arch.dispatch(Strip { cells: self, start, from, body, to: PhantomData })
        })
    }
}
