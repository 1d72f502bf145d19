//! Blocks as GGUF files hold them, byte for byte those of the `gguf` package 0.19.
//!
//! All of ggml's simple formats are one shape: a statistic gives a step, codes are whole steps, and their low bits are
//! laid out in planes so that byte j holds the codes j, j + plane, ….
//! Codes are computed from the step in f32, whose inverse is rounded too; only then is the step stored, as fp16.
//! Ties go up or away from zero, never to even.

mod decode;
mod encode;

use super::parallel::Wrong;
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

/// A loop of its own for each row, in which all that differs between rows is a constant: a third of the time.
macro_rules! each_row {
    (@ $format:expr, $name:ident, $call:expr, $($row:literal)*) => {
        match GGUFS.iter().position(|row| row == $format) {
            $(Some($row) => {
                const $name: usize = $row;
                $call
            })*
            _ => panic!("{}: not a row of the table, so no loop is compiled for it", $format.name),
        }
    };
    ($format:expr, $name:ident => $call:expr) => {{
        const { assert!(GGUFS.len() == 6, "a loop for each row") };
        each_row!(@ $format, $name, $call, 0 1 2 3 4 5)
    }};
}

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
        each_row!(self, ROW => encode::blocks::<ROW, { GGUFS[ROW].len }, { GGUFS[ROW].bytes() }>(values, columns))
    }

    pub(crate) fn dequantize(&self, bytes: &[u8], len: usize, columns: usize) -> Vec<f32> {
        each_row!(self, ROW => decode::values::<ROW, { GGUFS[ROW].len }, { GGUFS[ROW].bytes() }>(bytes, len, columns))
    }

    /// The stored code of 0 under [`Statistic::Signed`].
    const fn middle(&self) -> i32 {
        1 << (self.bits - 1)
    }

    /// Where the step and where the low bits begin.
    const fn places(&self) -> (usize, usize) {
        let codes = self.len * self.low() as usize / 8;
        if self.step_last { (codes, 0) } else { (0, self.bytes() - codes) }
    }
}
