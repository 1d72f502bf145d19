//! `kd quantize` and `kd dequantize` as a user meets them: streams, exit codes, files.

use std::path::Path;

use crate::common::{done, run, text};
use kd_train::tensors::{Numbers, Stored, read, write};

fn matrix(rows: usize, columns: usize) -> Stored {
    let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 64.0;
    Stored { shape: vec![rows, columns], numbers: Numbers::F32((0..rows * columns).map(value).collect()) }
}

fn checkpoint(path: &Path) {
    let bias = Stored { shape: vec![8], numbers: Numbers::F32(vec![0.5; 8]) };
    let tensors = [
        ("first.weight".to_owned(), matrix(8, 64)),
        ("first.bias".to_owned(), bias),
        ("second.weight".to_owned(), matrix(4, 48)),
    ];
    write(&path.join("in.safetensors"), &tensors.into()).unwrap();
}

#[test]
fn a_checkpoint_is_quantized_told_about_and_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    checkpoint(path);
    let output = run(path, &["quantize", "in.safetensors", "--weights", "int4 group=32", "--out", "out"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("first.weight   int4 group=32 affine"), "{stdout}");
    let bytes = 8 * 32 + 8 * 2 * 4 + 2 * 4 + 16 + (4 * 24 + 4 * 2 * 4 + 2 * 4 + 16);
    assert!(stdout.contains(&format!("2 weights, 704 numbers: 5.6364 bpw, {bytes} bytes")), "{stdout}");
    assert!(
        stderr.contains(
            "compressed-tensors cannot load `second.weight`: a group of 32 does not divide its 48 columns"
        ),
        "{stderr}"
    );
    assert!(stderr.contains("wrote `out`"), "{stderr}");

    done(path, &["dequantize", "out", "--out", "back.safetensors"]);
    let (before, after) = (read(&path.join("in.safetensors")), read(&path.join("back.safetensors")));
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert_eq!(before["first.bias"], after["first.bias"]);
    for name in ["first.weight", "second.weight"] {
        let near = |(a, b): (f64, f64)| (a - b).abs() < 0.06;
        assert!(before[name].to_f64().into_iter().zip(after[name].to_f64()).all(near), "{name}");
    }
}

#[test]
fn a_budget_is_reached_from_below_and_is_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    checkpoint(path);
    let args = ["quantize", "in.safetensors", "--budget", "6.5 bpw", "--out", "out", "--format", "json"];
    let told: serde_json::Value = serde_json::from_str(&done(path, &args)).unwrap();
    let bpw = told["bpw"].as_f64().unwrap();
    assert!(bpw <= 6.5 && bpw > 5.5, "{told}");
    let written = std::fs::read_to_string(path.join("out/quantize.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&written).unwrap();
    let bytes: u64 = rows.as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(told["bytes"], bytes);
}

#[test]
fn wrong_requests_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    checkpoint(path);
    std::fs::create_dir_all(path.join("full/x")).unwrap();
    let nan = Stored { shape: vec![1, 2], numbers: Numbers::F32(vec![0.0, f32::NEG_INFINITY]) };
    write(&path.join("nan.safetensors"), &[("w.weight".to_owned(), nan)].into()).unwrap();
    let refused = |args: &[&str], says: &[&str]| {
        let output = run(path, &[&["quantize"], args].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        for said in says {
            assert!(stderr.contains(said), "{args:?}: expected `{said}` in\n{stderr}");
        }
        assert!(!path.join("out").exists());
    };
    let with = |weights: &'static str, more: &[&'static str], says: &[&str]| {
        refused(&[&["in.safetensors", "--weights", weights, "--out", "out"], more].concat(), says);
    };
    with(
        "int4 group=32",
        &["--method", "gptq"],
        &["quantize::inputs", "`gptq` needs the inputs", "--inputs"],
    );
    with("int4 group=32", &["--method", "awq"], &["quantize::inputs"]);
    with("int4 group=32", &["--method", "gtpq"], &["quantize::option", "did you mean `gptq`?"]);
    with("int4 group=32", &["--ignore", "("], &["quantize::option", "regular expression"]);
    with("int4 group=32", &["--budget", "4 bpw"], &["cannot be used with"]);
    with("int9 group=32", &[], &["quantize::scheme", "did you mean"]);
    with("nf4 group=64 affine", &[], &["quantize::scheme", "no zero point"]);
    with("nf4 group=64", &["--method", "hqq"], &["quantize::option"]);
    refused(&["in.safetensors", "--out", "out"], &["--weights", "--budget"]);
    refused(&["in.safetensors", "--budget", "1 bpw", "--out", "out"], &["quantize::budget", "at least"]);
    refused(&["in.safetensors", "--budget", "small", "--out", "out"], &["quantize::option", "4.2 bpw"]);
    refused(&["in.safetensors", "--weights", "mxfp4", "--out", "full"], &["run::file-exists", "full"]);
    refused(
        &["none.safetensors", "--weights", "mxfp4", "--out", "out"],
        &["loss::tensors", "none.safetensors"],
    );
    let says = ["quantize::tensor", "`w.weight`", "-inf", "--ignore"];
    refused(&["nan.safetensors", "--weights", "int8 tensor", "--out", "out"], &says);

    let output = run(path, &["dequantize", "full", "--out", "x.safetensors"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("quantize::folder"), "{}", text(&output.stderr));
}
