//! Rows of a weight between [`Encoded`] and the numbers of a file.

use half::{bf16, f16};
use quant_core::number::{Codes, Number, Scales};
use quant_core::ptq::{FloatZero, Quantized};
use quant_core::{Encoded, ScaleFormat, Scheme};
use safetensors::Dtype;

use super::form::{Form, Layout, Packing};

/// Encoded rows of a weight, in order; scales of the whole tensor come with each piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Codes, scales, integer zero points.
    pub encoded: Encoded,
    /// Zero points that are no codes, one a scale, for [`Form::float_zero`].
    pub zeros: Option<Vec<f32>>,
}

impl From<Encoded> for Coded {
    fn from(encoded: Encoded) -> Self {
        Self { encoded, zeros: None }
    }
}

impl Coded {
    /// What an algorithm on the grid of `scheme` made; groups have to be neighbors.
    pub fn of_grid(quantized: &Quantized, scheme: &Scheme) -> Self {
        let (rows, columns) = (quantized.rows, quantized.columns);
        let shift = shift(scheme);
        let scales = quantized.cells.iter().map(|cell| cell.scale).collect();
        let zeros = quantized.cells.iter().map(|cell| cell.zero_point + shift);
        let affine = scheme.symmetry() == Some(quant_core::Symmetry::Affine);
        Self::from(Encoded {
            scheme: *scheme,
            rows,
            columns,
            codes: integers(scheme, quantized.codes.iter().map(|code| code + shift)),
            scales: Scales::F32(scales),
            zero_points: if affine { zeros.collect() } else { Vec::new() },
            global_scale: None,
        })
    }

    /// What HQQ made.
    pub fn of_float_zero(quantized: &FloatZero, scheme: &Scheme) -> Self {
        let shift = shift(scheme);
        let zeros = quantized.zero.iter().map(|zero| zero + shift as f32).collect();
        let encoded = Encoded {
            scheme: *scheme,
            rows: quantized.rows,
            columns: quantized.columns,
            codes: integers(scheme, quantized.codes.iter().map(|code| code + shift)),
            scales: Scales::F32(quantized.scale.clone()),
            zero_points: Vec::new(),
            global_scale: None,
        };
        Self { encoded, zeros: Some(zeros) }
    }

    /// The values: s · (q − z), divided by the scale of its input where there is one.
    pub fn decode(&self, input_scale: Option<&[f32]>) -> Vec<f32> {
        let columns = self.encoded.columns;
        let mut values = match (&self.zeros, &self.encoded.scales) {
            (Some(zeros), Scales::F32(scales)) => {
                let groups = scales.len() / self.encoded.rows.max(1);
                let len = self.encoded.columns.div_ceil(groups.max(1));
                let len = match self.encoded.scheme.granularity() {
                    quant_core::Granularity::Group(len) => len,
                    _ => len,
                };
                let value = |(index, code): (usize, i32)| {
                    let cell = index / columns * groups + index % columns / len;
                    (code as f32 - zeros[cell]) * scales[cell]
                };
                whole(&self.encoded.codes, &self.encoded.scheme).enumerate().map(value).collect()
            }
            _ => self.encoded.decode(),
        };
        if let Some(scale) = input_scale {
            for row in values.chunks_mut(columns.max(1)) {
                row.iter_mut().zip(scale).for_each(|(value, scale)| *value /= scale);
            }
        }
        values
    }
}

/// What is added to a signed code of as many bits to get the scheme's.
pub(super) fn shift(scheme: &Scheme) -> i32 {
    match scheme.int() {
        Some(int) if !int.signed => 1 << (int.bits - 1),
        _ => 0,
    }
}

/// Codes of an integer scheme in the type that holds them.
pub(super) fn integers(scheme: &Scheme, codes: impl Iterator<Item = i32>) -> Codes {
    match scheme.int() {
        Some(int) if int.bits > 8 => Codes::I16(codes.map(|code| code as i16).collect()),
        Some(int) if !int.signed => Codes::U8(codes.map(|code| code as u8).collect()),
        _ => Codes::I8(codes.map(|code| code as i8).collect()),
    }
}

/// Codes as numbers; bit patterns of 16 bits and of unsigned integers are not negative.
fn whole<'a>(codes: &'a Codes, scheme: &Scheme) -> Box<dyn Iterator<Item = i32> + 'a> {
    let signed = scheme.int().is_some_and(|int| int.signed);
    // One call a piece hides the type; the loops behind it are plain.
    match codes {
        Codes::U8(codes) => Box::new(codes.iter().map(|&code| i32::from(code))),
        Codes::I8(codes) => Box::new(codes.iter().map(|&code| i32::from(code))),
        Codes::I16(codes) if signed => Box::new(codes.iter().map(|&code| i32::from(code))),
        Codes::I16(codes) => Box::new(codes.iter().map(|&code| i32::from(code as u16))),
        Codes::I32(codes) => Box::new(codes.iter().copied()),
    }
}

/// Codes as bits of a stream, or for [`Packing::Plain`] as the low bits of a number.
pub(super) fn fields(form: &Form, codes: &Codes) -> Vec<u32> {
    let codes = whole(codes, &form.scheme);
    match form.scheme.number() {
        Number::Int(int) => {
            let shift = shift(&form.scheme);
            let offset = match form.layout {
                Layout::PackQuantized => (1 << (int.bits - 1)) - shift,
                Layout::NaiveQuantized => -shift,
                _ => 0,
            };
            let mask = (1_u32 << int.bits) - 1;
            codes.map(|code| (code + offset) as u32 & mask).collect()
        }
        Number::Float(float) if float.bits() > 16 => {
            codes.map(|code| code as u32 >> (32 - float.bits())).collect()
        }
        Number::Float(float) => codes.map(|code| code as u32 & ((1 << float.bits()) - 1)).collect(),
        Number::Codebook(row) if row.name == "ternary" => codes.map(|code| (code + 1) as u32).collect(),
        Number::Codebook(row) if row.name == "binary" => codes.map(|code| u32::from(code > 0)).collect(),
        _ => codes.map(|code| code as u32 & 255).collect(),
    }
}

/// The inverse of [`fields`].
pub(super) fn codes(form: &Form, fields: &[u32]) -> Codes {
    let each = fields.iter().copied();
    match form.scheme.number() {
        Number::Int(int) => {
            let (shift, bits) = (shift(&form.scheme), int.bits);
            let extend = |field: u32| ((field << (32 - bits)) as i32) >> (32 - bits);
            match form.layout {
                Layout::PackQuantized => {
                    integers(&form.scheme, each.map(|field| field as i32 - (1 << (bits - 1)) + shift))
                }
                Layout::NaiveQuantized => integers(&form.scheme, each.map(|field| extend(field) + shift)),
                _ if int.signed => integers(&form.scheme, each.map(extend)),
                _ => integers(&form.scheme, each.map(|field| field as i32)),
            }
        }
        Number::Float(float) => match float.bits() {
            ..=8 => Codes::U8(each.map(|field| field as u8).collect()),
            9..=16 => Codes::I16(each.map(|field| field as i16).collect()),
            bits => Codes::I32(each.map(|field| (field << (32 - bits)) as i32).collect()),
        },
        Number::Codebook(row) => match row.name {
            "ternary" => Codes::I8(each.map(|field| field as i8 - 1).collect()),
            "binary" => Codes::I8(each.map(|field| if field == 1 { 1 } else { -1 }).collect()),
            "pow2" => Codes::I8(each.map(|field| field as u8 as i8).collect()),
            _ => Codes::U8(each.map(|field| field as u8).collect()),
        },
        _ => Codes::U8(each.map(|field| field as u8).collect()),
    }
}

/// Bytes of plain numbers of so many bits each.
pub(super) fn plain(fields: &[u32], bits: usize) -> Vec<u8> {
    match bits {
        8 => fields.iter().map(|&field| field as u8).collect(),
        _ => fields.iter().flat_map(|&field| (field as u16).to_le_bytes()).collect(),
    }
}

/// Bytes of scales.
pub(super) fn scale_bytes(scales: &Scales, format: ScaleFormat) -> Vec<u8> {
    match (scales, format) {
        (Scales::Codes(codes), _) => codes.clone(),
        (Scales::F32(scales), ScaleFormat::Fp16) => {
            scales.iter().flat_map(|&scale| f16::from_f32(scale).to_le_bytes()).collect()
        }
        (Scales::F32(scales), ScaleFormat::Bf16) => {
            scales.iter().flat_map(|&scale| bf16::from_f32(scale).to_le_bytes()).collect()
        }
        (Scales::F32(scales), ScaleFormat::E8m0 | ScaleFormat::Ue4m3) => {
            let table = table(format);
            // Stored scales are values of the format.
            let code = |scale: &f32| table.iter().position(|value| value == scale).unwrap_or(0) as u8;
            scales.iter().map(code).collect()
        }
        (Scales::F32(scales), _) => scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
    }
}

/// Scales as numbers, from a tensor of floats, or of codes of `format`.
pub(super) fn scales(bytes: &[u8], dtype: Dtype, format: ScaleFormat) -> Vec<f32> {
    match dtype {
        Dtype::U8 => {
            let table = table(format);
            bytes.iter().map(|&code| table.get(usize::from(code)).copied().unwrap_or(f32::NAN)).collect()
        }
        _ => {
            let mut values = Vec::new();
            super::source::widen(dtype, bytes, &mut values);
            values
        }
    }
}

fn table(format: ScaleFormat) -> Vec<f32> {
    let name = if format == ScaleFormat::Ue4m3 { "ue4m3" } else { "e8m0fnu" };
    quant_core::number::Float::named(name).map(|float| float.table()).unwrap_or_default()
}

/// Whether codes of a packing are bytes as they are.
pub(super) fn raw(packing: Packing) -> bool {
    matches!(packing, Packing::Blocks { .. })
}
