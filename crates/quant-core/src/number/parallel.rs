//! Loops over large slices on all threads, at the speed of memory. Results do not depend on how the slice is cut.
//!
//! Results are made strip by strip, an array each, and written once: memory that is cleared first, or a second look at
//! the input for what has no code, would each cost as much as the whole loop.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Values a task takes: 256 KiB of input, a few tasks for a layer and none for a bias.
pub(crate) const TASK: usize = 1 << 16;

/// Values of a strip: a multiple of every block's length, 1 KiB of f32 on the stack.
pub(crate) const STRIP: usize = 256;

/// Bits of infinity; what is above is NaN.
pub(crate) const INFINITY: u32 = 0x7f80_0000;

/// A value that has no code was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong;

/// Remembers that something is wrong.
#[derive(Debug, Default)]
pub(crate) struct Watch(AtomicBool);

impl Watch {
    /// `true` is remembered.
    pub(crate) fn see(&self, wrong: bool) {
        if wrong {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// `done`, if nothing was wrong.
    pub(crate) fn finish<T>(self, done: T) -> Result<T, Wrong> {
        if self.0.into_inner() { Err(Wrong) } else { Ok(done) }
    }
}

/// `len` results, strip by strip: `f(range)` are those at the positions of the range, and anything after them.
pub(crate) fn strips<T: Copy + Send>(len: usize, f: impl Fn(Range<usize>) -> [T; STRIP] + Sync) -> Vec<T> {
    let count = len.div_ceil(STRIP);
    let strip = |index: usize| f(index * STRIP..((index + 1) * STRIP).min(len));
    // No thread is asked for if one task is all that there is.
    let strips = (0..count).into_par_iter().with_min_len(TASK / STRIP).map(strip);
    let mut all = strips.collect::<Vec<_>>().into_flattened();
    all.truncate(len);
    all
}

/// `len` results, of which `f(start, strip)` writes those from position `start` on.
pub(crate) fn fill<T: Copy + Default + Send>(len: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    strips(len, |range| {
        let mut strip = [T::default(); STRIP];
        f(range.start, &mut strip[..range.len()]);
        strip
    })
}

/// What a loop does with a value. Closures do, if they are short: what is long, the compiler only makes part of a loop,
/// and vectorizes with it, if it is `#[inline(always)]`, which a closure cannot be.
pub(crate) trait Body<X, T>: Sync {
    fn one(&self, x: X) -> T;
}

impl<X, T, F: Fn(X) -> T + Sync> Body<X, T> for F {
    #[inline(always)]
    fn one(&self, x: X) -> T {
        self(x)
    }
}

/// A look for NaN in a strip, compiled for each instruction set.
struct HasNan<'a>(&'a [f32]);

impl WithSimd for HasNan<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        // Integers, as of the few ways to write this it is the one that becomes vector instructions everywhere.
        largest_bits(self.0) > INFINITY
    }
}

/// A loop over a strip, compiled for each instruction set.
struct Strip<'a, X, T, F> {
    from: &'a [X],
    body: &'a F,
    to: PhantomData<T>,
}

impl<X: Copy, T: Copy + Default, F: Body<X, T>> WithSimd for Strip<'_, X, T, F> {
    type Output = [T; STRIP];

    /// Results are local, so that the compiler knows that `body` does not change with them.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [T; STRIP] {
        let mut all = [T::default(); STRIP];
        if let Some(from) = self.from.first_chunk::<STRIP>() {
            for (to, &x) in all.iter_mut().zip(from) {
                *to = self.body.one(x);
            }
        } else {
            for (to, &x) in all.iter_mut().zip(self.from) {
                *to = self.body.one(x);
            }
        }
        all
    }
}

/// `f(value)` of every value.
pub(crate) fn map<X: Copy + Sync, T: Copy + Default + Send>(values: &[X], f: impl Body<X, T>) -> Vec<T> {
    let arch = Arch::new();
    strips(values.len(), |range| arch.dispatch(Strip { from: &values[range], body: &f, to: PhantomData }))
}

/// `f(index, value)` of every value.
pub(crate) fn map_indexed<T: Copy + Default + Send>(
    values: &[f32],
    f: impl Fn(usize, f32) -> T + Sync,
) -> Vec<T> {
    fill(values.len(), |start, to| {
        let from = &values[start..start + to.len()];
        from.iter().zip(to).enumerate().for_each(|(index, (&x, to))| *to = f(start + index, x));
    })
}

/// `f(value)` of every value, unless one of them is NaN.
pub(crate) fn map_numbers<T: Copy + Default + Send>(
    values: &[f32],
    f: impl Body<f32, T>,
) -> Result<Vec<T>, Wrong> {
    let (arch, watch) = (Arch::new(), Watch::default());
    let done = strips(values.len(), |range| {
        let from = &values[range];
        watch.see(arch.dispatch(HasNan(from)));
        arch.dispatch(Strip { from, body: &f, to: PhantomData })
    });
    watch.finish(done)
}

/// `numbers(value)` of every value, but `all(value)` of strips with NaN among them.
pub(crate) fn map_either<T: Copy + Default + Send>(
    values: &[f32],
    numbers: impl Body<f32, T>,
    all: impl Body<f32, T>,
) -> Vec<T> {
    let arch = Arch::new();
    strips(values.len(), |range| {
        let from = &values[range];
        match arch.dispatch(HasNan(from)) {
            false => arch.dispatch(Strip { from, body: &numbers, to: PhantomData }),
            true => arch.dispatch(Strip { from, body: &all, to: PhantomData }),
        }
    })
}

/// Whether `wrong` says so of a value, without stopping at it.
#[inline(always)]
pub(crate) fn any<X: Copy>(values: &[X], wrong: impl Fn(X) -> bool) -> bool {
    let mut found = false;
    for &x in values {
        found |= wrong(x);
    }
    found
}

/// Whether `wrong` says so of a value, found fast where there is none.
pub(crate) fn exists(values: &[f32], wrong: impl Fn(f32) -> bool + Sync) -> bool {
    values.par_chunks(TASK).any(|part| any(part, &wrong))
}

/// The low bytes.
#[inline(always)]
pub(crate) fn narrow<const LEN: usize>(wide: [i32; LEN]) -> [u8; LEN] {
    let mut bytes = [0u8; LEN];
    for (byte, wide) in bytes.iter_mut().zip(wide) {
        *byte = wide as u8;
    }
    bytes
}

/// Bits of the largest magnitude, above those of infinity where there is NaN.
#[inline(always)]
pub(crate) fn largest_bits(values: &[f32]) -> u32 {
    // Integers, whose order is that of the magnitudes: a maximum of floats is not vectorized.
    let mut most = 0i32;
    for x in values {
        most = most.max((x.to_bits() & 0x7fff_ffff) as i32);
    }
    most as u32
}

/// Largest of `key(bits)`, and of `least`.
#[inline(always)]
pub(crate) fn maximum(values: &[f32], least: i32, key: impl Fn(u32) -> i32) -> i32 {
    // Lanes, so that values of one block share a vector: without them those of several blocks are gathered into one.
    let mut lanes = [least; 8];
    let (parts, rest) = values.as_chunks::<8>();
    for part in parts {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane = (*lane).max(key(x.to_bits()));
        }
    }
    let most = lanes.into_iter().fold(least, i32::max);
    rest.iter().fold(most, |most, x| most.max(key(x.to_bits())))
}

/// Largest magnitude.
pub(crate) fn largest(values: &[f32]) -> Result<f32, Wrong> {
    let most = values.par_chunks(TASK).map(largest_bits).reduce(|| 0, u32::max);
    if most < INFINITY { Ok(f32::from_bits(most)) } else { Err(Wrong) }
}

/// Whether all of these, whose largest magnitude has the bits `most`, are finite.
pub(crate) fn finite(most: u32) -> bool {
    most < INFINITY
}

/// Sums of the magnitudes of parts of `len` values each, in f64. Sixteen sums of a part are made side by side and then
/// added, always in the same order.
pub(crate) fn magnitudes(values: &[f32], len: usize) -> Vec<f64> {
    let arch = Arch::new();
    let parts = values.par_chunks(len).with_min_len(TASK.div_ceil(len));
    parts.map(|part| arch.dispatch(Magnitudes(part))).collect()
}

/// The sum of magnitudes, compiled for each instruction set.
struct Magnitudes<'a>(&'a [f32]);

impl WithSimd for Magnitudes<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0f64; 16];
        let (whole, rest) = self.0.as_chunks::<16>();
        for part in whole {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += f64::from(x.abs());
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(x.abs());
        }
        sums.iter().sum()
    }
}
