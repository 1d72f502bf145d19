//! The layouts there are, each a row, with where it was read.

use super::{Field, Packing, Run};

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
