//! The values that codes of any format stand for.

use super::blocked::Blocks;
use super::cast::{Coded, Codes, Scales};
use super::codebook::{self, Rule};
use super::parallel;
use super::{Float, Int, Number};

/// Values of the codes of a tensor of `len` values and this shape.
pub(crate) fn decode(coded: &Coded, len: usize, shape: &[usize], number: Number) -> Vec<f32> {
    let columns = shape.last().copied().unwrap_or(1);
    let (mut scale_codes, mut scales): (&[u8], &[f32]) = (&[], &[]);
    match &coded.scales {
        Some((Scales::Codes(codes), _)) => scale_codes = codes,
        Some((Scales::F32(numbers), _)) => scales = numbers,
        None => {}
    }
    match (number, &coded.codes) {
        (Number::Float(float), codes) => floats(float, codes),
        (Number::Int(int), codes) => ints(int, codes),
        (Number::Codebook(row), codes) => match (row.rule, codes) {
            (Rule::Table { values: table, block }, Codes::U8(codes)) => {
                Blocks { columns, len: block }.decode(codes, &codebook::Table { table, scales })
            }
            (Rule::Ternary, Codes::I8(codes)) => parallel::map(codes, |code| f32::from(code) * scales[0]),
            (Rule::Binary, Codes::I8(codes)) => {
                Blocks { columns, len: columns.max(1) }.decode(codes, &codebook::Signs { scales })
            }
            (Rule::PowersOfTwo, Codes::I8(codes)) => parallel::map(codes, codebook::power),
            _ => Vec::new(),
        },
        (Number::Block(block), Codes::U8(codes)) => {
            block.dequantize(codes, scale_codes, columns, coded.global_scale)
        }
        (Number::Gguf(gguf), Codes::U8(bytes)) => gguf.dequantize(bytes, len, columns),
        _ => Vec::new(),
    }
}

fn floats(float: &Float, codes: &Codes) -> Vec<f32> {
    match codes {
        // Arithmetic is vectorized, a table is not.
        Codes::U8(codes) if float.negative_zero() => {
            let decoder = float.decoder();
            parallel::map(codes, |code| decoder.value(u32::from(code)))
        }
        Codes::U8(codes) => {
            let mut table = [0f32; 256];
            table.iter_mut().zip(float.table().iter().cycle()).for_each(|(to, &x)| *to = x);
            parallel::map(codes, |code| table[usize::from(code)])
        }
        Codes::I16(codes) => {
            let decoder = float.decoder();
            parallel::map(codes, |code| decoder.value(u32::from(code as u16)))
        }
        // The codes are the upper bits of the values.
        Codes::I32(codes) => parallel::map(codes, |code| f32::from_bits(code as u32)),
        Codes::I8(_) => Vec::new(),
    }
}

fn ints(int: &Int, codes: &Codes) -> Vec<f32> {
    match codes {
        Codes::U8(codes) => parallel::map(codes, f32::from),
        Codes::I8(codes) => parallel::map(codes, f32::from),
        Codes::I16(codes) if int.signed => parallel::map(codes, f32::from),
        Codes::I16(codes) => parallel::map(codes, |code| f32::from(code as u16)),
        Codes::I32(_) => Vec::new(),
    }
}
