//! Softmax over the rows of `[rows, len]`: `y = exp(x − max x) / Σ exp(x − max x)`.

pub mod reference;

use crate::Isa;
use crate::buffer::filled;
use crate::simd::{Kernel, Simd, exp};

/// Numbers of a task, about.
const TASK: usize = 1 << 14;

/// The softmax of each row of `len` numbers. Infinity and NaN give NaN in their row; `-∞` gives zero.
///
/// # Panics
///
/// If `x` does not consist of whole rows.
pub fn forward(isa: Isa, len: usize, x: &[f32]) -> Vec<f32> {
    assert!(len > 0 && x.len().is_multiple_of(len), "expected rows of {len}, found {} numbers", x.len());
    let chunk = (TASK / len).max(1) * len;
    // SAFETY: a task writes each of its rows.
    unsafe {
        filled(x.len(), chunk, true, |task, y| {
            let x = &x[task * chunk..x.len().min((task + 1) * chunk)];
            isa.run(Rows { len, x, y });
        })
    }
}

/// Gradient of the input from the output and its gradient: `dx = y · (dy − Σ y dy)`.
///
/// # Panics
///
/// If the slices differ in length, or do not consist of whole rows.
pub fn backward(isa: Isa, len: usize, y: &[f32], dy: &[f32]) -> Vec<f32> {
    assert!(len > 0 && y.len().is_multiple_of(len), "expected rows of {len}, found {} numbers", y.len());
    assert_eq!(y.len(), dy.len(), "a gradient for each number");
    let chunk = (TASK / len).max(1) * len;
    // SAFETY: a task writes each of its rows.
    unsafe {
        filled(y.len(), chunk, true, |task, dx| {
            let here = task * chunk..y.len().min((task + 1) * chunk);
            isa.run(Back { len, y: &y[here.clone()], dy: &dy[here], dx });
        })
    }
}

struct Rows<'a> {
    len: usize,
    x: &'a [f32],
    y: *mut f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { len, x, y } = self;
        for (row, x) in x.chunks_exact(len).enumerate() {
            // SAFETY: the row has `len` numbers in `x` and in `y`.
            unsafe {
                let (x, y) = (x.as_ptr(), y.add(row * len));
                let lowest = S::splat(f32::NEG_INFINITY);
                let mut most = lowest;
                let mut i = 0;
                while i < len {
                    let count = S::LANES.min(len - i);
                    let here = S::load_some(x.add(i), count);
                    let greater = S::where_greater(here, most, here, most);
                    most = if count == S::LANES { greater } else { first::<S>(greater, most, count) };
                    i += S::LANES;
                }
                let most = S::splat(greatest::<S>(most));
                let mut sum = S::splat(0.0);
                i = 0;
                while i < len {
                    let count = S::LANES.min(len - i);
                    let power = exp::<S>(S::sub(S::load_some(x.add(i), count), most));
                    S::store_some(y.add(i), count, power);
                    sum = S::add(sum, S::load_some(y.add(i), count));
                    i += S::LANES;
                }
                let share = S::splat(1.0 / S::sum(sum));
                i = 0;
                while i < len {
                    let count = S::LANES.min(len - i);
                    S::store_some(y.add(i), count, S::mul(S::load_some(y.add(i), count), share));
                    i += S::LANES;
                }
            }
        }
    }
}

/// The first `count` lanes of `x`, the others of `rest`.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn first<S: Simd>(x: S::V, rest: S::V, count: usize) -> S::V {
    let mut lanes = [0.0f32; 16];
    // SAFETY: no vector has more lanes.
    unsafe {
        S::store(lanes.as_mut_ptr(), rest);
        S::store_part(lanes.as_mut_ptr(), count, x);
        S::load(lanes.as_ptr())
    }
}

/// The greatest lane; NaN is passed over.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn greatest<S: Simd>(x: S::V) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    // SAFETY: no vector has more lanes.
    unsafe { S::store(lanes.as_mut_ptr(), x) };
    lanes.iter().fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most })
}

struct Back<'a> {
    len: usize,
    y: &'a [f32],
    dy: &'a [f32],
    dx: *mut f32,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { len, y, dy, dx } = self;
        for (row, (y, dy)) in y.chunks_exact(len).zip(dy.chunks_exact(len)).enumerate() {
            // SAFETY: the row has `len` numbers in all three.
            unsafe {
                let (y, dy, dx) = (y.as_ptr(), dy.as_ptr(), dx.add(row * len));
                let mut sum = S::splat(0.0);
                let mut i = 0;
                while i < len {
                    let count = S::LANES.min(len - i);
                    sum = S::fma(S::load_some(y.add(i), count), S::load_some(dy.add(i), count), sum);
                    i += S::LANES;
                }
                let mean = S::splat(S::sum(sum));
                i = 0;
                while i < len {
                    let count = S::LANES.min(len - i);
                    let far = S::sub(S::load_some(dy.add(i), count), mean);
                    S::store_some(dx.add(i), count, S::mul(S::load_some(y.add(i), count), far));
                    i += S::LANES;
                }
            }
        }
    }
}
