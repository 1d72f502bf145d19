//! What becomes of ONNX Runtime in a process: loaded once, from the path that the caller names.
//!
//! A binary of its own with one test: the order matters, and the library stays loaded in the process.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;

use kd_deploy::{Engine, Error, OnnxRuntime};

#[test]
fn the_library_is_loaded_once() {
    let error = OnnxRuntime::open(Path::new("no/such/libonnxruntime.so")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `no/such/libonnxruntime.so`");

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so.1.0.0");
    std::fs::write(&text, "no library").unwrap();
    let error = OnnxRuntime::open(&text).unwrap_err();
    assert!(matches!(&error, Error::Engine { .. }), "{error:?}");
    assert!(error.to_string().starts_with("onnxruntime cannot load `"), "{error}");

    // A failure leaves the place free.
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) else {
        eprintln!("skipped: ORT_DYLIB_PATH is not set");
        return;
    };
    let open = || OnnxRuntime::open(Path::new(&library)).unwrap();
    let engine = open();
    assert_eq!(open().version(), engine.version());
    let error = OnnxRuntime::open(&text).unwrap_err();
    assert!(matches!(&error, Error::SecondRuntime { .. }), "{error:?}");
    assert!(engine.computes_int8());
    assert!(engine.load(&text, 0).is_err());
}
