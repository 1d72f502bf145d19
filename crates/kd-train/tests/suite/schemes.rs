//! A stage that quantizes takes every scheme: what is trained, what the ONNX file computes and what the files beside it
//! say are the same numbers.
use std::path::Path;

use crate::common::{env_with_onnxruntime, quantized, run_in, trained};
use kd_deploy::quantization::Quantization;
use kd_deploy::{WeightsContainer, onnx, safetensors};
use kd_train::event::Silent;
use kd_train::{Registry, session};

/// A scheme of weights, bits of the student's 36 + 216 + 288 + 120 weights, and the accuracy that it keeps at least
/// without a step.
const SCHEMES: [(&str, u64, f64); 12] = [
    ("int8 channel narrow", 660 * 8 + (4 + 6 + 12 + 10) * 32, 0.8),
    ("int8 tensor affine", 660 * 8 + 4 * (32 + 8), 0.8),
    ("int4 channel symmetric", 660 * 4 + 32 * 32, 0.7),
    ("int4 group=32", 660 * 4 + (4 + 6 * 2 + 12 + 10) * 36, 0.7),
    ("nf4", 660 * 4 + 32 * 32, 0.7),
    ("ternary", (8 * (8 + 44 + 58 + 24)) + 4 * 32, 0.0),
    ("binary", 660 + 32 * 32, 0.0),
    ("e4m3fn tensor", 660 * 8 + 4 * 32, 0.8),
    ("mxfp4", 660 * 4 + (4 + 6 * 2 + 12 + 10) * 8, 0.5),
    ("bf16", 660 * 16, 0.8),
    ("int3 block=4x8 affine scale=fp16", 660 * 3 + (2 + 2 * 5 + 3 * 3 + 3 * 2) * 19, 0.3),
    ("pow2", 660 * 8, 0.3),
];

/// Schemes whose codes ONNX has a type for.
const PACKED: [&str; 6] =
    ["int8 tensor affine", "int4 channel symmetric", "int4 group=32", "ternary", "binary", "e4m3fn tensor"];

/// The packed ONNX file of a run, which the engines that read it were held against.
fn packed(run: &Path, out: &Path) -> Vec<u8> {
    let env = env_with_onnxruntime();
    let files =
        session::export(run, None, out, WeightsContainer::Packed, &env, &Registry::builtin()).unwrap();
    assert_eq!(files[0].file_name().unwrap(), "model.packed.onnx");
    let parity = std::fs::read_to_string(out.join("parity.json")).unwrap();
    let checked = env.engines.iter().filter(|engine| engine.reads_packed()).count();
    assert_eq!(parity.matches("\"engine\"").count(), checked, "{parity}");
    std::fs::read(&files[0]).unwrap()
}

#[test]
fn every_scheme_of_weights_is_trained_exported_and_measured() {
    let trained = trained();
    for (scheme, bits, least) in SCHEMES {
        for activations in ["", "activations = \"int8 tensor affine\""] {
            let base = tempfile::tempdir().unwrap();
            let stage = format!("weights = {scheme:?}\n{activations}");
            let (dir, summary) = quantized(&trained, &stage, base.path()).unwrap();
            let rounded = summary.rounded.unwrap();
            assert_eq!((rounded.elements, rounded.bits), (660, bits), "{scheme}");
            assert_eq!(rounded.weights, scheme.parse::<quant_core::Scheme>().unwrap().to_string());
            assert!(rounded.sqnr_db.unwrap() > 2.0, "{scheme}: {rounded:?}");
            assert!(summary.accuracy > least, "{scheme}: {}", summary.accuracy);

            let integers = rounded.integers;
            assert_eq!(
                integers,
                ["int8 channel narrow", "int4 channel symmetric", "ternary"].contains(&scheme)
                    && !activations.is_empty()
            );
            let file = if integers { "model.int8.onnx" } else { "model.rounded.onnx" };
            let model = std::fs::read(dir.join("export").join(file)).unwrap();
            assert_eq!(onnx::layers_read_integers(&model).unwrap(), integers, "{scheme}");
            let counts = onnx::operators(&model).unwrap();
            assert_eq!(counts.contains_key("QuantizeLinear"), !activations.is_empty(), "{scheme}");
            let json = Quantization::read(&dir.join("export/quantization.json")).unwrap();
            let floats = safetensors::read(&dir.join("export/model.safetensors")).unwrap().arrays;
            let stored = onnx::floats(&model).unwrap();
            assert_eq!(json.weights.len() + json.rounded.len(), 4);
            let codes = onnx::quantized_weights(&model).unwrap();
            for (name, expected) in json.integers(&floats).unwrap().weights {
                assert_eq!(codes[&format!("{name}_quantized")], expected, "{scheme}: `{name}`");
            }
            if PACKED.contains(&scheme) {
                let out = base.path().join("packed");
                let wide = model.len();
                let packed = packed(&dir, &out);
                // Beside activations on integers, weights of 2 bits need operations that keep them floats.
                let smaller = packed.len() < wide || integers && scheme == "ternary";
                assert!(smaller, "{scheme}: {} of {wide} bytes", packed.len());
                assert!(!onnx::floats(&packed).unwrap().contains_key("output.weight"), "{scheme}");
            }
            for (name, values) in json.rounded_values(&floats).unwrap() {
                let found = &stored[&name];
                assert_eq!(found, values.data(), "{scheme}: `{name}`");
                assert_ne!(values, floats[&name], "{scheme}: `{name}` is stored before rounding");
            }
        }
    }
}

#[test]
fn a_recipe_chooses_the_container_of_weights() {
    let trained = trained();
    let base = tempfile::tempdir().unwrap();
    let stage = "weights = \"int4 group=8 affine\"\nactivations = \"int8 tensor affine\"\nepochs = 0";
    let (text, [teacher, student]) = trained.recipe(stage);
    let text = text + "weights-container = \"packed\"\n";
    let env = env_with_onnxruntime();
    let outcome = run_in(&env, &text, &[&teacher, &student], base.path(), &mut Silent).unwrap();
    let folder = outcome.dir.join("export");
    assert!(!folder.join("model.rounded.onnx").exists());
    let model = std::fs::read(folder.join("model.packed.onnx")).unwrap();
    assert_eq!(onnx::opset(&model).unwrap(), 21);
    let parity = std::fs::read_to_string(folder.join("parity.json")).unwrap();
    let readers = env.engines.iter().filter(|engine| engine.reads_packed()).count();
    assert_eq!(parity.matches("model.packed.onnx").count(), readers, "{parity}");
}

#[test]
fn an_epoch_helps_where_rounding_is_coarse() {
    let trained = trained();
    for scheme in ["ternary", "int2 channel symmetric", "int4 group=32", "binary"] {
        let base = tempfile::tempdir().unwrap();
        let stage = format!(
            "weights = {scheme:?}\nactivations = \"int8 tensor affine\"\nlearning-rate = 5e-3\nepochs ="
        );
        let (_, before) = quantized(&trained, &format!("{stage} 0"), base.path()).unwrap();
        let (_, after) = quantized(&trained, &format!("{stage} 8"), base.path()).unwrap();
        assert!(
            after.accuracy > 0.5_f64.max(before.accuracy),
            "{scheme}: {} to {}",
            before.accuracy,
            after.accuracy
        );
    }
}

#[test]
fn narrow_activations_and_scales_found_at_run_time_agree_with_an_engine() {
    // The export fails where they do not.
    let trained = trained();
    for activations in [
        "int4 tensor affine",
        "uint4 tensor affine",
        "uint8 tensor affine",
        "int6 tensor narrow",
        "int2 tensor affine",
        "int8 token affine",
        "int8 token symmetric",
        "int8 token narrow",
        "int8 token no-clip",
        "uint4 token affine",
    ] {
        let base = tempfile::tempdir().unwrap();
        let stage = format!("weights = \"int8 channel narrow\"\nactivations = {activations:?}");
        let (dir, summary) = quantized(&trained, &stage, base.path()).unwrap();
        let rounded = summary.rounded.unwrap();
        assert_eq!(rounded.integers, activations.contains("tensor"), "{activations}");
        let json = Quantization::read(&dir.join("export/quantization.json")).unwrap();
        assert_eq!(json.activations.is_empty(), activations.contains("token"));
        assert_eq!(json.dynamic.is_empty(), activations.contains("tensor"));
        if activations.contains("8") {
            assert!(summary.accuracy > 0.8, "{activations}: {}", summary.accuracy);
        }
    }
}

#[test]
fn ranges_are_searched_in_histograms_of_the_calibration() {
    let trained = trained();
    let mut models = std::collections::BTreeSet::new();
    for observer in ["min-max", "percentile", "entropy", "mse", "l2"] {
        let base = tempfile::tempdir().unwrap();
        let stage = format!(
            "weights = \"int8 channel narrow\"\nactivations = \"int6 tensor affine\"\nobserver.{observer} = {{}}\nepochs = 1"
        );
        let (dir, summary) = quantized(&trained, &stage, base.path()).unwrap();
        assert!(summary.accuracy > 0.8, "{observer}: {}", summary.accuracy);
        models.insert(std::fs::read(dir.join("export/model.int8.onnx")).unwrap());
    }
    assert!(models.len() > 2, "searches differ");
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let trained = trained();
    let file = trained.dir.join("2-distill/model.safetensors");
    let mut arrays = safetensors::read(&file).unwrap().arrays;
    let mut values = arrays["hidden.weight"].data().to_vec();
    values[7] = f32::NAN;
    let array = kd_deploy::Array::new(arrays["hidden.weight"].shape(), values).unwrap();
    arrays.insert("hidden.weight".into(), array);
    safetensors::write(&file, &arrays, &Default::default()).unwrap();
    let base = tempfile::tempdir().unwrap();
    let error = quantized(&trained, "weights = \"nf4\"", base.path()).unwrap_err();
    assert_eq!(error.code(), "quantize::impossible");
    assert!(error.to_string().starts_with("the weight `hidden.weight` cannot be rounded: "), "{error}");
}
