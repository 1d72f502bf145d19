//! Codes: exhaustive, by hand, and against the numbers that ONNX's reference gave.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use quant_core::*;

#[test]
fn every_code_of_eight_bits_comes_back() {
    for (qmin, qmax) in [(-128, 127), (-127, 127), (0, 255)] {
        for scale in [1e-30_f32, 0.017, 0.3, 1.0 / 127.0, 1.0, 3.7e10] {
            for zero_point in [qmin, -3.max(qmin), 0, 5, qmax] {
                let qparams = QParams { scale: vec![scale], zero_point: vec![zero_point], qmin, qmax };
                let codes: Vec<i32> = (qmin..=qmax).collect();
                let layout = Layout::tensor(&[codes.len()]);
                let values = dequantize(&codes, &layout, &qparams).unwrap();
                assert_eq!(quantize(&values, &layout, &qparams).unwrap(), codes, "{scale} {zero_point}");
            }
        }
    }
}

#[test]
fn ties_go_to_even_before_the_zero_point_is_added() {
    let qparams = QParams { scale: vec![1.0], zero_point: vec![1], qmin: -128, qmax: 127 };
    let codes = quantize(
        &[-1.5, -0.5, 0.5, 1.5, 2.5, f32::INFINITY, f32::NEG_INFINITY],
        &Layout::tensor(&[7]),
        &qparams,
    );
    assert_eq!(codes.unwrap(), [-1, 1, 1, 3, 3, 127, -128]);
}

#[test]
fn ranges_make_the_textbook_parameters() {
    let make = |min, max, scheme: &str| {
        let range = Range::new(vec![min], vec![max]).unwrap();
        let q = QParams::from_range(&range, &scheme.parse().unwrap()).unwrap();
        (q.scale[0], q.zero_point[0])
    };
    assert_eq!(make(-1.0, 2.54, "int8 tensor symmetric"), (2.54 / 127.0, 0));
    assert_eq!(make(0.0, 2.55, "int8 tensor affine"), (2.55 / 255.0, -128));
    assert_eq!(make(-2.55, 0.0, "int8 tensor affine"), (2.55 / 255.0, 127));
    assert_eq!(make(1.0, 2.55, "uint8 tensor affine"), (2.55 / 255.0, 0), "widened to contain zero");
    assert_eq!(make(0.0, 0.0, "int8 tensor symmetric"), (1.0, 0), "a tensor of zeros");
    assert_eq!(make(0.0, 0.0, "int8 tensor affine"), (1.0, -128), "a tensor of zeros");
}

#[test]
fn wrong_input_is_named() {
    let qparams = QParams { scale: vec![1.0], zero_point: vec![0], qmin: -127, qmax: 127 };
    let two = Layout::tensor(&[2]);
    assert_eq!(
        quantize(&[1.0], &two, &qparams),
        Err(Error::Length { shape: vec![2], expected: 2, found: 1 })
    );
    assert!(matches!(quantize(&[1.0, f32::NAN], &two, &qparams), Err(Error::NotFinite { index: 1, .. })));
    assert_eq!(Layout::channel(&[2, 3], 2), Err(Error::Axis { shape: vec![2, 3], axis: 2 }));
    let channels = Layout::channel(&[2], 0).unwrap();
    assert_eq!(
        quantize(&[1.0, 2.0], &channels, &qparams),
        Err(Error::Cells { what: "scales", expected: 2, found: 1 })
    );
    assert_eq!(
        dequantize(&[0, 200], &two, &qparams),
        Err(Error::Code { index: 1, code: 200, qmin: -127, qmax: 127 })
    );
    assert!(matches!(Range::new(vec![1.0], vec![0.0]), Err(Error::Empty { .. })));
    assert!(matches!(Range::new(vec![f32::NAN], vec![0.0]), Err(Error::NotFinite { .. })));
}

#[test]
fn golden_codes_of_the_onnx_reference() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/quantize_linear.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 8, "the file holds {} cases", cases.len());
    let floats = |value: &serde_json::Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|bits| f32::from_bits(bits.as_u64().unwrap() as u32)).collect()
    };
    let integers = |value: &serde_json::Value| -> Vec<i32> {
        value.as_array().unwrap().iter().map(|code| code.as_i64().unwrap() as i32).collect()
    };
    for case in cases {
        let shape: Vec<usize> = integers(&case["shape"]).into_iter().map(|n| n as usize).collect();
        let layout = Layout { shape, axis: case["axis"].as_u64().map(|axis| axis as usize) };
        let (qmin, qmax) = if case["signed"].as_bool().unwrap() { (-128, 127) } else { (0, 255) };
        let qparams =
            QParams { scale: floats(&case["scale"]), zero_point: integers(&case["zero_point"]), qmin, qmax };
        let codes = quantize(&floats(&case["x"]), &layout, &qparams).unwrap();
        assert_eq!(codes, integers(&case["codes"]), "{}", case["name"]);
        let values: Vec<u32> =
            dequantize(&codes, &layout, &qparams).unwrap().iter().map(|x| x.to_bits()).collect();
        let expected: Vec<u32> = floats(&case["values"]).iter().map(|x| x.to_bits()).collect();
        assert_eq!(values, expected, "{}", case["name"]);
    }
}

proptest! {
    #[test]
    fn a_value_in_range_moves_by_at_most_half_a_step(x in prop::collection::vec(-100.0_f32..100.0, 1..50)) {
        for scheme in ["int8 tensor symmetric", "int8 tensor affine", "uint8 tensor affine"] {
            let layout = Layout::tensor(&[x.len()]);
            let mut observer = Observer::new(ObserverSpec::MinMax);
            observer.observe(&x, &layout).unwrap();
            let q = QParams::from_range(observer.range().unwrap(), &scheme.parse().unwrap()).unwrap();
            let y = dequantize(&quantize(&x, &layout, &q).unwrap(), &layout, &q).unwrap();
            for (x, y) in x.iter().zip(&y) {
                // An affine zero point is rounded, so that an end of the range may lie another half step outside.
                let most = if scheme.ends_with("affine") { 1.0 } else { 0.5 };
                prop_assert!((x - y).abs() <= most * q.scale[0] * 1.001, "{x} became {y} at scale {}", q.scale[0]);
            }
        }
    }

    #[test]
    fn rounding_keeps_order(a in -10.0_f32..10.0, b in -10.0_f32..10.0, scale in 0.001_f32..1.0, z in -128_i32..=127) {
        let q = QParams { scale: vec![scale], zero_point: vec![z], qmin: -128, qmax: 127 };
        let codes = quantize(&[a.min(b), a.max(b)], &Layout::tensor(&[2]), &q).unwrap();
        prop_assert!(codes[0] <= codes[1]);
    }

    #[test]
    fn min_max_does_not_depend_on_the_order_of_batches(
        batches in prop::collection::vec(prop::collection::vec(-1e3_f32..1e3, 6), 1..6)
    ) {
        let layout = Layout::channel(&[2, 3], 1).unwrap();
        let see = |order: &mut dyn Iterator<Item = &Vec<f32>>| {
            let mut observer = Observer::new(ObserverSpec::MinMax);
            for batch in order {
                observer.observe(batch, &layout).unwrap();
            }
            observer
        };
        prop_assert_eq!(see(&mut batches.iter()), see(&mut batches.iter().rev()));
    }
}

#[test]
fn a_moving_average_is_torchs() {
    let mut observer = Observer::new(ObserverSpec::MovingAverage { decay: 0.9 });
    let layout = Layout::tensor(&[2]);
    for batch in [[-1.0, 1.0], [-3.0, 2.0], [0.0, 0.5]] {
        observer.observe(&batch, &layout).unwrap();
    }
    // −1; −1 + 0.1·(−3 + 1) = −1.2; −1.2 + 0.1·(0 + 1.2) = −1.08. 1; 1.1; 1.04.
    let range = observer.range().unwrap();
    assert!((range.min()[0] + 1.08).abs() < 1e-6 && (range.max()[0] - 1.04).abs() < 1e-6, "{range:?}");
    let again: Observer = serde_json::from_str(&serde_json::to_string(&observer).unwrap()).unwrap();
    assert_eq!(again, observer, "its state survives JSON");
    assert!(matches!(
        observer.observe(&[0.0, f32::INFINITY], &layout),
        Err(Error::NotFinite { index: 1, .. })
    ));
    assert_eq!(again, observer, "a batch that is refused changes nothing");
}

#[test]
fn a_decay_out_of_range_is_refused() {
    let parse = |text: &str| serde_json::from_str::<ObserverSpec>(text).map_err(|error| error.to_string());
    assert_eq!(parse(r#"{"moving-average":{}}"#), Ok(ObserverSpec::MovingAverage { decay: 0.99 }));
    assert_eq!(parse(r#""min-max""#), Ok(ObserverSpec::MinMax));
    assert!(parse(r#"{"moving-average":{"decay":1.0}}"#).unwrap_err().contains("from 0 to below 1"));
}
