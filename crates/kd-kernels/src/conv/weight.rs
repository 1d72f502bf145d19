//! Gradients of the weight and the bias, with images in lanes.
//!
//! A task is a block of images: it copies inputs and gradients into vectors as the forward pass does, and keeps a
//! tile of weights in registers while it walks over all places. What the blocks give is added in their order, so
//! that the bits do not depend on who computed which block.

use super::Conv;
use super::gather::{Gather, Pad};
use super::images::{even, pack};
use crate::Isa;
use crate::buffer::{filled, with_scratch};
use crate::simd::{Kernel, Simd};

/// Output channels, and pairs of input channel and tap, of a tile at most.
const CHANNELS: usize = 4;
const PAIRS: usize = 6;

pub(super) fn run(isa: Isa, shape: &Conv, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (weights, channels, lanes) = (shape.weight_len(), shape.channels[1], isa.lanes());
    let (blocks, part) = (shape.batch.div_ceil(lanes), weights + channels);
    let gather = Gather::forward(shape);
    let (source, target) = (gather.source_len(), gather.target_len());
    if source == 0 || target == 0 {
        return (vec![0.0; weights], vec![0.0; channels]);
    }
    let planes = gather.from * gather.pad.size[0] * gather.pad.size[1] * lanes;
    let out = gather.to * gather.target[0] * gather.target[1] * lanes;
    // SAFETY: a block writes its gradient of every weight and of every bias.
    let parts = unsafe {
        filled(blocks * part, part, shape.parallel(), |block, to| {
            let images = lanes.min(shape.batch - block * lanes);
            let x = &x[block * lanes * source..][..images * source];
            let dy = &dy[block * lanes * target..][..images * target];
            with_scratch(planes + out, |scratch| {
                let (padded, out) = scratch.split_at_mut(planes);
                isa.run(Block { gather: &gather, x, dy, images, padded, out, dw: to, db: to.add(weights) });
            });
        })
    };
    add(&parts, weights, channels)
}

/// Sums, block after block, gradients of the weight and of the bias that follows it.
pub(super) fn add(parts: &[f32], weights: usize, channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut sum = vec![0.0; weights + channels];
    for part in parts.chunks(weights + channels) {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    let bias = sum.split_off(weights);
    (sum, bias)
}

struct Block<'a> {
    gather: &'a Gather,
    x: &'a [f32],
    dy: &'a [f32],
    images: usize,
    padded: &'a mut [f32],
    out: &'a mut [f32],
    dw: *mut f32,
    db: *mut f32,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { gather, x, dy, images, padded, out, dw, db } = self;
        let sweep = &gather.sweeps[0];
        let (source, target) =
            (gather.pad.source[0] * gather.pad.source[1], gather.target[0] * gather.target[1]);
        let plane = gather.pad.size[0] * gather.pad.size[1] * S::LANES;
        let offsets: Vec<usize> = (0..gather.from)
            .flat_map(|from| sweep.taps.iter().map(move |(at, _)| (from, at)))
            .map(|(from, at)| from * plane + (at[0] * gather.pad.size[1] + at[1]) * S::LANES)
            .collect();
        let (channels, pairs) = if S::REGISTERS >= 32 { (CHANNELS, PAIRS) } else { (3, 4) };
        let whole = Pad { source: gather.target, size: gather.target, before: [0; 2] };
        for group in 0..gather.groups {
            for from in 0..gather.from {
                let x = &x[(group * gather.from + from) * source..];
                let padded = &mut padded[from * plane..][..plane];
                // SAFETY: a plane of the source is in `x` for each image, a padded one in `padded`.
                unsafe {
                    pack::<S>(&gather.pad, x.as_ptr(), gather.source_len(), images, padded.as_mut_ptr())
                }
            }
            for to in 0..gather.to {
                let channel = group * gather.to + to;
                let dy = &dy[channel * target..];
                let out = &mut out[to * target * S::LANES..][..target * S::LANES];
                // SAFETY: a plane of the target is in `dy` for each image, a plane of vectors in `out`, and `db` has
                // a number for each channel.
                unsafe {
                    pack::<S>(&whole, dy.as_ptr(), gather.target_len(), images, out.as_mut_ptr());
                    let mut sum = S::splat(0.0);
                    for i in 0..target {
                        sum = S::add(sum, S::load(out.as_ptr().add(i * S::LANES)));
                    }
                    *db.add(channel) = S::sum(sum);
                }
            }
            for (first, width) in even(gather.to, channels) {
                for (pair, count) in even(offsets.len(), pairs) {
                    // SAFETY: pairs stay inside the padded planes for every place; `dw` has a row of pairs for
                    // each channel.
                    unsafe {
                        let x = (padded.as_ptr(), &offsets[pair..pair + count]);
                        let dy = out.as_ptr().add(first * target * S::LANES);
                        let to = dw.add((group * gather.to + first) * offsets.len() + pair);
                        macro_rules! tiles {
                            ($($channels:literal: $($pairs:literal)*;)*) => {
                                match (width, count) {
                                    $($(($channels, $pairs) => {
                                        tile::<S, $channels, $pairs>(gather, x, dy, (to, offsets.len()));
                                    })*)*
                                    other => unreachable!("no tile of {other:?} channels and pairs"),
                                }
                            };
                        }
                        tiles! { 1: 1 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6; 4: 1 2 3 4 5 6; }
                    }
                }
            }
        }
    }
}

/// Gradients of `O` channels for `T` pairs of input channel and tap, summed over all places of a block.
///
/// # Safety
///
/// Every place has each offset in the source; `dy` has `O` planes of vectors, `to` a row for each channel.
#[inline(always)]
unsafe fn tile<S: Simd, const O: usize, const T: usize>(
    gather: &Gather,
    (x, offsets): (*const f32, &[usize]),
    dy: *const f32,
    (to, to_step): (*mut f32, usize),
) {
    let sweep = &gather.sweeps[0];
    let plane = gather.target[0] * gather.target[1] * S::LANES;
    let step = sweep.source_step[1] * S::LANES;
    // SAFETY: as this function asks.
    unsafe {
        let mut at = [x; T];
        for (at, &offset) in at.iter_mut().zip(offsets) {
            *at = x.add(offset);
        }
        let mut sums = [[S::splat(0.0); T]; O];
        let mut dy = dy;
        for row in 0..gather.target[0] {
            let mut here = row * sweep.source_step[0] * gather.pad.size[1] * S::LANES;
            for _ in 0..gather.target[1] {
                let mut g = [S::splat(0.0); O];
                for (o, g) in g.iter_mut().enumerate() {
                    *g = S::load(dy.add(o * plane));
                }
                for t in 0..T {
                    let x = S::load(at[t].add(here));
                    for o in 0..O {
                        sums[o][t] = S::fma(x, g[o], sums[o][t]);
                    }
                }
                here += step;
                dy = dy.add(S::LANES);
            }
        }
        for (o, sums) in sums.iter().enumerate() {
            for (t, &sum) in sums.iter().enumerate() {
                *to.add(o * to_step + t) = S::sum(sum);
            }
        }
    }
}
