//! What all patterns share: panels of the input, tasks, and the way back into the order of the output.
//!
//! A panel holds some rows of the batch for all inputs, the rows of an input as neighbours. A task is a panel and a
//! range of tiles of four outputs; it gathers its sums in scratch, rows of the batch in lanes, and turns them into the
//! output, a few tiles at a time.

use super::Sparse;
use crate::Isa;
use crate::buffer::{filled, scattered, with_scratch};
use crate::matmul::{Most, PARALLEL};
use crate::simd::{Kernel, Simd};

/// Outputs of a tile.
pub(super) const TILE: usize = 4;
/// Inputs of a panel that one task turns.
const TURNED: usize = 256;
/// Tiles of a task at most.
const TILES: usize = 64;
/// Tasks that there should be, so that threads that are given little find more.
pub(super) const TASKS: usize = 16;

/// How a pattern is multiplied.
pub(super) trait Rows: Sparse + Sync {
    /// The sums of a tile of outputs for `V` vectors of rows of the batch, from `start`.
    ///
    /// # Safety
    ///
    /// `x` is a panel: `V` vectors for each input, every `step` numbers. So is `to`, for each output of the tile. The
    /// machine has the instruction set. Implementations are `#[inline(always)]`.
    unsafe fn tile<S: Simd, const V: usize>(
        &self,
        tile: usize,
        x: (*const f32, usize),
        start: [f32; TILE],
        to: *mut f32,
    );

    /// The whole product for a batch so small that vectors of its rows would be mostly empty, where there is another
    /// way.
    fn few(&self, _isa: Isa, _batch: usize, _x: &[f32], _bias: Option<&[f32]>) -> Option<Vec<f32>> {
        None
    }
}

pub(super) fn forward<W: Rows>(
    isa: Isa,
    weight: &W,
    batch: usize,
    x: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let [outputs, inputs] = weight.shape();
    if batch * outputs == 0 {
        return Vec::new();
    }
    if let Some(y) = weight.few(isa, batch, x, bias) {
        return y;
    }
    let lanes = isa.lanes();
    let vectors = batch.div_ceil(lanes);
    let width = vectors.div_ceil(vectors.div_ceil(isa.run(Most)));
    let (panels, step) = (vectors.div_ceil(width), width * lanes);
    let parallel = weight.kept() * batch > PARALLEL;
    // SAFETY: a task writes all of its inputs' vectors.
    let packed = unsafe {
        filled(panels * inputs * step, TURNED * step, parallel, |task, to| {
            let rows = (task * TURNED, (panels * inputs).min((task + 1) * TURNED));
            isa.run(Turn { x, batch, inputs, rows, step, to });
        })
    };
    let tiles = outputs.div_ceil(TILE);
    let chunk = tiles.div_ceil(TASKS.div_ceil(panels)).min(TILES);
    let chunks = tiles.div_ceil(chunk);
    // SAFETY: a task writes its outputs for its rows of the batch, and the tasks are all of them.
    let ([y], _) = unsafe {
        scattered([batch * outputs], panels * chunks, parallel, |task, [y]| {
            let (panel, first) = (task / chunks, task % chunks * chunk);
            let tiles = (first, tiles.min(first + chunk));
            let rows = (panel * step, batch.min((panel + 1) * step));
            let x = &packed[panel * inputs * step..][..inputs * step];
            with_scratch(lanes * step, |sums| isa.run(Task { weight, tiles, rows, step, x, bias, sums, y }));
        })
    };
    y
}

/// A piece of the panels: inputs, counted through all panels, from the first up to the second of `rows`.
struct Turn<'a> {
    x: &'a [f32],
    batch: usize,
    inputs: usize,
    rows: (usize, usize),
    step: usize,
    to: *mut f32,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, batch, inputs, rows: (first, end), step, to } = self;
        let mut row = first;
        while row < end {
            let (panel, input) = (row / inputs, row % inputs);
            let len = (inputs - input).min(end - row);
            // Few rows of the batch at a time, and many of their inputs: memory is fetched ahead where it is read on.
            for v in (0..step).step_by(S::LANES) {
                let example = panel * step + v;
                let examples = S::LANES.min(batch.saturating_sub(example));
                for i in (0..len).step_by(S::LANES) {
                    let count = S::LANES.min(len - i);
                    // SAFETY: `x` has the examples' inputs, `to` the vectors of the inputs from the first on. Examples
                    // behind the last one are not read and become zeros.
                    unsafe {
                        let from = x.as_ptr().wrapping_add(example * inputs + input + i);
                        let to = to.add((row - first + i) * step + v);
                        S::transpose(from, inputs, (examples, count), to, step, (count, S::LANES));
                    }
                }
            }
            row += len;
        }
    }
}

/// Tiles of outputs for a panel.
struct Task<'a, W> {
    weight: &'a W,
    /// From the first up to the second.
    tiles: (usize, usize),
    /// Rows of the batch, from the first up to the second.
    rows: (usize, usize),
    step: usize,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    sums: &'a mut [f32],
    y: *mut f32,
}

impl<W: Rows> Kernel for Task<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the slices have what `products` and `turn` ask for, as `forward` cuts them.
        unsafe {
            match (self.rows.1 - self.rows.0).div_ceil(S::LANES) {
                1 => self.products::<S, 1>(),
                2 => self.products::<S, 2>(),
                3 => self.products::<S, 3>(),
                4 => self.products::<S, 4>(),
                5 => self.products::<S, 5>(),
                6 => self.products::<S, 6>(),
                other => unreachable!("no panel of {other} vectors"),
            }
        }
    }
}

impl<W: Rows> Task<'_, W> {
    /// # Safety
    ///
    /// The panel has `V` vectors for each input, and `sums` for each of as many outputs as there are lanes.
    #[inline(always)]
    unsafe fn products<S: Simd, const V: usize>(self) {
        let Self { weight, tiles: (first, end), rows: (row, rows), step, x, bias, sums, y } = self;
        let [outputs, _] = weight.shape();
        // As many tiles as turn into whole vectors of the output, so that it is written while products go on.
        let together = S::LANES / TILE;
        for group in (first..end).step_by(together) {
            let tiles = group..end.min(group + together);
            for tile in tiles.clone() {
                let mut start = [0.0; TILE];
                if let Some(bias) = bias {
                    for (start, &bias) in start.iter_mut().zip(&bias[tile * TILE..]) {
                        *start = bias;
                    }
                }
                let to = &mut sums[(tile - group) * TILE * step..][..TILE * step];
                // SAFETY: as this function asks.
                unsafe { weight.tile::<S, V>(tile, (x.as_ptr(), step), start, to.as_mut_ptr()) }
            }
            let output = group * TILE;
            let count = outputs.min(tiles.end * TILE) - output;
            for v in 0..V {
                let example = row + v * S::LANES;
                let examples = S::LANES.min(rows - example);
                // SAFETY: `sums` has the outputs' vectors, `y` a place for each example and output.
                unsafe {
                    let from = sums.as_ptr().add(v * S::LANES);
                    let to = y.add(example * outputs + output);
                    S::transpose(from, step, (count, S::LANES), to, outputs, (examples, count));
                }
            }
        }
    }
}
