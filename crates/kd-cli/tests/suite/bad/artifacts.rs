//! Requests about finished runs and about files that should be models.

use super::{Case, TINY, refused};
use crate::common::done;

#[test]
fn what_a_run_does_not_have_is_said_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("tiny.toml"), TINY).unwrap();
    done(path, &["train", "tiny.toml", "-q"]);
    std::fs::create_dir(path.join("taken")).unwrap();
    std::fs::write(path.join("taken/model.onnx"), "mine").unwrap();
    std::fs::write(path.join("garbage.onnx"), "no model").unwrap();
    std::fs::copy(path.join("runs/tiny/2-distill/model.onnx"), path.join("alone.onnx")).unwrap();

    let case = |name, args, says| Case { name, args, exit: 2, says };
    for case in [
        case(
            "no such stage",
            &["export", "runs/tiny", "--stage", "int8", "--out", "out"] as &[_],
            &["int8", "`distill`"] as &[_],
        ),
        case("over files", &["export", "runs/tiny", "--out", "taken"], &["run::file-exists", "taken"]),
        case("no such folder", &["eval", "runs/tiny/3-prune"], &["3-prune"]),
        case("no such data", &["eval", "runs/tiny", "--data", "digit"], &["digit"]),
        case(
            "no such engine here",
            &["eval", "alone.onnx", "--engine", "onnxruntime"],
            &["ONNX Runtime", "ORT_DYLIB_PATH"],
        ),
        case(
            "Burn and an ONNX file",
            &["eval", "alone.onnx", "--engine", "burn", "--data", "digits"],
            &["burn"],
        ),
        case("data unknown", &["eval", "alone.onnx"], &["alone.onnx", "--data"]),
    ] {
        refused(path, &case);
    }
    let case = |name, args, says| Case { name, args, exit: 3, says };
    refused(
        path,
        &case("no model", &["eval", "garbage.onnx", "--data", "digits"], &["garbage.onnx", "tract"]),
    );
    assert_eq!(std::fs::read_to_string(path.join("taken/model.onnx")).unwrap(), "mine");
    assert!(!path.join("out").exists());
}
