//! K of every M inputs, for each output on its own: 2 of 4 is what sparse tensor cores read.
//!
//! Each kept weight has its own input, so each costs a load where a block of four outputs shares one. Four outputs
//! are still multiplied together, a group of inputs at a time: the M vectors that they choose from stay in the first
//! cache. An index is one byte, counted within its group (Mishra et al., "Accelerating Sparse Deep Neural Networks",
//! arXiv 2104.08378, section 3.1, with two bits where K of M is 2 of 4).

use super::Sparse;
use super::error::{PatternError, check};
use super::panels::{Rows, TILE};
use crate::simd::Simd;

/// A weight `[outputs, inputs]` whose outputs keep the weights of at most `keep` of every `of` neighbouring inputs.
///
/// Each group stores exactly `keep` weights, the last one of `r < of` inputs `min(keep, r)`: those that are not zero,
/// and where there are fewer, zeros of its first inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    shape: [usize; 2],
    keep: usize,
    of: usize,
    /// Tile of four outputs, group, output, weight; outputs that are not there have zeros.
    values: Vec<f32>,
    /// The input of each value, within its group.
    indices: Vec<u8>,
}

impl Groups {
    /// Inputs of a group at most.
    pub const MOST: usize = 256;

    /// Stores a weight in row-major order that has the pattern.
    ///
    /// # Errors
    ///
    /// If the weight has another length than the shape says, the shape has no inputs, not 1 ≤ keep ≤ of ≤ 256, or a
    /// group has more than `keep` weights other than zero.
    pub fn new(weight: &[f32], shape: [usize; 2], keep: usize, of: usize) -> Result<Self, PatternError> {
        check("weight", weight.len(), shape)?;
        if !(1 <= keep && keep <= of && of <= Self::MOST) {
            return Err(PatternError::Keep { keep, of });
        }
        let [outputs, inputs] = shape;
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for first in (0..outputs).step_by(TILE) {
            for column in (0..inputs).step_by(of) {
                let len = of.min(inputs - column);
                for row in first..first + TILE {
                    let group = match row < outputs {
                        true => &weight[row * inputs + column..][..len],
                        false => &[0.0; Self::MOST][..len],
                    };
                    let found = group.iter().filter(|&&w| w != 0.0).count();
                    if found > keep {
                        return Err(PatternError::Group { row, column, found, keep, of });
                    }
                    let mut zeros = keep.min(len) - found;
                    for (index, &w) in group.iter().enumerate() {
                        if w != 0.0 || zeros > 0 {
                            zeros -= usize::from(w == 0.0);
                            values.push(w);
                            indices.push(index as u8);
                        }
                    }
                }
            }
        }
        Ok(Self { shape, keep, of, values, indices })
    }

    /// Inputs kept, and inputs of a group.
    pub fn pattern(&self) -> (usize, usize) {
        (self.keep, self.of)
    }

    /// Stored weights of an output: those of all groups.
    fn row(&self) -> usize {
        let inputs = self.shape[1];
        inputs / self.of * self.keep + self.keep.min(inputs % self.of)
    }

    /// Calls `each(row, column, value)` for every stored weight, the columns of a row ascending.
    pub(super) fn each(&self, mut each: impl FnMut(usize, usize, f32)) {
        let [outputs, inputs] = self.shape;
        let mut at = 0;
        for first in (0..outputs).step_by(TILE) {
            for column in (0..inputs).step_by(self.of) {
                let kept = self.keep.min(inputs - column);
                for row in first..first + TILE {
                    for _ in 0..kept {
                        if row < outputs {
                            each(row, column + usize::from(self.indices[at]), self.values[at]);
                        }
                        at += 1;
                    }
                }
            }
        }
    }
}

impl Sparse for Groups {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn kept(&self) -> usize {
        self.values.len()
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.values[..]) + self.indices.len()
    }

    fn to_dense(&self) -> Vec<f32> {
        let [outputs, inputs] = self.shape;
        let mut weight = vec![0.0; outputs * inputs];
        self.each(|row, column, value| weight[row * inputs + column] = value);
        weight
    }
}

impl Rows for Groups {
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize>(
        &self,
        tile: usize,
        (x, step): (*const f32, usize),
        start: [f32; TILE],
        to: *mut f32,
    ) {
        let (groups, rest) = (self.shape[1] / self.of, self.shape[1] % self.of);
        let len = TILE * self.row();
        let values = &self.values[tile * len..][..len];
        let indices = &self.indices[tile * len..][..len];
        // SAFETY: the panel has `V` vectors for each input, and indices stay in their group; the tile has `keep`
        // values and indices for each group and output, in the last group what is left; `to` has the tile's outputs.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; TILE];
            for (sums, &start) in sums.iter_mut().zip(&start) {
                *sums = [S::splat(start); V];
            }
            let kept = (values.as_ptr(), indices.as_ptr());
            // Loops of a known length have no branches: half of the time at two weights a group.
            match self.keep {
                1 => add::<S, V>(&mut sums, kept, 1, (x, step), (groups, self.of)),
                2 => add::<S, V>(&mut sums, kept, 2, (x, step), (groups, self.of)),
                4 => add::<S, V>(&mut sums, kept, 4, (x, step), (groups, self.of)),
                keep => add::<S, V>(&mut sums, kept, keep, (x, step), (groups, self.of)),
            }
            if rest > 0 {
                let done = groups * TILE * self.keep;
                let kept = (values.as_ptr().add(done), indices.as_ptr().add(done));
                let x = x.add(groups * self.of * step);
                add::<S, V>(&mut sums, kept, self.keep.min(rest), (x, step), (1, rest));
            }
            for r in 0..TILE {
                for v in 0..V {
                    S::store(to.add(r * step + v * S::LANES), sums[r][v]);
                }
            }
        }
    }
}

/// Adds the products of so many groups, of `keep` weights of `of` inputs each, to the sums of four outputs.
///
/// # Safety
///
/// There are `4·keep` values and indices below `of` for each group, and `V` vectors every `step` for each input.
#[inline(always)]
unsafe fn add<S: Simd, const V: usize>(
    sums: &mut [[S::V; V]; TILE],
    (values, indices): (*const f32, *const u8),
    keep: usize,
    (x, step): (*const f32, usize),
    (groups, of): (usize, usize),
) {
    // SAFETY: as this function asks.
    unsafe {
        for group in 0..groups {
            let x = x.add(group * of * step);
            for r in 0..TILE {
                for k in 0..keep {
                    let at = (group * TILE + r) * keep + k;
                    let w = S::splat(*values.add(at));
                    let x = x.add(usize::from(*indices.add(at)) * step);
                    for v in 0..V {
                        sums[r][v] = S::fma(S::load(x.add(v * S::LANES)), w, sums[r][v]);
                    }
                }
            }
        }
    }
}
