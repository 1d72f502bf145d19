//! The kernels for AArch64, type-checked where rustup has or can fetch the target: no such machine is needed.

use anyhow::Result;
use xshell::{Shell, cmd};

use super::{Args, Outcome, on_path};

const TARGET: &str = "aarch64-unknown-linux-gnu";

pub(crate) fn check(sh: &Shell, _: &Args) -> Result<Outcome> {
    if !on_path("rustup") {
        return Ok(Outcome::Skipped("no `rustup` to ask for the target".to_owned()));
    }
    if let Err(error) = cmd!(sh, "rustup target add {TARGET}").quiet().run() {
        return Ok(Outcome::Skipped(format!("the target {TARGET} cannot be had: {error}")));
    }
    cmd!(sh, "cargo check -p kd-kernels --target {TARGET}").quiet().run()?;
    Ok(Outcome::Done)
}
