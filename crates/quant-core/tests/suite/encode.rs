//! Weights under every scheme: what is decoded is on the grid, as near as the format allows, and where both exist the
//! same as the codecs and casts give.
use crate::common::schemes::{numbers, schemes};
use quant_core::number::{Codes, Number, Numerics, Scales, cast};
use quant_core::*;

fn all_schemes() -> Vec<Scheme> {
    let granularities = ["tensor", "channel", "group=7", "group=32", "block=2x16", "token"];
    schemes(&granularities, &["", "scale=fp16", "scale=bf16", "scale=e8m0fnu", "scale=ue4m3"])
}

#[test]
fn every_scheme_encodes_what_it_decodes_to_the_same() {
    let all = all_schemes();
    assert!(all.len() > 1500, "{}", all.len());
    for scheme in all {
        for (rows, columns) in [(1, 1), (5, 33), (4, 64)] {
            let mut x = numbers(rows * columns, 7);
            x[0] = 0.0;
            let encoded = encode(&x, rows, columns, &scheme).unwrap();
            let y = encoded.decode();
            assert!(y.iter().all(|y| y.is_finite()), "{scheme}");
            let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
            let far = x.iter().zip(&y).fold(0f32, |far, (x, y)| far.max((x - y).abs()));
            assert!(
                far <= 1.01 * most.max(1.0) || scheme.number().name() == "int1",
                "{scheme}: {far} of {most}"
            );
            match (&encoded.scales, scheme.granularity()) {
                (Scales::F32(scales), Granularity::Own) => assert!(scales.len() <= rows * columns),
                (Scales::F32(scales), _) => assert_eq!(scales.len(), scheme.cells(rows, columns), "{scheme}"),
                (Scales::Codes(scales), _) => {
                    assert_eq!(scales.len(), scheme.cells(rows, columns), "{scheme}")
                }
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_constants_are_near() {
    for scheme in all_schemes() {
        let zeros = encode(&[0.0; 66], 2, 33, &scheme).unwrap().decode();
        let none = scheme.number().name() == "binary" && scheme.scale() == ScaleFormat::E8m0;
        assert!(none || zeros.iter().all(|y| *y == 0.0), "{scheme}");
        for constant in [1.5_f32, -3e-5, 1e-39] {
            let x = [constant; 66];
            let Ok(encoded) = encode(&x, 2, 33, &scheme) else { continue };
            assert!(encoded.decode().iter().all(|y| y.is_finite()), "{scheme}");
        }
    }
}

#[test]
fn integers_equal_the_codecs() {
    for words in
        ["int8 {} narrow", "int8 {} symmetric", "int4 {} affine", "uint8 {} affine", "int16 {} no-clip"]
    {
        for granularity in ["tensor", "channel"] {
            let scheme: Scheme = words.replace("{}", granularity).parse().unwrap();
            let x = numbers(9 * 31, 3);
            let layout = Layout { shape: vec![9, 31], axis: (granularity == "channel").then_some(0) };
            let mut observer = Observer::new(ObserverSpec::MinMax);
            observer.observe(&x, &layout).unwrap();
            let qparams = QParams::from_range(observer.range().unwrap(), &scheme).unwrap();
            let codes = quantize(&x, &layout, &qparams).unwrap();
            let encoded = encode(&x, 9, 31, &scheme).unwrap();
            let found: Vec<i32> = match &encoded.codes {
                Codes::I8(codes) => codes.iter().map(|&c| i32::from(c)).collect(),
                Codes::U8(codes) => codes.iter().map(|&c| i32::from(c)).collect(),
                Codes::I16(codes) => codes.iter().map(|&c| i32::from(c)).collect(),
                Codes::I32(_) => unreachable!(),
            };
            assert_eq!(found, codes, "{scheme}");
            assert_eq!(encoded.scales, Scales::F32(qparams.scale.clone()), "{scheme}");
            assert_eq!(encoded.decode(), dequantize(&codes, &layout, &qparams).unwrap(), "{scheme}");
        }
    }
}

#[test]
fn formats_that_stand_alone_equal_their_casts() {
    for number in Number::all() {
        let Ok(scheme) = number.name().parse::<Scheme>() else { continue };
        let x = numbers(3 * 70, 5);
        let expected = cast(&x, &[3, 70], number, None).unwrap().decoded;
        let found = encode(&x, 3, 70, &scheme).unwrap().decode();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{scheme}: {found} {expected}");
        }
    }
}

#[test]
fn what_is_not_finite_is_named() {
    let scheme: Scheme = "int4 group=2".parse().unwrap();
    let found = encode(&[0.0, 1.0, f32::NAN, 2.0], 2, 2, &scheme).unwrap_err();
    assert!(matches!(found, Error::NotFinite { index: 2, .. }), "{found}");
    let found = encode(&[0.0, f32::INFINITY], 1, 2, &"bf16".parse().unwrap()).unwrap_err();
    assert!(matches!(found, Error::NotFinite { index: 1, .. }), "{found}");
    assert!(matches!(encode(&[0.0], 1, 2, &scheme), Err(Error::Length { .. })));
    let narrow: Scheme = "int8 tensor narrow scale=fp16".parse().unwrap();
    assert!(matches!(encode(&[1e30], 1, 1, &narrow), Err(Error::TooWide { cell: 0, .. })));
}

#[test]
fn torchs_profile_is_torchaos_primitives() {
    let all: serde_json::Value = serde_json::from_str(include_str!("../golden/affine.json")).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 115);
    let integers = |value: &serde_json::Value| -> Vec<i64> {
        value.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
    };
    let floats = |value: &serde_json::Value| -> Vec<f32> {
        integers(value).into_iter().map(|bits| f32::from_bits(bits as u32)).collect()
    };
    let torch = Numerics::named("torch").unwrap();
    let mut unlike = 0;
    for case in cases {
        let scheme: Scheme = case["scheme"].as_str().unwrap().parse().unwrap();
        let x = floats(&case["x"]);
        let found = encode_as(&x, 4, 24, &scheme, Some(torch)).unwrap();
        assert_eq!(found.scales, Scales::F32(floats(&case["scale"])), "{scheme}");
        if scheme.symmetry() == Some(Symmetry::Affine) {
            let zeros: Vec<i64> = found.zero_points.iter().map(|&z| i64::from(z)).collect();
            assert_eq!(zeros, integers(&case["zero_point"]), "{scheme}");
        }
        let Codes::I8(codes) = &found.codes else { panic!("{scheme}") };
        let codes: Vec<i64> = codes.iter().map(|&code| i64::from(code)).collect();
        assert_eq!(codes, integers(&case["codes"]), "{scheme}");
        for (found, expected) in found.decode().iter().zip(floats(&case["values"])) {
            assert!(*found == expected, "{scheme}: {found} for {expected}");
        }
        let divided = encode(&x, 4, 24, &scheme).unwrap();
        unlike += usize::from(divided.codes != found.codes);
    }
    // The profiles are not the same: dividing gives other codes near ties.
    assert!(unlike > 0);
}
