//! ONNX Runtime from its Python package, in a virtual environment of its own under `target/`.
//!
//! Once it is there, every step runs with `ORT_DYLIB_PATH`, so that the tests use it too.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{Args, Outcome, on_path, scratch};

/// Fixed, so that a new release changes results on the day that we choose.
const PACKAGE: &str = "onnxruntime==1.32.0";

pub(super) fn install(sh: &Shell, _args: &Args) -> Result<Outcome> {
    if let Some((_, library)) = variable() {
        println!("already there: {}", library.display());
        return Ok(Outcome::Done);
    }
    if !on_path("python3") {
        return Ok(Outcome::Skipped("`python3` is not installed".to_owned()));
    }
    let environment = scratch("onnxruntime");
    sh.remove_path(&environment)?;
    cmd!(sh, "python3 -m venv {environment}").quiet().run()?;
    let python = environment.join("bin/python");
    // Its dependencies serve its Python side only.
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check --no-deps {PACKAGE}")
        .quiet()
        .run()?;
    let (_, library) = variable().context("the Python package holds no `libonnxruntime`")?;
    println!("{}", library.display());
    Ok(Outcome::Done)
}

/// `ORT_DYLIB_PATH` with the library: the caller's own, or the one that [`install`] brought.
pub(crate) fn variable() -> Option<(&'static str, PathBuf)> {
    const NAME: &str = "ORT_DYLIB_PATH";
    if let Some(path) = std::env::var_os(NAME) {
        return Some((NAME, path.into()));
    }
    let lib = scratch("onnxruntime").join("lib");
    let python = std::fs::read_dir(lib).ok()?.next()?.ok()?.path();
    let capi = python.join("site-packages/onnxruntime/capi");
    let library =
        std::fs::read_dir(capi).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libonnxruntime.so")
                || name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
        })?;
    Some((NAME, library))
}
