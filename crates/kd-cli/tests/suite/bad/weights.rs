//! Weights that a recipe brings: absent, broken, of another model.

use std::collections::BTreeMap;
use std::path::Path;

use kd_deploy::{Array, safetensors};

use super::{Case, TINY, refused};

/// The tiny recipe with a teacher from `teacher.safetensors`.
fn given_teacher() -> String {
    let (before, rest) = TINY.split_once("[[stage]]\nname = \"teacher\"").unwrap();
    let (_, after) = rest.split_once("[[stage]]").unwrap();
    let recipe = format!("{before}[[stage]]{after}");
    recipe.replacen("hidden = [16] }", "hidden = [16] }\ncheckpoint = \"teacher.safetensors\"", 1)
}

/// A perceptron's weights in PyTorch's layout.
fn teacher(path: &Path, hidden: usize, classes: usize, leave_out: &str) {
    let array = |shape: &[usize]| {
        let len = shape.iter().product::<usize>();
        Array::new(shape.to_vec(), (0..len).map(|i| (i % 13) as f32 * 0.01 - 0.06).collect::<Vec<f32>>())
            .unwrap()
    };
    let arrays: BTreeMap<String, Array> = [
        ("hidden.0.weight", array(&[hidden, 64])),
        ("hidden.0.bias", array(&[hidden])),
        ("output.weight", array(&[classes, hidden])),
        ("output.bias", array(&[classes])),
    ]
    .into_iter()
    .filter(|(name, _)| *name != leave_out)
    .map(|(name, array)| (name.to_owned(), array))
    .collect();
    safetensors::write(&path.join("teacher.safetensors"), &arrays, &BTreeMap::new()).unwrap();
}

#[test]
fn weights_that_cannot_be_used_are_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("given.toml"), given_teacher()).unwrap();
    let mut number = 0;
    let mut refuse = |name: &str, says: &[&str]| {
        number += 1;
        let run = format!("run-{number}");
        let args = &["train", "given.toml", "--run-dir", &run];
        refused(path, &Case { name, args, exit: 2, says });
    };
    refuse("absent", &["checkpoint::missing", "teacher.safetensors"]);

    std::fs::create_dir(path.join("teacher.safetensors")).unwrap();
    refuse("a folder without weights", &["checkpoint::missing", "teacher.safetensors"]);
    std::fs::remove_dir(path.join("teacher.safetensors")).unwrap();

    std::fs::write(path.join("teacher.safetensors"), "these are no weights").unwrap();
    refuse("no safetensors", &["checkpoint::unusable", "teacher.safetensors"]);

    teacher(path, 16, 10, "");
    let whole = std::fs::read(path.join("teacher.safetensors")).unwrap();
    std::fs::write(path.join("teacher.safetensors"), &whole[..whole.len() - 100]).unwrap();
    refuse("cut off", &["checkpoint::unusable", "teacher.safetensors"]);

    teacher(path, 16, 10, "output.bias");
    refuse("a parameter is missing", &["checkpoint::unusable", "`output.bias`", "`hidden.0.weight`"]);

    teacher(path, 16, 7, "");
    refuse("other classes", &["checkpoint::classes", "teacher.safetensors", "10", "7"]);
}

/// The same file, whole, is a teacher: what is refused above is refused for its fault.
#[test]
fn weights_in_pytorchs_layout_are_a_teacher() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("given.toml"), given_teacher()).unwrap();
    teacher(folder.path(), 16, 10, "");
    let report = crate::common::done(folder.path(), &["train", "given.toml", "-q"]);
    assert!(report.contains("teacher") && report.contains("distill"), "{report}");
}
