//! Loops over blocks of values that share a scale, on all threads.
//!
//! What is done with a block is a method, `#[inline(always)]`, and not a closure: so the compiler makes it part of a loop
//! for each instruction set.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::parallel::{STRIP, TASK, strips};

/// Turns blocks of `LEN` values into `WIDTH` codes and a scale.
pub(crate) trait Coder<const LEN: usize, const WIDTH: usize>: Sync {
    /// There are as many as values, even in a block that is not full, if `WIDTH` is `LEN`.
    type Code: Copy + Default + Send;
    type Scale: Copy + Default + Send;

    /// A block of fewer than `LEN` values, `count`, is filled with zeros. Implementations are `#[inline(always)]`.
    fn block(&self, values: &[f32; LEN], count: usize) -> ([Self::Code; WIDTH], Self::Scale);

    /// [`Self::block`] of whole blocks, for coders that do a step of all of them before the next. Implementations are
    /// `#[inline(always)]`.
    #[inline(always)]
    fn group(&self, blocks: &[[f32; LEN]; GROUP]) -> Coded<Self::Code, Self::Scale, WIDTH> {
        let mut codes = [[Self::Code::default(); WIDTH]; GROUP];
        let mut scales = [Self::Scale::default(); GROUP];
        for ((block, codes), scale) in blocks.iter().zip(&mut codes).zip(&mut scales) {
            (*codes, *scale) = self.block(block, LEN);
        }
        (codes, scales)
    }
}

/// Codes and scales of a group.
pub(crate) type Coded<X, S, const WIDTH: usize> = ([[X; WIDTH]; GROUP], [S; GROUP]);

/// Blocks that are made together, so that what they share is made ready once, and their scales are one vector.
pub(crate) const GROUP: usize = 8;

/// Whole blocks, compiled for each instruction set.
struct Group<'a, const LEN: usize, const WIDTH: usize, C> {
    blocks: &'a [[f32; LEN]; GROUP],
    coder: &'a C,
}

impl<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>> WithSimd for Group<'_, LEN, WIDTH, C> {
    type Output = Coded<C::Code, C::Scale, WIDTH>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        self.coder.group(self.blocks)
    }
}

/// One block, that is perhaps not full.
struct Single<'a, const LEN: usize, const WIDTH: usize, C> {
    values: &'a [f32],
    coder: &'a C,
}

impl<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>> WithSimd for Single<'_, LEN, WIDTH, C> {
    type Output = ([C::Code; WIDTH], C::Scale);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let mut block = [0f32; LEN];
        block[..self.values.len()].copy_from_slice(self.values);
        self.coder.block(&block, self.values.len())
    }
}

/// Blocks of one row, the last perhaps not full, in groups.
fn encode_row<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>>(
    values: &[f32],
    coder: &C,
) -> (Vec<C::Code>, Vec<C::Scale>) {
    let arch = Arch::new();
    let groups = values.as_chunks::<LEN>().0.as_chunks::<GROUP>().0;
    let rest = &values[groups.len() * GROUP * LEN..];
    let group = |index: usize| match groups.get(index) {
        Some(blocks) => arch.dispatch(Group { blocks, coder }),
        None => {
            let mut codes = [[C::Code::default(); WIDTH]; GROUP];
            let mut scales = [C::Scale::default(); GROUP];
            for ((values, codes), scale) in rest.chunks(LEN).zip(&mut codes).zip(&mut scales) {
                (*codes, *scale) = arch.dispatch(Single { values, coder });
            }
            (codes, scales)
        }
    };
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    let indices = (0..groups.len() + usize::from(!rest.is_empty())).into_par_iter();
    indices.with_min_len(TASK.div_ceil(GROUP * LEN)).map(group).unzip_into_vecs(&mut codes, &mut scales);
    let (mut codes, mut scales) = (codes.into_flattened().into_flattened(), scales.into_flattened());
    let blocks = values.len().div_ceil(LEN);
    codes.truncate(if WIDTH == LEN { values.len() } else { blocks * WIDTH });
    scales.truncate(blocks);
    (codes, scales)
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
        match self.columns.is_multiple_of(LEN) || self.columns == values.len() {
            // Rows of whole blocks are one long row.
            true => encode_row(values, coder),
            false => self.encode_rows(values, coder),
        }
    }

    /// Rows with a shorter block at their ends, each in one task.
    fn encode_rows<const LEN: usize, const WIDTH: usize, C: Coder<LEN, WIDTH>>(
        self,
        values: &[f32],
        coder: &C,
    ) -> (Vec<C::Code>, Vec<C::Scale>) {
        let arch = Arch::new();
        let (per_row, rows) = (self.per_row(), values.len() / self.columns);
        let width = if WIDTH == LEN { self.columns } else { per_row * WIDTH };
        let mut codes = vec![C::Code::default(); rows * width];
        let mut scales = vec![C::Scale::default(); rows * per_row];
        let rows = values.par_chunks(self.columns).zip(codes.par_chunks_mut(width));
        let rows = rows.zip(scales.par_chunks_mut(per_row)).with_min_len(TASK.div_ceil(self.columns));
        rows.for_each(|((values, codes), scales)| {
            let parts = values.chunks(LEN).zip(codes.chunks_mut(WIDTH)).zip(scales);
            for ((values, codes), scale) in parts {
                let (all, one) = arch.dispatch(Single { values, coder });
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

    /// Calls `f(block, offset, range)` for the parts of blocks that lie among `len` values from position `start` on: a
    /// block, where in it the part begins, and which of the `len` values are in it.
    #[inline(always)]
    pub(crate) fn parts(self, start: usize, len: usize, mut f: impl FnMut(usize, usize, Range<usize>)) {
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
