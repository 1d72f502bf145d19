//! Scalar formats: every code, and casts against ml_dtypes, torch, gguf, ONNX's text and OCP's rules.
use crate::common::{check, splitmix};
use burn::tensor::{bf16, f16};
use quant_core::Error;
use quant_core::number::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    seed: u64,
    count: usize,
    tables: std::collections::BTreeMap<String, Vec<u64>>,
    casts: Vec<CastRow>,
}

#[derive(Deserialize)]
struct CastRow {
    format: String,
    numerics: String,
    mantissa: u32,
    exponents: [u64; 2],
    random: Vec<u64>,
    halfway: Vec<u64>,
    specials: Specials,
}

#[derive(Deserialize)]
struct Specials {
    x: Vec<u32>,
    codes: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/formats.json")).unwrap()
}

fn inputs(seed: u64, count: usize, mantissa: u32, [low, high]: [u64; 2]) -> Vec<f32> {
    let one = |index| {
        let h = splitmix(seed, index);
        let keep = 0x7f_ffff ^ ((1 << (22 - mantissa)) - 1);
        let fraction = h & 0x7f_ffff & if (h >> 60) & 3 == 0 { keep } else { u64::MAX };
        let exponent = low + ((h >> 23) & 0xffff) % (high - low + 1);
        f32::from_bits(((h >> 63) << 31 | exponent << 23 | fraction) as u32)
    };
    (0..count).map(one).collect()
}

fn halfway(float: &Float) -> Vec<f32> {
    let codes = 0..=float.largest_code();
    let values: Vec<f64> = codes.map(|code| f64::from(float.decode(code))).collect();
    let three = |pair: &[f64]| {
        let middle = ((pair[0] + pair[1]) / 2.0) as f32;
        [middle, middle.next_down(), middle.next_up()]
    };
    let positive: Vec<f32> = values.windows(2).flat_map(three).collect();
    positive.iter().copied().chain(positive.iter().map(|x| -x)).collect()
}

fn codes(values: &[f32], number: Number, numerics: &str) -> Vec<u32> {
    let numerics = Numerics::named(numerics).unwrap();
    unsigned(cast(values, &[values.len()], number, Some(numerics)).unwrap().codes)
}

fn unsigned(codes: Codes) -> Vec<u32> {
    match codes {
        Codes::U8(codes) => codes.into_iter().map(u32::from).collect(),
        Codes::I8(codes) => codes.into_iter().map(|code| u32::from(code as u8)).collect(),
        Codes::I16(codes) => codes.into_iter().map(|code| u32::from(code as u16)).collect(),
        Codes::I32(codes) => codes.into_iter().map(|code| code as u32).collect(),
    }
}

#[test]
fn every_code_decodes_as_ml_dtypes_says() {
    let golden = golden();
    assert_eq!(golden.tables.len(), 10);
    for (name, expected) in &golden.tables {
        let table = Float::named(name).unwrap().table();
        let bits = table.iter().map(|x| if x.is_nan() { 0 } else { u64::from(x.to_bits()) });
        if table.len() > 256 {
            check(name, bits, expected);
            continue;
        }
        let theirs: Vec<f32> = expected.iter().map(|bits| f32::from_bits(*bits as u32)).collect();
        for (code, (ours, theirs)) in table.iter().zip(&theirs).enumerate() {
            let equal = ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
            assert!(equal, "{name} {code}: {ours} {theirs}");
        }
    }
}

#[test]
fn casts_agree_in_every_profile_that_defines_the_format() {
    let golden = golden();
    for row in &golden.casts {
        let what = |part| format!("{} {} {part}", row.format, row.numerics);
        let float = Float::named(&row.format).unwrap();
        let codes = |values: &[f32]| codes(values, Number::Float(float), &row.numerics);
        let wide = |codes: Vec<u32>| codes.into_iter().map(u64::from);
        let specials: Vec<f32> = row.specials.x.iter().copied().map(f32::from_bits).collect();
        for ((x, ours), theirs) in specials.iter().zip(codes(&specials)).zip(&row.specials.codes) {
            assert_eq!(ours, *theirs, "{} {x:e}", what("specials"));
        }
        let random = inputs(golden.seed, golden.count, row.mantissa, row.exponents);
        check(&what("random"), wide(codes(&random)), &row.random);
        check(&what("halfway"), wide(codes(&halfway(float))), &row.halfway);
    }
    // Each pair of a format and a profile is there, but for those of our own.
    let defined = |float: &'static Float| NUMERICS.iter().filter(|n| n.defines(Number::Float(float))).count();
    let own = ["tf32", "ue4m3"];
    let pairs: usize = FLOATS.iter().filter(|float| !own.contains(&float.name)).map(defined).sum();
    assert_eq!(golden.casts.len(), pairs);
}

#[test]
fn codes_of_numbers_find_themselves() {
    for numerics in NUMERICS {
        for number in Number::all().filter(|number| numerics.defines(*number)) {
            match number {
                Number::Float(float) => {
                    for code in 0..1u32 << float.bits() {
                        let value = float.decode(code);
                        let rounder = FloatRounder::new(float, numerics.rule(float.name).unwrap());
                        let again = rounder.code(value, 0);
                        let saturated = value.is_infinite() && numerics.name != "ml-dtypes";
                        let same = again == code || value.is_nan() && float.decode(again).is_nan();
                        let same =
                            same || saturated && again & float.magnitude_mask() == float.largest_code();
                        assert!(same, "{} {} {code:#x}: {again:#x}", numerics.name, float.name);
                    }
                }
                Number::Int(int) => {
                    let rounder = IntRounder::new(int, Rounding::NearestEven);
                    for code in 0..1u32 << int.bits {
                        assert_eq!(
                            rounder.code(int.decode(code) as f32, 0),
                            int.decode(code),
                            "{}",
                            int.name
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn limits_follow_from_the_rows() {
    let of = |name: &str| {
        let f = Float::named(name).unwrap();
        (f.max(), f.smallest_normal(), f.smallest_subnormal(), f.nan_codes(), f.infinity_code().is_some())
    };
    let p = |n: i32| 2f64.powi(n) as f32;
    assert_eq!(of("tf32"), (3.401_162_1e38, p(-126), Some(p(-136)), 2046, true));
    assert_eq!(of("bf16"), (3.389_531_4e38, p(-126), Some(p(-133)), 254, true));
    assert_eq!(of("fp16"), (65504.0, p(-14), Some(p(-24)), 2046, true));
    assert_eq!(of("e4m3fn"), (448.0, p(-6), Some(p(-9)), 2, false));
    assert_eq!(of("e5m2"), (57344.0, p(-14), Some(p(-16)), 6, true));
    assert_eq!(of("e4m3fnuz"), (240.0, p(-7), Some(p(-10)), 1, false));
    assert_eq!(of("e5m2fnuz"), (57344.0, p(-15), Some(p(-17)), 1, false));
    assert_eq!(of("e3m2fn"), (28.0, 0.25, Some(0.0625), 0, false));
    assert_eq!(of("e2m3fn"), (7.5, 1.0, Some(0.125), 0, false));
    assert_eq!(of("e2m1fn"), (6.0, 1.0, Some(0.5), 0, false));
    assert_eq!(of("e8m0fnu"), (p(127), p(-127), None, 1, false));
    assert_eq!(of("ue4m3"), (448.0, p(-6), Some(p(-9)), 1, false));
    assert_eq!(Float::named("e8m0fnu").unwrap().min(), p(-127));
    assert_eq!(Float::named("e4m3fn").unwrap().epsilon(), 0.125);
    let int = |name: &str| Int::named(name).map(|int| (int.min(), int.max(), int.narrow())).unwrap();
    assert_eq!(int("int1"), (-1, 0, (0, 0)));
    assert_eq!(int("int8"), (-128, 127, (-127, 127)));
    assert_eq!(int("uint16"), (0, 65535, (0, 65535)));
}

#[test]
fn tf32_keeps_the_upper_bits_of_the_nearest() {
    let tf32 = Number::named("tf32").unwrap();
    let x: Vec<f32> = (0..200_000).map(|i| f32::from_bits((splitmix(7, i) >> 32) as u32)).collect();
    for (x, code) in x.iter().zip(codes(&x, tf32, "torch")) {
        let bits = x.to_bits();
        let expected = match x.is_nan() {
            true => (bits | 0x0040_0000) & !0x1fff,
            false => (bits + 0xfff + (bits >> 13 & 1)) & !0x1fff,
        };
        assert_eq!(code, expected, "{x:e}");
    }
}

#[test]
fn ue4m3_is_e4m3fn_without_a_sign() {
    let (ours, theirs) = (Number::named("ue4m3").unwrap(), Number::named("e4m3fn").unwrap());
    let x: Vec<f32> = inputs(3, 50_000, 3, [110, 140]).iter().map(|x| x.abs()).collect();
    assert_eq!(codes(&x, ours, "ocp"), codes(&x, theirs, "ml-dtypes"));
    let error = cast(&[1.0, -0.0, -1e-30], &[3], ours, None).unwrap_err();
    assert_eq!(error, Error::Negative { format: "ue4m3", index: 2, value: -1e-30 });
}

#[test]
fn integers_round_ties_to_even_and_saturate() {
    let x = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, -128.5, 1e30, -1e30, f32::INFINITY, -0.0];
    let of = |name: &str| unsigned(cast(&x, &[12], Number::named(name).unwrap(), None).unwrap().codes);
    let signed = |name: &str| of(name).into_iter().map(|code| code as u8 as i8).collect::<Vec<_>>();
    assert_eq!(signed("int8"), [0, 2, 2, 0, -2, 126, 127, -128, 127, -128, 127, 0]);
    assert_eq!(signed("int2"), [0, 1, 1, 0, -2, 1, 1, -2, 1, -2, 1, 0]);
    assert_eq!(of("uint4"), [0, 2, 2, 0, 0, 15, 15, 0, 15, 0, 15, 0]);
    assert_eq!(of("uint16")[8], 65535);
    assert_eq!(of("int16")[9], 0x8000);
    for int in INTS {
        let rounder = IntRounder::new(int, Rounding::NearestEven);
        for i in 0..20_000 {
            let x = (splitmix(5, i) as i64 >> 40) as f32 / 64.0;
            let expected = (x.round_ties_even() as i32).clamp(int.min(), int.max());
            assert_eq!(rounder.code(x, 0), expected, "{} {x}", int.name);
        }
    }
}

#[test]
fn stochastic_rounding_is_unbiased_and_repeats() {
    let float = Float::named("e2m3fn").unwrap();
    let rule = Numerics::named("ocp").unwrap().rule("e2m3fn").unwrap();
    for x in [0.03f32, 0.3, 1.03, -2.1, 6.9] {
        let values = vec![x; 200_000];
        let rounder = FloatRounder::new(float, rule).with_rounding(Rounding::Stochastic(11));
        let codes = rounder.codes(&values, |code| code);
        assert_eq!(codes, rounder.codes(&values, |code| code));
        let mean = codes.iter().map(|code| f64::from(float.decode(*code))).sum::<f64>() / 200_000.0;
        let rows: std::collections::BTreeSet<_> = codes.into_iter().collect();
        assert_eq!(rows.len(), 2, "{x}");
        assert!((mean - f64::from(x)).abs() < 2e-3, "{x} {mean}");
        let int = IntRounder::new(Int::named("int8").unwrap(), Rounding::Stochastic(11));
        let mean = int.codes(&values, f64::from).iter().sum::<f64>() / 200_000.0;
        assert!((mean - f64::from(x)).abs() < 5e-3, "{x} {mean}");
    }
}

#[test]
fn powers_of_two_are_nearest_in_value() {
    let pow2 = Number::named("pow2").unwrap();
    let p = |n: i32| 2f64.powi(n) as f32;
    let x =
        [0.0, -0.0, 1.0, -1.0, 1.5, 1.49, -3.0, p(-64), p(-64).next_down(), f32::MAX, -f32::INFINITY, p(63)];
    let codes: Vec<_> = codes(&x, pow2, "onnx").into_iter().map(|code| code as u8 as i8).collect();
    assert_eq!(codes, [0, 0, 64, -64, 65, 64, -66, 1, 0, 127, -127, 127]);
    let decoded = cast(&x, &[12], pow2, None).unwrap().decoded;
    assert_eq!(decoded[..8], [0.0, 0.0, 1.0, -1.0, 2.0, 1.0, -4.0, p(-63)]);
    let values: Vec<f32> =
        (-127..=127i8).map(|code| f32::from(code.signum()) * p(i32::from(code.abs()) - 64)).collect();
    let again = unsigned(cast(&values, &[255], pow2, None).unwrap().codes);
    assert_eq!(again, (-127..=127i8).map(|code| u32::from(code as u8)).collect::<Vec<_>>());
}

#[test]
fn what_has_no_code_is_refused_by_name_and_place() {
    let with = |x: f32, name: &str| cast(&[1.0, x], &[2], Number::named(name).unwrap(), None);
    let text = |x, name: &str| with(x, name).unwrap_err().to_string();
    for name in ["e2m1fn", "int4", "uint16", "nf4", "ternary", "binary", "pow2", "nvfp4", "q4_0", "tq2_0"] {
        assert!(text(f32::NAN, name).contains("has no code for NaN, found at position 1"), "{name}");
    }
    for name in ["nf4", "ternary", "binary", "nvfp4", "q8_0"] {
        assert!(text(f32::INFINITY, name).contains("has no code for inf"), "{name}");
    }
    for name in ["e4m3fn", "e8m0fnu", "tf32", "mxfp4", "mxint8"] {
        assert!(with(f32::NAN, name).unwrap().decoded[1].is_nan(), "{name}");
    }
    let unknown = |name: &str| Number::named(name).unwrap_err().to_string();
    assert_eq!(unknown("e4m3"), "unknown number format `e4m3`; did you mean `e4m3fn`?");
    assert_eq!(unknown("float"), "unknown number format `float`");
    assert_eq!(Number::named("nvfp4  global=none").unwrap().name(), "nvfp4 global=none");
    let torch = Numerics::named("torch").unwrap();
    let error = torch.check(Number::named("e2m1fn").unwrap()).unwrap_err().to_string();
    assert_eq!(error, "numerics `torch` do not define `e2m1fn`; these do: `onnx`, `ocp`, `ml-dtypes`");
    assert!(Numerics::named("mldtypes").unwrap_err().to_string().contains("did you mean `ml-dtypes`?"));
}

#[test]
fn doubles_round_once() {
    let above = 17.0 / 16.0 + 1e-12;
    assert_eq!(from_f64(&[above, 1.0, 1e300, -1e-300, f64::INFINITY, 0.1]).len(), 6);
    let e4m3 = Float::named("e4m3fn").unwrap();
    let rounder = FloatRounder::new(e4m3, Numerics::named("ocp").unwrap().rule("e4m3fn").unwrap());
    assert_eq!(e4m3.decode(rounder.code(to_odd(above), 0)), 1.125);
    assert_eq!(e4m3.decode(rounder.code(above as f32, 0)), 1.0);
    assert_eq!(to_odd(1e300), f32::MAX);
    assert_eq!(to_odd(-1e-300), -f32::from_bits(1));
    assert_eq!(to_odd(f64::INFINITY), f32::INFINITY);
    assert!((f64::from(to_odd(0.1)) - 0.1).abs() < 1e-8 && to_odd(0.1).to_bits() & 1 == 1);
    assert_eq!(from_f16(&[f16::from_f32(0.5)]), from_bf16(&[bf16::from_f32(0.5)]));
}
