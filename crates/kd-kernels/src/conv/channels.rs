//! Channels in lanes: a vector holds as many target channels of one place as it has lanes.
//!
//! A task is an image. It is copied into a padded scratch with the channels of a pixel side by side, a tile
//! broadcasts them against vectors of weights, and the result is turned back. The register tile is `P` neighbouring
//! places by `V` vectors of channels.

use super::gather::{Gather, Sweep};
use super::images::even;
use crate::Isa;
use crate::buffer::{filled, with_scratch};
use crate::simd::{Kernel, Simd};

/// Vectors of channels of a tile at most.
const VECTORS: usize = 2;

pub(super) fn run(
    isa: Isa,
    gather: &Gather,
    parallel: bool,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let lanes = isa.lanes();
    let (source, target) = (gather.source_len(), gather.target_len());
    if source == 0 || target == 0 {
        return vec![0.0; gather.batch * target];
    }
    let packed = Packed::new(gather, lanes, weight, bias);
    let padded = gather.pad.size[0] * gather.pad.size[1] * gather.from;
    let out = gather.target[0] * gather.target[1] * VECTORS * lanes;
    // SAFETY: an image's task writes its whole target: every place belongs to a sweep.
    unsafe {
        filled(gather.batch * target, target, parallel, |image, y| {
            let x = &x[image * source..][..source];
            with_scratch(padded + out, |scratch| {
                let (padded, out) = scratch.split_at_mut(padded);
                isa.run(Image { gather, packed: &packed, x, y, padded, out });
            });
        })
    }
}

/// The weight in the order in which tiles read it: sweep, group, vectors of channels, tap, source channel, channel;
/// channels that fill up a vector are zero.
struct Packed {
    weights: Vec<f32>,
    /// Start in `weights` of each sweep.
    sweeps: Vec<usize>,
    /// First channel and vectors of each tile of target channels.
    tiles: Vec<(usize, usize)>,
    /// Bias of each group's channels, filled up to whole vectors.
    bias: Vec<f32>,
}

impl Packed {
    fn new(gather: &Gather, lanes: usize, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let vectors = gather.to.div_ceil(lanes);
        let tiles: Vec<_> = even(vectors, VECTORS).map(|(first, count)| (first * lanes, count)).collect();
        let (mut weights, mut sweeps) = (Vec::new(), Vec::new());
        for sweep in &gather.sweeps {
            sweeps.push(weights.len());
            for group in 0..gather.groups {
                for &(first, count) in &tiles {
                    for &(_, tap) in &sweep.taps {
                        for from in 0..gather.from {
                            weights.extend((first..first + count * lanes).map(|to| {
                                if to < gather.to {
                                    weight[gather.weight(group, from, to) + tap]
                                } else {
                                    0.0
                                }
                            }));
                        }
                    }
                }
            }
        }
        let filled = vectors * lanes;
        let mut all = vec![0.0; gather.groups * filled];
        if let Some(bias) = bias {
            for group in 0..gather.groups {
                all[group * filled..][..gather.to].copy_from_slice(&bias[group * gather.to..][..gather.to]);
            }
        }
        Self { weights, sweeps, tiles, bias: all }
    }
}

/// One image.
struct Image<'a> {
    gather: &'a Gather,
    packed: &'a Packed,
    x: &'a [f32],
    y: *mut f32,
    padded: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Image<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { gather, packed, x, y, padded, out } = self;
        let target = gather.target[0] * gather.target[1];
        let source = gather.pad.source[0] * gather.pad.source[1];
        let filled = gather.to.div_ceil(S::LANES) * S::LANES;
        let mut offsets = Vec::new();
        for group in 0..gather.groups {
            let x = &x[group * gather.from * source..][..gather.from * source];
            // SAFETY: `padded` has all channels of a group for each padded pixel.
            unsafe { pack::<S>(gather, x, padded) }
            for &(first, vectors) in &packed.tiles {
                for (sweep, &start) in gather.sweeps.iter().zip(&packed.sweeps) {
                    offsets.clear();
                    let offset = |at: [usize; 2]| (at[0] * gather.pad.size[1] + at[1]) * gather.from;
                    offsets.extend(sweep.taps.iter().map(|&(at, _)| offset(at)));
                    let area = gather.from * sweep.taps.len();
                    let start = start + (group * filled + first) * area;
                    let weights = &packed.weights[start..start + vectors * S::LANES * area];
                    let bias = &packed.bias[group * filled + first..][..vectors * S::LANES];
                    // SAFETY: the taps of a sweep stay inside the padded image, its places inside the target.
                    unsafe {
                        sweep_tile::<S>(gather, sweep, (padded, &offsets), (weights, bias, vectors), out)
                    }
                }
                for v in 0..vectors {
                    let first_here = first + v * S::LANES;
                    let count = S::LANES.min(gather.to - first_here);
                    let mut q = 0;
                    while q < target {
                        let places = S::LANES.min(target - q);
                        // SAFETY: the sweeps filled `out`; `y` has a plane for each channel.
                        unsafe {
                            S::transpose(
                                out.as_ptr().add((q * vectors + v) * S::LANES),
                                vectors * S::LANES,
                                (places, count),
                                y.add((group * gather.to + first_here) * target + q),
                                target,
                                (count, places),
                            );
                        }
                        q += places;
                    }
                }
            }
        }
    }
}

/// The channels of a group into a padded image with the channels side by side.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn pack<S: Simd>(gather: &Gather, x: &[f32], padded: &mut [f32]) {
    let ([height, width], [_, cols]) = (gather.pad.source, gather.pad.size);
    let [top, left] = gather.pad.before;
    let channels = gather.from;
    assert!(padded.len() >= gather.pad.size[0] * cols * channels && x.len() >= channels * height * width);
    padded[..top * cols * channels].fill(0.0);
    padded[(top + height) * cols * channels..].fill(0.0);
    for r in 0..height {
        let row = &mut padded[(top + r) * cols * channels..][..cols * channels];
        row[..left * channels].fill(0.0);
        row[(left + width) * channels..].fill(0.0);
        for c in (0..channels).step_by(S::LANES) {
            let count = S::LANES.min(channels - c);
            for q in (0..width).step_by(S::LANES) {
                let pixels = S::LANES.min(width - q);
                // SAFETY: `count` channels have `pixels` more numbers in this row, and `row` as many pixels.
                unsafe {
                    S::transpose(
                        x.as_ptr().add((c * height + r) * width + q),
                        height * width,
                        (count, pixels),
                        row.as_mut_ptr().add((left + q) * channels + c),
                        channels,
                        (pixels, count),
                    );
                }
            }
        }
    }
}

/// All places of a sweep for one tile of target channels.
///
/// # Safety
///
/// See [`tile`], for every place of the sweep.
#[inline(always)]
unsafe fn sweep_tile<S: Simd>(
    gather: &Gather,
    sweep: &Sweep,
    (padded, offsets): (&[f32], &[usize]),
    (weights, bias, vectors): (&[f32], &[f32], usize),
    out: &mut [f32],
) {
    let most = if S::REGISTERS >= 32 { 12 } else { 6 };
    let step = sweep.source_step[1] * gather.from;
    let out_step = sweep.step[1] * vectors * S::LANES;
    for row in 0..sweep.count[0] {
        let x_row = row * sweep.source_step[0] * gather.pad.size[1] * gather.from;
        let out_row = (sweep.first[0] + row * sweep.step[0]) * gather.target[1] + sweep.first[1];
        for (col, places) in even(sweep.count[1], most) {
            // SAFETY: as this function asks.
            unsafe {
                let x = padded.as_ptr().add(x_row + col * step);
                let to = out.as_mut_ptr().add(out_row * vectors * S::LANES + col * out_step);
                let source = (x, step, gather.from, offsets);
                macro_rules! tiles {
                    ($($vectors:literal: $($places:literal)*;)*) => {
                        match (vectors, places) {
                            $($(($vectors, $places) => {
                                tile::<S, $vectors, $places>(source, weights.as_ptr(), bias, (to, out_step));
                            })*)*
                            other => unreachable!("no tile of {other:?} vectors and places"),
                        }
                    };
                }
                tiles! { 1: 1 2 3 4 5 6 7 8 9 10 11 12; 2: 1 2 3 4 5 6 7 8 9 10 11 12; }
            }
        }
    }
}

/// `V` vectors of target channels at `P` places: a source channel is broadcast against `V` vectors of weights.
///
/// # Safety
///
/// Every tap of every place has its channels in the source, `to` a tile of the target for each place; `weights` has
/// `taps · channels · V` vectors, `bias` has `V`.
#[inline(always)]
unsafe fn tile<S: Simd, const V: usize, const P: usize>(
    (x, step, channels, offsets): (*const f32, usize, usize, &[usize]),
    weights: *const f32,
    bias: &[f32],
    (to, out_step): (*mut f32, usize),
) {
    // SAFETY: as this function asks.
    unsafe {
        let mut start = [S::splat(0.0); V];
        for (v, start) in start.iter_mut().enumerate() {
            *start = S::load(bias.as_ptr().add(v * S::LANES));
        }
        let mut sums = [start; P];
        let mut weights = weights;
        for &offset in offsets {
            let x = x.add(offset);
            for c in 0..channels {
                let mut w = [S::splat(0.0); V];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = S::load(weights.add(v * S::LANES));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*x.add(p * step + c));
                    for v in 0..V {
                        sums[v] = S::fma(x, w[v], sums[v]);
                    }
                }
                weights = weights.add(V * S::LANES);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                S::store(to.add(p * out_step + v * S::LANES), sum);
            }
        }
    }
}
