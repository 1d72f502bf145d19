//! All programs do what they say.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn acme_trains_its_own_model_with_its_own_loss_on_its_own_data() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/acme.toml");
    let output =
        Command::new(env!("CARGO_BIN_EXE_acme")).args(["train", recipe]).current_dir(folder.path()).output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", String::from_utf8_lossy(&output.stdout));
    assert!(folder.path().join("runs/acme/export/model.int8.onnx").is_file());
}

#[test]
fn a_loop_of_ones_own_needs_only_kd_core() {
    let output = Command::new(env!("CARGO_BIN_EXE_own-loop")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_pruned_module_of_ones_own_is_loaded_by_code_that_knows_its_full_widths() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pruned")).arg(folder.path()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("loaded, and equal to the last bit"), "{said}");
    // Sizes that a model refuses are tried without a word.
    assert_eq!(errors, "");
    let receipt: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("cut.json")).unwrap()).unwrap();
    assert_eq!(receipt["slices"][0]["path"], "head.weight");
}
