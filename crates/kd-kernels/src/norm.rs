//! Batch norm over `[batch, channels, inner]`, with a ReLU in the same pass where a network has one.
//!
//! `y[n, c, i] = γ[c] · (x[n, c, i] − mean[c]) / √(variance[c] + ε) + β[c]`, then `max(y, 0)` if asked for. A task is a
//! channel: it fits the second-level cache for the batches of a training step, so that the pass which normalizes
//! finds there what the pass for the statistics has read.

pub mod reference;

use crate::Isa;
use crate::buffer::scattered;
use crate::simd::{Kernel, Simd};

/// Vectors after which sums in `f32` are taken over into `f64`.
const FLUSH: usize = 64;

/// Shape of the input of a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Norm {
    /// Examples.
    pub batch: usize,
    /// Channels, each with its own statistics.
    pub channels: usize,
    /// Numbers of a channel of an example, such as height times width.
    pub inner: usize,
}

impl Norm {
    /// Numbers of the input.
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.inner
    }

    /// Whether there is nothing to normalize.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn parallel(&self) -> bool {
        self.len() > 1 << 15
    }

    fn check(&self, x: &[f32], per_channel: &[&[f32]]) {
        assert_eq!(x.len(), self.len(), "numbers of the input of {self:?}");
        for numbers in per_channel {
            assert_eq!(numbers.len(), self.channels, "numbers per channel of {self:?}");
        }
    }
}

/// What each channel is normalized by.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Variance of each channel; that of a batch is the biased one, divided by the number of its elements.
    pub variance: Vec<f32>,
}

/// Learned scale and shift, the constant below the root, and whether a ReLU follows.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// γ of each channel.
    pub gamma: &'a [f32],
    /// β of each channel.
    pub beta: &'a [f32],
    /// ε.
    pub epsilon: f64,
    /// Whether what is below zero becomes zero; NaN stays.
    pub relu: bool,
}

/// Normalizes by the statistics of the batch and returns them.
///
/// # Panics
///
/// If a slice has another length than the shape says; so do the other functions of this module.
pub fn train(isa: Isa, shape: &Norm, x: &[f32], affine: Affine<'_>) -> (Vec<f32>, Moments) {
    shape.check(x, &[affine.gamma, affine.beta]);
    // SAFETY: a task writes its channel in every example.
    let ([y], moments) = unsafe {
        scattered([shape.len()], shape.channels, shape.parallel(), |channel, [y]| {
            let (mean, variance) = isa.run(Statistics { shape, x, channel });
            isa.run(Apply { shape, x, channel, line: line(&affine, channel, mean, variance), y });
            (mean, variance)
        })
    };
    let (mean, variance) = moments.into_iter().unzip();
    (y, Moments { mean, variance })
}

/// Normalizes by given statistics.
///
/// # Panics
///
/// As [`train`].
pub fn apply(isa: Isa, shape: &Norm, x: &[f32], moments: &Moments, affine: Affine<'_>) -> Vec<f32> {
    shape.check(x, &[affine.gamma, affine.beta, &moments.mean, &moments.variance]);
    // SAFETY: a task writes its channel in every example.
    let ([y], _) = unsafe {
        scattered([shape.len()], shape.channels, shape.parallel(), |channel, [y]| {
            let line = line(&affine, channel, moments.mean[channel], moments.variance[channel]);
            isa.run(Apply { shape, x, channel, line, y });
        })
    };
    y
}

/// Gradients of [`train`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// That of the input.
    pub x: Vec<f32>,
    /// That of γ.
    pub gamma: Vec<f32>,
    /// That of β.
    pub beta: Vec<f32>,
}

/// Gradients of [`train`] from that of its output; `moments` are what it returned.
///
/// # Panics
///
/// As [`train`].
pub fn backward(
    isa: Isa,
    shape: &Norm,
    x: &[f32],
    moments: &Moments,
    affine: Affine<'_>,
    dy: &[f32],
) -> Gradients {
    shape.check(x, &[affine.gamma, affine.beta, &moments.mean, &moments.variance]);
    shape.check(dy, &[]);
    // SAFETY: a task writes its channel in every example.
    let ([dx], sums) = unsafe {
        scattered([shape.len()], shape.channels, shape.parallel(), |channel, [dx]| {
            let line = line(&affine, channel, moments.mean[channel], moments.variance[channel]);
            let gamma = f64::from(affine.gamma[channel]);
            let (sum, product) = isa.run(Sums { shape, x, dy, channel, line });
            let count = (shape.batch * shape.inner) as f64;
            let deviation = line.deviation;
            // dx = γ/σ · (dy − mean(dy) − x̂ · mean(dy · x̂)), with x̂ = (x − mean) / σ and `product` = Σ dy · (x − mean).
            let scale = gamma / deviation;
            let slope = -scale * product / (count * deviation * deviation);
            let rest = -scale * sum / count;
            isa.run(Back { shape, x, dy, channel, line, scale, slope, rest, dx });
            ((product / deviation) as f32, sum as f32)
        })
    };
    let (gamma, beta) = sums.into_iter().unzip();
    Gradients { x: dx, gamma, beta }
}

/// What a channel does to a number: `(x − mean) · scale + shift`, then perhaps a ReLU.
#[derive(Debug, Clone, Copy)]
struct Line {
    mean: f32,
    scale: f32,
    shift: f32,
    relu: bool,
    /// √(variance + ε)
    deviation: f64,
}

fn line(affine: &Affine<'_>, channel: usize, mean: f32, variance: f32) -> Line {
    let deviation = (f64::from(variance) + affine.epsilon).sqrt();
    Line {
        mean,
        scale: (f64::from(affine.gamma[channel]) / deviation) as f32,
        shift: affine.beta[channel],
        relu: affine.relu,
        deviation,
    }
}

impl Line {
    /// The value before the ReLU.
    ///
    /// # Safety
    ///
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn at<S: Simd>(&self, x: S::V) -> S::V {
        // SAFETY: as this function asks.
        unsafe { S::fma(S::sub(x, S::splat(self.mean)), S::splat(self.scale), S::splat(self.shift)) }
    }

    /// The part of `dy` that passes the ReLU at `x`.
    ///
    /// # Safety
    ///
    /// The machine has the instruction set.
    #[inline(always)]
    unsafe fn pass<S: Simd>(&self, x: S::V, dy: S::V) -> S::V {
        if !self.relu {
            return dy;
        }
        // SAFETY: as this function asks.
        unsafe {
            let y = self.at::<S>(x);
            S::where_greater(y, S::splat(0.0), dy, S::where_number(y, S::splat(0.0), dy))
        }
    }
}

/// Mean and biased variance of a channel, in one pass: sums of the distance to a number near the mean and of its
/// square, where nearness keeps the difference of the two from losing digits.
struct Statistics<'a> {
    shape: &'a Norm,
    x: &'a [f32],
    channel: usize,
}

impl Kernel for Statistics<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f32, f32) {
        let Self { shape, x, channel } = self;
        let count = (shape.batch * shape.inner) as f64;
        let first = x.get(channel * shape.inner..(channel + 1) * shape.inner).unwrap_or_default();
        let near = first.iter().sum::<f32>() / shape.inner.max(1) as f32;
        let near = if near.is_finite() { near } else { 0.0 };
        let (mut sum, mut square) = (0.0f64, 0.0f64);
        // SAFETY: rows of `inner` numbers are inside `x`, which the caller checked.
        unsafe {
            let middle = S::splat(near);
            let mut sums = [S::splat(0.0); 2];
            let mut squares = [S::splat(0.0); 2];
            let mut since = 0;
            for n in 0..shape.batch {
                let row = x.as_ptr().add((n * shape.channels + channel) * shape.inner);
                let mut i = 0;
                while i + 2 * S::LANES <= shape.inner {
                    for k in 0..2 {
                        let far = S::sub(S::load(row.add(i + k * S::LANES)), middle);
                        sums[k] = S::add(sums[k], far);
                        squares[k] = S::fma(far, far, squares[k]);
                    }
                    i += 2 * S::LANES;
                }
                while i < shape.inner {
                    let left = S::LANES.min(shape.inner - i);
                    // Lanes without a number are at zero distance.
                    let far = S::sub(S::load_part(row.add(i), left), middle);
                    let far = if left < S::LANES { part::<S>(far, left) } else { far };
                    sums[0] = S::add(sums[0], far);
                    squares[0] = S::fma(far, far, squares[0]);
                    i += S::LANES;
                }
                since += shape.inner.div_ceil(S::LANES);
                if since >= FLUSH || n + 1 == shape.batch {
                    sum += f64::from(S::sum(S::add(sums[0], sums[1])));
                    square += f64::from(S::sum(S::add(squares[0], squares[1])));
                    (sums, squares, since) = ([S::splat(0.0); 2], [S::splat(0.0); 2], 0);
                }
            }
        }
        let far = sum / count;
        // A negative rest of rounding is no variance; NaN must stay NaN, which `max` would not let it.
        let variance = square / count - far * far;
        let variance = if variance < 0.0 { 0.0 } else { variance };
        ((f64::from(near) + far) as f32, variance as f32)
    }
}

/// The first `count` lanes of `x`, zero in the others.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn part<S: Simd>(x: S::V, count: usize) -> S::V {
    let mut lanes = [0.0f32; 16];
    // SAFETY: no vector has more lanes; `count` is at most `LANES`.
    unsafe {
        S::store(lanes.as_mut_ptr(), x);
        S::load_part(lanes.as_ptr(), count)
    }
}

struct Apply<'a> {
    shape: &'a Norm,
    x: &'a [f32],
    channel: usize,
    line: Line,
    y: *mut f32,
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { shape, x, channel, line, y } = self;
        for n in 0..shape.batch {
            let row = (n * shape.channels + channel) * shape.inner;
            // SAFETY: rows of `inner` numbers are inside `x` and `y`.
            unsafe {
                let (x, y) = (x.as_ptr().add(row), y.add(row));
                let zero = S::splat(0.0);
                let mut i = 0;
                while i < shape.inner {
                    let count = S::LANES.min(shape.inner - i);
                    let here = line.at::<S>(S::load_some(x.add(i), count));
                    let here = if line.relu { S::where_greater(zero, here, zero, here) } else { here };
                    S::store_some(y.add(i), count, here);
                    i += S::LANES;
                }
            }
        }
    }
}

/// Σ dy and Σ dy · (x − mean) of a channel.
struct Sums<'a> {
    shape: &'a Norm,
    x: &'a [f32],
    dy: &'a [f32],
    channel: usize,
    line: Line,
}

impl Kernel for Sums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f64, f64) {
        let Self { shape, x, dy, channel, line } = self;
        let (mut sum, mut product) = (0.0f64, 0.0f64);
        // SAFETY: rows of `inner` numbers are inside `x` and `dy`.
        unsafe {
            let middle = S::splat(line.mean);
            let mut sums = [S::splat(0.0); 2];
            let mut products = [S::splat(0.0); 2];
            let mut since = 0;
            for n in 0..shape.batch {
                let row = (n * shape.channels + channel) * shape.inner;
                let (x, dy) = (x.as_ptr().add(row), dy.as_ptr().add(row));
                let mut i = 0;
                while i + 2 * S::LANES <= shape.inner {
                    for k in 0..2 {
                        let here = S::load(x.add(i + k * S::LANES));
                        let g = line.pass::<S>(here, S::load(dy.add(i + k * S::LANES)));
                        sums[k] = S::add(sums[k], g);
                        products[k] = S::fma(g, S::sub(here, middle), products[k]);
                    }
                    i += 2 * S::LANES;
                }
                while i < shape.inner {
                    let left = S::LANES.min(shape.inner - i);
                    // Lanes without a number have a gradient of zero.
                    let here = S::load_part(x.add(i), left);
                    let g = line.pass::<S>(here, S::load_part(dy.add(i), left));
                    sums[0] = S::add(sums[0], g);
                    products[0] = S::fma(g, S::sub(here, middle), products[0]);
                    i += S::LANES;
                }
                since += shape.inner.div_ceil(S::LANES);
                if since >= FLUSH || n + 1 == shape.batch {
                    sum += f64::from(S::sum(S::add(sums[0], sums[1])));
                    product += f64::from(S::sum(S::add(products[0], products[1])));
                    (sums, products, since) = ([S::splat(0.0); 2], [S::splat(0.0); 2], 0);
                }
            }
        }
        (sum, product)
    }
}

/// `dx = scale · dy + slope · (x − mean) + rest`
struct Back<'a> {
    shape: &'a Norm,
    x: &'a [f32],
    dy: &'a [f32],
    channel: usize,
    line: Line,
    scale: f64,
    slope: f64,
    rest: f64,
    dx: *mut f32,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { shape, x, dy, channel, line, scale, slope, rest, dx } = self;
        for n in 0..shape.batch {
            let row = (n * shape.channels + channel) * shape.inner;
            // SAFETY: rows of `inner` numbers are inside `x`, `dy` and `dx`.
            unsafe {
                let (x, dy, dx) = (x.as_ptr().add(row), dy.as_ptr().add(row), dx.add(row));
                let (scale, slope) = (S::splat(scale as f32), S::splat(slope as f32));
                let (rest, middle) = (S::splat(rest as f32), S::splat(line.mean));
                let mut i = 0;
                while i < shape.inner {
                    let count = S::LANES.min(shape.inner - i);
                    let (x, dy) = (S::load_some(x.add(i), count), S::load_some(dy.add(i), count));
                    let here = S::fma(slope, S::sub(x, middle), rest);
                    S::store_some(dx.add(i), count, S::fma(scale, line.pass::<S>(x, dy), here));
                    i += S::LANES;
                }
            }
        }
    }
}
