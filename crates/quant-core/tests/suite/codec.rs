//! Codes: exhaustive, by hand, and against the numbers that ONNX's reference gave.
use proptest::prelude::*;
use quant_core::*;

#[test]
fn every_code_of_eight_bits_comes_back() {
    for (qmin, qmax) in [(-128, 127), (-127, 127), (0, 255)] {
        for scale in [f32::MIN_POSITIVE, 1e-30, 0.017, 0.3, 1.0 / 127.0, 1.0, 3.7e10, 1e36] {
            for zero_point in [qmin, (-3).max(qmin), 0, 5, qmax] {
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
    assert_eq!(make(-1.0, 2.54, "int8 tensor narrow"), (2.54 / 127.0, 0));
    assert_eq!(make(0.0, 2.55, "int8 tensor affine"), (2.55 / 255.0, -128));
    assert_eq!(make(-2.55, 0.0, "int8 tensor affine"), (2.55 / 255.0, 127));
    assert_eq!(make(-0.5, 254.5, "int8 tensor affine"), (1.0, -128), "a zero point at a tie");
    assert_eq!(make(-2.5, 252.5, "int8 tensor affine"), (1.0, -126), "a zero point at a tie");
    assert_eq!(make(1.0, 2.55, "uint8 tensor affine"), (2.55 / 255.0, 0), "widened to contain zero");
    assert_eq!(make(0.0, 0.0, "int8 tensor narrow"), (1.0, 0), "a tensor of zeros");
    assert_eq!(make(0.0, 0.0, "int8 tensor affine"), (1.0, -128), "a tensor of zeros");
    assert_eq!(make(0.0, 1e-38, "int8 tensor narrow"), (f32::MIN_POSITIVE, 0), "hardly more than zeros");
}

#[test]
fn zero_is_a_code_and_the_ends_of_a_range_are_covered_at_every_magnitude() {
    for scheme in ["int8 tensor narrow", "int8 tensor affine", "uint8 tensor affine"] {
        let scheme: Scheme = scheme.parse().unwrap();
        for exponent in -45..=37 {
            for (low, high) in [(-1.0, 1.0), (0.0, 3.0), (-2.0, 0.0), (-0.7, 0.9), (0.4, 0.5), (-3.0, -2.9)] {
                let by = 10_f64.powi(exponent);
                let (low, high) = ((low * by) as f32, (high * by) as f32);
                let range = Range::new(vec![low], vec![high]).unwrap();
                let q = QParams::from_range(&range, &scheme).unwrap();
                assert!((q.qmin..=q.qmax).contains(&q.zero_point[0]), "{scheme} {low:e} {high:e}");
                let layout = Layout::tensor(&[3]);
                let codes = quantize(&[low, 0.0, high], &layout, &q).unwrap();
                let values = dequantize(&codes, &layout, &q).unwrap();
                assert_eq!(values[1].to_bits(), 0, "{scheme} {low:e} {high:e}");
                for (x, y) in [low, 0.0, high].iter().zip(&values) {
                    let off = (f64::from(*x) - f64::from(*y)).abs();
                    assert!(off <= 1.001 * f64::from(q.scale[0]), "{scheme}: {x:e} became {y:e}");
                }
            }
        }
    }
}

#[test]
fn a_range_whose_grid_overflows_is_refused_and_every_other_is_finite() {
    let mut refused = 0;
    for scheme in ["int8 tensor narrow", "int8 tensor affine", "uint8 tensor affine"] {
        let scheme: Scheme = scheme.parse().unwrap();
        for below in 0..2000_u32 {
            // Down from the largest number, a last bit at a time.
            let huge = f32::from_bits(f32::MAX.to_bits() - below);
            for (low, high) in [(-huge, huge), (0.0, huge), (-huge, 0.0), (-huge / 2.0, huge / 2.0)] {
                let range = Range::new(vec![low], vec![high]).unwrap();
                match QParams::from_range(&range, &scheme) {
                    Ok(q) => {
                        let ends = dequantize(&[q.qmin, q.qmax], &Layout::tensor(&[2]), &q).unwrap();
                        assert!(ends.iter().all(|x| x.is_finite()), "{scheme} {low:e} {high:e}");
                    }
                    Err(error) => {
                        assert_eq!(error, Error::TooWide { cell: 0, min: low, max: high });
                        refused += 1;
                    }
                }
            }
        }
    }
    // Twice the largest number has no width in 32-bit floats: all 2000 of two affine schemes, and some roundings.
    assert!((4000..20_000).contains(&refused), "{refused}");
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
    let with = |scale, zero_point, qmin, qmax| {
        let qparams = QParams { scale: vec![scale], zero_point: vec![zero_point], qmin, qmax };
        (quantize(&[1.0, 2.0], &two, &qparams).unwrap_err(), dequantize(&[0, 1], &two, &qparams).unwrap_err())
    };
    let both = |error: Error| (error.clone(), error);
    for scale in [0.0, -0.5, f32::INFINITY] {
        assert_eq!(with(scale, 0, -127, 127), both(Error::Scale { cell: 0, scale }));
    }
    assert!(matches!(with(f32::NAN, 0, -127, 127).0, Error::Scale { cell: 0, .. }));
    assert_eq!(
        with(1.0, -128, -127, 127),
        both(Error::ZeroPoint { cell: 0, zero_point: -128, qmin: -127, qmax: 127 })
    );
    assert_eq!(with(1.0, 0, 7, -8), both(Error::Codes { qmin: 7, qmax: -8 }));
    assert_eq!(with(1.0, 0, i32::MIN, 127), both(Error::Codes { qmin: i32::MIN, qmax: 127 }));
    assert!(matches!(Range::new(vec![1.0], vec![0.0]), Err(Error::Empty { .. })));
    assert!(matches!(Range::new(vec![f32::NAN], vec![0.0]), Err(Error::NotFinite { .. })));
    assert_eq!(
        Range::new(vec![0.0], vec![]),
        Err(Error::Cells { what: "largest values", expected: 1, found: 0 })
    );
}

#[test]
fn what_is_stored_is_checked_when_it_is_read() {
    let range = |text: &str| serde_json::from_str::<Range>(text).map_err(|error| error.to_string());
    assert_eq!(range(r#"{"min":[-1.5],"max":[2.0]}"#), Ok(Range::new(vec![-1.5], vec![2.0]).unwrap()));
    assert!(range(r#"{"min":[3.0],"max":[2.0]}"#).unwrap_err().contains("found 3 .. 2 in cell 0"));
    assert!(range(r#"{"min":[1.0],"max":[]}"#).unwrap_err().contains("expected 1 largest values"));
    let qparams = |text: &str| serde_json::from_str::<QParams>(text).map_err(|error| error.to_string());
    let legal = r#"{"scale":[0.1,3.0],"zero_point":[0,-5],"qmin":-128,"qmax":127}"#;
    let read = qparams(legal).unwrap();
    assert_eq!(read, QParams { scale: vec![0.1, 3.0], zero_point: vec![0, -5], qmin: -128, qmax: 127 });
    assert_eq!(serde_json::to_string(&read).unwrap(), legal);
    for (from, to, message) in [
        ("3.0", "0.0", "expected a positive finite scale, found 0 in cell 1"),
        ("-5", "-129", "expected a zero point from -128 to 127, found -129 in cell 1"),
        ("[0.1,3.0]", "[0.1]", "expected 1 zero points, one a cell, found 2"),
        ("127", "-128", "expected a smallest code below the largest"),
    ] {
        let error = qparams(&legal.replace(from, to)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn layouts_give_every_element_the_cell_of_its_index() {
    // Shape [2, 3, 4]: the index along the axis, counted out by three loops.
    for axis in 0..3 {
        let layout = Layout::channel(&[2, 3, 4], axis).unwrap();
        assert_eq!(layout.cells(), [2, 3, 4][axis]);
        let mut position = 0;
        for i in 0..2 {
            for j in 0..3 {
                for k in 0..4 {
                    assert_eq!(layout.cell(position), [i, j, k][axis]);
                    position += 1;
                }
            }
        }
    }
    assert_eq!((0..24).map(|i| Layout::tensor(&[2, 3, 4]).cell(i)).max(), Some(0));
    assert_eq!(
        quantize(
            &[],
            &Layout::tensor(&[0, 3]),
            &QParams { scale: vec![1.0], zero_point: vec![0], qmin: -127, qmax: 127 }
        ),
        Ok(vec![])
    );
}

#[test]
fn every_layout_rounds_as_the_definition_does() {
    let shapes: [(&[usize], Option<usize>); 6] = [
        (&[7, 9, 300], None),
        (&[7, 9, 300], Some(0)),
        (&[7, 9, 300], Some(1)),
        (&[7, 9, 300], Some(2)),
        (&[3000, 3], Some(1)),
        (&[40, 30, 3, 3], Some(1)),
    ];
    for (shape, axis) in shapes {
        let layout = Layout { shape: shape.to_vec(), axis };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (i * 2_654_435_761 % 1009) as f32 * 0.37 - 180.0)
            .collect();
        for (qmin, qmax) in
            [(-128, 127), (-2_097_152, 2_097_152), (-8_388_608, 8_388_607), (8_388_000, 8_388_100)]
        {
            let scale: Vec<f32> = (0..layout.cells()).map(|cell| 0.01 + 0.3 * (cell % 17) as f32).collect();
            let zero_point: Vec<i32> =
                (0..layout.cells()).map(|cell| [qmin, qmax, qmax - 3][cell % 3]).collect();
            let q = QParams { scale, zero_point, qmin, qmax };
            let codes = quantize(&values, &layout, &q).unwrap();
            let decoded = dequantize(&codes, &layout, &q).unwrap();
            for (position, (&x, (&code, &y))) in values.iter().zip(codes.iter().zip(&decoded)).enumerate() {
                let cell = layout.cell(position);
                let (s, z) = (q.scale[cell], q.zero_point[cell]);
                let expected = ((x / s).round_ties_even() + z as f32).clamp(qmin as f32, qmax as f32);
                assert_eq!(code, expected as i32, "{shape:?} {axis:?} {position}");
                assert_eq!(y.to_bits(), ((code - z) as f32 * s).to_bits(), "{shape:?} {axis:?} {position}");
            }
        }
    }
}

#[test]
fn golden_codes_of_the_onnx_reference() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/quantize_linear.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 60, "the file holds {} cases", cases.len());
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
        for scheme in ["int8 tensor narrow", "int8 tensor affine", "uint8 tensor affine"] {
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
}
