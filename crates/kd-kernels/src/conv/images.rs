//! Images in lanes: a vector holds the same pixel of as many images as it has lanes.
//!
//! A task is a block of images. It copies them, a channel and a row at a time, into a padded scratch where a pixel is
//! a vector, runs every gather as plain arithmetic of whole vectors by broadcast weights, and turns the result back.
//! The register tile is `O` target channels by `P` neighbouring places. No number of channels, stride or dilation
//! leaves a lane empty, only a batch that is no multiple of the lanes does.

use super::gather::{Gather, Pad, Sweep};
use crate::Isa;
use crate::buffer::{filled, with_scratch};
use crate::simd::{Kernel, Simd};

/// Target channels of a tile at most.
const CHANNELS: usize = 4;
/// Places of a tile at most.
const PLACES: usize = 6;

pub(super) fn run(
    isa: Isa,
    gather: &Gather,
    parallel: bool,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let lanes = isa.lanes();
    let packed = Packed::new(gather, isa.run(MostChannels), weight);
    let (source, target) = (gather.source_len(), gather.target_len());
    if source == 0 || target == 0 {
        return vec![0.0; gather.batch * target];
    }
    let most = isa.run(MostChannels);
    // SAFETY: a block writes the target of each of its images: every place belongs to a sweep.
    unsafe {
        filled(gather.batch * target, lanes * target, parallel, |block, y| {
            let images = lanes.min(gather.batch - block * lanes);
            let x = &x[block * lanes * source..][..images * source];
            let planes = gather.pad.size[0] * gather.pad.size[1];
            let out = most * gather.target[0] * gather.target[1];
            with_scratch((gather.from * planes + out) * lanes, |scratch| {
                let (padded, out) = scratch.split_at_mut(gather.from * planes * lanes);
                isa.run(Block { gather, packed: &packed, x, images, y, padded, out, bias });
            });
        })
    }
}

/// Target channels of a tile on this instruction set: with 16 vector registers, 3 × 4 fill them, with 32 4 × 6.
struct MostChannels;

impl Kernel for MostChannels {
    type Output = usize;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> usize {
        if S::REGISTERS >= 32 { CHANNELS } else { 3 }
    }
}

/// The weight in the order in which tiles read it: sweep, group, tile of channels, source channel, tap, channel.
struct Packed {
    weights: Vec<f32>,
    /// Start in `weights` of each sweep.
    sweeps: Vec<usize>,
    /// First channel and width of each tile of target channels.
    tiles: Vec<(usize, usize)>,
}

impl Packed {
    fn new(gather: &Gather, most: usize, weight: &[f32]) -> Self {
        let tiles = even(gather.to, most).collect::<Vec<_>>();
        let (mut weights, mut sweeps) = (Vec::with_capacity(weight.len()), Vec::new());
        for sweep in &gather.sweeps {
            sweeps.push(weights.len());
            for group in 0..gather.groups {
                for &(first, width) in &tiles {
                    for from in 0..gather.from {
                        for &(_, tap) in &sweep.taps {
                            let at = |to| weight[gather.weight(group, from, to) + tap];
                            weights.extend((first..first + width).map(at));
                        }
                    }
                }
            }
        }
        Self { weights, sweeps, tiles }
    }
}

/// Cuts `0..len` into as few pieces of at most `most` as there can be, of nearly the same size.
pub(crate) fn even(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = len.div_ceil(most.max(1));
    let (size, larger) = (len.checked_div(pieces).unwrap_or(0), len.checked_rem(pieces).unwrap_or(0));
    (0..pieces).map(move |i| (i * size + i.min(larger), size + usize::from(i < larger)))
}

/// The images of one block.
struct Block<'a> {
    gather: &'a Gather,
    packed: &'a Packed,
    x: &'a [f32],
    images: usize,
    y: *mut f32,
    padded: &'a mut [f32],
    out: &'a mut [f32],
    bias: Option<&'a [f32]>,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { gather, packed, x, images, y, padded, out, bias } = self;
        let (source, target) =
            (gather.pad.source[0] * gather.pad.source[1], gather.target[0] * gather.target[1]);
        let plane = gather.pad.size[0] * gather.pad.size[1] * S::LANES;
        let mut offsets = Vec::new();
        for group in 0..gather.groups {
            for from in 0..gather.from {
                let x = &x[(group * gather.from + from) * source..];
                let padded = &mut padded[from * plane..][..plane];
                // SAFETY: a plane of the source is in `x` for each image, a padded one in `padded`.
                unsafe {
                    pack::<S>(&gather.pad, x.as_ptr(), gather.source_len(), images, padded.as_mut_ptr())
                }
            }
            for &(first, width) in &packed.tiles {
                for (sweep, &start) in gather.sweeps.iter().zip(&packed.sweeps) {
                    offsets.clear();
                    offsets.extend(
                        sweep.taps.iter().map(|(at, _)| (at[0] * gather.pad.size[1] + at[1]) * S::LANES),
                    );
                    let area = gather.from * sweep.taps.len();
                    let start = start + (group * gather.to + first) * area;
                    let mut start_of = [0.0; CHANNELS];
                    if let Some(bias) = bias {
                        let first = group * gather.to + first;
                        start_of[..width].copy_from_slice(&bias[first..first + width]);
                    }
                    // SAFETY: the taps of a sweep stay inside the padded planes, its places inside the target.
                    unsafe {
                        sweep_tile::<S>(
                            gather,
                            sweep,
                            (padded.as_ptr(), plane, &offsets),
                            (packed.weights[start..start + width * area].as_ptr(), width, &start_of),
                            out.as_mut_ptr(),
                        );
                    }
                }
                for channel in 0..width {
                    // SAFETY: `y` has the target of each image; the sweeps filled `out`.
                    unsafe {
                        let out = out.as_ptr().add(channel * target * S::LANES);
                        let y = y.add((group * gather.to + first + channel) * target);
                        unpack::<S>(out, target, y, gather.target_len(), images);
                    }
                }
            }
        }
    }
}

/// One channel of a block of images into a padded plane of vectors.
///
/// # Safety
///
/// `x` has a plane of the source every `image_step` for each image, `padded` a padded plane of vectors.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(
    pad: &Pad,
    x: *const f32,
    image_step: usize,
    images: usize,
    padded: *mut f32,
) {
    let ([height, width], [rows, cols], [top, left]) = (pad.source, pad.size, pad.before);
    // SAFETY: rows and columns stay inside both planes; what is around the source is cleared.
    unsafe {
        // Without columns around it the source is one run of pixels.
        let (runs, run) = if width == cols { (1, height * width) } else { (height, width) };
        clear::<S>(padded, 0, top * cols);
        for r in 0..runs {
            let start = (top + r) * cols;
            clear::<S>(padded, start, start + left);
            let mut q = 0;
            while q < run {
                let count = S::LANES.min(run - q);
                S::transpose(
                    x.add(r * run + q),
                    image_step,
                    (images, count),
                    padded.add((start + left + q) * S::LANES),
                    S::LANES,
                    (count, S::LANES),
                );
                q += count;
            }
            if width < cols {
                clear::<S>(padded, start + left + width, start + cols);
            }
        }
        clear::<S>(padded, (top + height) * cols, rows * cols);
    }
}

/// Zeros in vectors `from..to`.
///
/// # Safety
///
/// `padded` has that many vectors.
#[inline(always)]
unsafe fn clear<S: Simd>(padded: *mut f32, from: usize, to: usize) {
    for i in from..to {
        // SAFETY: as this function asks.
        unsafe { S::store(padded.add(i * S::LANES), S::splat(0.0)) }
    }
}

/// A plane of vectors into one channel of a block of images.
///
/// # Safety
///
/// `out` has `target` vectors, `y` a plane of `target` numbers every `image_step` for each image.
#[inline(always)]
unsafe fn unpack<S: Simd>(out: *const f32, target: usize, y: *mut f32, image_step: usize, images: usize) {
    let mut q = 0;
    while q < target {
        let count = S::LANES.min(target - q);
        // SAFETY: `count` vectors are read and, for each image, `count` numbers written.
        unsafe {
            S::transpose(
                out.add(q * S::LANES),
                S::LANES,
                (count, S::LANES),
                y.add(q),
                image_step,
                (images, count),
            );
        }
        q += count;
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
    (padded, plane, offsets): (*const f32, usize, &[usize]),
    (weights, width, start): (*const f32, usize, &[f32; CHANNELS]),
    out: *mut f32,
) {
    let most = if S::REGISTERS >= 32 { PLACES } else { 4 };
    let out_plane = gather.target[0] * gather.target[1] * S::LANES;
    let (x_step, out_step) = (sweep.source_step[1] * S::LANES, sweep.step[1] * S::LANES);
    for row in 0..sweep.count[0] {
        let x_row = row * sweep.source_step[0] * gather.pad.size[1] * S::LANES;
        let out_row = ((sweep.first[0] + row * sweep.step[0]) * gather.target[1] + sweep.first[1]) * S::LANES;
        for (col, places) in even(sweep.count[1], most) {
            // SAFETY: as this function asks.
            unsafe {
                let source = Source {
                    at: padded.add(x_row + col * x_step),
                    plane,
                    step: x_step,
                    channels: gather.from,
                    offsets,
                };
                let target =
                    Target { at: out.add(out_row + col * out_step), plane: out_plane, step: out_step };
                macro_rules! tiles {
                    ($($channels:literal: $($places:literal)*;)*) => {
                        match (width, places) {
                            $($(($channels, $places) => {
                                tile::<S, $channels, $places>(&source, weights, start, &target);
                            })*)*
                            other => unreachable!("no tile of {other:?} channels and places"),
                        }
                    };
                }
                tiles! { 1: 1 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6; 4: 1 2 3 4 5 6; }
            }
        }
    }
}

struct Source<'a> {
    at: *const f32,
    plane: usize,
    step: usize,
    channels: usize,
    offsets: &'a [usize],
}

struct Target {
    at: *mut f32,
    plane: usize,
    step: usize,
}

/// `O` target channels at `P` places: `O · P` sums in registers, a weight broadcast and a vector loaded per tap.
///
/// # Safety
///
/// Every tap of every place and source channel is in the source, every place and channel in the target; `weights` has
/// `channels · taps · O` numbers.
#[inline(always)]
unsafe fn tile<S: Simd, const O: usize, const P: usize>(
    source: &Source<'_>,
    weights: *const f32,
    start: &[f32; CHANNELS],
    target: &Target,
) {
    // SAFETY: as this function asks.
    unsafe {
        let mut sums = [[S::splat(0.0); P]; O];
        for (sums, &start) in sums.iter_mut().zip(start) {
            *sums = [S::splat(start); P];
        }
        let mut weights = weights;
        let mut plane = source.at;
        for _ in 0..source.channels {
            for &offset in source.offsets {
                let x = plane.add(offset);
                let mut w = [S::splat(0.0); O];
                for (o, w) in w.iter_mut().enumerate() {
                    *w = S::splat(*weights.add(o));
                }
                for p in 0..P {
                    let x = S::load(x.add(p * source.step));
                    for o in 0..O {
                        sums[o][p] = S::fma(x, w[o], sums[o][p]);
                    }
                }
                weights = weights.add(O);
            }
            plane = plane.add(source.plane);
        }
        for (o, sums) in sums.iter().enumerate() {
            for (p, &sum) in sums.iter().enumerate() {
                S::store(target.at.add(o * target.plane + p * target.step), sum);
            }
        }
    }
}
