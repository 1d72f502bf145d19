//! One tensor into one format, with everything that a file needs to hold it.

use super::codebook::{self, Rule};
use super::parallel::{self, Blocks};
use super::{BlockScale, Float, FloatRounder, IntRounder, Number, Numerics, Rounding, Unsigned};
use crate::Error;

/// Codes, one a number, and what they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// Codes.
    pub codes: Codes,
    /// Shape of the codes: the tensor's, but for GGUF, where bytes of blocks replace the last axis.
    pub shape: Vec<usize>,
    /// Values of the codes, in the tensor's shape.
    pub decoded: Vec<f32>,
    /// Scales with their shape, of formats that keep them apart from the codes.
    pub scales: Option<(Scales, Vec<usize>)>,
    /// The scale of all scales.
    pub global_scale: Option<f32>,
}

/// Codes in the smallest integers that hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codes {
    /// Codes in the low bits, or GGUF's blocks.
    U8(Vec<u8>),
    /// Signed integers, signs and powers of two.
    I8(Vec<i8>),
    /// Bit patterns of 16-bit formats.
    I16(Vec<i16>),
    /// Bit patterns of f32 with zeros at the end.
    I32(Vec<i32>),
}

/// Scales.
#[derive(Debug, Clone, PartialEq)]
pub enum Scales {
    /// Codes of e8m0 or ue4m3.
    Codes(Vec<u8>),
    /// Numbers.
    F32(Vec<f32>),
}

/// Casts row-major `values` of `shape` to `number` as `numerics` say, or else the profile that is the format's home.
///
/// Blocks run along the last axis and rows are all before it; the last block of a row may be shorter. Scales have
/// the shape `[rows, blocks]`, those of rows `[rows]`, that of a tensor `[1]`.
///
/// # Errors
///
/// [`Error::Length`] for a shape that does not fit, [`Error::Undefined`] for a profile without the format,
/// [`Error::NoCode`] for NaN where there is none, and for an infinity where a scale would be infinite,
/// [`Error::Negative`] for a number below zero in `ue4m3`.
pub fn cast(
    values: &[f32],
    shape: &[usize],
    number: Number,
    numerics: Option<&Numerics>,
) -> Result<Cast, Error> {
    let expected = shape.iter().product();
    if values.len() != expected {
        return Err(Error::Length { shape: shape.to_vec(), expected, found: values.len() });
    }
    let numerics = numerics.unwrap_or(number.home());
    numerics.check(number)?;
    refuse(values, number, numerics)?;
    let columns = shape.last().copied().unwrap_or(1);
    let rows: usize = shape[..shape.len().saturating_sub(1)].iter().product();
    let plain =
        |codes, decoded| Cast { codes, shape: shape.to_vec(), decoded, scales: None, global_scale: None };
    Ok(match number {
        Number::Float(float) => {
            let rule = numerics.rule(float.name).ok_or(Error::Undefined {
                format: float.name,
                numerics: numerics.name,
                defined: Vec::new(),
            })?;
            let (codes, decoded) = floats(values, float, &FloatRounder::new(float, rule));
            plain(codes, decoded)
        }
        Number::Int(int) => {
            let codes = IntRounder::new(int, Rounding::NearestEven).codes(values, |code| code);
            let decoded = codes.iter().map(|&code| code as f32).collect();
            let codes = match (int.bits > 8, int.signed) {
                (true, _) => Codes::I16(codes.into_iter().map(|code| code as i16).collect()),
                (false, true) => Codes::I8(codes.into_iter().map(|code| code as i8).collect()),
                (false, false) => Codes::U8(codes.into_iter().map(|code| code as u8).collect()),
            };
            plain(codes, decoded)
        }
        Number::Codebook(row) => match row.rule {
            Rule::Table { values: table, block } => {
                let blocks = Blocks { columns, len: block };
                let (codes, scales) = codebook::table(values, table, blocks);
                let per_row = blocks.per_row();
                let decoded = parallel::map_bytes(&codes, |index, code| {
                    let scale = scales[index / columns * per_row + index % columns / block];
                    table[usize::from(code)] * scale
                });
                let scales = Some((Scales::F32(scales), vec![rows, per_row]));
                Cast { scales, ..plain(Codes::U8(codes), decoded) }
            }
            Rule::Ternary => {
                let (codes, scale) = codebook::ternary(values);
                let decoded = codes.iter().map(|&code| f32::from(code) * scale).collect();
                Cast { scales: Some((Scales::F32(vec![scale]), vec![1])), ..plain(Codes::I8(codes), decoded) }
            }
            Rule::Binary => {
                let (codes, mut scales) = codebook::binary(values, columns);
                let of = |(index, &code): (usize, &i8)| f32::from(code) * scales[index / columns];
                let decoded = codes.iter().enumerate().map(of).collect();
                scales.resize(rows, 0.0);
                Cast { scales: Some((Scales::F32(scales), vec![rows])), ..plain(Codes::I8(codes), decoded) }
            }
            Rule::PowersOfTwo => {
                let codes = parallel::map(values, |_, x| codebook::power_code(x));
                let decoded = codes.iter().map(|&code| codebook::power(code)).collect();
                plain(Codes::I8(codes), decoded)
            }
        },
        Number::Block(block) => {
            let done = block.quantize(values, columns);
            let scales = Some((Scales::Codes(done.scales), vec![rows, columns.div_ceil(block.len)]));
            Cast { scales, global_scale: done.global, ..plain(Codes::U8(done.codes), done.decoded) }
        }
        Number::Gguf(gguf) => {
            let (bytes, decoded) = gguf.quantize(values, columns);
            let mut shape = shape.to_vec();
            shape.pop();
            shape.push(columns.div_ceil(gguf.len) * gguf.bytes());
            Cast { shape, ..plain(Codes::U8(bytes), decoded) }
        }
    })
}

/// Codes and values; both from one pass over the input where codes need more than a byte.
fn floats(values: &[f32], float: &Float, rounder: &FloatRounder) -> (Codes, Vec<f32>) {
    let bits = float.bits();
    if bits > 16 {
        // The codes are the upper bits of the values.
        let patterns = rounder.codes(values, |code| (code << (32 - bits)) as i32);
        let decoded = patterns.iter().map(|&pattern| f32::from_bits(pattern as u32)).collect();
        return (Codes::I32(patterns), decoded);
    }
    let table = float.table();
    if bits > 8 {
        let codes = rounder.codes(values, |code| code as i16);
        let decoded = codes.iter().map(|&code| table[usize::from(code as u16)]).collect();
        return (Codes::I16(codes), decoded);
    }
    let codes = rounder.codes(values, |code| code as u8);
    let decoded = parallel::map_bytes(&codes, |_, code| table[usize::from(code) & (table.len() - 1)]);
    (Codes::U8(codes), decoded)
}

/// An error for the first value that has no place in the format.
fn refuse(values: &[f32], number: Number, numerics: &Numerics) -> Result<(), Error> {
    let format = number.name();
    let (nan, infinity) = match number {
        Number::Float(float) => (float.nan_code().is_some(), true),
        Number::Int(_) => (false, true),
        Number::Codebook(row) => (false, row.rule == Rule::PowersOfTwo),
        Number::Block(block) => match block.scale {
            BlockScale::PowerOfTwo => (true, true),
            BlockScale::Ue4m3 { global } => (false, !global),
        },
        Number::Gguf(_) => (false, false),
    };
    let wrong = |x: f32| (!nan & x.is_nan()) | (!infinity & x.is_infinite());
    if !(nan && infinity)
        && let Some(index) = parallel::find(values, wrong)
    {
        return Err(Error::NoCode { format, index, value: values[index] });
    }
    let unsigned = match number {
        Number::Float(float) if !float.signed => numerics.rule(float.name).map(|rule| rule.unsigned),
        _ => None,
    };
    if unsigned == Some(Unsigned::Refuse)
        && let Some(index) = parallel::find(values, |x| x < 0.0)
    {
        return Err(Error::Negative { format, index, value: values[index] });
    }
    Ok(())
}
