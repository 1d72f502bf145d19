//! Blocks for a batch of very few rows: the four outputs of a block are in lanes, instead of rows of the batch.
//!
//! Nothing is turned: inputs are read and outputs are written where they lie. Several tiles of outputs go side by side,
//! because a sum cannot go on before its last product is added, and one tile has no other sum to go on with.

use super::panels::{TASKS, TILE};
use super::{Blocks, Sparse};
use crate::Isa;
use crate::buffer::scattered;
use crate::matmul::PARALLEL;
use crate::simd::{Kernel, Simd};

/// Tiles side by side for one row of the batch; for more rows there are more sums of their own.
const SIDE: usize = 8;

/// The product, if the batch is at most a quarter of a vector: then four lanes are no worse than a whole vector.
pub(super) fn forward(
    isa: Isa,
    weight: &Blocks,
    batch: usize,
    x: &[f32],
    bias: Option<&[f32]>,
) -> Option<Vec<f32>> {
    if batch * TILE > isa.lanes() {
        return None;
    }
    let [outputs, _] = weight.shape();
    let tiles = outputs.div_ceil(TILE);
    let chunk = tiles.div_ceil(TASKS).next_multiple_of(SIDE);
    let parallel = weight.kept() * batch > PARALLEL;
    // SAFETY: a task writes the outputs of its tiles for every row of the batch, and the tasks are all of them.
    let ([y], _) = unsafe {
        scattered([batch * outputs], tiles.div_ceil(chunk), parallel, |task, [y]| {
            let tiles = (task * chunk, tiles.min((task + 1) * chunk));
            isa.run(Task { weight, tiles, batch, x, bias, y });
        })
    };
    Some(y)
}

/// Tiles of outputs for the whole batch.
struct Task<'a> {
    weight: &'a Blocks,
    /// From the first up to the second.
    tiles: (usize, usize),
    batch: usize,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    y: *mut f32,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `forward` gives whole rows, and tiles that there are.
        unsafe {
            match self.batch {
                1 => self.products::<S, 1, SIDE>(),
                2 => self.products::<S, 2, 4>(),
                3 => self.products::<S, 3, 2>(),
                4 => self.products::<S, 4, 2>(),
                other => unreachable!("no {other} rows in a quarter of a vector"),
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    ///
    /// The batch has `B` rows, and `y` a place for each of them and each output.
    #[inline(always)]
    unsafe fn products<S: Simd, const B: usize, const G: usize>(self) {
        let (first, end) = self.tiles;
        let together = first + (end - first) / G * G;
        // SAFETY: as this function asks.
        unsafe {
            for tile in (first..together).step_by(G) {
                self.tiles::<S, B, G>(tile);
            }
            for tile in together..end {
                self.tiles::<S, B, 1>(tile);
            }
        }
    }

    /// `G` tiles of outputs for `B` rows of the batch.
    ///
    /// # Safety
    ///
    /// As [`products`](Self::products), and the weight has the tiles.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const B: usize, const G: usize>(&self, tile: usize) {
        let [outputs, inputs] = self.weight.shape();
        let x = self.x.as_ptr();
        let (columns, values) = (self.weight.columns().as_ptr(), self.weight.values().as_ptr());
        let ends: [(usize, usize); G] = std::array::from_fn(|g| {
            let starts = self.weight.starts();
            (starts[tile + g], starts[tile + g + 1])
        });
        let common = ends.iter().map(|(start, end)| end - start).min().unwrap_or_default();
        // SAFETY: a block has four values and a column of `x`.
        unsafe {
            let mut sums = [[S::load_four([0.0; TILE].as_ptr()); B]; G];
            if let Some(bias) = self.bias {
                for (g, sums) in sums.iter_mut().enumerate() {
                    let mut start = [0.0; TILE];
                    for (start, &bias) in start.iter_mut().zip(&bias[(tile + g) * TILE..]) {
                        *start = bias;
                    }
                    *sums = [S::load_four(start.as_ptr()); B];
                }
            }
            for block in 0..common {
                for g in 0..G {
                    add::<S, B>(&mut sums[g], (columns, values), ends[g].0 + block, (x, inputs));
                }
            }
            for g in 0..G {
                for block in ends[g].0 + common..ends[g].1 {
                    add::<S, B>(&mut sums[g], (columns, values), block, (x, inputs));
                }
            }
            for (g, sums) in sums.iter().enumerate() {
                let output = (tile + g) * TILE;
                for (b, &sum) in sums.iter().enumerate() {
                    let y = self.y.add(b * outputs + output);
                    if outputs - output >= TILE {
                        S::store_four(y, sum);
                        continue;
                    }
                    let mut last = [0.0; TILE];
                    S::store_four(last.as_mut_ptr(), sum);
                    y.copy_from_nonoverlapping(last.as_ptr(), outputs - output);
                }
            }
        }
    }
}

/// Adds the products of a block to the sums of `B` rows.
///
/// # Safety
///
/// There are such a block and `B` rows of so many inputs. The machine has the instruction set.
#[inline(always)]
unsafe fn add<S: Simd, const B: usize>(
    sums: &mut [S::Four; B],
    (columns, values): (*const u32, *const f32),
    block: usize,
    (x, inputs): (*const f32, usize),
) {
    // SAFETY: as this function asks.
    unsafe {
        let w = S::load_four(values.add(block * TILE));
        let x = x.add(*columns.add(block) as usize);
        for b in 0..B {
            sums[b] = S::fma_four(w, *x.add(b * inputs), sums[b]);
        }
    }
}
