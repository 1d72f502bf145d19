//! Post-training algorithms against the numbers of `tools/golden/quant_ptq.py`: formulas of the papers in another
//! language, compared there with torchao, hqq and the authors' GPTQ.
use quant_core::ptq::*;
use serde_json::Value;

fn golden(topic: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/ptq.json")).unwrap();
    let cases = all[topic].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{topic}");
    cases
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|bits| f32::from_bits(bits.as_u64().unwrap() as u32)).collect()
}

/// Inputs, which the file holds as small integers.
fn sixtyfourths(value: &Value) -> Vec<f32> {
    integers(value).into_iter().map(|x| x as f32 / 64.0).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn integers(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|x| x.as_i64().unwrap() as i32).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

fn grid(case: &Value) -> Grid {
    serde_json::from_value::<Grid>(case["grid"].clone()).unwrap()
}

fn matrix<'a>(shape: &Value, values: &'a [f32]) -> Matrix<'a> {
    let shape = indices(shape);
    Matrix::new("weight", shape[0], shape[1], values).unwrap()
}

/// The weight of a case, and what its inputs leave behind.
fn layer(case: &Value) -> (Vec<f32>, InputStats) {
    let columns = indices(&case["shape"])[1];
    let x = sixtyfourths(&case["x"]);
    let mut stats = InputStats::new(columns);
    stats.observe(Matrix::new("inputs", x.len() / columns, columns, &x).unwrap()).unwrap();
    (floats(&case["w"]), stats)
}

fn same_codes(found: &Quantized, case: &Value) {
    assert_eq!(found.codes, integers(&case["codes"]), "{}", case["grid"]);
    // Weights that GPTQ has updated in f64 are rounded to f32 before a group's scale is taken from them.
    for (index, (cell, scale)) in found.cells.iter().zip(floats(&case["scale"])).enumerate() {
        assert!((cell.scale / scale - 1.0).abs() < 2e-6, "{index} {} {scale} {}", cell.scale, case["grid"]);
    }
    let zero: Vec<i32> = found.cells.iter().map(|cell| cell.zero_point).collect();
    assert_eq!(zero, integers(&case["zero_point"]), "{}", case["grid"]);
}

/// All within `tolerance` of the largest.
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let most = expected.iter().fold(f64::MIN_POSITIVE, |most, x| x.abs().max(most));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * most, "{what} at {index}: {a}, expected {b}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn round_to_nearest() {
    for case in golden("rtn") {
        let w = floats(&case["w"]);
        let found = rtn(matrix(&case["shape"], &w), &grid(&case)).unwrap();
        same_codes(&found, &case);
        let scale: Vec<f32> = found.cells.iter().map(|cell| cell.scale).collect();
        assert_eq!(scale, floats(&case["scale"]), "these to the bit");
    }
}

#[test]
fn gptq_codes_and_errors() {
    for case in golden("gptq") {
        let (w, stats) = layer(&case);
        let weight = matrix(&case["shape"], &w);
        let hessian = stats.hessian().unwrap();
        let knobs = Gptq {
            damping: case["damping"].as_f64().unwrap(),
            order: if case["activation"] == true { Order::Activation } else { Order::AsStored },
            groups: if case["static"] == true { Groups::Static } else { Groups::Updated },
            ..Gptq::PAPER
        };
        let found = gptq(weight, &hessian, &grid(&case), &knobs).unwrap();
        assert_eq!(found.quantized.group_of, indices(&case["group_of"]));
        let used = case["used"].as_f64().unwrap();
        assert!((found.damping - used).abs() <= 1e-12, "{} {used}", found.damping);
        same_codes(&found.quantized, &case);
        let values = found.quantized.dequantize();
        let error = |values: &[f32]| hessian.output_error(weight, matrix(&case["shape"], values)).unwrap();
        close(&[error(&values)], &[case["error"].as_f64().unwrap()], 1e-5, "error");
        let nearest = rtn(weight, &grid(&case)).unwrap().dequantize();
        close(&[error(&nearest)], &[case["nearest"].as_f64().unwrap()], 1e-9, "nearest");
    }
}

#[test]
fn spqr_outliers_and_codes() {
    for case in golden("spqr") {
        let (w, stats) = layer(&case);
        let knobs = Spqr {
            threshold: case["threshold"].as_f64().unwrap(),
            order: if case["activation"] == true { Order::Activation } else { Order::AsStored },
            ..Spqr::default()
        };
        let weight = matrix(&case["shape"], &w);
        let found = spqr(weight, &stats.hessian().unwrap(), &grid(&case), &knobs).unwrap();
        let places: Vec<(usize, usize)> = found.outliers.iter().map(|o| (o.row, o.column)).collect();
        let expected: Vec<(usize, usize)> =
            indices(&case["rows"]).into_iter().zip(indices(&case["columns"])).collect();
        assert_eq!(places, expected);
        let values: Vec<f64> = found.outliers.iter().map(|o| f64::from(o.value)).collect();
        close(&values, &wide(&floats(&case["values"])), 1e-6, "outliers");
        assert_eq!(found.quantized.group_of, indices(&case["group_of"]));
        same_codes(&found.quantized, &case);
        let full = found.dequantize();
        let columns = weight.columns();
        assert!(found.outliers.iter().all(|o| full[o.row * columns + o.column] == o.value));
    }
}

#[test]
fn hqq_zero_points_are_torchaos() {
    for case in golden("hqq") {
        let w = floats(&case["w"]);
        let weight = matrix(&case["shape"], &w);
        let nearest = rtn(weight, &grid(&case)).unwrap();
        for (early_stop, zero) in [(false, "zero"), (true, "zero_stopped")] {
            let found = hqq(weight, &grid(&case), &Hqq { early_stop, ..Hqq::default() }).unwrap();
            let (scale, zero) = (floats(&case["scale"]), numbers(&case[zero]));
            let mut moved = 0;
            for cell in 0..scale.len() {
                let kept = nearest.cells[cell];
                if found.scale[cell] == kept.scale && found.zero[cell] == kept.zero_point as f32 {
                    continue;
                }
                moved += 1;
                assert_eq!(found.scale[cell].to_bits(), scale[cell].to_bits());
                assert!((f64::from(found.zero[cell]) - zero[cell]).abs() < 2e-5, "{cell} {}", case["grid"]);
            }
            assert_eq!(moved + found.kept, scale.len());
            assert!(2 * moved > scale.len(), "{moved} of {}", scale.len());
        }
    }
}

#[test]
fn awq_scales_and_clips() {
    for case in golden("awq") {
        let (w, stats) = layer(&case);
        let weight = matrix(&case["shape"], &w);
        let importance = stats.mean_abs().unwrap();
        let found =
            awq(weight, &stats.hessian().unwrap(), &importance, &grid(&case), &Awq::default()).unwrap();
        close(&found.errors, &numbers(&case["errors"]), 1e-6, "errors");
        assert!((found.ratio - case["ratio"].as_f64().unwrap()).abs() < 1e-12);
        close(&wide(&found.input_scale), &wide(&floats(&case["input_scale"])), 1e-6, "scale");
        assert_eq!(found.clipped as u64, case["clipped"].as_u64().unwrap());
        same_codes(&found.quantized, &case);
    }
}

#[test]
fn smooth_quant_scales() {
    for case in golden("smooth") {
        let w = floats(&case["w"]);
        let found = smooth_scales(
            &floats(&case["input_max"]),
            &[matrix(&case["shape"], &w)],
            case["alpha"].as_f64().unwrap(),
        );
        // torchao adds 1.2e-7 to each maximum.
        close(&wide(&found.unwrap()), &wide(&floats(&case["scale"])), 2e-6, "scales");
    }
}

#[test]
fn lorc_factors() {
    for case in golden("lorc") {
        let (w, q) = (floats(&case["w"]), floats(&case["quantized"]));
        let rank = case["rank"].as_u64().unwrap() as usize;
        let found = lorc(matrix(&case["shape"], &w), matrix(&case["shape"], &q), rank).unwrap();
        close(&found.singular_values, &numbers(&case["singular_values"]), 1e-12, "singular values");
        close(&wide(&found.left), &wide(&floats(&case["left"])), 1e-6, "left");
        close(&wide(&found.right), &wide(&floats(&case["right"])), 1e-6, "right");
    }
}

#[test]
fn adaround_steps_are_torchs() {
    for case in golden("adaround") {
        let (w, stats) = layer(&case);
        let knobs = AdaRound {
            iterations: case["iterations"].as_u64().unwrap() as usize,
            lambda: case["lambda"].as_f64().unwrap(),
            ..AdaRound::default()
        };
        let weight = matrix(&case["shape"], &w);
        let found = adaround(weight, &stats.hessian().unwrap(), &grid(&case), &knobs).unwrap();
        close(&found.v, &numbers(&case["v"]), 1e-9, "v");
    }
}

#[test]
fn equalized_layers() {
    for case in golden("equalize") {
        let inner = case["inner"].as_u64().unwrap() as usize;
        let (first, bias, second) = (floats(&case["first"]), floats(&case["bias"]), floats(&case["second"]));
        let first = Matrix::new("weight", 6, 10, &first).unwrap();
        let second = Matrix::new("weight", 4, 6 * inner, &second).unwrap();
        let found = equalize(first, Some(&bias), second).unwrap();
        close(&wide(&found.scale), &wide(&floats(&case["scale"])), 1e-6, "scale");
        close(&wide(&found.first), &wide(&floats(&case["first_after"])), 1e-6, "first");
        close(&wide(&found.bias.unwrap()), &wide(&floats(&case["bias_after"])), 1e-6, "bias");
        close(&wide(&found.second), &wide(&floats(&case["second_after"])), 1e-6, "second");
    }
}

#[test]
fn corrected_biases() {
    for case in golden("bias") {
        let (beta, gamma) = (numbers(&case["beta"]), numbers(&case["gamma"]));
        let relu = activation_mean(&beta, &gamma, Activation::Relu).unwrap();
        close(&relu, &numbers(&case["relu"]), 1e-12, "relu");
        let relu6 = activation_mean(&beta, &gamma, Activation::Clamp { low: 0.0, high: 6.0 }).unwrap();
        close(&relu6, &numbers(&case["relu6"]), 1e-12, "relu6");
        assert_eq!(activation_mean(&beta, &gamma, Activation::Identity).unwrap(), beta);
        let (w, q) = (floats(&case["w"]), floats(&case["quantized"]));
        let view = |values| Matrix::new("weight", 5, 48, values).unwrap();
        let found = bias_correction(view(&w), view(&q), &relu).unwrap();
        close(&found, &numbers(&case["correction"]), 1e-9, "correction");
    }
}

#[test]
fn decomposed_products() {
    for case in golden("llm_int8") {
        let (w, x) = (floats(&case["w"]), sixtyfourths(&case["x"]));
        let layer =
            Int8Decomposed::new(Matrix::new("weight", 7, 32, &w).unwrap(), OUTLIER_THRESHOLD).unwrap();
        let found = layer.forward(Matrix::new("inputs", 9, 32, &x).unwrap()).unwrap();
        assert_eq!(found.outliers, indices(&case["outliers"]));
        close(&wide(&found.values), &wide(&floats(&case["y"])), 1e-6, "outputs");
    }
}
