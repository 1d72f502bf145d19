//! The product `y = x·Wᵀ + b` of a dense layer, for any batch: what sparse products are measured against.
//!
//! Outputs are in lanes. The weight is packed once, so that the weights of a tile of outputs for one input are
//! neighbours; inputs are read where they lie, and the output is written in its own order. So a batch of one wastes no
//! lane, and nothing is turned. The register tile is `R` rows of the batch by `V` vectors of outputs; inputs are
//! taken in blocks, so that the weights of a tile stay near while the rows of the batch go by.
//!
//! Every output starts from its bias and adds its products in the order of the inputs, each rounded once where the
//! machine has such an instruction. So neither the batch nor the number of threads changes a bit of it, and all
//! instruction sets but [`Isa::Scalar`] give the same ones.

pub mod reference;

use crate::Isa;
use crate::buffer::scattered;
use crate::conv::even;
use crate::simd::{Kernel, Simd};

/// Rows of the batch of a register tile at most.
const ROWS: usize = 4;
/// Inputs of a block.
const BLOCK: usize = 256;
/// Rows of the batch of a task.
const TASK: usize = 64;

/// Less work than this is not worth waking other threads for: some 20 µs.
pub(crate) const PARALLEL: usize = 1 << 20;

/// A weight `[outputs, inputs]` in the order in which an instruction set reads it.
#[derive(Debug, Clone)]
pub struct Packed {
    isa: Isa,
    shape: [usize; 2],
    /// First vector and number of vectors of each tile of outputs.
    tiles: Vec<(usize, usize)>,
    /// Tile, input, output; outputs that are not there have zeros.
    weights: Vec<f32>,
}

impl Packed {
    /// Packs the weight, row-major.
    ///
    /// # Panics
    ///
    /// If the weight has another length than the shape says, or the shape has no inputs.
    pub fn new(isa: Isa, weight: &[f32], shape: [usize; 2]) -> Self {
        let [outputs, inputs] = shape;
        assert!(inputs > 0, "expected at least one input, found a weight of {shape:?}");
        assert_eq!(weight.len(), outputs * inputs, "numbers of a weight of {shape:?}");
        let lanes = isa.lanes();
        let vectors = outputs.div_ceil(lanes);
        let tiles: Vec<_> = even(vectors, isa.run(Most)).collect();
        let mut weights = Vec::with_capacity(vectors * lanes * inputs);
        for &(first, count) in &tiles {
            for input in 0..inputs {
                for output in first * lanes..(first + count) * lanes {
                    weights.push(if output < outputs { weight[output * inputs + input] } else { 0.0 });
                }
            }
        }
        Self { isa, shape, tiles, weights }
    }

    /// Outputs and inputs.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }
}

/// `y [batch, outputs]` from `x [batch, inputs]` and perhaps a bias of each output, on the instruction set that the
/// weight was packed for.
///
/// # Panics
///
/// If `x` does not consist of whole rows, or the bias has not a number for each output.
pub fn forward(weight: &Packed, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let batch = batch(weight.shape, x, bias);
    let [outputs, inputs] = weight.shape;
    let chunks = batch.div_ceil(TASK);
    let parallel = batch * outputs * inputs > PARALLEL;
    // SAFETY: a task writes the outputs of its tile for its rows, and the tasks are all of them.
    let ([y], _) = unsafe {
        scattered([batch * outputs], weight.tiles.len() * chunks, parallel, |task, [y]| {
            let first = task % chunks * TASK;
            let rows = (first, TASK.min(batch - first));
            weight.isa.run(Task { weight, tile: task / chunks, rows, x, bias, y });
        })
    };
    y
}

/// Rows of `x`, after a check of the lengths.
pub(crate) fn batch(shape: [usize; 2], x: &[f32], bias: Option<&[f32]>) -> usize {
    let [outputs, inputs] = shape;
    assert!(x.len().is_multiple_of(inputs), "expected rows of {inputs} inputs, found {} numbers", x.len());
    if let Some(bias) = bias {
        assert_eq!(bias.len(), outputs, "numbers of the bias of a weight of {shape:?}");
    }
    x.len() / inputs
}

/// Vectors of a tile at most: with four others, rows of the batch here, outputs in sparse products, 6 fill 32 registers and
/// 3 fill 16.
pub(crate) struct Most;

impl Kernel for Most {
    type Output = usize;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> usize {
        if S::REGISTERS >= 32 { 6 } else { 3 }
    }
}

/// A tile of outputs for some rows of the batch.
struct Task<'a> {
    weight: &'a Packed,
    tile: usize,
    /// The first one and how many.
    rows: (usize, usize),
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    y: *mut f32,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { weight, tile, rows: (first, rows), x, bias, y } = self;
        let [outputs, inputs] = weight.shape;
        let (vector, count) = weight.tiles[tile];
        let output = vector * S::LANES;
        let weights = &weight.weights[output * inputs..][..count * S::LANES * inputs];
        let last = S::LANES.min(outputs - (output + (count - 1) * S::LANES));
        for block in (0..inputs).step_by(BLOCK) {
            let depth = BLOCK.min(inputs - block);
            for (row, height) in even(rows, ROWS) {
                let row = first + row;
                // SAFETY: `x` and `y` have the rows, `weights` the tile's for each input, the bias every output.
                unsafe {
                    let to = (y.add(row * outputs + output), outputs, last);
                    let start = match bias {
                        _ if block > 0 => Start::Sum,
                        Some(bias) => Start::Bias(bias.as_ptr().add(output)),
                        None => Start::Zero,
                    };
                    let x = (x.as_ptr().add(row * inputs + block), inputs, depth);
                    let w = weights.as_ptr().add(block * count * S::LANES);
                    macro_rules! tiles {
                        ($($height:literal: $($vectors:literal)*;)*) => {
                            match (height, count) {
                                $($(($height, $vectors) => product::<S, $height, $vectors>(x, w, start, to),)*)*
                                other => unreachable!("no tile of {other:?} rows and vectors"),
                            }
                        };
                    }
                    tiles! { 1: 1 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6; 4: 1 2 3 4 5 6; }
                }
            }
        }
    }
}

/// What a sum starts from.
#[derive(Clone, Copy)]
enum Start {
    Zero,
    Bias(*const f32),
    /// What earlier blocks of inputs put into the output.
    Sum,
}

/// `R` rows by `V` vectors of outputs, of which the last has `last` outputs.
///
/// # Safety
///
/// `x` has `depth` inputs in a row every `inputs`, `weights` `V` vectors for each, `y` the tile in a row every `outputs`.
#[inline(always)]
unsafe fn product<S: Simd, const R: usize, const V: usize>(
    (x, inputs, depth): (*const f32, usize, usize),
    weights: *const f32,
    start: Start,
    (y, outputs, last): (*mut f32, usize, usize),
) {
    // SAFETY: as this function asks.
    unsafe {
        let count = |v: usize| if v + 1 == V { last } else { S::LANES };
        let mut sums = [[S::splat(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = match start {
                    Start::Zero => S::splat(0.0),
                    Start::Bias(bias) => S::load_some(bias.add(v * S::LANES), count(v)),
                    Start::Sum => S::load_some(y.add(r * outputs + v * S::LANES), count(v)),
                };
            }
        }
        let mut weights = weights;
        for i in 0..depth {
            let mut w = [S::splat(0.0); V];
            for v in 0..V {
                w[v] = S::load(weights.add(v * S::LANES));
            }
            for r in 0..R {
                let x = S::splat(*x.add(r * inputs + i));
                for v in 0..V {
                    sums[r][v] = S::fma(x, w[v], sums[r][v]);
                }
            }
            weights = weights.add(V * S::LANES);
        }
        for r in 0..R {
            for v in 0..V {
                S::store_some(y.add(r * outputs + v * S::LANES), count(v), sums[r][v]);
            }
        }
    }
}
