//! One tensor into one format, with everything that a file needs to hold it.

use super::blocked::Blocks;
use super::codebook::{self, Rule};
use super::decode::decode;
use super::parallel::{self, Wrong};
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

/// Codes without their values: a [`Cast`] for which no values were made.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Codes.
    pub codes: Codes,
    /// Shape of the codes: the tensor's, but for GGUF, where bytes of blocks replace the last axis.
    pub shape: Vec<usize>,
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
    let coded = codes(values, shape, number, numerics)?;
    let decoded = decode(&coded, values.len(), shape, number);
    let Coded { codes, shape, scales, global_scale } = coded;
    Ok(Cast { codes, shape, decoded, scales, global_scale })
}

/// As [`cast`], without the values that the codes stand for, which are most of what a cast writes.
///
/// # Errors
///
/// As [`cast`].
pub fn codes(
    values: &[f32],
    shape: &[usize],
    number: Number,
    numerics: Option<&Numerics>,
) -> Result<Coded, Error> {
    let expected = shape.iter().product();
    if values.len() != expected {
        return Err(Error::Length { shape: shape.to_vec(), expected, found: values.len() });
    }
    let numerics = numerics.unwrap_or(number.home());
    numerics.check(number)?;
    let columns = shape.last().copied().unwrap_or(1);
    let rows: usize = shape[..shape.len().saturating_sub(1)].iter().product();
    let plain = |codes| Coded { codes, shape: shape.to_vec(), scales: None, global_scale: None };
    // A value without a code is found on the way, and looked for only then.
    let refused = |Wrong| refusal(values, number);
    Ok(match number {
        Number::Float(float) => {
            let rule = numerics.rule(float.name).ok_or(Error::Undefined {
                format: float.name,
                numerics: numerics.name,
                defined: Vec::new(),
            })?;
            if !float.signed && rule.unsigned == Unsigned::Refuse && parallel::exists(values, |x| x < 0.0) {
                return Err(negative(values, number));
            }
            plain(floats(values, float, &FloatRounder::new(float, rule)).map_err(refused)?)
        }
        Number::Int(int) => {
            let rounder = IntRounder::new(int, Rounding::NearestEven);
            let codes = match (int.bits > 8, int.signed) {
                (true, _) => rounder.all_nearest(values, |code| code as i16).map(Codes::I16),
                (false, true) => rounder.all_nearest(values, |code| code as i8).map(Codes::I8),
                (false, false) => rounder.all_nearest(values, |code| code as u8).map(Codes::U8),
            };
            plain(codes.map_err(refused)?)
        }
        Number::Codebook(row) => match row.rule {
            Rule::Table { values: table, block } => {
                let blocks = Blocks { columns, len: block };
                let (codes, scales) = codebook::table(values, table, blocks).map_err(refused)?;
                let scales = Some((Scales::F32(scales), vec![rows, blocks.per_row()]));
                Coded { scales, ..plain(Codes::U8(codes)) }
            }
            Rule::Ternary => {
                let (codes, scale) = codebook::ternary(values).map_err(refused)?;
                Coded { scales: Some((Scales::F32(vec![scale]), vec![1])), ..plain(Codes::I8(codes)) }
            }
            Rule::Binary => {
                let (codes, mut scales) = codebook::binary(values, columns).map_err(refused)?;
                scales.resize(rows, 0.0);
                Coded { scales: Some((Scales::F32(scales), vec![rows])), ..plain(Codes::I8(codes)) }
            }
            Rule::PowersOfTwo => {
                let codes = parallel::map_numbers(values, codebook::power_code).map_err(refused)?;
                plain(Codes::I8(codes))
            }
        },
        Number::Block(block) => {
            let done = block.quantize(values, columns).map_err(refused)?;
            let scales = Some((Scales::Codes(done.scales), vec![rows, columns.div_ceil(block.len)]));
            Coded { scales, global_scale: done.global, ..plain(Codes::U8(done.codes)) }
        }
        Number::Gguf(gguf) => {
            let bytes = gguf.quantize(values, columns).map_err(refused)?;
            let mut shape = shape.to_vec();
            shape.pop();
            shape.push(columns.div_ceil(gguf.len) * gguf.bytes());
            Coded { shape, ..plain(Codes::U8(bytes)) }
        }
    })
}

/// Codes, in the smallest integers, unless there is NaN and no code for it.
fn floats(values: &[f32], float: &Float, rounder: &FloatRounder) -> Result<Codes, Wrong> {
    Ok(match float.bits() {
        bits @ 17.. => Codes::I32(rounder.codes(values, |code| (code << (32 - bits)) as i32)),
        9..=16 => Codes::I16(rounder.codes(values, |code| code as i16)),
        _ if float.nan_code().is_none() => Codes::U8(rounder.number_codes(values, |code| code as u8)?),
        _ => Codes::U8(rounder.codes(values, |code| code as u8)),
    })
}

/// The error for the first value that has no place in the format.
fn refusal(values: &[f32], number: Number) -> Error {
    let infinity = match number {
        Number::Float(_) | Number::Int(_) => true,
        Number::Codebook(row) => row.rule == Rule::PowersOfTwo,
        Number::Block(block) => block.scale != BlockScale::Ue4m3 { global: true },
        Number::Gguf(_) => false,
    };
    let wrong = |x: &f32| x.is_nan() || (!infinity && x.is_infinite());
    let index = values.iter().position(wrong).unwrap_or(0);
    Error::NoCode { format: number.name(), index, value: values[index] }
}

/// The error for the first value below zero.
fn negative(values: &[f32], number: Number) -> Error {
    let index = values.iter().position(|&x| x < 0.0).unwrap_or(0);
    Error::Negative { format: number.name(), index, value: values[index] }
}
