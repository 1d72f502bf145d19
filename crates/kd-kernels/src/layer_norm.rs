//! Layer norm over the rows of `[rows, width]`: `y = γ (x − mean) / √(variance + ε) + β`, with the mean and the biased
//! variance of the row; Ba, Kiros and Hinton, 2016, arXiv 1607.06450.

pub mod reference;

use crate::Isa;
use crate::buffer::scattered;
use crate::simd::{Kernel, Simd};

/// Numbers of a task, about.
const TASK: usize = 1 << 14;

/// Normalized rows, and what the backward pass wants to know of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalized {
    /// `y`
    pub y: Vec<f32>,
    /// The mean of each row.
    pub mean: Vec<f32>,
    /// `1 / √(variance + ε)` of each row.
    pub scale: Vec<f32>,
}

/// Normalizes rows of `γ`'s length; without `β` nothing is added.
///
/// # Panics
///
/// If `x` does not consist of whole rows, or `β` has another length than `γ`.
pub fn forward(isa: Isa, x: &[f32], gamma: &[f32], beta: Option<&[f32]>, epsilon: f64) -> Normalized {
    let width = gamma.len();
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "expected rows of {width}, found {} numbers",
        x.len()
    );
    assert!(beta.is_none_or(|beta| beta.len() == width), "expected β of {width} numbers");
    let (rows, step) = (x.len() / width, (TASK / width).max(1));
    // SAFETY: a task writes its rows, their means and scales.
    let ([y, mean, scale], _) = unsafe {
        scattered([x.len(), rows, rows], rows.div_ceil(step), true, |task, [y, mean, scale]| {
            for row in task * step..rows.min((task + 1) * step) {
                let (x, y) = (&x[row * width..][..width], y.add(row * width));
                let (m, s) = isa.run(Row { x, gamma, beta, epsilon, y });
                *mean.add(row) = m;
                *scale.add(row) = s;
            }
        })
    };
    Normalized { y, mean, scale }
}

/// Gradients of [`forward`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// That of the input.
    pub x: Vec<f32>,
    /// That of γ.
    pub gamma: Vec<f32>,
    /// That of β.
    pub beta: Vec<f32>,
}

/// Gradients from that of the output; `mean` and `scale` are what [`forward`] returned.
///
/// # Panics
///
/// If a slice has another length than in the forward pass.
pub fn backward(isa: Isa, x: &[f32], gamma: &[f32], mean: &[f32], scale: &[f32], dy: &[f32]) -> Gradients {
    let width = gamma.len();
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "expected rows of {width}, found {} numbers",
        x.len()
    );
    let (rows, step) = (x.len() / width, (TASK / width).max(1));
    assert!(
        dy.len() == x.len() && mean.len() == rows && scale.len() == rows,
        "as many rows as in the forward pass"
    );
    let tasks = rows.div_ceil(step);
    // SAFETY: a task writes its rows, and its own sums for γ and β.
    let ([dx, parts], _) = unsafe {
        scattered([x.len(), tasks * 2 * width], tasks, true, |task, [dx, parts]| {
            let parts = parts.add(task * 2 * width);
            std::ptr::write_bytes(parts, 0, 2 * width);
            for row in task * step..rows.min((task + 1) * step) {
                let here = row * width..(row + 1) * width;
                isa.run(Back {
                    x: &x[here.clone()],
                    dy: &dy[here],
                    gamma,
                    mean: mean[row],
                    scale: scale[row],
                    dx: dx.add(row * width),
                    parts,
                });
            }
        })
    };
    let mut sums = vec![0.0; 2 * width];
    for part in parts.chunks(2 * width) {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    let beta = sums.split_off(width);
    Gradients { x: dx, gamma: sums, beta }
}

struct Row<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: Option<&'a [f32]>,
    epsilon: f64,
    y: *mut f32,
}

impl Kernel for Row<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f32, f32) {
        let Self { x, gamma, beta, epsilon, y } = self;
        let width = x.len();
        // SAFETY: all rows have `width` numbers.
        unsafe {
            let x = x.as_ptr();
            let mut sum = S::splat(0.0);
            let mut i = 0;
            while i < width {
                sum = S::add(sum, S::load_some(x.add(i), S::LANES.min(width - i)));
                i += S::LANES;
            }
            let mean = S::sum(sum) / width as f32;
            let middle = S::splat(mean);
            let mut square = S::splat(0.0);
            i = 0;
            while i < width {
                let count = S::LANES.min(width - i);
                // Lanes without a number are written over with the mean: no distance.
                let far = S::sub(S::load_some(x.add(i), count), middle);
                S::store_some(y.add(i), count, far);
                let far = S::load_some(y.add(i), count);
                square = S::fma(far, far, square);
                i += S::LANES;
            }
            let scale = (1.0 / (f64::from(S::sum(square)) / width as f64 + epsilon).sqrt()) as f32;
            i = 0;
            while i < width {
                let count = S::LANES.min(width - i);
                let normal = S::mul(S::load_some(y.add(i), count), S::splat(scale));
                let shift = match beta {
                    Some(beta) => S::load_some(beta.as_ptr().add(i), count),
                    None => S::splat(0.0),
                };
                let gamma = S::load_some(gamma.as_ptr().add(i), count);
                S::store_some(y.add(i), count, S::fma(normal, gamma, shift));
                i += S::LANES;
            }
            (mean, scale)
        }
    }
}

/// One row's gradient, and its part in those of γ and β.
struct Back<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    gamma: &'a [f32],
    mean: f32,
    scale: f32,
    dx: *mut f32,
    parts: *mut f32,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, dy, gamma, mean, scale, dx, parts } = self;
        let width = x.len();
        // SAFETY: all rows have `width` numbers, `parts` has two rows.
        unsafe {
            let (x, dy, gamma) = (x.as_ptr(), dy.as_ptr(), gamma.as_ptr());
            let (middle, factor) = (S::splat(mean), S::splat(scale));
            let (mut sum, mut product) = (S::splat(0.0), S::splat(0.0));
            let mut i = 0;
            while i < width {
                let count = S::LANES.min(width - i);
                let g = S::load_some(dy.add(i), count);
                let normal = S::mul(S::sub(S::load_some(x.add(i), count), middle), factor);
                let weighted = S::mul(g, S::load_some(gamma.add(i), count));
                sum = S::add(sum, weighted);
                product = S::fma(weighted, normal, product);
                let (to_gamma, to_beta) = (parts.add(i), parts.add(width + i));
                S::store_some(to_gamma, count, S::fma(g, normal, S::load_some(to_gamma, count)));
                S::store_some(to_beta, count, S::add(g, S::load_some(to_beta, count)));
                i += S::LANES;
            }
            let sum = S::splat(-S::sum(sum) / width as f32);
            let product = S::splat(-S::sum(product) / width as f32);
            i = 0;
            while i < width {
                let count = S::LANES.min(width - i);
                let normal = S::mul(S::sub(S::load_some(x.add(i), count), middle), factor);
                let weighted = S::mul(S::load_some(dy.add(i), count), S::load_some(gamma.add(i), count));
                let inner = S::add(S::fma(normal, product, weighted), sum);
                S::store_some(dx.add(i), count, S::mul(inner, factor));
                i += S::LANES;
            }
        }
    }
}
