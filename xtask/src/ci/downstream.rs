//! The programs under `examples/`, run as someone else would run them.
//!
//! A program with a recipe beside its manifest, `NAME.toml`, is the command line with more in it and trains that
//! recipe; one without runs as it is.

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::{Args, Outcome, scratch};
use crate::workspace;

pub(crate) fn run(sh: &Shell, _args: &Args) -> Result<Outcome> {
    let mut count = 0;
    for package in workspace::packages(sh)? {
        let home = package.manifest_path.parent().context("a manifest lies in a folder")?;
        if !home.starts_with(workspace::root().join("examples")) {
            continue;
        }
        for target in package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bin")) {
            let program = workspace::program(sh, &target.name)?;
            let recipe = home.join(format!("{}.toml", target.name));
            if recipe.exists() {
                let run = scratch("downstream").join(&target.name);
                sh.remove_path(&run)?;
                cmd!(sh, "{program} train {recipe} --run-dir {run}").run()?;
            } else {
                cmd!(sh, "{program}").run()?;
            }
            count += 1;
        }
    }
    ensure!(count > 0, "there is no program under `examples/`");
    Ok(Outcome::Done)
}
