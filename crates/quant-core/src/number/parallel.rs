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
const TASK: usize = 1 << 16;

/// Values of a strip: a multiple of every block's length, 1 KiB of f32 on the stack.
pub(crate) const STRIP: usize = 256;

/// Bits of infinity; what is above is NaN.
const INFINITY: u32 = 0x7f80_0000;

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
        watch.see(any(from, f32::is_nan));
        arch.dispatch(Strip { from, body: &f, to: PhantomData })
    });
    watch.finish(done)
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

/// Largest magnitude.
pub(crate) fn largest(values: &[f32]) -> Result<f32, Wrong> {
    let most = values.par_chunks(TASK).map(largest_bits).reduce(|| 0, u32::max);
    if most < INFINITY { Ok(f32::from_bits(most)) } else { Err(Wrong) }
}

/// Whether all of these, whose largest magnitude has the bits `most`, are finite.
pub(crate) fn finite(most: u32) -> bool {
    most < INFINITY
}

/// Sums of the magnitudes of parts of `len` values each, in f64 and in the order of the values.
pub(crate) fn magnitudes(values: &[f32], len: usize) -> Vec<f64> {
    // A sum waits for each of its additions; four at once leave no time unused.
    const TOGETHER: usize = 4;
    let sums = |part: &[f32]| -> [f64; TOGETHER] {
        let mut sums = [0.0; TOGETHER];
        if part.len() == TOGETHER * len {
            let (a, rest) = part.split_at(len);
            let (b, rest) = rest.split_at(len);
            let (c, d) = rest.split_at(len);
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                for (sum, x) in sums.iter_mut().zip([a, b, c, d]) {
                    *sum += f64::from(x.abs());
                }
            }
        } else {
            for (sum, part) in sums.iter_mut().zip(part.chunks(len)) {
                *sum = part.iter().map(|x| f64::from(x.abs())).sum();
            }
        }
        sums
    };
    let parts = values.par_chunks(TOGETHER * len).with_min_len(TASK.div_ceil(TOGETHER * len)).map(sums);
    let mut sums = parts.collect::<Vec<_>>().into_flattened();
    sums.truncate(values.len().div_ceil(len));
    sums
}

/// Turns blocks of `LEN` values into `WIDTH` codes and a scale.
pub(crate) trait Coder<const LEN: usize, const WIDTH: usize>: Sync {
    /// There are as many as values, even in a block that is not full, if `WIDTH` is `LEN`.
    type Code: Copy + Default + Send;
    type Scale: Copy + Default + Send;

    /// A block of fewer than `LEN` values, `count`, is filled with zeros. Implementations are `#[inline(always)]`.
    fn block(&self, values: &[f32; LEN], count: usize) -> ([Self::Code; WIDTH], Self::Scale);
}

/// Blocks that are made together, so that what they share is made ready once.
const GROUP: usize = 8;

/// Whole blocks, compiled for each instruction set.
struct Group<'a, const LEN: usize, const WIDTH: usize, C> {
    blocks: &'a [[f32; LEN]; GROUP],
    coder: &'a C,
}

impl<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>> WithSimd for Group<'_, LEN, WIDTH, C> {
    type Output = ([[C::Code; WIDTH]; GROUP], [C::Scale; GROUP]);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let mut codes = [[C::Code::default(); WIDTH]; GROUP];
        let mut scales = [C::Scale::default(); GROUP];
        for ((block, codes), scale) in self.blocks.iter().zip(&mut codes).zip(&mut scales) {
            (*codes, *scale) = self.coder.block(block, LEN);
        }
        (codes, scales)
    }
}

/// One block, that is perhaps not full.
struct Single<'a, const LEN: usize, const WIDTH: usize, C> {
    block: &'a [f32; LEN],
    count: usize,
    coder: &'a C,
}

impl<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>> WithSimd for Single<'_, LEN, WIDTH, C> {
    type Output = ([C::Code; WIDTH], C::Scale);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        self.coder.block(self.block, self.count)
    }
}

/// Turns codes of a block into values.
pub(crate) trait Decoder<X>: Sync {
    /// What the block's codes have in common.
    type Scale: Copy;

    /// That of a block.
    fn scale(&self, block: usize) -> Self::Scale;

    /// The value of a code. Implementations are `#[inline(always)]`.
    fn value(&self, code: X, scale: Self::Scale) -> f32;
}

/// A strip of codes, decoded by a loop that is compiled for each instruction set.
struct Decoding<'a, X, D> {
    blocks: Blocks,
    start: usize,
    codes: &'a [X],
    decoder: &'a D,
}

impl<X: Copy, D: Decoder<X>> WithSimd for Decoding<'_, X, D> {
    type Output = [f32; STRIP];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; STRIP] {
        let mut all = [0f32; STRIP];
        self.blocks.parts(self.start, self.codes.len(), |block, _, range| {
            let scale = self.decoder.scale(block);
            for (to, &code) in all[range.clone()].iter_mut().zip(&self.codes[range]) {
                *to = self.decoder.value(code, scale);
            }
        });
        all
    }
}

/// Rows of `columns` values cut into blocks of `len`, the last of a row perhaps shorter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) columns: usize,
    pub(crate) len: usize,
}

impl Blocks {
    /// Blocks in a row.
    pub(crate) fn per_row(self) -> usize {
        self.columns.div_ceil(self.len)
    }

    /// Codes and scales of every block. `LEN` is `len`.
    pub(crate) fn encode<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>>(
        self,
        values: &[f32],
        coder: &C,
    ) -> (Vec<C::Code>, Vec<C::Scale>) {
        let arch = Arch::new();
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        let (groups, rest) = values.as_chunks::<LEN>().0.as_chunks::<GROUP>();
        // Rows of whole blocks are one long row.
        if self.columns.is_multiple_of(LEN) && rest.is_empty() {
            let groups = groups.par_iter().with_min_len(TASK.div_ceil(GROUP * LEN));
            let group = |blocks: &[[f32; LEN]; GROUP]| arch.dispatch(Group { blocks, coder });
            groups.map(group).unzip_into_vecs(&mut codes, &mut scales);
            return (codes.into_flattened().into_flattened(), scales.into_flattened());
        }
        let (per_row, rows) = (self.per_row(), values.len() / self.columns);
        let width = if WIDTH == LEN { self.columns } else { per_row * WIDTH };
        let mut codes = vec![C::Code::default(); rows * width];
        let mut scales = vec![C::Scale::default(); rows * per_row];
        let rows = values.par_chunks(self.columns).zip(codes.par_chunks_mut(width));
        let rows = rows.zip(scales.par_chunks_mut(per_row)).with_min_len(TASK.div_ceil(self.columns));
        rows.for_each(|((values, codes), scales)| {
            let parts = values.chunks(LEN).zip(codes.chunks_mut(WIDTH)).zip(scales);
            for ((values, codes), scale) in parts {
                let mut block = [0f32; LEN];
                block[..values.len()].copy_from_slice(values);
                let (all, one) = arch.dispatch(Single { block: &block, count: values.len(), coder });
                codes.copy_from_slice(&all[..codes.len()]);
                *scale = one;
            }
        });
        (codes, scales)
    }

    /// Values of codes, one a value.
    pub(crate) fn decode<X: Copy + Sync, D: Decoder<X>>(self, codes: &[X], decoder: &D) -> Vec<f32> {
        let arch = Arch::new();
        strips(codes.len(), |range| {
            let start = range.start;
            arch.dispatch(Decoding { blocks: self, start, codes: &codes[range], decoder })
        })
    }

    /// `len` values, of which `f(block, offset, values)` writes those of a block from `offset` on.
    pub(crate) fn fill(self, len: usize, f: impl Fn(usize, usize, &mut [f32]) + Sync) -> Vec<f32> {
        fill(len, |start, strip| {
            self.parts(start, strip.len(), |block, offset, range| f(block, offset, &mut strip[range]));
        })
    }

    /// Calls `f(block, offset, range)` for the parts of blocks that lie among `len` values from position `start` on: a
    /// block, where in it the part begins, and which of the `len` values are in it.
    #[inline(always)]
    fn parts(self, start: usize, len: usize, mut f: impl FnMut(usize, usize, Range<usize>)) {
        let columns = self.columns.max(1);
        let (row, mut column) = (start / columns, start % columns);
        let (mut block, mut offset) = (row * self.per_row() + column / self.len, column % self.len);
        let mut at = 0;
        while at < len {
            let count = (self.len - offset).min(columns - column).min(len - at);
            f(block, offset, at..at + count);
            column = if column + count == columns { 0 } else { column + count };
            (at, block, offset) = (at + count, block + 1, 0);
        }
    }
}
