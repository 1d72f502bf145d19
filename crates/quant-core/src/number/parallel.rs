//! Loops over large slices on all threads. Results do not depend on how the slice is cut.

use rayon::prelude::*;

/// Values a task takes: 256 KiB of input, a few tasks for a layer and none for a bias.
const TASK: usize = 1 << 16;

/// `f(index, value)` of every value.
pub(crate) fn map<T: Send>(values: &[f32], f: impl Fn(usize, f32) -> T + Sync) -> Vec<T> {
    if values.len() <= TASK {
        return values.iter().enumerate().map(|(index, &x)| f(index, x)).collect();
    }
    values.par_iter().with_min_len(TASK).enumerate().map(|(index, &x)| f(index, x)).collect()
}

/// `f(index, code)` of every code.
pub(crate) fn map_bytes<T: Send>(codes: &[u8], f: impl Fn(usize, u8) -> T + Sync) -> Vec<T> {
    codes.par_iter().with_min_len(TASK).enumerate().map(|(index, &code)| f(index, code)).collect()
}

/// `f(row, values)` of every row of `columns` values.
pub(crate) fn rows(values: &mut [f32], columns: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = values.par_chunks_mut(columns.max(1)).with_min_len(TASK.div_ceil(columns.max(1)));
    rows.enumerate().for_each(|(row, values)| f(row, values));
}

/// Largest magnitude.
pub(crate) fn largest(values: &[f32]) -> f32 {
    let of = |part: &[f32]| part.iter().fold(0f32, |most, x| most.max(x.abs()));
    values.par_chunks(TASK).map(of).reduce(|| 0.0, f32::max)
}

/// The first position of a value that `wrong` says is one, looked for fast where there is none.
pub(crate) fn find(values: &[f32], wrong: impl Fn(f32) -> bool + Sync) -> Option<usize> {
    let clean = |part: &[f32]| !part.iter().fold(false, |found, &x| found | wrong(x));
    if values.par_chunks(TASK).all(clean) {
        return None;
    }
    values.iter().position(|&x| wrong(x))
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

    /// Calls `f(block, codes, scale)` for every block; `codes` is where its `width` codes go, `scale` its scale.
    /// With `width` zero there are as many codes as values.
    pub(crate) fn each<T: Send, S: Send>(
        self,
        values: &[f32],
        (codes, width): (&mut [T], usize),
        scales: &mut [S],
        f: impl Fn(&[f32], &mut [T], &mut S) + Sync,
    ) {
        if values.is_empty() {
            return;
        }
        // Rows of whole blocks are one long row, cut anywhere between blocks.
        let (blocks, columns) = match self.columns.is_multiple_of(self.len) {
            true => (TASK.div_ceil(self.len), TASK.next_multiple_of(self.len)),
            false => (self.per_row(), self.columns),
        };
        let (row, step) = if width == 0 { (columns, self.len) } else { (blocks * width, width) };
        let parts = values.par_chunks(columns).zip(codes.par_chunks_mut(row));
        parts.zip(scales.par_chunks_mut(blocks)).for_each(|((values, codes), scales)| {
            let parts = values.chunks(self.len).zip(codes.chunks_mut(step));
            parts.zip(scales).for_each(|((values, codes), scale)| f(values, codes, scale));
        });
    }
}
