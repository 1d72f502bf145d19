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
mod table;
mod trits;

pub(crate) use bits::{BYTES, squeeze};
pub use code::Code;
pub use table::{
    CANONICAL, FLOAT_PACK_QUANTIZED, ONNX, PACK_QUANTIZED, PACK_QUANTIZED_ZERO_POINTS, PACKINGS, TRITS,
};

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
