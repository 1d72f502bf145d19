//! Blocks and codebooks against torchao, gguf and rules written down a second time in Python.
use crate::common::{check, splitmix};
use burn::tensor::f16;
use quant_core::Error;
use quant_core::number::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    blocks: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    format: String,
    shape: Vec<usize>,
    codes: Vec<u64>,
    decoded: Vec<u64>,
    scales: Option<Vec<u64>>,
    global: Option<u32>,
}

/// The tensor of the Python script: magnitudes from 2^−12 to 2^11, a row of zeros, a constant one, one half empty, and
/// one with an outlier.
fn tensor(shape: &[usize]) -> Vec<f32> {
    let columns = shape[1];
    let one = |index: usize| {
        let h = splitmix(columns as u64, index);
        let sum: f32 = (0..4).map(|k| (h >> (16 * k) & 0xffff) as f32).sum();
        (sum - 131_070.0) / 65_536.0 * 2f32.powi((index / 512 % 24) as i32 - 12)
    };
    let mut x: Vec<f32> = (0..shape[0] * columns).map(one).collect();
    let mut rows = x.chunks_mut(columns).skip(1);
    rows.next().unwrap().fill(0.0);
    rows.next().unwrap().fill(0.75);
    rows.next().unwrap()[..columns / 2].fill(0.0);
    rows.next().unwrap()[1..].iter_mut().for_each(|x| *x *= 1.0 / 1024.0);
    x
}

#[test]
fn codes_scales_and_values_agree() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/blocks.json")).unwrap();
    assert_eq!(golden.blocks.len(), 28);
    for row in &golden.blocks {
        let what = |part| format!("{} {:?} {part}", row.format, row.shape);
        let done = cast(&tensor(&row.shape), &row.shape, Number::named(&row.format).unwrap(), None).unwrap();
        assert_eq!(done.global_scale.map(f32::to_bits), row.global, "{}", what("global"));
        match (&done.scales, &row.scales) {
            (None, None) => {}
            (Some((Scales::Codes(codes), _)), Some(sums)) => {
                check(&what("scales"), codes.iter().map(|&code| u64::from(code)), sums);
            }
            (Some((Scales::F32(scales), _)), Some(sums)) => {
                check(&what("scales"), scales.iter().map(|scale| u64::from(scale.to_bits())), sums);
            }
            _ => panic!("{}", what("scales")),
        }
        match &done.codes {
            Codes::U8(codes) => check(&what("codes"), codes.iter().map(|&code| u64::from(code)), &row.codes),
            Codes::I8(codes) => {
                check(&what("codes"), codes.iter().map(|&code| u64::from(code as u8)), &row.codes);
            }
            _ => panic!("{}", what("codes")),
        }
        check(&what("decoded"), done.decoded.iter().map(|x| u64::from(x.to_bits())), &row.decoded);
    }
}

#[test]
fn shapes_are_those_of_rows_and_blocks() {
    let shapes = |shape: &[usize], name: &str| {
        let values = vec![1.0; shape.iter().product()];
        let done = cast(&values, shape, Number::named(name).unwrap(), None).unwrap();
        let codes = match done.codes {
            Codes::U8(codes) => codes.len(),
            Codes::I8(codes) => codes.len(),
            _ => 0,
        };
        assert_eq!(codes, done.shape.iter().product::<usize>(), "{name} {shape:?}");
        assert_eq!(done.decoded.len(), values.len());
        (done.shape, done.scales.map(|(_, shape)| shape))
    };
    let (a, b) = (vec![2, 3, 40], Some(vec![6, 2]));
    assert_eq!(shapes(&a, "mxfp4"), (a.clone(), b));
    assert_eq!(shapes(&a, "nvfp4"), (a.clone(), Some(vec![6, 3])));
    assert_eq!(shapes(&a, "nf4"), (a.clone(), Some(vec![6, 1])));
    assert_eq!(shapes(&a, "binary"), (a.clone(), Some(vec![6])));
    assert_eq!(shapes(&a, "ternary"), (a.clone(), Some(vec![1])));
    assert_eq!(shapes(&a, "q5_1"), (vec![2, 3, 48], None));
    assert_eq!(shapes(&[3], "tq2_0"), (vec![66], None));
    assert_eq!(shapes(&[], "q8_0"), (vec![34], None));
    assert_eq!(shapes(&[], "mxint8"), (vec![], Some(vec![1, 1])));
    for number in Number::all() {
        shapes(&[0, 4], number.name());
        shapes(&[4, 0], number.name());
    }
    assert!(cast(&[1.0], &[2], Number::named("bf16").unwrap(), None).is_err());
}

#[test]
fn codes_alone_are_those_of_a_cast() {
    for shape in [[3, 4096], [5, 300]] {
        let values = tensor(&[8, 4096])[..shape.iter().product()].to_vec();
        for number in Number::all().filter(|number| number.name() != "ue4m3") {
            let cast = cast(&values, &shape, number, None).unwrap();
            let encoded = codes(&values, &shape, number, None).unwrap();
            let parts = (cast.codes, cast.shape, cast.scales, cast.global_scale);
            assert_eq!(parts, (encoded.codes, encoded.shape, encoded.scales, encoded.global_scale));
        }
    }
}

#[test]
fn a_value_without_a_code_is_found_wherever_it_is() {
    for (shape, at) in [([64, 512], 31_000), ([3, 100], 299), ([1, 70_000], 69_999)] {
        for number in Number::all().filter(|number| number.name() != "ue4m3") {
            let mut values = vec![0.5; shape.iter().product()];
            for x in [f32::NAN, f32::INFINITY] {
                values[at] = x;
                match codes(&values, &shape, number, None) {
                    Ok(encoded) => {
                        let cast = cast(&values, &shape, number, None).unwrap();
                        assert_eq!(encoded.codes, cast.codes);
                        assert!(!x.is_nan() || cast.decoded[at].is_nan(), "{}", number.name());
                    }
                    Err(error) => {
                        let Error::NoCode { format, index, value } = error else { panic!("{error}") };
                        assert_eq!((format, index, value.to_bits()), (number.name(), at, x.to_bits()));
                    }
                }
            }
        }
    }
}

#[test]
fn a_tail_counts_only_what_is_there() {
    // A minimum of padded zeros would be 0.
    let x = [5.0, 6.0, 7.0];
    let done = cast(&x, &[3], Number::named("q4_1").unwrap(), None).unwrap();
    let Codes::U8(bytes) = done.codes else { panic!() };
    assert_eq!(f16::from_le_bytes([bytes[2], bytes[3]]).to_f32(), 5.0);
    assert!((done.decoded[1] - 6.0).abs() < 0.1);
}

#[test]
fn extremes_of_powers_of_two() {
    let mx = |x: &[f32], name: &str| {
        let done = cast(x, &[x.len()], Number::named(name).unwrap(), None).unwrap();
        let (Some((Scales::Codes(scales), _)), Codes::U8(codes)) = (done.scales, done.codes) else {
            panic!()
        };
        (scales[0], codes, done.decoded)
    };
    assert_eq!(mx(&[0.0, -0.0], "mxfp4").0, 0);
    // The smallest scale is 2^−127, and dividing by it is exact.
    let tiny = f32::from_bits(1 << 22);
    assert_eq!(mx(&[tiny, tiny / 2.0], "mxfp4"), (0, vec![2, 1], vec![tiny, tiny / 2.0]));
    let (scale, codes, decoded) = mx(&[f32::MAX, -f32::INFINITY], "mxint8");
    assert_eq!((scale, codes), (254, vec![127, 129]));
    assert!(decoded.iter().all(|x| x.is_finite()));
    let (scale, codes, decoded) = mx(&[1.0, f32::NAN], "mxfp8_e4m3");
    assert_eq!((scale, codes), (255, vec![127, 127]));
    assert!(decoded.iter().all(|x| x.is_nan()));
}

#[test]
fn nvfp4_is_finite_for_every_finite_tensor() {
    let nv = |x: &[f32], name: &str| cast(x, &[x.len()], Number::named(name).unwrap(), None).unwrap();
    let zeros = nv(&[0.0; 20], "nvfp4");
    assert_eq!((zeros.global_scale, zeros.decoded), (Some(1.0), vec![0.0; 20]));
    let tiny = nv(&[1e-38, -2e-45], "nvfp4");
    assert_eq!(tiny.global_scale, Some(f32::MAX));
    assert!(tiny.decoded.iter().all(|x| x.is_finite()));
    let large = nv(&[f32::MAX, 1.0], "nvfp4");
    assert!(large.decoded.iter().all(|x| x.is_finite()));
    assert_eq!(
        nv(&[6.0, 0.25, 0.26, 2.5, 5.0, -3.6], "nvfp4 global=none").decoded,
        [6.0, 0.0, 0.5, 2.0, 4.0, -4.0]
    );
}

#[test]
fn nf4_ties_go_to_the_lower_code() {
    let mut x: Vec<f32> = NF4.to_vec();
    let middles = NF4.windows(2).map(|pair| ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32);
    x.extend(middles.clone());
    let done = cast(&x, &[31], Number::named("nf4").unwrap(), None).unwrap();
    let Codes::U8(codes) = done.codes else { panic!() };
    assert_eq!(codes[..16], (0..16).collect::<Vec<u8>>());
    for (code, (middle, pair)) in middles.zip(NF4.windows(2)).enumerate() {
        let exact = (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        let expected = code as u8 + u8::from(f64::from(middle) > exact);
        assert_eq!(codes[16 + code], expected, "{middle}");
    }
}

#[test]
fn zero_is_positive_in_binary_and_a_half_is_zero_in_ternary() {
    let codes = |x: &[f32], name: &str| match cast(x, &[x.len()], Number::named(name).unwrap(), None)
        .unwrap()
        .codes
    {
        Codes::I8(codes) => codes,
        _ => panic!(),
    };
    assert_eq!(codes(&[0.0, -0.0, -1.0, 3.0], "binary"), [1, 1, -1, 1]);
    // The mean magnitude is 2.
    assert_eq!(codes(&[1.0, -1.0, 1.1, 4.9], "ternary"), [0, 0, 1, 1]);
    assert_eq!(codes(&[0.0, 0.0], "ternary"), [0, 0]);
}
