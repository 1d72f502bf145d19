//! Masks behind the stage that made them: what is rounded after training, by any method, and what is exported.
use std::collections::BTreeMap;
use std::path::Path;

use kd_deploy::{Array, onnx, safetensors};
use kd_train::checkpoint_quant;
use kd_train::event::Silent;
use kd_train::ptq::Source;
use kd_train::session::{Goal, QuantizeRun, quantize};
use kd_train::{Registry, ptq};

use crate::common::{env, run};

const RECIPE: &str = r#"
schema = 1
name = "kept"
seed = 5

[data.digits]
validation = 200
batch = 256

[teacher]
model.mlp = { hidden = [24] }

[student]
model.convnet = { channels = [4, 6], kernel = 3, hidden = 12 }

[[objective]]
weight = 0.5
cross-entropy = {}

[[objective]]
weight = 0.5
kl = { temperature = 2.0 }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 1
learning-rate = 1e-2

[[stage]]
name = "distill"
[stage.distill]
epochs = 2
learning-rate = 1e-2

[[stage]]
name = "sparse"
[stage.sparsify]
pattern.unstructured = { sparsity = 0.6 }
epochs = 2
learning-rate = 5e-3
"#;

const ROUNDED: &str = r#"
[[stage]]
name = "int8"
[stage.quantize]
weights = "int8 channel narrow"
activations = "int8 tensor affine"
epochs = 1

[[stage]]
name = "export"
[stage.export]
"#;

/// Weights that are masked, the last layer's not.
const MASKED: [&str; 3] = ["blocks.0.conv.weight", "blocks.1.conv.weight", "hidden.weight"];

fn arrays(file: &Path) -> BTreeMap<String, Array> {
    safetensors::read(file).unwrap().arrays
}

/// Whether an element of `found` is 0 wherever one of `before` is.
fn zero_too(before: &[f32], found: &[f32]) -> bool {
    before.len() == found.len()
        && before.iter().zip(found).all(|(before, found)| *before != 0.0 || *found == 0.0)
}

#[test]
fn every_method_leaves_masked_weights_at_zero() {
    let base = tempfile::tempdir().unwrap();
    let outcome = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    let before = arrays(&outcome.dir.join("3-sparse/model.safetensors"));
    for (at, (method, scheme, floats)) in [
        ("rtn", "int4 channel affine", false),
        ("rtn", "int3 group=9 symmetric", false),
        ("rtn", "nf4 group=16", false),
        ("rtn", "mxfp4", false),
        ("rtn", "ternary", false),
        // Without a code for zero.
        ("rtn", "binary channel", true),
        ("hqq", "int4 group=16 affine", true),
        ("gptq", "int4 channel affine", false),
        ("gptq", "int3 group=16 affine", false),
        ("spqr", "int3 group=16 affine", true),
        ("adaround", "int3 channel affine", false),
        ("brecq", "int3 channel affine", false),
        ("equalize+smooth+awq+bias", "int4 channel affine", false),
        ("llm-int8", "int8 channel narrow", true),
        ("gptq+lorc=2", "int2 channel affine", true),
    ]
    .into_iter()
    .enumerate()
    {
        let out = outcome.dir.join(format!("quantized-{at}"));
        let request = QuantizeRun {
            data: None,
            goal: Goal::Scheme(scheme.parse().unwrap()),
            method: method.parse::<ptq::Method>().unwrap(),
            source: Source::Sequential,
            batches: 1,
            own: false,
            ignore: None,
            front: false,
        };
        let done = quantize(&outcome.dir, &request, &out, &env(), &Registry::builtin()).unwrap();
        let file = outcome.dir.join(format!("floats-{at}.safetensors"));
        checkpoint_quant::dequantize(&out, &file).unwrap();
        let after = arrays(&file);
        for name in MASKED {
            assert!(zero_too(before[name].data(), after[name].data()), "{method}, {scheme}: {name}");
        }
        let noted = done.report.notes.iter().any(|note| note.starts_with("written as the floats"));
        assert!(floats || !noted, "{method}, {scheme}: {:?}", done.report.notes);
    }
}

#[test]
fn a_convolution_with_batch_norm_keeps_its_mask_in_an_integer_file() {
    let base = tempfile::tempdir().unwrap();
    let outcome = run(&format!("{RECIPE}{ROUNDED}"), &[], base.path(), &mut Silent).unwrap();
    let before = arrays(&outcome.dir.join("3-sparse/model.safetensors"));
    let stored = arrays(&outcome.dir.join("4-int8/model.safetensors"));
    let model = std::fs::read(outcome.dir.join("export/model.int8.onnx")).unwrap();
    let exported = onnx::quantized_weights(&model).unwrap();
    for name in MASKED {
        assert!(zero_too(before[name].data(), stored[name].data()), "{name}");
    }
    for name in &MASKED[..2] {
        let weight = before[*name].data();
        let found = exported.values().find(|tensor| tensor.data.len() == weight.len()).unwrap();
        let codes: Vec<f32> = found.data.iter().map(|&code| f32::from(code as i16)).collect();
        assert!(zero_too(weight, &codes), "{name}");
    }
    let report = outcome.report;
    for part in ["`sparse`, unstructured sparsity=0.6, ", "on tract (`distill`, which has the same shapes"] {
        assert!(report.contains(part), "{report}");
    }
}
