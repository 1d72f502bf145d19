//! Pixels in lanes, for kernels of one by one: a product of matrices in which both tensors stay as they lie in memory.
//!
//! Without taps, padding and stride, neighbouring pixels of a plane are neighbouring outputs. The forward pass and the
//! gradient of the input take an image per task; the gradient of the weight takes a block of images and keeps its sums
//! as vectors in scratch, which are added across only at the end.

use super::Conv;
use super::images::even;
use crate::Isa;
use crate::buffer::{filled, with_scratch};
use crate::simd::{Kernel, Simd};

/// Target channels, and vectors of pixels, of a tile at most.
const CHANNELS: usize = 4;
const VECTORS: usize = 6;
/// Images whose gradient of the weight one task sums up.
const BLOCK: usize = 8;
/// Pixels that a tile of that gradient adds up before its sums are put away.
const TOGETHER: usize = 256;

/// Whether this layout is for the shape.
pub(super) fn fits(shape: &Conv) -> bool {
    shape.kernel == [1; 2] && shape.stride == [1; 2] && shape.padding == [(0, 0); 2]
}

/// The forward pass, or with `backward` the gradient of the input.
pub(super) fn run(
    isa: Isa,
    shape: &Conv,
    backward: bool,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let [seen, made] = shape.group();
    let (from, to) = if backward { (made, seen) } else { (seen, made) };
    let tiles: Vec<_> = even(to, isa.run(Most).0).collect();
    let mut packed = Vec::with_capacity(weight.len());
    for group in 0..shape.groups {
        for &(first, width) in &tiles {
            for c in 0..from {
                for o in first..first + width {
                    let at =
                        if backward { (group * made + c) * seen + o } else { (group * made + o) * seen + c };
                    packed.push(weight[at]);
                }
            }
        }
    }
    let pixels = shape.input[0] * shape.input[1];
    let (source, target) = (shape.groups * from * pixels, shape.groups * to * pixels);
    if source == 0 || target == 0 {
        return vec![0.0; shape.batch * target];
    }
    // SAFETY: an image's task writes all its channels and pixels.
    unsafe {
        filled(shape.batch * target, target, shape.parallel(), |image, y| {
            let x = &x[image * source..][..source];
            isa.run(Image {
                groups: shape.groups,
                from,
                to,
                pixels,
                tiles: &tiles,
                packed: &packed,
                x,
                bias,
                y,
            });
        })
    }
}

/// Channels and vectors of a tile that fill the registers.
struct Most;

impl Kernel for Most {
    type Output = (usize, usize);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (usize, usize) {
        if S::REGISTERS >= 32 { (CHANNELS, VECTORS) } else { (3, 4) }
    }
}

struct Image<'a> {
    groups: usize,
    from: usize,
    to: usize,
    pixels: usize,
    tiles: &'a [(usize, usize)],
    packed: &'a [f32],
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    y: *mut f32,
}

impl Kernel for Image<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { groups, from, to, pixels, tiles, packed, x, bias, y } = self;
        let most = if S::REGISTERS >= 32 { VECTORS } else { 4 };
        for group in 0..groups {
            let x = &x[group * from * pixels..][..from * pixels];
            for (vector, count) in even(pixels.div_ceil(S::LANES), most) {
                let pixel = vector * S::LANES;
                // Only the last vector of a plane may have fewer pixels than lanes.
                let last = S::LANES.min(pixels - (pixel + (count - 1) * S::LANES));
                for &(first, width) in tiles {
                    let channel = group * to + first;
                    let mut start = [0.0; CHANNELS];
                    if let Some(bias) = bias {
                        start[..width].copy_from_slice(&bias[channel..channel + width]);
                    }
                    let w = &packed[channel * from..][..width * from];
                    // SAFETY: the pixels of every channel are in `x` and `y`, the tile's weights in `w`.
                    unsafe {
                        let source = (x.as_ptr().add(pixel), from, pixels);
                        let target = (y.add(channel * pixels + pixel), last);
                        macro_rules! tiles {
                            ($($channels:literal: $($vectors:literal)*;)*) => {
                                match (width, count) {
                                    $($(($channels, $vectors) => {
                                        tile::<S, $channels, $vectors>(source, w.as_ptr(), &start, target);
                                    })*)*
                                    other => unreachable!("no tile of {other:?} channels and vectors"),
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

/// `O` target channels at `V` vectors of pixels, of which the last has `last` pixels.
///
/// # Safety
///
/// `x` and `y` have the pixels in a plane every `plane` for each source and target channel, `weights` `channels · O`.
#[inline(always)]
unsafe fn tile<S: Simd, const O: usize, const V: usize>(
    (x, channels, plane): (*const f32, usize, usize),
    weights: *const f32,
    start: &[f32; CHANNELS],
    (y, last): (*mut f32, usize),
) {
    // SAFETY: as this function asks.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; O];
        for (sums, &start) in sums.iter_mut().zip(start) {
            *sums = [S::splat(start); V];
        }
        let (mut x, mut weights) = (x, weights);
        for _ in 0..channels {
            let mut w = [S::splat(0.0); O];
            for (o, w) in w.iter_mut().enumerate() {
                *w = S::splat(*weights.add(o));
            }
            for v in 0..V {
                let at = x.add(v * S::LANES);
                let x = if v + 1 == V && last < S::LANES { S::load_part(at, last) } else { S::load(at) };
                for o in 0..O {
                    sums[o][v] = S::fma(x, w[o], sums[o][v]);
                }
            }
            x = x.add(plane);
            weights = weights.add(O);
        }
        for (o, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let at = y.add(o * plane + v * S::LANES);
                if v + 1 == V && last < S::LANES { S::store_part(at, last, sum) } else { S::store(at, sum) }
            }
        }
    }
}

/// Gradients of the weight and of the bias.
pub(super) fn grad_weight(isa: Isa, shape: &Conv, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let ([from, to], weights, channels) = (shape.group(), shape.weight_len(), shape.channels[1]);
    let pixels = shape.input[0] * shape.input[1];
    let (source, target) = (shape.groups * from * pixels, shape.groups * to * pixels);
    if source == 0 || target == 0 {
        return (vec![0.0; weights], vec![0.0; channels]);
    }
    let (blocks, part) = (shape.batch.div_ceil(BLOCK), weights + channels);
    // SAFETY: a block writes its gradient of every weight and of every bias.
    let parts = unsafe {
        filled(blocks * part, part, shape.parallel(), |block, dw| {
            let images = BLOCK.min(shape.batch - block * BLOCK);
            let x = &x[block * BLOCK * source..][..images * source];
            let dy = &dy[block * BLOCK * target..][..images * target];
            with_scratch(weights * isa.lanes(), |sums| {
                isa.run(Block { groups: shape.groups, from, to, pixels, images, x, dy, sums, dw });
            });
        })
    };
    super::weight::add(&parts, weights, channels)
}

struct Block<'a> {
    groups: usize,
    from: usize,
    to: usize,
    pixels: usize,
    images: usize,
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    dw: *mut f32,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { groups, from, to, pixels, images, x, dy, sums, dw } = self;
        let (most_to, most_from) = if S::REGISTERS >= 32 { (CHANNELS, VECTORS) } else { (3, 4) };
        let (source, target) = (groups * from * pixels, groups * to * pixels);
        let db = dw.wrapping_add(groups * to * from);
        for channel in 0..groups * to {
            // SAFETY: `dy` has the channel's plane in each image, `db` a number for each channel.
            unsafe {
                let mut sum = S::splat(0.0);
                for image in 0..images {
                    let dy = dy.as_ptr().add(image * target + channel * pixels);
                    let mut i = 0;
                    while i < pixels {
                        sum = S::add(sum, S::load_part(dy.add(i), S::LANES.min(pixels - i)));
                        i += S::LANES;
                    }
                }
                *db.add(channel) = S::sum(sum);
            }
        }
        // Tiles inside images: an image's planes stay near while all tiles read them. Small ones go by the few, so that
        // a tile's sums are seldom fetched and put away.
        let few = (TOGETHER / pixels).clamp(1, images);
        for first in (0..images).step_by(few) {
            let area = (few.min(images - first), pixels);
            for group in 0..groups {
                let x = &x[first * source + group * from * pixels..];
                let dy = &dy[first * target + group * to * pixels..];
                for (o, width) in even(to, most_to) {
                    for (c, count) in even(from, most_from) {
                        // SAFETY: planes of the tile's channels are in `x` and `dy`; `sums` has a vector for each
                        // weight, here those of a row for each channel.
                        unsafe {
                            let x = x.as_ptr().add(c * pixels);
                            let dy = dy.as_ptr().add(o * pixels);
                            let sums = sums.as_mut_ptr().add(((group * to + o) * from + c) * S::LANES);
                            macro_rules! tiles {
                                ($($channels:literal: $($sources:literal)*;)*) => {
                                    match (width, count) {
                                        $($(($channels, $sources) => {
                                            product::<S, $channels, $sources>((x, source), (dy, target), area, (sums, from), first == 0);
                                        })*)*
                                        other => unreachable!("no tile of {other:?} channels"),
                                    }
                                };
                            }
                            tiles! { 1: 1 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6; 4: 1 2 3 4 5 6; }
                        }
                    }
                }
            }
        }
        for i in 0..groups * to * from {
            // SAFETY: `sums` has a vector and `dw` a number for each weight.
            unsafe { *dw.add(i) = S::sum(S::load(sums.as_ptr().add(i * S::LANES))) }
        }
    }
}

/// Adds products of `O` gradients' planes and `T` inputs' planes of some images to vectors of sums; the first images
/// start them.
///
/// # Safety
///
/// `x` has `T` planes and `dy` has `O` in each image, `sums` `T` vectors in a row every `row` vectors for each channel.
#[inline(always)]
unsafe fn product<S: Simd, const O: usize, const T: usize>(
    (x, source): (*const f32, usize),
    (dy, target): (*const f32, usize),
    (images, pixels): (usize, usize),
    (to, row): (*mut f32, usize),
    first: bool,
) {
    // SAFETY: as this function asks.
    unsafe {
        let mut sums = [[S::splat(0.0); T]; O];
        if !first {
            for (o, sums) in sums.iter_mut().enumerate() {
                for (t, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(to.add((o * row + t) * S::LANES));
                }
            }
        }
        for image in 0..images {
            let (x, dy) = (x.add(image * source), dy.add(image * target));
            let mut i = 0;
            while i < pixels {
                let count = S::LANES.min(pixels - i);
                let mut g = [S::splat(0.0); O];
                for (o, g) in g.iter_mut().enumerate() {
                    *g = S::load_some(dy.add(o * pixels + i), count);
                }
                for t in 0..T {
                    let x = S::load_some(x.add(t * pixels + i), count);
                    for o in 0..O {
                        sums[o][t] = S::fma(x, g[o], sums[o][t]);
                    }
                }
                i += S::LANES;
            }
        }
        for (o, sums) in sums.iter().enumerate() {
            for (t, &sum) in sums.iter().enumerate() {
                S::store(to.add((o * row + t) * S::LANES), sum);
            }
        }
    }
}
