//! What a weight becomes in a file: which tensors, of which types and shapes. Sizes are therefore known before any
//! number is read.
//!
//! Layouts are those of compressed-tensors 0.20 where it has one, else our own:
//!
//! | layout | tensors of a weight `N` of shape `[rows, K]` |
//! | --- | --- |
//! | `pack-quantized` | `N_packed` i32 `[rows, ceil(K·bits/32)]`, `N_scale`, `N_zero_point`, `N_shape` i64 `[2]` |
//! | `naive-quantized` | `N` fp8 or i16 `[rows, K]`, `N_scale`, `N_zero_point` |
//! | `nvfp4-pack-quantized` | `N_packed` u8 `[rows, ceil(K/2)]`, `N_scale` fp8 `[rows, ceil(K/16)]`, `N_global_scale` f32 `[1]` |
//! | `mxfp4-pack-quantized`, `mxfp6-pack-quantized` | `N_packed` u8 `[rows, ceil(K·bits/8)]`, `N_scale` u8 `[rows, ceil(K/32)]` |
//! | `mxfp8-quantized` | `N` fp8 `[rows, K]`, `N_scale` u8 `[rows, ceil(K/32)]` |
//! | `dense` | `N` in a type of safetensors, without scales |
//! | `own` | `N_codes` u8, dense over the whole tensor (ternary: five to a byte; GGUF: its blocks, `[rows, bytes]`), `N_scale`, `N_zero_point` u8 dense or f32, `N_input_scale` f32 `[K]` |
//!
//! A convolution's weight is the matrix `[out, in / groups · kernel]`; its shape is in `config.json`, and where codes are
//! a number each their tensor has it. Scales have the shape `[1]` for a tensor, `[rows, 1]` for channels, `[rows, groups]` for groups and
//! `[block rows, block columns]` for blocks, and the type that the scheme says; in `own`, e8m0 and ue4m3 are their codes.
//! Zero points of `pack-quantized` are i32 `[ceil(rows·bits/32), groups]`, packed down the rows, for channels and
//! groups, and i8 for tensors and blocks.

use quant_core::number::{BlockScale, Codebook, CodebookRule, Number};
use quant_core::{Granularity, ScaleFormat, Scheme, Symmetry};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::bits::Width;

/// A family of tensors that hold one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Integers up to 8 bits in words.
    PackQuantized,
    /// A code in a number of the file's own types.
    NaiveQuantized,
    /// NVFP4.
    #[serde(rename = "nvfp4-pack-quantized")]
    NvFp4,
    /// MXFP4.
    #[serde(rename = "mxfp4-pack-quantized")]
    MxFp4,
    /// MXFP6 with e2m3.
    #[serde(rename = "mxfp6-pack-quantized")]
    MxFp6,
    /// MXFP8 with e4m3.
    #[serde(rename = "mxfp8-quantized")]
    MxFp8,
    /// Numbers of the file's own types, without scales.
    Dense,
    /// Ours.
    Own,
}

impl Layout {
    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PackQuantized => "pack-quantized",
            Self::NaiveQuantized => "naive-quantized",
            Self::NvFp4 => "nvfp4-pack-quantized",
            Self::MxFp4 => "mxfp4-pack-quantized",
            Self::MxFp6 => "mxfp6-pack-quantized",
            Self::MxFp8 => "mxfp8-quantized",
            Self::Dense => "dense",
            Self::Own => "own",
        }
    }

    /// The layout of a scheme: that of compressed-tensors where there is one.
    pub fn of(scheme: &Scheme) -> Self {
        let plain = matches!(scheme.scale(), ScaleFormat::F32 | ScaleFormat::Fp16 | ScaleFormat::Bf16);
        match (scheme.number(), scheme.granularity()) {
            (Number::Int(int), _) if plain && int.bits <= 8 => Self::PackQuantized,
            (Number::Int(int), _) if plain && int.bits == 16 => Self::NaiveQuantized,
            (Number::Float(float), Granularity::Own) if dense(float.name).is_some() => Self::Dense,
            (Number::Float(float), granularity) if plain && float.name == "e4m3fn" => {
                if granularity == Granularity::Own { Self::Dense } else { Self::NaiveQuantized }
            }
            (Number::Block(block), _) => match block.name {
                "nvfp4" | "nvfp4 global=none" => Self::NvFp4,
                "mxfp4" => Self::MxFp4,
                "mxfp6_e2m3" => Self::MxFp6,
                "mxfp8_e4m3" => Self::MxFp8,
                _ => Self::Own,
            },
            _ => Self::Own,
        }
    }
}

/// A scheme in a layout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// Format, scales, symmetry.
    pub scheme: Scheme,
    /// Tensors of the file.
    pub layout: Layout,
    /// Whether zero points are floats, as HQQ makes them; in [`Layout::Own`].
    pub float_zero: bool,
    /// Whether inputs are to be divided by a scale, as AWQ asks for; in [`Layout::Own`].
    pub input_scale: bool,
}

/// A tensor of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartKind {
    Codes,
    Scale,
    ZeroPoint,
    GlobalScale,
    Shape,
    InputScale,
}

impl Part {
    pub(super) fn bytes(&self) -> usize {
        (self.shape.iter().product::<usize>() * self.dtype.bitsize()).div_ceil(8)
    }
}

/// How codes stand in their tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// A number each.
    Plain,
    /// Bits in rows of whole units of so many bytes.
    Rows(Width, usize),
    /// Bits over the whole tensor.
    Stream(Width),
    /// GGUF blocks of so many bytes for so many columns.
    Blocks { len: usize, bytes: usize },
}

impl Form {
    /// A scheme in the layout that it has by default.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, layout: Layout::of(&scheme), float_zero: false, input_scale: false }
    }

    /// Bytes of all tensors of a weight `[rows, columns]`.
    pub fn bytes(&self, rows: usize, columns: usize) -> u64 {
        self.parts(rows, columns).iter().map(|part| part.bytes() as u64).sum()
    }

    /// Whether the scheme has zero points.
    pub(super) fn affine(&self) -> bool {
        self.scheme.symmetry() == Some(Symmetry::Affine)
    }

    /// Whether zero points are packed down the rows.
    pub(super) fn packs_zero_points(&self) -> bool {
        let rows = matches!(self.scheme.granularity(), Granularity::Channel | Granularity::Group(_));
        self.layout == Layout::PackQuantized && rows
    }

    /// Shape of the scales.
    pub(super) fn cells(&self, rows: usize, columns: usize) -> Vec<usize> {
        let scheme = &self.scheme;
        match (scheme.granularity(), scheme.number()) {
            (Granularity::Tensor, _) => vec![1],
            (Granularity::Channel | Granularity::Token, _) => vec![rows, 1],
            (Granularity::Group(len), _) => vec![rows, columns.div_ceil(len)],
            (Granularity::Block(height, width), _) => vec![rows.div_ceil(height), columns.div_ceil(width)],
            (Granularity::Own, Number::Codebook(Codebook { rule: CodebookRule::Ternary, .. })) => vec![1],
            _ => {
                let cells = scheme.cells(rows, columns);
                if cells == 0 { vec![0] } else { vec![rows, cells / rows] }
            }
        }
    }

    pub(super) fn packing(&self) -> Packing {
        let bits = self.width();
        match (self.layout, self.scheme.number()) {
            (Layout::NaiveQuantized | Layout::MxFp8 | Layout::Dense, _) => Packing::Plain,
            (Layout::PackQuantized, _) => Packing::Rows(bits, 4),
            (Layout::NvFp4 | Layout::MxFp4 | Layout::MxFp6, _) => Packing::Rows(bits, 1),
            (Layout::Own, Number::Gguf(gguf)) => Packing::Blocks { len: gguf.len, bytes: gguf.bytes() },
            (Layout::Own, _) => Packing::Stream(bits),
        }
    }

    /// What a code takes.
    pub(super) fn width(&self) -> Width {
        match self.scheme.number() {
            Number::Float(float) => Width::Bits(float.bits()),
            Number::Int(int) => Width::Bits(int.bits),
            Number::Block(block) => Width::Bits(block.element.bits()),
            Number::Codebook(row) => match row.rule {
                CodebookRule::Table { values, .. } => Width::Bits(values.len().ilog2()),
                CodebookRule::Ternary => Width::Trit,
                CodebookRule::Binary => Width::Bits(1),
                CodebookRule::PowersOfTwo => Width::Bits(8),
            },
            _ => Width::Bits(8),
        }
    }

    /// The tensors of a weight.
    pub(super) fn parts(&self, rows: usize, columns: usize) -> Vec<Part> {
        let part = |kind, dtype, shape| Part { kind, dtype, shape };
        let codes = match (self.packing(), self.layout) {
            (Packing::Plain, Layout::Dense) => {
                let dtype = dense(self.scheme.number().name()).unwrap_or(Dtype::F32);
                part(PartKind::Codes, dtype, vec![rows, columns])
            }
            (Packing::Plain, _) if self.scheme.int().is_some() => {
                part(PartKind::Codes, Dtype::I16, vec![rows, columns])
            }
            (Packing::Plain, _) => part(PartKind::Codes, Dtype::F8_E4M3, vec![rows, columns]),
            (Packing::Rows(width, 4), _) => {
                part(PartKind::Codes, Dtype::I32, vec![rows, width.bytes(columns).div_ceil(4)])
            }
            (Packing::Rows(width, _), _) => {
                part(PartKind::Codes, Dtype::U8, vec![rows, width.bytes(columns)])
            }
            (Packing::Stream(width), _) => {
                part(PartKind::Codes, Dtype::U8, vec![width.bytes(rows * columns)])
            }
            (Packing::Blocks { len, bytes }, _) => {
                part(PartKind::Codes, Dtype::U8, vec![rows, columns.div_ceil(len) * bytes])
            }
        };
        let mut parts = vec![codes];
        let cells = self.cells(rows, columns);
        let count: usize = cells.iter().product();
        if count > 0 {
            parts.push(part(PartKind::Scale, self.scale_dtype(), cells.clone()));
        }
        if let (Some(int), true) = (self.scheme.int(), self.affine()) {
            parts.push(match self.layout {
                _ if self.float_zero => part(PartKind::ZeroPoint, Dtype::F32, cells),
                Layout::PackQuantized if self.packs_zero_points() => {
                    let words = (rows * int.bits as usize).div_ceil(32);
                    part(PartKind::ZeroPoint, Dtype::I32, vec![words, count / rows])
                }
                Layout::PackQuantized => part(PartKind::ZeroPoint, Dtype::I8, cells),
                Layout::NaiveQuantized => part(PartKind::ZeroPoint, Dtype::I16, cells),
                _ => part(PartKind::ZeroPoint, Dtype::U8, vec![self.width().bytes(count)]),
            });
        }
        if self.global() {
            parts.push(part(PartKind::GlobalScale, Dtype::F32, vec![1]));
        }
        if self.layout == Layout::PackQuantized {
            parts.push(part(PartKind::Shape, Dtype::I64, vec![2]));
        }
        if self.input_scale {
            parts.push(part(PartKind::InputScale, Dtype::F32, vec![columns]));
        }
        parts
    }

    /// The tensors of a weight of shape `tensor`, if that is not `[rows, columns]`: codes that are a number each keep it.
    pub(super) fn shaped(&self, rows: usize, columns: usize, tensor: Option<&[usize]>) -> Vec<Part> {
        let mut parts = self.parts(rows, columns);
        if let (Some(tensor), Packing::Plain) = (tensor, self.packing()) {
            parts[0].shape = tensor.to_vec();
        }
        parts
    }

    /// Whether there is a scale of all scales.
    pub(super) fn global(&self) -> bool {
        matches!(self.scheme.number(), Number::Block(block) if block.scale == BlockScale::Ue4m3 { global: true })
    }

    fn scale_dtype(&self) -> Dtype {
        match (self.layout, self.scheme.number(), self.scheme.scale()) {
            (Layout::NvFp4, ..) => Dtype::F8_E4M3,
            (_, Number::Block(_), _) | (_, _, ScaleFormat::E8m0 | ScaleFormat::Ue4m3) => Dtype::U8,
            (_, _, ScaleFormat::Fp16) => Dtype::F16,
            (_, _, ScaleFormat::Bf16) => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// The name of a weight's tensor.
    pub(super) fn part_name(&self, name: &str, kind: PartKind) -> String {
        let suffix = match (kind, self.packing()) {
            (PartKind::Codes, Packing::Plain) => "",
            (PartKind::Codes, Packing::Rows(..)) => "_packed",
            (PartKind::Codes, _) => "_codes",
            (PartKind::Scale, _) => "_scale",
            (PartKind::ZeroPoint, _) => "_zero_point",
            (PartKind::GlobalScale, _) => "_global_scale",
            (PartKind::Shape, _) => "_shape",
            (PartKind::InputScale, _) => "_input_scale",
        };
        format!("{name}{suffix}")
    }

    /// Why compressed-tensors cannot load a weight of that name, width and shape beyond a matrix, if it cannot.
    pub fn unloadable(&self, name: &str, columns: usize, tensor: Option<&[usize]>) -> Option<String> {
        let whole = |len: usize, what: &str| {
            let rest = columns % len;
            (rest != 0).then(|| format!("{what} {len} does not divide its {columns} columns"))
        };
        let uneven = match (self.layout, self.scheme.granularity(), self.scheme.number()) {
            (Layout::Own, ..) => Some(format!("it has no layout for `{}` as it is stored here", self.scheme)),
            (Layout::Dense, ..) => return None,
            _ if tensor.is_some() => {
                Some("it is a convolution's, and the package loads linear layers".into())
            }
            (_, Granularity::Group(len), _) => whole(len, "a group of"),
            (_, Granularity::Block(_, width), _) => whole(width, "a block of"),
            (_, _, Number::Block(block)) => whole(block.len, "a block of"),
            _ => None,
        };
        let unnamed = || {
            let named = name == "weight" || name.ends_with(".weight");
            (!named).then(|| "it takes weights of layers, whose names end with `weight`".into())
        };
        uneven.or_else(unnamed)
    }
}

/// The type of safetensors that is a float format.
fn dense(format: &str) -> Option<Dtype> {
    Some(match format {
        "fp16" => Dtype::F16,
        "bf16" => Dtype::BF16,
        "e4m3fn" => Dtype::F8_E4M3,
        "e5m2" => Dtype::F8_E5M2,
        "e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        _ => return None,
    })
}
