//! Values of codes.

use rayon::prelude::*;

use super::{Encoded, Places};
use crate::Granularity;
use crate::number::{CodebookRule, Codes, Number, Scales, power};

impl Encoded {
    /// x̂ of every number, row-major: s · (q − z) of integers, s · value of all else.
    ///
    /// A code that the format does not have stands for the value of its low bits.
    pub fn decode(&self) -> Vec<f32> {
        match (self.scheme.granularity(), self.scheme.number(), &self.scales) {
            (Granularity::Own, Number::Block(block), Scales::Codes(scales)) => {
                block.dequantize(&self.codes.bytes(), scales, self.columns, self.global_scale)
            }
            (Granularity::Own, Number::Gguf(gguf), _) => {
                gguf.dequantize(&self.codes.bytes(), self.rows * self.columns, self.columns)
            }
            (granularity, number, scales) => {
                let places = match (granularity, number) {
                    (Granularity::Own, Number::Codebook(row)) => match row.rule {
                        CodebookRule::Table { block, .. } => {
                            Places::new(Granularity::Group(block), self.rows, self.columns)
                        }
                        CodebookRule::Binary => Places::new(Granularity::Channel, self.rows, self.columns),
                        _ => Places::new(Granularity::Tensor, self.rows, self.columns),
                    },
                    (granularity, _) => Places::new(granularity, self.rows, self.columns),
                };
                let one = [1.0];
                let scales = match scales {
                    Scales::F32(scales) if !scales.is_empty() => scales.as_slice(),
                    _ => &one,
                };
                self.shared(places, scales)
            }
        }
    }

    fn shared(&self, places: Places, scales: &[f32]) -> Vec<f32> {
        let zero = |cell: usize| self.zero_points.get(cell).copied().unwrap_or(0);
        match (self.scheme.number(), &self.codes) {
            (Number::Int(int), codes) => {
                let mask = move |code: i32| int.decode(code as u32);
                match codes {
                    Codes::I8(codes) => places.values(codes, |cell, code| {
                        (mask(i32::from(code)) - zero(cell)) as f32 * scales[cell]
                    }),
                    Codes::U8(codes) => places.values(codes, |cell, code| {
                        (mask(i32::from(code)) - zero(cell)) as f32 * scales[cell]
                    }),
                    Codes::I16(codes) => places.values(codes, |cell, code| {
                        (mask(i32::from(code)) - zero(cell)) as f32 * scales[cell]
                    }),
                    Codes::I32(codes) => {
                        places.values(codes, |cell, code| (mask(code) - zero(cell)) as f32 * scales[cell])
                    }
                }
            }
            (Number::Float(float), Codes::U8(codes)) => {
                let table = float.table();
                places.values(codes, |cell, code| table[usize::from(code) & (table.len() - 1)] * scales[cell])
            }
            (Number::Float(float), Codes::I16(codes)) => {
                let table = float.table();
                places.values(codes, |cell, code| table[usize::from(code as u16)] * scales[cell])
            }
            (Number::Float(_), Codes::I32(codes)) => {
                places.values(codes, |cell, code| f32::from_bits(code as u32) * scales[cell])
            }
            (Number::Codebook(row), Codes::U8(codes)) => match row.rule {
                CodebookRule::Table { values, .. } => {
                    places.values(codes, |cell, code| values[usize::from(code & 15)] * scales[cell])
                }
                _ => places.values(codes, |cell, code| f32::from(code as i8) * scales[cell]),
            },
            (Number::Codebook(row), Codes::I8(codes)) => match row.rule {
                CodebookRule::PowersOfTwo => places.values(codes, |_, code| power(code)),
                _ => places.values(codes, |cell, code| f32::from(code) * scales[cell]),
            },
            (_, codes) => vec![0.0; codes.len()],
        }
    }
}

impl Places {
    fn values<T: Copy + Sync>(self, codes: &[T], f: impl Fn(usize, T) -> f32 + Sync) -> Vec<f32> {
        let mut values = vec![0f32; codes.len()];
        let columns = self.columns.max(1);
        let rows = values.par_chunks_mut(columns).zip(codes.par_chunks(columns)).enumerate();
        rows.with_min_len(self.task()).for_each(|(row, (values, codes))| {
            let segments = values.chunks_mut(self.width).zip(codes.chunks(self.width)).enumerate();
            segments.for_each(|(segment, (values, codes))| {
                let cell = self.cell(row, segment);
                values.iter_mut().zip(codes).for_each(|(value, &code)| *value = f(cell, code));
            });
        });
        values
    }
}

impl Codes {
    /// How many codes there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::I8(codes) => codes.len(),
            Self::I16(codes) => codes.len(),
            Self::I32(codes) => codes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of codes of one byte; of wider ones, their low bytes.
    pub(crate) fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::U8(codes) => codes.into(),
            Self::I8(codes) => codes.iter().map(|&code| code as u8).collect(),
            Self::I16(codes) => codes.iter().map(|&code| code as u8).collect(),
            Self::I32(codes) => codes.iter().map(|&code| code as u8).collect(),
        }
    }
}
