//! The smoke recipe from start to end, and what it exports on engines that are not Burn.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::{Args, Outcome, onnxruntime, scratch};
use crate::workspace;

const RECIPE: &str = "configs/smoke.toml";
const FLOAT: &str = "model.onnx";
const QUANTIZED: &str = "model.int8.onnx";

/// The share of examples that an engine may decide otherwise than training did: what the export's own parity allows.
/// tract multiplies by the inverse of a scale, so that its codes differ at near-ties.
const TOLERANCE: f64 = 0.001;
const TRACT_INT8_TOLERANCE: f64 = 0.005;

pub(crate) fn train(sh: &Shell, _args: &Args) -> Result<Outcome> {
    let kd = workspace::program(sh, "kd")?;
    let run = scratch("smoke");
    sh.remove_path(&run)?;
    cmd!(sh, "{kd} train {RECIPE} --run-dir {run}").run()?;
    cmd!(sh, "{kd} report {run}").run()?;
    Ok(Outcome::Done)
}

pub(crate) fn engines(sh: &Shell, _args: &Args) -> Result<Outcome> {
    let kd = workspace::program(sh, "kd")?;
    let run = scratch("smoke");
    ensure!(
        run.join("summary.json").exists(),
        "there is no smoke run; `cargo xtask ci smoke engines` makes one"
    );
    let stages = Summary::read(&run)?.stages;
    let recipe = sh.read_file(RECIPE)?;
    let data = data_name(&recipe).with_context(|| format!("`{RECIPE}` has no table `[data.NAME]`"))?;

    let quantized = stages.iter().rfind(|stage| stage.kind == "quantize");
    let float = stages.iter().rfind(|stage| stage.kind != "quantize");
    let mut engines = vec!["tract"];
    engines.extend(onnxruntime::variable().map(|_| "onnxruntime"));
    for (file, stage) in [(FLOAT, float), (QUANTIZED, quantized)] {
        let expected = stage.with_context(|| format!("the smoke run has no stage for `{file}`"))?.errors;
        let model = run.join("export").join(file);
        for engine in &engines {
            let found = cmd!(sh, "{kd} eval {model} --data {data} --engine {engine} --format json").read()?;
            let found: Evaluation =
                serde_json::from_str(&found).context("cannot read what `kd eval` says")?;
            println!(
                "{file} on {engine}: {} of {} wrong, in training {expected}",
                found.errors, found.examples
            );
            let share =
                if (file, *engine) == (QUANTIZED, "tract") { TRACT_INT8_TOLERANCE } else { TOLERANCE };
            let allowed = (share * found.examples as f64).ceil() as u64;
            if found.errors.abs_diff(expected) > allowed {
                bail!(
                    "{file} on {engine}: expected {expected} errors as in training, {allowed} more or less, found {}",
                    found.errors
                );
            }
        }
    }
    match engines.len() {
        1 => Ok(Outcome::Skipped("ONNX Runtime is not there; tract alone was run".to_owned())),
        _ => Ok(Outcome::Done),
    }
}

#[derive(Deserialize)]
struct Summary {
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    kind: String,
    errors: u64,
}

#[derive(Deserialize)]
struct Evaluation {
    errors: u64,
    examples: u64,
}

impl Summary {
    fn read(run: &Path) -> Result<Self> {
        let path = run.join("summary.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))
    }
}

/// The name of the recipe's data set.
fn data_name(recipe: &str) -> Option<&str> {
    recipe.lines().find_map(|line| line.trim().strip_prefix("[data.")?.split(']').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_set_of_a_recipe_is_found() {
        assert_eq!(data_name("schema = 1\n[data.digits] # small\nvalidation = 380\n"), Some("digits"));
        assert_eq!(data_name("schema = 1\n"), None);
    }
}
