//! GELU, `y = x · Φ(x)` with the normal distribution's `Φ(x) = (1 + erf(x / √2)) / 2`; Hendrycks and Gimpel, 2016,
//! arXiv 1606.08415. Not the approximation by tanh.
//!
//! `erf` by the rational approximation 7.1.26 of Abramowitz and Stegun, which is off by at most 1.5e-7.

pub mod reference;

use crate::Isa;
use crate::buffer::filled;
use crate::simd::{Kernel, Simd, exp};

/// Numbers of a task.
const TASK: usize = 1 << 14;

/// GELU of each number.
pub fn forward(isa: Isa, x: &[f32]) -> Vec<f32> {
    // SAFETY: a task writes all its numbers.
    unsafe {
        filled(x.len(), TASK, true, |task, y| {
            isa.run(Map { x: &x[task * TASK..x.len().min((task + 1) * TASK)], y });
        })
    }
}

/// Gradient of the input: `dx = dy · (Φ(x) + x φ(x))`.
///
/// # Panics
///
/// If the slices differ in length.
pub fn backward(isa: Isa, x: &[f32], dy: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), dy.len(), "a gradient for each number");
    // SAFETY: a task writes all its numbers.
    unsafe {
        filled(x.len(), TASK, true, |task, dx| {
            let here = task * TASK..x.len().min((task + 1) * TASK);
            isa.run(Back { x: &x[here.clone()], dy: &dy[here], dx });
        })
    }
}

/// `Φ(x)` and `exp(−x²/2)`.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn normal<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: as this function asks.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let size = S::where_greater(zero, x, S::sub(zero, x), x);
        let bell = exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5)));
        let t = S::div(one, S::fma(size, S::splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2), one));
        let mut sum = S::splat(1.061_405_4);
        for term in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            sum = S::fma(sum, t, S::splat(term));
        }
        // Half of what `erf` lacks to one: the weight of the tail beyond `size`.
        let tail = S::mul(S::mul(S::mul(sum, t), bell), S::splat(0.5));
        (S::where_greater(zero, x, tail, S::sub(one, tail)), bell)
    }
}

struct Map<'a> {
    x: &'a [f32],
    y: *mut f32,
}

impl Kernel for Map<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, y } = self;
        let mut i = 0;
        while i < x.len() {
            let count = S::LANES.min(x.len() - i);
            // SAFETY: `x` and `y` have `count` more numbers.
            unsafe {
                let here = S::load_some(x.as_ptr().add(i), count);
                S::store_some(y.add(i), count, S::mul(here, normal::<S>(here).0));
            }
            i += S::LANES;
        }
    }
}

struct Back<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: *mut f32,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, dy, dx } = self;
        let mut i = 0;
        while i < x.len() {
            let count = S::LANES.min(x.len() - i);
            // SAFETY: all three have `count` more numbers.
            unsafe {
                let here = S::load_some(x.as_ptr().add(i), count);
                let (below, bell) = normal::<S>(here);
                // φ(x) = exp(−x²/2) / √(2π)
                let slope = S::fma(S::mul(here, bell), S::splat(0.398_942_3), below);
                S::store_some(dx.add(i), count, S::mul(S::load_some(dy.as_ptr().add(i), count), slope));
            }
            i += S::LANES;
        }
    }
}
