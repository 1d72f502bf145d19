//! What a measurement depends on beside the code.

use std::fmt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

/// The hardware, without any name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    arch: String,
}

impl Machine {
    /// The one that this runs on.
    pub(crate) fn this() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()));
        Self {
            processor: model.unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores, {}", self.processor, self.cores, self.arch)
    }
}

/// The revision, and whether the tree is as committed.
pub(crate) fn revision(sh: &Shell) -> String {
    let git = |arguments: &[&str]| cmd!(sh, "git {arguments...}").quiet().ignore_stderr().read().ok();
    let Some(hash) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    format!("{hash} ({})", if clean { "clean" } else { "changed" })
}

/// The compiler's version.
pub(crate) fn rustc(sh: &Shell) -> Result<String> {
    let version = cmd!(sh, "rustc --version").quiet().read()?;
    Ok(version.split_whitespace().nth(1).unwrap_or(&version).to_owned())
}

/// Burn's version, of the lock file.
pub(crate) fn burn(sh: &Shell) -> Result<String> {
    let lock = sh.read_file("Cargo.lock")?;
    let version = lock.split("name = \"burn\"\n").nth(1).and_then(|rest| rest.split('"').nth(1));
    version.map(str::to_owned).context("the lock file has no `burn`")
}
