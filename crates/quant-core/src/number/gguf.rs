//! Blocks as GGUF files hold them, byte for byte those of the `gguf` package 0.19.
//!
//! All of ggml's simple formats are one shape: a statistic gives a step, codes are whole steps, and their low bits are
//! laid out in planes so that byte j holds the codes j, j + plane, ….
//! Codes are computed from the step in f32, whose inverse is rounded too; only then is the step stored, as fp16.
//! Ties go up or away from zero, never to even.

use burn::tensor::f16;

use super::blocked::{Blocks, Coder};
use super::float::FP16;
use super::near::Near;
use super::parallel::{self, Watch, Wrong};
use crate::Error;
use crate::pack::{BYTES, squeeze};

/// A GGUF block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gguf {
    /// Name.
    pub name: &'static str,
    /// Values of a block.
    pub len: usize,
    /// Bits of a code.
    pub bits: u32,
    /// What the step is taken from.
    pub statistic: Statistic,
    /// Distance of codes that share a byte.
    pub plane: usize,
    /// Whether the step stands behind the codes.
    pub step_last: bool,
}

/// Where the step d of a block comes from, and codes q from it; 1/d is rounded, and 0 where d is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// d = v / −2^(b−1) for the first value v of largest magnitude; q = trunc(x · (1/d) + 2^(b−1) + 1/2).
    Signed,
    /// d = (max − min) / (2^b − 1); q = trunc((x − min) · (1/d) + 1/2). The minimum is stored as well.
    Affine,
    /// d = amax / n; q = round_half_away(x · (1/d)).
    Largest {
        /// Largest code, n.
        steps: u8,
        /// What is added to stored codes.
        offset: u8,
    },
}

const fn row(name: &'static str, bits: u32, statistic: Statistic) -> Gguf {
    Gguf { name, len: 32, bits, statistic, plane: 16, step_last: false }
}

/// The GGUF formats.
pub const GGUFS: &[Gguf] = &[
    row("q4_0", 4, Statistic::Signed),
    row("q4_1", 4, Statistic::Affine),
    row("q5_0", 5, Statistic::Signed),
    row("q5_1", 5, Statistic::Affine),
    row("q8_0", 8, Statistic::Largest { steps: 127, offset: 0 }),
    Gguf {
        len: 256,
        plane: 32,
        step_last: true,
        ..row("tq2_0", 2, Statistic::Largest { steps: 1, offset: 1 })
    },
];

/// No block is longer.
const LONGEST: usize = 256;

impl Gguf {
    /// Bytes of a block.
    pub const fn bytes(&self) -> usize {
        let minimum = matches!(self.statistic, Statistic::Affine);
        2 + 2 * minimum as usize + self.len * self.bits as usize / 8
    }

    /// Block and step, after the range.
    pub(crate) fn about(&self) -> String {
        let minimum =
            if matches!(self.statistic, Statistic::Affine) { ", plus a minimum (fp16)" } else { "" };
        format!(
            "in whole numbers times the scale (fp16) of {} values{minimum}; {} bytes a block; no NaN",
            self.len,
            self.bytes()
        )
    }

    /// Smallest and largest value of a code with the step 1 and the minimum 0.
    pub fn range(&self) -> (f32, f32) {
        let codes = 1u32 << self.bits;
        match self.statistic {
            Statistic::Signed => (-(codes as f32) / 2.0, codes as f32 / 2.0 - 1.0),
            Statistic::Affine => (0.0, codes as f32 - 1.0),
            Statistic::Largest { steps, .. } => (-f32::from(steps), f32::from(steps)),
        }
    }

    /// Bits that lie in planes; a fifth one lies apart.
    const fn low(&self) -> u32 {
        if self.bits == 5 { 4 } else { self.bits }
    }

    /// Bytes of the blocks of `rows` rows of `columns` values; each row begins a block.
    pub const fn bytes_of(&self, rows: usize, columns: usize) -> usize {
        rows.saturating_mul(columns.div_ceil(self.len).saturating_mul(self.bytes()))
    }

    /// Blocks of row-major `[rows, columns]` values as they stand in a file. A last block of a row that is not full is
    /// filled with zeros, which count in no statistic; GGUF itself has whole blocks only.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for another number of values, [`Error::NoCode`] for NaN and infinities.
    pub fn blocks_of(&self, values: &[f32], rows: usize, columns: usize) -> Result<Vec<u8>, Error> {
        if rows.checked_mul(columns) != Some(values.len()) {
            let expected = rows.saturating_mul(columns);
            return Err(Error::Length { shape: vec![rows, columns], expected, found: values.len() });
        }
        self.quantize(values, columns).map_err(|Wrong| {
            let index = values.iter().position(|x| !x.is_finite()).unwrap_or_default();
            Error::NoCode { format: self.name, index, value: values[index] }
        })
    }

    /// Row-major `[rows, columns]` values of blocks.
    ///
    /// # Errors
    ///
    /// [`Error::BlockLength`] for another number of bytes.
    pub fn values_of(&self, bytes: &[u8], rows: usize, columns: usize) -> Result<Vec<f32>, Error> {
        let expected = self.bytes_of(rows, columns);
        if bytes.len() != expected {
            let shape = [rows, columns];
            return Err(Error::BlockLength { format: self.name, shape, expected, found: bytes.len() });
        }
        Ok(self.dequantize(bytes, rows * columns, columns))
    }

    /// Blocks of rows of `columns` values, unless a value is not finite. A last block that is not full is filled with
    /// zeros, which count in no statistic.
    pub(crate) fn quantize(&self, values: &[f32], columns: usize) -> Result<Vec<u8>, Wrong> {
        // Each row has a loop of its own, in which all that differs between rows is a constant: a third of the time.
        macro_rules! rows {
            ($($row:literal)*) => {
                match GGUFS.iter().position(|row| row == self) {
                    $(Some($row) => {
                        blocks::<$row, { GGUFS[$row].len }, { GGUFS[$row].bytes() }>(values, columns)
                    })*
                    _ => panic!("{}: not a row of the table, so no loop is compiled for it", self.name),
                }
            };
        }
        const { assert!(GGUFS.len() == 6, "a loop for each row") };
        rows!(0 1 2 3 4 5)
    }

    pub(crate) fn dequantize(&self, bytes: &[u8], len: usize, columns: usize) -> Vec<f32> {
        Blocks { columns, len: self.len }.fill(len, |block, offset, values| {
            let bytes = &bytes[block * self.bytes()..][..self.bytes()];
            // The whole block, as everywhere but at the end of a row.
            if values.len() == self.len {
                return self.decode(bytes, values);
            }
            let mut all = [0f32; LONGEST];
            self.decode(bytes, &mut all[..self.len]);
            values.copy_from_slice(&all[offset..offset + values.len()]);
        })
    }

    /// `values`, of which the first `count` count.
    #[inline(always)]
    fn encode<const LEN: usize>(
        &self,
        values: &[f32; LEN],
        count: usize,
        half_float: &Near,
        bytes: &mut [u8],
    ) {
        let most = ((1i32 << self.bits) - 1) as f32;
        let half = (1 << (self.bits - 1)) as f32;
        let (step, minimum) = match self.statistic {
            Statistic::Signed => (first_of_largest(values) / -half, None),
            Statistic::Affine => {
                let (min, max) = if count == LEN { range(values) } else { range(&values[..count]) };
                ((max - min) / most, Some(min))
            }
            Statistic::Largest { steps, .. } => {
                (f32::from_bits(parallel::largest_bits(values)) / f32::from(steps), None)
            }
        };
        let (step_at, codes_at) = self.places();
        bytes[step_at..step_at + 2].copy_from_slice(&half_float.code(step).to_le_bytes()[..2]);
        if let Some(minimum) = minimum {
            bytes[step_at + 2..step_at + 4].copy_from_slice(&half_float.code(minimum).to_le_bytes()[..2]);
        }
        let (inverse, minimum) = (inverse(step), minimum.unwrap_or(0.0));
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
                        Statistic::Signed => whole(x * inverse + (half + 0.5), most),
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

    /// All values of a block.
    fn decode(&self, bytes: &[u8], values: &mut [f32]) {
        let (step_at, codes_at) = self.places();
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let step = half(step_at);
        let low = self.low();
        let mask = ((1u32 << low) - 1) as u8;
        let high = match self.bits > low {
            true => u32::from_le_bytes([
                bytes[codes_at - 4],
                bytes[codes_at - 3],
                bytes[codes_at - 2],
                bytes[codes_at - 1],
            ]),
            false => 0,
        };
        let mut codes = [0u8; LONGEST];
        let codes = &mut codes[..values.len()];
        let bytes = &bytes[codes_at..][..values.len() * low as usize / 8];
        let groups = codes.chunks_mut(self.plane * (8 / low as usize)).zip(bytes.chunks(self.plane));
        for (codes, bytes) in groups {
            for (index, codes) in codes.chunks_mut(self.plane).enumerate() {
                let shift = index as u32 * low;
                codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = (byte >> shift) & mask);
            }
        }
        if self.bits > low {
            codes.iter_mut().enumerate().for_each(|(i, code)| *code |= ((high >> i & 1) << low) as u8);
        }
        let each = values.iter_mut().zip(&*codes);
        match self.statistic {
            Statistic::Signed => {
                let middle = 1 << (self.bits - 1);
                each.for_each(|(value, &code)| *value = step * (i32::from(code) - middle) as f32);
            }
            Statistic::Affine => {
                let minimum = half(step_at + 2);
                each.for_each(|(value, &code)| *value = step * f32::from(code) + minimum);
            }
            Statistic::Largest { offset: 0, .. } => {
                each.for_each(|(value, &code)| *value = step * f32::from(code as i8));
            }
            Statistic::Largest { offset, .. } => {
                each.for_each(|(value, &code)| *value = step * (f32::from(code) - f32::from(offset)));
            }
        }
    }

    /// Where the step and where the low bits begin.
    const fn places(&self) -> (usize, usize) {
        let codes = self.len * self.low() as usize / 8;
        if self.step_last { (codes, 0) } else { (0, self.bytes() - codes) }
    }
}

/// Blocks of `GGUFS[ROW]`.
fn blocks<const ROW: usize, const LEN: usize, const BYTES: usize>(
    values: &[f32],
    columns: usize,
) -> Result<Vec<u8>, Wrong> {
    let infinity = FP16.largest_code() + 1;
    let coder = Encoder::<ROW> { half_float: Near::new(&FP16, infinity), watch: Watch::default() };
    let (bytes, _) = Blocks { columns, len: LEN }.encode::<LEN, BYTES, _>(values, &coder);
    coder.watch.finish(bytes)
}

/// Writes blocks of `GGUFS[ROW]`.
struct Encoder<const ROW: usize> {
    /// Rounds steps and minimums, without the branches of a conversion in software, which cost half of the time.
    half_float: Near,
    watch: Watch,
}

impl<const ROW: usize, const LEN: usize, const BYTES: usize> Coder<LEN, BYTES> for Encoder<ROW> {
    type Code = u8;
    type Scale = ();

    #[inline(always)]
    fn block(&self, values: &[f32; LEN], count: usize) -> ([u8; BYTES], ()) {
        self.watch.see(!parallel::finite(parallel::largest_bits(values)));
        let mut bytes = [0u8; BYTES];
        const { GGUFS[ROW] }.encode(values, count, &self.half_float, &mut bytes);
        (bytes, ())
    }
}

/// 0 of 0, and NaN where it would be infinite, for a step below 2.9e-39: then all codes are 0.
fn inverse(step: f32) -> f32 {
    let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
    if inverse.is_finite() { inverse } else { f32::NAN }
}

/// The sign of an f32.
const SIGN: u32 = 1 << 31;

/// The first of the numbers of largest magnitude; 0 of zeros.
#[inline(always)]
fn first_of_largest(values: &[f32]) -> f32 {
    // As signed integers, numbers above zero are above all others and in order; as unsigned ones, those below zero are.
    let (mut above, mut below) = (0i32, SIGN);
    for x in values {
        above = above.max(x.to_bits() as i32);
        below = below.max(x.to_bits());
    }
    let (above, size) = (above as u32, below & !SIGN);
    if above == size {
        // Both signs, which is rare, or zeros.
        return values.iter().copied().find(|x| x.to_bits() & !SIGN == above && above > 0).unwrap_or(0.0);
    }
    // A choice and no branch, which half of the blocks would take.
    f32::from_bits(if above > size { above } else { below })
}

/// Smallest and largest number.
#[inline(always)]
fn range(values: &[f32]) -> (f32, f32) {
    // Integers in the order of the numbers: a maximum of floats is not vectorized.
    let (mut min, mut max) = (i32::MAX, i32::MIN);
    for x in values {
        let bits = x.to_bits() as i32;
        let key = bits ^ ((bits >> 31) & i32::MAX);
        (min, max) = (min.min(key), max.max(key));
    }
    let number = |key: i32| f32::from_bits((key ^ ((key >> 31) & i32::MAX)) as u32);
    (number(min), number(max))
}

/// 2^23: adding it leaves a whole number.
const WHOLE: f32 = 8_388_608.0;

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

/// To the nearest whole number, from −255 to 255, halves away from zero; 0 of what is infinite or NaN.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    let size = x.abs();
    let size = if size < f32::INFINITY { size } else { 0.0 };
    let near = size + WHOLE;
    // To even, so that a half is still to be added where it was taken away.
    let size = (near.to_bits() as i32 + i32::from(size - (near - WHOLE) == 0.5)) & 0xff;
    // −size, where the sign is −1 in two's complement.
    let sign = x.to_bits() as i32 >> 31;
    (size ^ sign) - sign
}
