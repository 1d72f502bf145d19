//! From values to blocks.

use super::super::blocked::{Blocks, Coded, Coder, GROUP};
use super::super::float::FP16;
use super::super::near::Near;
use super::super::parallel::{self, Watch, Wrong};
use super::super::round::{SIGNED_WHOLE, WHOLE};
use super::{GGUFS, Gguf, Statistic};
use crate::pack::{BYTES, squeeze};

/// Blocks of `GGUFS[ROW]`.
pub(super) fn blocks<const ROW: usize, const LEN: usize, const BYTES: usize>(
    values: &[f32],
    columns: usize,
) -> Result<Vec<u8>, Wrong> {
    let infinity = FP16.largest_code() + 1;
    let coder = Encoder::<ROW> { half_float: Near::new(&FP16, infinity), watch: Watch::default() };
    let (bytes, _) = Blocks { columns, len: LEN }.encode::<LEN, BYTES, _>(values, &coder);
    coder.watch.finish(bytes)
}

/// What the codes of a block share.
#[derive(Clone, Copy, Default)]
struct Scale {
    /// Stored: the step, and the smallest value if the format has one.
    step: i32,
    least: i32,
    /// Computed with: neither is rounded to what is stored.
    inverse: f32,
    minimum: f32,
}

/// Writes blocks of `GGUFS[ROW]`.
struct Encoder<const ROW: usize> {
    /// Rounds steps and minimums, without the branches of a conversion in software, which cost half of the time.
    half_float: Near,
    watch: Watch,
}

impl<const ROW: usize> Encoder<ROW> {
    /// Blocks with `count` values each. Extremes come first, then all scales in one vector, then codes.
    #[inline(always)]
    fn encode<const N: usize, const LEN: usize, const BYTES: usize>(
        &self,
        blocks: &[[f32; LEN]; N],
        count: usize,
    ) -> [[u8; BYTES]; N] {
        let format = const { GGUFS[ROW] };
        let (mut largest, mut smallest) = ([0f32; N], [0f32; N]);
        for ((block, largest), smallest) in blocks.iter().zip(&mut largest).zip(&mut smallest) {
            (*largest, *smallest) = format.extremes(block, count);
        }
        let wrong = |x: f32| !x.is_finite();
        self.watch.see(parallel::any(&largest, wrong) | parallel::any(&smallest, wrong));
        let mut scales = [Scale::default(); N];
        for ((scale, largest), minimum) in scales.iter_mut().zip(largest).zip(smallest) {
            let step = (largest - minimum) / format.steps();
            let (stored, least) = (self.half_float.code(step), self.half_float.code(minimum));
            *scale = Scale { step: stored, least, inverse: format.inverse(step), minimum };
        }
        let mut all = [[0u8; BYTES]; N];
        for ((block, scale), bytes) in blocks.iter().zip(&scales).zip(&mut all) {
            format.encode(block, scale, bytes);
        }
        all
    }
}

impl<const ROW: usize, const LEN: usize, const BYTES: usize> Coder<LEN, BYTES> for Encoder<ROW> {
    type Code = u8;
    type Scale = ();

    #[inline(always)]
    fn block(&self, values: &[f32; LEN], count: usize) -> ([u8; BYTES], ()) {
        let [bytes] = self.encode(std::array::from_ref(values), count);
        (bytes, ())
    }

    #[inline(always)]
    fn group(&self, blocks: &[[f32; LEN]; GROUP]) -> Coded<u8, (), BYTES> {
        (self.encode(blocks, LEN), [(); GROUP])
    }
}

impl Gguf {
    /// Largest and smallest of what a step is taken from, of the first `count` values; what is not finite stays so.
    #[inline(always)]
    fn extremes<const LEN: usize>(&self, values: &[f32; LEN], count: usize) -> (f32, f32) {
        match self.statistic {
            Statistic::Signed => (first_of_largest(values), 0.0),
            Statistic::Affine if count == LEN => range(values),
            Statistic::Affine => range(&values[..count]),
            Statistic::Largest { .. } => (f32::from_bits(parallel::largest_bits(values)), 0.0),
        }
    }

    /// What the distance of the extremes is divided by.
    const fn steps(&self) -> f32 {
        match self.statistic {
            Statistic::Signed => -(self.middle() as f32),
            Statistic::Affine => ((1i32 << self.bits) - 1) as f32,
            Statistic::Largest { steps, .. } => steps as f32,
        }
    }

    /// 0 of 0. Where it would be infinite, for a step below 2.9e-39, all codes are to be 0: so it is 0 too, but NaN where a
    /// code of 0 is not that of zeros.
    #[inline(always)]
    fn inverse(&self, step: f32) -> f32 {
        let none = if matches!(self.statistic, Statistic::Signed) && step != 0.0 { f32::NAN } else { 0.0 };
        let inverse = 1.0 / step;
        if inverse.is_finite() { inverse } else { none }
    }

    /// Writes `values` as multiples of the inverse's step above the minimum.
    #[inline(always)]
    fn encode<const LEN: usize>(&self, values: &[f32; LEN], scale: &Scale, bytes: &mut [u8]) {
        let most = ((1i32 << self.bits) - 1) as f32;
        let (step_at, codes_at) = self.places();
        bytes[step_at..step_at + 2].copy_from_slice(&scale.step.to_le_bytes()[..2]);
        if let Statistic::Affine = self.statistic {
            bytes[step_at + 2..step_at + 4].copy_from_slice(&scale.least.to_le_bytes()[..2]);
        }
        let (inverse, minimum) = (scale.inverse, scale.minimum);
        // One long loop makes codes and packs them: short loops over what it leaves become no vector instructions.
        let low = self.low() as usize;
        let mut codes = [0i32; LEN];
        let groups =
            values.chunks_exact(self.plane * 8 / low).zip(codes.chunks_exact_mut(self.plane * 8 / low));
        let packed = bytes[codes_at..codes_at + LEN * low / 8].chunks_exact_mut(self.plane);
        for ((values, codes), packed) in groups.zip(packed) {
            for (at, byte) in packed.iter_mut().enumerate() {
                let mut all = 0;
                for part in 0..8 / low {
                    let x = values[part * self.plane + at];
                    let code = match self.statistic {
                        Statistic::Signed => whole(x * inverse + (self.middle() as f32 + 0.5), most),
                        Statistic::Affine => whole((x - minimum) * inverse + 0.5, most),
                        Statistic::Largest { offset, .. } => nearest(x * inverse) + i32::from(offset),
                    };
                    codes[part * self.plane + at] = code;
                    all |= (code & ((1 << low) - 1)) << (part * low);
                }
                *byte = all as u8;
            }
        }
        if self.bits > self.low() {
            let codes = parallel::narrow(codes);
            for (high, codes) in bytes[codes_at - 4..codes_at].iter_mut().zip(codes.as_chunks::<8>().0) {
                *high = squeeze::<1>((u64::from_le_bytes(*codes) >> low) & BYTES) as u8;
            }
        }
    }
}

/// The sign of an f32.
const SIGN: u32 = 1 << 31;

/// The first of the numbers of largest magnitude; 0 of zeros.
#[inline(always)]
fn first_of_largest(values: &[f32]) -> f32 {
    // As integers, numbers above zero are in order, and with the sign flipped those below zero are; others are negative.
    let above = parallel::maximum(values, 0, |bits| bits as i32) as u32;
    let size = parallel::maximum(values, 0, |bits| (bits ^ SIGN) as i32) as u32;
    if above == size {
        // Both signs, which is rare, or zeros.
        return values.iter().copied().find(|x| x.to_bits() & !SIGN == above && above > 0).unwrap_or(0.0);
    }
    // Arithmetic and no choice: half of the blocks would take a branch, and no processor could tell which.
    f32::from_bits(above.max(size) | (u32::from(above < size) << 31))
}

/// Largest and smallest number.
#[inline(always)]
fn range(values: &[f32]) -> (f32, f32) {
    // Integers in the order of the numbers: a maximum of floats is not vectorized.
    let key = |bits: u32| bits as i32 ^ ((bits as i32 >> 31) & i32::MAX);
    let max = parallel::maximum(values, i32::MIN, key);
    let min = !parallel::maximum(values, i32::MIN, |bits| !key(bits));
    let number = |key: i32| f32::from_bits((key ^ ((key >> 31) & i32::MAX)) as u32);
    (number(max), number(min))
}

/// Towards zero, from 0 to `most`, which is below 2^22; 0 of NaN.
#[inline(always)]
fn whole(x: f32, most: f32) -> i32 {
    // One instruction each, which `max` and `min` are not: they have NaN to think of.
    let x = if x > 0.0 { x } else { 0.0 };
    let x = if x < most { x } else { most };
    let near = x + WHOLE;
    // Rounded to the nearest one, which may be above.
    near.to_bits() as i32 - WHOLE.to_bits() as i32 - i32::from(near - WHOLE > x)
}

/// To the nearest whole number, below 2^22 in size, halves away from zero.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    let near = x + SIGNED_WHOLE;
    // To even, so that a half is still to be added where it was taken away.
    let lost = x - (near - SIGNED_WHOLE);
    let sign = x.to_bits() as i32 >> 31;
    let more = if lost == 0.5f32.copysign(x) { sign | 1 } else { 0 };
    near.to_bits() as i32 - SIGNED_WHOLE.to_bits() as i32 + more
}
