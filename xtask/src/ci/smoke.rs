//! The smoke recipe from start to end, and what it exports on engines that are not Burn.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::{Args, Outcome, onnxruntime, scratch};
use crate::workspace;

const RECIPE: &str = "configs/smoke.toml";

/// How far two engines may be apart: two of the 1,797 test digits.
const TOLERANCE: f64 = 2.0 / 1797.0;

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
    for (file, stage) in [("model.onnx", float), ("model.int8.onnx", quantized)] {
        let expected = stage.with_context(|| format!("the smoke run has no stage for `{file}`"))?.accuracy;
        let model = run.join("export").join(file);
        for engine in &engines {
            let found = cmd!(sh, "{kd} eval {model} --data {data} --engine {engine} --format json").read()?;
            let found: Evaluation =
                serde_json::from_str(&found).context("cannot read what `kd eval` says")?;
            println!("{file} on {engine}: accuracy {:.4}, in training {expected:.4}", found.accuracy);
            if (found.accuracy - expected).abs() > TOLERANCE {
                bail!("{file} on {engine}: expected accuracy {expected}, found {}", found.accuracy);
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
    accuracy: f64,
}

#[derive(Deserialize)]
struct Evaluation {
    accuracy: f64,
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
