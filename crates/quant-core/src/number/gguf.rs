//! Blocks as GGUF files hold them, byte for byte those of the `gguf` package 0.19.
//!
//! All of ggml's simple formats are one shape: a statistic gives a step, codes are whole steps, and their low bits are
//! laid out in planes so that byte j holds the codes j, j + plane, ….
//! Codes are computed from the step in f32, whose inverse is rounded too; only then is the step stored, as fp16.
//! Ties go up or away from zero, never to even.

use burn::tensor::f16;

use super::parallel::{self, Blocks};
use crate::Error;

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
        if let Some(index) = parallel::find(values, |x| !x.is_finite()) {
            return Err(Error::NoCode { format: self.name, index, value: values[index] });
        }
        Ok(self.blocks(values, columns))
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

    /// Blocks of rows of `columns` values, and the values that they hold.
    pub(crate) fn quantize(&self, values: &[f32], columns: usize) -> (Vec<u8>, Vec<f32>) {
        let bytes = self.blocks(values, columns);
        let decoded = self.dequantize(&bytes, values.len(), columns);
        (bytes, decoded)
    }

    fn blocks(&self, values: &[f32], columns: usize) -> Vec<u8> {
        let blocks = Blocks { columns, len: self.len };
        let count = values.len().checked_div(columns).unwrap_or(0) * blocks.per_row();
        let mut bytes = vec![0u8; count * self.bytes()];
        let mut nothing = vec![(); count];
        blocks.each(values, (&mut bytes, self.bytes()), &mut nothing, |values, bytes, ()| {
            self.encode(values, bytes);
        });
        bytes
    }

    pub(crate) fn dequantize(&self, bytes: &[u8], len: usize, columns: usize) -> Vec<f32> {
        let per_row = columns.div_ceil(self.len);
        let mut values = vec![0f32; len];
        parallel::rows(&mut values, columns, |row, values| {
            let mut buffer = [0f32; LONGEST];
            for (block, values) in values.chunks_mut(self.len).enumerate() {
                let at = (row * per_row + block) * self.bytes();
                self.decode(&bytes[at..at + self.bytes()], &mut buffer);
                values.copy_from_slice(&buffer[..values.len()]);
            }
        });
        values
    }

    fn encode(&self, values: &[f32], bytes: &mut [u8]) {
        let mut codes = [0u8; LONGEST];
        let padded = values.iter().copied().chain(std::iter::repeat_n(0.0, self.len - values.len()));
        let each = codes.iter_mut().zip(padded);
        let most = (1i32 << self.bits) - 1;
        let (step, minimum) = match self.statistic {
            Statistic::Signed => {
                let half = (1 << (self.bits - 1)) as f32;
                let first = values.iter().fold(0f32, |most, &x| if x.abs() > most.abs() { x } else { most });
                let step = first / -half;
                let inverse = inverse(step);
                each.for_each(|(code, x)| *code = whole(x * inverse + (half + 0.5)).clamp(0, most) as u8);
                (step, None)
            }
            Statistic::Affine => {
                let min = values.iter().copied().fold(f32::INFINITY, f32::min);
                let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let step = (max - min) / most as f32;
                let inverse = inverse(step);
                each.for_each(|(code, x)| *code = whole((x - min) * inverse + 0.5).clamp(0, most) as u8);
                (step, Some(min))
            }
            Statistic::Largest { steps, offset } => {
                let step = super::codebook::largest(values) / f32::from(steps);
                let inverse = inverse(step);
                each.for_each(|(code, x)| {
                    *code = (whole((x * inverse).round()) as u8).wrapping_add(offset);
                });
                (step, None)
            }
        };
        let (step_at, codes_at) = self.places();
        bytes[step_at..step_at + 2].copy_from_slice(&f16::from_f32(step).to_le_bytes());
        if let Some(minimum) = minimum {
            bytes[step_at + 2..step_at + 4].copy_from_slice(&f16::from_f32(minimum).to_le_bytes());
        }
        if self.bits > self.low() {
            let high = (0..32).fold(0u32, |word, i| word | u32::from(codes[i] >> self.low()) << i);
            bytes[codes_at - 4..codes_at].copy_from_slice(&high.to_le_bytes());
        }
        let mask = ((1u32 << self.low()) - 1) as u8;
        for (index, code) in codes[..self.len].iter().enumerate() {
            let (byte, shift) = self.place(index);
            bytes[codes_at + byte] |= (code & mask) << shift;
        }
    }

    fn decode(&self, bytes: &[u8], values: &mut [f32]) {
        let (step_at, codes_at) = self.places();
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let step = half(step_at);
        let mask = ((1u32 << self.low()) - 1) as u8;
        let high = match self.bits > self.low() {
            true => u32::from_le_bytes([
                bytes[codes_at - 4],
                bytes[codes_at - 3],
                bytes[codes_at - 2],
                bytes[codes_at - 1],
            ]),
            false => 0,
        };
        for (index, value) in values[..self.len].iter_mut().enumerate() {
            let (byte, shift) = self.place(index);
            let low = (bytes[codes_at + byte] >> shift) & mask;
            let code = u32::from(low) | (high >> (index % 32) & 1) << self.low();
            *value = match self.statistic {
                Statistic::Signed => step * (code as i32 - (1 << (self.bits - 1))) as f32,
                Statistic::Affine => step * code as f32 + half(step_at + 2),
                Statistic::Largest { offset: 0, .. } => step * f32::from(code as u8 as i8),
                Statistic::Largest { offset, .. } => step * (code as f32 - f32::from(offset)),
            };
        }
    }

    /// Where the step and where the low bits begin.
    const fn places(&self) -> (usize, usize) {
        let codes = self.len * self.low() as usize / 8;
        if self.step_last { (codes, 0) } else { (0, self.bytes() - codes) }
    }

    /// Byte and shift of a code's low bits.
    const fn place(&self, index: usize) -> (usize, u32) {
        if self.low() == 8 {
            return (index, 0);
        }
        let together = self.plane * (8 / self.low() as usize);
        let (group, rest) = (index / together, index % together);
        (group * self.plane + rest % self.plane, (rest / self.plane) as u32 * self.low())
    }
}

fn inverse(step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { 1.0 / step }
}

/// Towards zero; 0 of what is infinite or NaN, which the inverse of a step below 2.9e-39 makes.
fn whole(x: f32) -> i32 {
    if x.is_finite() { x as i32 } else { 0 }
}
