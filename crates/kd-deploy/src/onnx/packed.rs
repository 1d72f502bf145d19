//! Weights in ONNX's narrow types.
//!
//! `DequantizeLinear` turns codes of 2, 4 and 8 bits and 8-bit floats into what they stand for, with a scale for the
//! tensor, for each index of an axis, or for blocks along one. What a scheme calls a group runs along everything that an
//! output sums over; of a convolution these are several axes, so that its codes are stored as the matrix and reshaped.

use quant_core::number::{CodebookRule, Codes, Number, Scales};
use quant_core::pack::ONNX;
use quant_core::{Encoded, Granularity, ScaleFormat};

use super::builder::{Attribute, to_i64};
use super::lower::Lowering;
use super::proto::tensor_proto::DataType;
use crate::RoundedWeight;

/// A type of the file for codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: DataType,
    pub(super) bits: u32,
}

/// Integers by what they hold, the narrow ones first.
const INTEGERS: [(DataType, u32, i32, i32); 6] = [
    (DataType::Uint2, 2, 0, 3),
    (DataType::Int2, 2, -2, 1),
    (DataType::Uint4, 4, 0, 15),
    (DataType::Int4, 4, -8, 7),
    (DataType::Uint8, 8, 0, 255),
    (DataType::Int8, 8, -128, 127),
];

impl Element {
    /// The narrowest integer type for codes within `limits`.
    pub(super) fn narrowest((low, high): (i32, i32)) -> Option<Self> {
        let holds = |(_, _, least, most): &&(DataType, u32, i32, i32)| *least <= low && high <= *most;
        INTEGERS.iter().find(holds).map(|&(kind, bits, ..)| Self { kind, bits })
    }

    /// A format of 8-bit floats, by its name.
    fn float(name: &str) -> Option<Self> {
        let kind = match name {
            "e4m3fn" => DataType::Float8e4m3fn,
            "e4m3fnuz" => DataType::Float8e4m3fnuz,
            "e5m2" => DataType::Float8e5m2,
            "e5m2fnuz" => DataType::Float8e5m2fnuz,
            _ => return None,
        };
        Some(Self { kind, bits: 8 })
    }

    /// The operator set from which `DequantizeLinear` takes it.
    pub(super) fn opset(self) -> i64 {
        match (self.bits, self.kind) {
            (2, _) => 25,
            (4, _) => 21,
            (_, DataType::Int8 | DataType::Uint8) => 13,
            _ => 19,
        }
    }

    /// The bytes of codes, the first in the lowest bits.
    pub(super) fn bytes(self, codes: &[i32]) -> Vec<u8> {
        if self.bits == 8 {
            return codes.iter().map(|&code| code as u8).collect();
        }
        let mask = (1 << self.bits) - 1;
        let fields: Vec<u8> = codes.iter().map(|&code| (code & mask) as u8).collect();
        ONNX.pack(&fields, 1, fields.len(), self.bits).expect("fields have as many bits as their type")
    }
}

/// A matrix `[out, K]` that the file can hold in codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packed {
    element: Element,
    rows: usize,
    columns: usize,
    codes: Vec<i32>,
    cells: Cells,
    scales: Vec<f32>,
    /// One a scale; none where all are 0.
    zero_points: Option<Vec<i32>>,
}

/// What has a scale of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cells {
    Tensor,
    Rows,
    /// So many columns of a row.
    Groups(usize),
}

impl Packed {
    /// The stored form of a rounded weight, if ONNX has one.
    pub(super) fn of(weight: &RoundedWeight) -> Option<Self> {
        let encoded = weight.encoded.as_ref()?;
        let scheme = &encoded.scheme;
        let plain = matches!(scheme.scale(), ScaleFormat::F32 | ScaleFormat::Fp16 | ScaleFormat::Bf16);
        let element = match scheme.number() {
            _ if !plain => None,
            Number::Int(_) => scheme.limits().and_then(Element::narrowest),
            Number::Float(float) => Element::float(float.name),
            Number::Codebook(row) => match row.rule {
                CodebookRule::Ternary | CodebookRule::Binary => Element::narrowest((-1, 1)),
                _ => None,
            },
            _ => None,
        }?;
        let Scales::F32(scales) = &encoded.scales else { return None };
        let cells = match scheme.granularity() {
            _ if scales.len() <= 1 => Cells::Tensor,
            Granularity::Group(len) if len < encoded.columns => Cells::Groups(len),
            Granularity::Channel | Granularity::Group(_) => Cells::Rows,
            // `binary` alone has a scale for each row.
            Granularity::Own if scales.len() == encoded.rows => Cells::Rows,
            _ => return None,
        };
        let scales = if scales.is_empty() { vec![1.0] } else { scales.clone() };
        let zero_points = (!encoded.zero_points.is_empty()).then(|| encoded.zero_points.clone());
        let (rows, columns) = (encoded.rows, encoded.columns);
        Some(Self { element, rows, columns, codes: integers(encoded), cells, scales, zero_points })
    }

    /// The operator set that it needs.
    pub(super) fn opset(&self) -> i64 {
        match self.cells {
            Cells::Groups(_) => self.element.opset().max(21),
            _ => self.element.opset(),
        }
    }

    /// `[K, out]`.
    fn transposed(&self) -> Self {
        let turned = |values: &[i32]| transposed(values, self.rows, self.columns);
        let across = self.scales.len() / self.rows.max(1);
        let cells = |values: &[i32]| match self.cells {
            Cells::Groups(_) => transposed(values, self.rows, across),
            _ => values.to_vec(),
        };
        let scales = match self.cells {
            Cells::Groups(_) => transposed(&self.scales, self.rows, across),
            _ => self.scales.clone(),
        };
        let zero_points = self.zero_points.as_deref().map(cells);
        Self { codes: turned(&self.codes), scales, zero_points, ..self.clone() }
    }
}

/// How a matrix `[out, K]` is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// As a tensor of this shape, outputs first.
    Upright(Vec<usize>),
    /// `[K, out]`.
    Turned,
}

impl Lowering<'_> {
    /// Codes of a rounded weight and their `DequantizeLinear`; the tensor to read.
    pub(super) fn packed_weight(&mut self, path: &str, packed: &Packed, stand: &Stand) -> String {
        let turned;
        let (packed, axis) = match stand {
            Stand::Upright(_) => (packed, 0),
            Stand::Turned => {
                turned = packed.transposed();
                (&turned, 1)
            }
        };
        let matrix = match stand {
            Stand::Upright(_) => vec![packed.rows, packed.columns],
            Stand::Turned => vec![packed.columns, packed.rows],
        };
        let across = packed.scales.len() / packed.rows.max(1);
        let (mut shape, cells, attributes) = match packed.cells {
            Cells::Tensor => (matrix.clone(), Vec::new(), Vec::new()),
            Cells::Rows => (matrix.clone(), vec![packed.rows], vec![("axis", Attribute::Int(axis))]),
            Cells::Groups(len) => {
                let cells = if axis == 0 { vec![packed.rows, across] } else { vec![across, packed.rows] };
                let attributes =
                    vec![("axis", Attribute::Int(1 - axis)), ("block_size", Attribute::Int(to_i64(len)))];
                (matrix.clone(), cells, attributes)
            }
        };
        let mut reshaped = None;
        if let Stand::Upright(whole) = stand
            && *whole != matrix
        {
            match packed.cells {
                Cells::Groups(_) => reshaped = Some(whole.clone()),
                _ => shape.clone_from(whole),
            }
        }
        let names = ["quantized", "scale", "dequantized"];
        let [quantized, scale, dequantized] = names.map(|word| self.builder.name(&format!("{path}_{word}")));
        self.builder.bytes(&quantized, packed.element.kind, &shape, packed.element.bytes(&packed.codes));
        self.builder.floats(&scale, &cells, &packed.scales);
        let mut inputs = vec![quantized.clone(), scale];
        if let Some(zero_points) = &packed.zero_points {
            let name = self.builder.name(&format!("{path}_zero_point"));
            self.builder.bytes(&name, packed.element.kind, &cells, packed.element.bytes(zero_points));
            inputs.push(name);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.builder.node("DequantizeLinear", &inputs, &dequantized, attributes);
        let Some(whole) = reshaped else { return dequantized };
        let [sizes, kernel] = ["shape", "kernel"].map(|word| self.builder.name(&format!("{path}_{word}")));
        let whole: Vec<i64> = whole.into_iter().map(to_i64).collect();
        self.builder.int64s(&sizes, &[whole.len()], &whole);
        self.builder.node("Reshape", &[&dequantized, &sizes], &kernel, []);
        kernel
    }
}

fn integers(encoded: &Encoded) -> Vec<i32> {
    match &encoded.codes {
        Codes::U8(codes) => codes.iter().map(|&code| i32::from(code)).collect(),
        Codes::I8(codes) => codes.iter().map(|&code| i32::from(code)).collect(),
        Codes::I16(codes) => codes.iter().map(|&code| i32::from(code)).collect(),
        Codes::I32(codes) => codes.clone(),
    }
}

fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
}
