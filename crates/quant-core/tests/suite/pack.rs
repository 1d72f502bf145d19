//! Packed bytes against compressed-tensors, onnx and gguf, and errors.
use crate::common::{check, splitmix};
use quant_core::Error;
use quant_core::number::{GGUFS, Gguf};
use quant_core::pack::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    layer: Affine,
    gguf: Vec<Blocks>,
}

#[derive(Deserialize)]
struct Case {
    packing: String,
    #[serde(rename = "type", default)]
    kind: String,
    bits: u32,
    rows: usize,
    columns: usize,
    seed: u64,
    shape: Vec<usize>,
    bytes: String,
}

#[derive(Deserialize)]
struct Affine {
    rows: usize,
    columns: usize,
    groups: usize,
    seed: u64,
    weight_packed: String,
    weight_zero_point: String,
}

#[derive(Deserialize)]
struct Blocks {
    format: String,
    bytes: String,
    values: Vec<u64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/pack.json")).unwrap()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (16 * pair[0] + pair[1]) as u8).collect()
}

/// Bit patterns of unsigned codes.
fn patterns(len: usize, bits: u32, seed: u64) -> Vec<u8> {
    (0..len).map(|i| (splitmix(seed, i) & ((1 << bits) - 1)) as u8).collect()
}

/// The same as two's complement.
fn signed(patterns: &[u8], bits: u32) -> Vec<i8> {
    let unused = 8 - bits;
    patterns.iter().map(|&pattern| ((pattern << unused) as i8) >> unused).collect()
}

/// Packs into exactly those bytes, as many as predicted, and back.
fn equal<C: Code + std::fmt::Debug>(packing: &Packing, codes: &[C], case: &Case, expected: &[u8]) {
    let what = format!("{} {} [{}, {}]", packing.name, case.bits, case.rows, case.columns);
    let (rows, columns, bits) = (case.rows, case.columns, case.bits);
    assert_eq!(packing.bytes(rows, columns, bits), expected.len(), "{what}");
    assert_eq!(packing.pack(codes, rows, columns, bits).unwrap(), expected, "{what}");
    assert_eq!(packing.unpack::<C>(expected, rows, columns, bits).unwrap(), codes, "{what}");
}

#[test]
fn bytes_are_those_of_compressed_tensors_and_onnx() {
    let cases = golden().cases;
    assert_eq!(cases.len(), 8 * 6 * 2 + 2 * 4 + 9 * 11);
    for case in &cases {
        let packing = Packing::named(&case.packing).unwrap();
        let expected = bytes(&case.bytes);
        assert_eq!(packing.shape(case.rows, case.columns, case.bits), case.shape, "{}", case.packing);
        let patterns = patterns(case.rows * case.columns, case.bits, case.seed);
        let codes = signed(&patterns, case.bits);
        if packing.field == Field::Offset {
            equal(packing, &codes, case, &expected);
            let wide: Vec<i32> = codes.iter().map(|&code| code.into()).collect();
            equal(packing, &wide, case, &expected);
            // An unsigned code is a signed one plus half of the range.
            let shifted: Vec<u8> =
                codes.iter().map(|&code| (i32::from(code) + (1 << (case.bits - 1))) as u8).collect();
            equal(packing, &shifted, case, &expected);
        } else {
            equal(packing, &patterns, case, &expected);
            if case.kind.starts_with("int") {
                equal(packing, &codes, case, &expected);
            }
        }
    }
}

#[test]
fn an_affine_layer_is_the_packages() {
    let layer = golden().layer;
    let codes = signed(&patterns(layer.rows * layer.columns, 4, layer.seed), 4);
    let zeros = signed(&patterns(layer.rows * layer.groups, 4, layer.seed + 1), 4);
    let packed = PACK_QUANTIZED.pack(&codes, layer.rows, layer.columns, 4).unwrap();
    assert_eq!(packed, bytes(&layer.weight_packed));
    let packed = PACK_QUANTIZED_ZERO_POINTS.pack(&zeros, layer.rows, layer.groups, 4).unwrap();
    assert_eq!(packed, bytes(&layer.weight_zero_point));
}

#[test]
fn blocks_of_any_bytes_have_the_values_of_gguf() {
    let blocks = golden().gguf;
    assert_eq!(blocks.len(), GGUFS.len());
    for case in &blocks {
        let gguf = GGUFS.iter().find(|gguf| gguf.name == case.format).unwrap();
        let data = bytes(&case.bytes);
        let values = gguf.values_of(&data, 2, 3 * gguf.len).unwrap();
        check(&case.format, values.iter().map(|x| u64::from(x.to_bits())), &case.values);
    }
}

#[test]
fn blocks_go_back_and_forth() {
    let q8 = GGUFS.iter().find(|gguf| gguf.name == "q8_0").unwrap();
    let values: Vec<f32> = (0..3 * 40).map(|i| (i % 100 - 50) as f32).collect();
    let rows = |gguf: &Gguf| {
        let blocks = gguf.blocks_of(&values, 3, 40).unwrap();
        assert_eq!(blocks.len(), gguf.bytes_of(3, 40));
        let back = gguf.values_of(&blocks, 3, 40).unwrap();
        // Values of a grid stay on it, up to the scale's rounding.
        let again = gguf.blocks_of(&back, 3, 40).unwrap();
        (back, gguf.values_of(&again, 3, 40).unwrap())
    };
    let (once, _) = rows(q8);
    assert!(once.iter().zip(&values).all(|(a, b)| (a - b).abs() < 0.25));
    GGUFS.iter().for_each(|gguf| assert_eq!(rows(gguf).0.len(), values.len(), "{}", gguf.name));
    let message = |result: Result<_, Error>| result.unwrap_err().to_string();
    assert_eq!(message(q8.values_of(&[0; 33], 1, 1)), "`q8_0` takes 34 bytes for [1, 1] values, found 33");
    assert_eq!(message(q8.blocks_of(&[1.0], 1, 2).map(|_| vec![])), "shape [1, 2] has 2 values, found 1");
    assert_eq!(
        message(q8.blocks_of(&[1.0, f32::NAN], 1, 2).map(|_| vec![])),
        "`q8_0` has no code for NaN, found at position 1"
    );
}

#[test]
fn trits_are_digits_of_base_three() {
    let pack = |codes: &[i8]| TRITS.pack(codes, 1, codes.len(), 2).unwrap();
    assert_eq!(pack(&[-1; 5]), [0]);
    assert_eq!(pack(&[1; 5]), [242]);
    assert_eq!(pack(&[0, -1, -1, -1, -1]), [1]);
    assert_eq!(pack(&[-1, -1, -1, -1, 1]), [162]);
    assert_eq!(pack(&[1, 0, 1, 1, 1, 1, 0]), [239, 5]);
    assert_eq!(TRITS.pack(&[2u8, 1], 1, 2, 2).unwrap(), [5]);
    assert_eq!(TRITS.bytes(1000, 1000, 2) * 8, 1_600_000);
}

#[test]
fn what_does_not_fit_is_named() {
    let message = |result: Result<Vec<u8>, Error>| result.unwrap_err().to_string();
    assert_eq!(message(ONNX.pack(&[7i8, 8], 1, 2, 4)), "expected codes from -8 to 7, found 8 at position 1");
    assert_eq!(
        message(PACK_QUANTIZED_ZERO_POINTS.pack(&[0u8, 0, 0, 9], 2, 2, 3)),
        "expected codes from 0 to 7, found 9 at position 3"
    );
    assert_eq!(
        message(TRITS.pack(&[0i8, -2], 2, 1, 2)),
        "expected codes from -1 to 1, found -2 at position 1"
    );
    assert_eq!(
        message(CANONICAL.pack(&[1i32 << 16], 1, 1, 16)),
        "expected codes from -32768 to 32767, found 65536 at position 0"
    );
    assert_eq!(message(CANONICAL.pack(&[1i8], 1, 2, 4)), "shape [1, 2] has 2 values, found 1");
    assert!(CANONICAL.pack(&[1i8], usize::MAX, 2, 4).is_err());
    assert_eq!(
        message(ONNX.pack(&[1i8], 1, 1, 3)),
        "packing `onnx` takes codes of 2, 4, 6, 8 bits here, found 3"
    );
    assert_eq!(
        message(ONNX.pack(&[1i8], 1, 1, 16)),
        "packing `onnx` takes codes of 2, 4, 6, 8 bits here, found 16"
    );
    assert_eq!(
        message(FLOAT_PACK_QUANTIZED.pack(&[1u8; 6], 1, 6, 6)),
        "packing `float-pack-quantized` takes a multiple of 4 columns of 6 bits, found 6"
    );
    assert_eq!(
        message(FLOAT_PACK_QUANTIZED.unpack(&[1u8; 2], 1, 3, 4)),
        "packing `float-pack-quantized` takes a multiple of 2 columns of 4 bits, found 3"
    );
    assert_eq!(
        message(PACK_QUANTIZED.unpack(&[0; 7], 2, 3, 4)),
        "packing `pack-quantized` takes 8 bytes for [2, 3] codes of 4 bits, found 7"
    );
    assert_eq!(
        message(TRITS.unpack(&[242, 243], 1, 10, 2)),
        "expected bytes below 243, five trits each, found 243 at position 1"
    );
    assert!(CANONICAL.pack_into(&[1u8], 1, 1, 8, &mut [0; 2]).is_err());
    assert!(CANONICAL.unpack_into(&[1], 1, 1, 8, &mut [0u8; 2]).is_err());
}

#[test]
fn the_first_wrong_code_is_found_in_a_large_tensor() {
    let mut codes = vec![0i8; 1 << 20];
    for at in [900_001, 300_007, 1 << 19] {
        codes[at] = -3;
    }
    for (packing, bits) in [(CANONICAL, 2), (PACK_QUANTIZED, 2), (PACK_QUANTIZED_ZERO_POINTS, 2), (TRITS, 2)]
    {
        let error = packing.pack(&codes, 1 << 10, 1 << 10, bits).unwrap_err();
        assert!(matches!(error, Error::Code { index: 300_007, code: -3, .. }), "{error}");
    }
}
