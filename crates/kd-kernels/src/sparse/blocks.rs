//! Blocks of four outputs by one input, in the order in which they are multiplied.
//!
//! Four outputs that share an input share the search for it: a loaded vector of inputs serves four sums, as in a dense
//! product, and so a block that is kept costs about what its weights cost in a dense product. Blocks are stored by
//! rows of blocks (BSR of Im and Yelick, "Optimizing sparse matrix computations for register reuse", 2001), four values
//! and the input's index each: 20 bytes where a dense weight has 16.

use super::error::{PatternError, check};
use super::panels::{Rows, TILE};
use super::{Sparse, few};
use crate::Isa;
use crate::simd::Simd;

/// A weight `[outputs, inputs]` of which whole blocks of four outputs by one input are left out.
///
/// Block `(i, j)` is the weights of the outputs `4i .. 4i + 4` for input `j`; the last row of blocks has fewer outputs
/// where four does not divide them.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    shape: [usize; 2],
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Blocks {
    /// Outputs of a block.
    pub const ROWS: usize = TILE;

    /// Keeps every block that has a weight other than zero, from a weight in row-major order.
    ///
    /// Every weight has this form; only one pruned by blocks of 4×1 gains by it, as [`blocks`](Self::blocks) shows.
    ///
    /// # Errors
    ///
    /// If the weight has another length than the shape says, or the shape has no inputs.
    pub fn new(weight: &[f32], shape: [usize; 2]) -> Result<Self, PatternError> {
        check("weight", weight.len(), shape)?;
        let kept = |rows: std::ops::Range<usize>, column| {
            Ok(rows.into_iter().any(|row| weight[row * shape[1] + column] != 0.0))
        };
        Self::keep(weight, shape, kept)
    }

    /// Keeps the blocks that a mask keeps, zeros in them included; `true` is kept.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), of the mask too, and if the mask keeps a part of a block.
    pub fn with_mask(weight: &[f32], mask: &[bool], shape: [usize; 2]) -> Result<Self, PatternError> {
        check("weight", weight.len(), shape)?;
        check("mask", mask.len(), shape)?;
        let kept = |rows: std::ops::Range<usize>, column| {
            let at = |&row: &usize| mask[row * shape[1] + column];
            match (rows.clone().find(at), rows.into_iter().find(|row| !at(row))) {
                (Some(kept), Some(removed)) => Err(PatternError::Block { kept, removed, column }),
                (kept, _) => Ok(kept.is_some()),
            }
        };
        Self::keep(weight, shape, kept)
    }

    fn keep(
        weight: &[f32],
        shape: [usize; 2],
        kept: impl Fn(std::ops::Range<usize>, usize) -> Result<bool, PatternError>,
    ) -> Result<Self, PatternError> {
        let [outputs, inputs] = shape;
        let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for first in (0..outputs).step_by(TILE) {
            let rows = first..outputs.min(first + TILE);
            for column in 0..inputs {
                if kept(rows.clone(), column)? {
                    columns.push(column as u32);
                    values.extend(rows.clone().map(|row| weight[row * inputs + column]));
                    values.resize(columns.len() * TILE, 0.0);
                }
            }
            starts.push(columns.len());
        }
        Ok(Self { shape, starts, columns, values })
    }

    /// Blocks that are kept.
    pub fn blocks(&self) -> usize {
        self.columns.len()
    }

    /// For each row of blocks where it starts in [`columns`](Self::columns), and at last their number.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The input of each block, ascending in a row of blocks.
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// Four weights for each block; outputs that are not there have zeros.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Sparse for Blocks {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn kept(&self) -> usize {
        self.values.len()
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.starts[..]) + size_of_val(&self.columns[..]) + size_of_val(&self.values[..])
    }

    fn to_dense(&self) -> Vec<f32> {
        let [outputs, inputs] = self.shape;
        let mut weight = vec![0.0; outputs * inputs];
        for (tile, ends) in self.starts.windows(2).enumerate() {
            for block in ends[0]..ends[1] {
                for row in tile * TILE..outputs.min((tile + 1) * TILE) {
                    weight[row * inputs + self.columns[block] as usize] =
                        self.values[block * TILE + row % TILE];
                }
            }
        }
        weight
    }
}

impl Rows for Blocks {
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize>(
        &self,
        tile: usize,
        (x, step): (*const f32, usize),
        start: [f32; TILE],
        to: *mut f32,
    ) {
        let here = self.starts[tile]..self.starts[tile + 1];
        let (columns, values) =
            (&self.columns[here.clone()], &self.values[here.start * TILE..here.end * TILE]);
        // SAFETY: the panel has `V` vectors for each input, `to` for each output of the tile.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; TILE];
            for (sums, &start) in sums.iter_mut().zip(&start) {
                *sums = [S::splat(start); V];
            }
            for (&column, w) in columns.iter().zip(values.chunks_exact(TILE)) {
                let x = x.add(column as usize * step);
                let mut vectors = [S::splat(0.0); V];
                for v in 0..V {
                    vectors[v] = S::load(x.add(v * S::LANES));
                }
                for r in 0..TILE {
                    let w = S::splat(w[r]);
                    for v in 0..V {
                        sums[r][v] = S::fma(vectors[v], w, sums[r][v]);
                    }
                }
            }
            for r in 0..TILE {
                for v in 0..V {
                    S::store(to.add(r * step + v * S::LANES), sums[r][v]);
                }
            }
        }
    }

    fn few(&self, isa: Isa, batch: usize, x: &[f32], bias: Option<&[f32]>) -> Option<Vec<f32>> {
        few::forward(isa, self, batch, x, bias)
    }
}
