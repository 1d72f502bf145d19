//! Codes packed into bytes and back, as files of other tools hold them.
//!
//! Every public layout of codes without scales is one idea: fields of as many bits as a code has follow one another,
//! the lowest bit first, over a run of codes, and the end of the run is filled with zeros. They differ in what a run
//! is, what it is filled up to, and how a negative code becomes a field. So a [`Packing`] is a row of data, and one
//! function packs them all. Only trits, five in a byte, are digits of base 3 and not of base 2.
//!
//! Formats that keep scales among the codes are blocks and stand in [`number`](crate::number).
//!
//! ```
//! use quant_core::pack::{ONNX, PACK_QUANTIZED};
//!
//! let codes: [i8; 3] = [1, -2, 3];
//! assert_eq!(ONNX.pack(&codes, 1, 3, 4)?, [0xe1, 0x03]);
//! // Fields of 9, 6 and 11 in a word of 32 bits.
//! assert_eq!(PACK_QUANTIZED.pack(&codes, 1, 3, 4)?, [0x69, 0x0b, 0, 0]);
//! assert_eq!(PACK_QUANTIZED.unpack::<i8>(&[0x69, 0x0b, 0, 0], 1, 3, 4)?, codes);
//! # Ok::<(), quant_core::Error>(())
//! ```

mod bits;
mod code;
mod runs;
mod trits;

pub use code::Code;

use crate::Error;
use runs::Runs;

/// A layout of codes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packing {
    /// Name.
    pub name: &'static str,
    /// One line for lists.
    pub about: &'static str,
    /// What a code is written as.
    pub field: Field,
    /// Bits that a code may have.
    pub widths: &'static [u32],
    /// Codes that follow one another without a gap.
    pub run: Run,
    /// Bytes of a unit, of which a run takes whole ones: 4 where a file says `i32`. Words are little-endian.
    pub unit: usize,
    /// Whether the end of a run may be filled with zeros; without, only runs of whole units are legal.
    pub filled: bool,
}

/// How a code q of b bits is written. An unsigned code is its own field everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The low b bits of q.
    TwosComplement,
    /// q + 2^(b−1) for signed codes.
    Offset,
    /// A digit of base 3, q + 1 for signed codes: byte = Σ dᵢ·3ⁱ over five digits, the first code the lowest.
    Trit,
}

/// Which codes of a `[rows, columns]` matrix follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// All of them, row-major.
    Tensor,
    /// Those of a row; the result has the shape `[rows, units]`.
    Row,
    /// Those of a column; the result has the shape `[units, columns]`.
    Column,
}

/// Any width from 1 to 16 bits without any padding but to the last byte.
pub const CANONICAL: Packing = Packing {
    name: "canonical",
    about: "1 to 16 bits, lowest first, dense over the whole tensor",
    field: Field::TwosComplement,
    widths: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    run: Run::Tensor,
    unit: 1,
    filled: true,
};

/// `raw_data` of ONNX tensors: int4, uint4 and float4e2m1 two in a byte, int2 and uint2 (from opset 25) four in a
/// byte, float6 (from opset 28) four in three bytes, the first in the lowest bits; wider ones are plain.
///
/// Source: the comments of `TensorProto` in onnx.proto, and `onnx/numpy_helper.py` 1.23.
pub const ONNX: Packing = Packing {
    name: "onnx",
    about: "raw data of ONNX: int2, int4, float4, float6 and whole bytes, over the whole tensor",
    widths: &[2, 4, 6, 8, 16],
    ..CANONICAL
};

/// `weight_packed` of compressed-tensors' `pack-quantized`: i32 words of shape `[rows, ceil(columns · bits / 32)]`.
///
/// The package knows signed codes only, also in affine schemes, and stores q + 2^(b−1). An unsigned code with an
/// unsigned zero point, both less 2^(b−1), are its signed ones; so an unsigned code is stored as it is.
/// More than two axes are rows: all axes but the last.
///
/// Source: compressed-tensors 0.20, `compressors/pack_quantized/helpers.py`. Releases of 2024 and before filled words
/// that a code of 3, 5, 6 or 7 bits would cross; this is not that layout.
pub const PACK_QUANTIZED: Packing = Packing {
    name: "pack-quantized",
    about: "compressed-tensors: i32 words of codes + 2^(bits − 1), row by row",
    field: Field::Offset,
    widths: &[1, 2, 3, 4, 5, 6, 7, 8],
    run: Run::Row,
    unit: 4,
    filled: true,
};

/// `weight_zero_point` of `pack-quantized`: zero points `[rows, groups]` become i32 words of shape
/// `[ceil(rows · bits / 32), groups]`, so that the channels of a group share words.
///
/// Codes are those of [`PACK_QUANTIZED`]. Of more than two axes, each slice of the last two is packed by itself.
pub const PACK_QUANTIZED_ZERO_POINTS: Packing = Packing {
    name: "pack-quantized zero points",
    about: "compressed-tensors: i32 words of zero points + 2^(bits − 1), down the columns",
    run: Run::Column,
    ..PACK_QUANTIZED
};

/// `weight_packed` of `nvfp4-pack-quantized` and `mxfp4-pack-quantized` (two codes in a byte, the even column in the low
/// bits) and of `mxfp6-pack-quantized` (four codes in three bytes): u8 of shape `[rows, columns · bits / 8]`.
///
/// Codes are bit patterns, sign on top. A row has to end with a byte: an even number of columns for 4 bits, a multiple
/// of 4 for 6 bits.
///
/// Source: compressed-tensors 0.20, `compressors/nvfp4/helpers.py` and `compressors/mxfp6/helpers.py`.
pub const FLOAT_PACK_QUANTIZED: Packing = Packing {
    name: "float-pack-quantized",
    about: "compressed-tensors: fp4 and fp6 in bytes, rows of whole bytes",
    widths: &[4, 6],
    run: Run::Row,
    filled: false,
    ..CANONICAL
};

/// Ternary codes, five in a byte since 3⁵ = 243 ≤ 256: 1.6 bits a weight against log₂ 3 = 1.585. A layout of our own.
///
/// −1, 0, 1 or, unsigned, 0, 1, 2; their width counts as 2 bits. The end is filled with digits of 0. Bytes from 243 on
/// do not occur. (GGUF's TQ1_0 scales the same numbers by 256/243 and interleaves them.)
pub const TRITS: Packing = Packing {
    name: "trits",
    about: "ternary codes, five in a byte, over the whole tensor",
    field: Field::Trit,
    widths: &[2],
    ..CANONICAL
};

/// Every layout.
pub const PACKINGS: &[Packing] =
    &[CANONICAL, ONNX, PACK_QUANTIZED, PACK_QUANTIZED_ZERO_POINTS, FLOAT_PACK_QUANTIZED, TRITS];

impl Packing {
    /// The layout of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PACKINGS.iter().find(|packing| packing.name == name)
    }

    /// Bytes that `[rows, columns]` codes of `bits` bits take, padding included.
    pub fn bytes(&self, rows: usize, columns: usize, bits: u32) -> usize {
        let runs = Runs::new(self, rows, columns, bits);
        runs.count.saturating_mul(runs.bytes)
    }

    /// Shape of the packed tensor in units: `[units]`, `[rows, units]` or `[units, columns]`.
    pub fn shape(&self, rows: usize, columns: usize, bits: u32) -> Vec<usize> {
        let units = Runs::new(self, rows, columns, bits).bytes / self.unit;
        match self.run {
            Run::Tensor => vec![units],
            Run::Row => vec![rows, units],
            Run::Column => vec![units, columns],
        }
    }

    /// Smallest and largest code of `bits` bits.
    pub const fn limits(&self, bits: u32, signed: bool) -> (i32, i32) {
        match (self.field, signed) {
            (Field::Trit, true) => (-1, 1),
            (Field::Trit, false) => (0, 2),
            (_, true) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            (_, false) => (0, (1 << bits) - 1),
        }
    }

    /// Packs row-major `[rows, columns]` codes; whether they are signed is their type's business.
    ///
    /// # Errors
    ///
    /// [`Error::PackWidth`] for bits that the layout or the codes' type does not have, [`Error::Length`] for another
    /// number of codes, [`Error::PackColumns`] for rows that end within a byte and may not, [`Error::Code`] for a code
    /// out of range, with its row-major position.
    pub fn pack<C: Code>(
        &self,
        codes: &[C],
        rows: usize,
        columns: usize,
        bits: u32,
    ) -> Result<Vec<u8>, Error> {
        self.check::<C>(Some(codes.len()), rows, columns, bits)?;
        let mut bytes = vec![0; self.bytes(rows, columns, bits)];
        self.pack_into(codes, rows, columns, bits, &mut bytes)?;
        Ok(bytes)
    }

    /// The same into `bytes`, all of which are written. After an error what they hold is undefined.
    ///
    /// # Errors
    ///
    /// Those of [`pack`](Self::pack), and [`Error::PackLength`] for another number of bytes.
    pub fn pack_into<C: Code>(
        &self,
        codes: &[C],
        rows: usize,
        columns: usize,
        bits: u32,
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        self.check::<C>(Some(codes.len()), rows, columns, bits)?;
        self.check_bytes(bytes.len(), rows, columns, bits)?;
        let (qmin, qmax) = self.limits(bits, C::SIGNED);
        let runs = Runs::new(self, rows, columns, bits);
        let ok = match self.run {
            Run::Column => runs.pack_columns(codes, (qmin, qmax), bytes),
            _ => runs.pack(codes, (qmin, qmax), bytes),
        };
        if !ok && let Some(index) = code::outside(codes, qmin, qmax) {
            return Err(Error::Code { index, code: codes[index].to_i32(), qmin, qmax });
        }
        Ok(())
    }

    /// Row-major `[rows, columns]` codes from their bytes. What fills the end of a run is not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::PackWidth`] and [`Error::PackColumns`] as [`pack`](Self::pack), [`Error::PackLength`] for another
    /// number of bytes, [`Error::PackTrits`] for a byte that is no five trits.
    pub fn unpack<C: Code>(
        &self,
        bytes: &[u8],
        rows: usize,
        columns: usize,
        bits: u32,
    ) -> Result<Vec<C>, Error> {
        self.check::<C>(None, rows, columns, bits)?;
        self.check_bytes(bytes.len(), rows, columns, bits)?;
        let mut codes = vec![C::default(); rows * columns];
        self.unpack_into(bytes, rows, columns, bits, &mut codes)?;
        Ok(codes)
    }

    /// The same into `codes`.
    ///
    /// # Errors
    ///
    /// Those of [`unpack`](Self::unpack), and [`Error::Length`] for another number of codes.
    pub fn unpack_into<C: Code>(
        &self,
        bytes: &[u8],
        rows: usize,
        columns: usize,
        bits: u32,
        codes: &mut [C],
    ) -> Result<(), Error> {
        self.check::<C>(Some(codes.len()), rows, columns, bits)?;
        self.check_bytes(bytes.len(), rows, columns, bits)?;
        let runs = Runs::new(self, rows, columns, bits);
        let ok = match self.run {
            Run::Column => runs.unpack_columns(bytes, codes),
            _ => runs.unpack(bytes, codes),
        };
        if !ok && let Some(index) = bytes.iter().position(|&byte| byte >= trits::END) {
            return Err(Error::PackTrits { index, byte: bytes[index] });
        }
        Ok(())
    }

    fn check<C: Code>(
        &self,
        len: Option<usize>,
        rows: usize,
        columns: usize,
        bits: u32,
    ) -> Result<(), Error> {
        if !self.widths.contains(&bits) || bits > C::WIDTH {
            let expected = self.widths.iter().copied().filter(|width| *width <= C::WIDTH).collect();
            return Err(Error::PackWidth { packing: self.name, expected, found: bits });
        }
        if let Some(found) = len
            && rows.checked_mul(columns) != Some(found)
        {
            let expected = rows.saturating_mul(columns);
            return Err(Error::Length { shape: vec![rows, columns], expected, found });
        }
        let runs = Runs::new(self, rows, columns, bits);
        if !self.filled && !runs.whole() {
            let whole = (1..=8 * self.unit).find(|len| (len * bits as usize).is_multiple_of(8 * self.unit));
            let multiple = whole.unwrap_or(8 * self.unit);
            return Err(Error::PackColumns { packing: self.name, bits, multiple, found: runs.len });
        }
        Ok(())
    }

    fn check_bytes(&self, found: usize, rows: usize, columns: usize, bits: u32) -> Result<(), Error> {
        let expected = self.bytes(rows, columns, bits);
        match found == expected {
            true => Ok(()),
            false => {
                Err(Error::PackLength { packing: self.name, shape: [rows, columns], bits, expected, found })
            }
        }
    }
}
