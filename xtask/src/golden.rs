//! Golden vectors: values that formulas and public implementations give, written once in Python and committed.
//!
//! The tests never run Python. Whoever changes a generator in `tools/golden/` runs this, looks at the difference,
//! and commits both.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run these generators alone: `kd_core` for `tools/golden/kd_core.py`
    names: Vec<String>,
}

const FOLDER: &str = "tools/golden";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let mut scripts: Vec<PathBuf> = sh.read_dir(FOLDER)?;
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let known: Vec<String> = scripts.iter().map(stem).collect();
    if let Some(name) = args.names.iter().find(|name| !known.contains(name)) {
        bail!("no generator is named `{name}`; there are {}", known.join(", "));
    }
    scripts.retain(|path| args.names.is_empty() || args.names.contains(&stem(path)));
    ensure!(!scripts.is_empty(), "there is no generator in `{FOLDER}`");

    let python = environment(&sh)?;
    for script in &scripts {
        cmd!(sh, "{python} {script}").run()?;
    }
    cmd!(sh, "git status --short -- crates").quiet().run()?;
    Ok(())
}

/// Python in a virtual environment under `target/` with the packages that the generators ask for.
fn environment(sh: &Shell) -> Result<PathBuf> {
    let environment = workspace::root().join("target/golden");
    let python = environment.join("bin/python");
    if !python.exists() {
        cmd!(sh, "python3 -m venv {environment}").run().context("golden vectors are made with Python 3")?;
    }
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check -r {FOLDER}/requirements.txt")
        .run()?;
    Ok(python)
}
