//! Runs of `kd`, one folder each: trained once, gone on with where they stopped, and read from then on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use xshell::{Shell, cmd};

use crate::workspace;

/// A run that is wanted: a recipe with keys replaced, and where it goes.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) recipe: PathBuf,
    pub(crate) folder: PathBuf,
    /// As `--set` takes them.
    pub(crate) set: Vec<String>,
}

/// Of a run's `summary.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Summary {
    stages: Vec<Stage>,
}

/// A stage of a run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stage {
    name: String,
    pub(crate) accuracy_last: f64,
    examples: usize,
    /// Trainable elements.
    pub(crate) params: u64,
    /// Those that no mask holds at zero.
    pub(crate) nonzero: u64,
    pub(crate) macs: u64,
    pub(crate) bytes: u64,
    /// Of a stage that quantizes.
    pub(crate) rounded: Option<Rounded>,
}

/// What rounding costs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rounded {
    pub(crate) bits: u64,
    pub(crate) bits_per_weight: f64,
    pub(crate) sqnr_db: Option<f64>,
    /// Mean divergence of the logits from those of the float model that the stage began with.
    pub(crate) logit_kl: f64,
    /// Share of test examples with that model's top-1 class.
    pub(crate) agreement: f64,
}

/// Of a run's `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    status: String,
    overrides: Vec<String>,
    pub(crate) version: String,
    pub(crate) burn: String,
    pub(crate) device: String,
}

/// What a folder holds of a run that is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is not there.
    Nothing,
    /// A run of another recipe or with other keys.
    Other,
    Unfinished,
    Finished,
}

impl Summary {
    /// The share of test examples that a stage's last epoch gets right.
    ///
    /// The last and not the best one: nothing is chosen, on any data.
    pub(crate) fn accuracy(&self, stage: &str) -> Result<f64> {
        Ok(self.stage(stage)?.accuracy_last)
    }

    /// The number of test examples.
    pub(crate) fn examples(&self) -> usize {
        self.stages.first().map_or(0, |stage| stage.examples)
    }

    /// The stage of that name.
    pub(crate) fn stage(&self, name: &str) -> Result<&Stage> {
        self.stages.iter().find(|stage| stage.name == name).with_context(|| format!("no stage `{name}`"))
    }
}

impl Manifest {
    /// That of a run.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        read(&folder.join("manifest.json"))
    }
}

impl Wanted {
    /// What the run reached; trains what is not yet trained.
    ///
    /// A run that misses a gate is done like any other: a loss that hurts is a result.
    pub(crate) fn summary(&self, sh: &Shell, kd: &Path) -> Result<Summary> {
        let Self { recipe, folder, set } = self;
        let found = self.found()?;
        if found == Found::Other {
            eprintln!("`{}` is of another recipe: trained anew", folder.display());
            sh.remove_path(folder)?;
        }
        let command = match found {
            Found::Finished => None,
            Found::Unfinished => Some(cmd!(sh, "{kd} --quiet train --resume {folder}")),
            Found::Nothing | Found::Other => {
                let set = set.iter().flat_map(|set| ["--set", set]);
                Some(cmd!(sh, "{kd} --quiet train {recipe} --run-dir {folder} {set...}"))
            }
        };
        if let Some(command) = command {
            let output = command.quiet().ignore_status().output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(self.found()? == Found::Finished, "{}", said.trim());
        }
        read(&folder.join("summary.json"))
    }

    fn found(&self) -> Result<Found> {
        let given = self.folder.join("recipe.toml");
        if !self.folder.exists() {
            return Ok(Found::Nothing);
        }
        let manifest = Manifest::read(&self.folder)?;
        let same = text(&given)? == text(&self.recipe)? && manifest.overrides == self.set;
        Ok(match manifest.status.as_str() {
            _ if !same => Found::Other,
            "finished" => Found::Finished,
            _ => Found::Unfinished,
        })
    }
}

/// Where the run of `name` and `seed` is among `runs`, which are given from the root.
pub(crate) fn of_seed(runs: &Path, name: &str, seed: u64) -> PathBuf {
    workspace::root().join(runs).join(name).join(format!("seed-{seed}"))
}

/// What a recipe among `runs` reached in the folder of `name` and `seed`; what had to be trained is reported.
pub(crate) fn go(
    (sh, kd): (&Shell, &Path),
    runs: &Path,
    (name, recipe): (&str, &str),
    seed: u64,
    set: Vec<String>,
) -> Result<Summary> {
    let begun = Instant::now();
    let folder = of_seed(runs, name, seed);
    let recipe = workspace::root().join(runs).join(format!("{recipe}.toml"));
    let done = folder.join("summary.json").exists();
    let summary = Wanted { recipe, folder, set }.summary(sh, kd);
    let summary = summary.with_context(|| format!("{name}, seed {seed}"))?;
    if !done {
        eprintln!("seed {seed}, {name}: {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(summary)
}

/// How `kd` is built.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    /// Cargo's profile.
    pub(crate) profile: &'a str,
    /// A device that it has to have.
    pub(crate) device: &'a str,
}

impl Built<'_> {
    /// As it is shipped.
    pub(crate) const SHIPPED: Self = Built { profile: "release", device: "flex" };
}

/// Builds `kd`, and says where it is.
pub(crate) fn build(sh: &Shell, Built { profile, device }: &Built<'_>) -> Result<PathBuf> {
    // Other features or another selection of packages than the tests have would build Burn once more.
    let all: &[&str] = if *profile == "dev" { &["--workspace", "--bins", "--tests"] } else { &[] };
    // Such as `cuda:1`.
    let backend = device.split(':').next().unwrap_or(device);
    let features = (backend != "flex").then(|| ["--features".to_owned(), format!("kd-cli/{backend}")]);
    let features = features.into_iter().flatten();
    cmd!(sh, "cargo build --quiet --profile {profile} {all...} {features...}").quiet().run()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), PathBuf::from);
    let folder = if *profile == "dev" { "debug" } else { profile };
    Ok(target.join(folder).join(format!("kd{}", std::env::consts::EXE_SUFFIX)))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text(path)?).with_context(|| format!("cannot understand `{}`", path.display()))
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_reused_only_if_it_is_the_one_that_is_wanted() -> Result<()> {
        let base = workspace::root().join("target/xtask/runs");
        let folder = base.join("kl/seed-1");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(base.join("a.toml"), "seed = 1\n")?;
        std::fs::write(base.join("b.toml"), "seed = 2\n")?;
        let manifest = |status: &str| {
            format!(
                r#"{{"status":"{status}","overrides":["seed=1"],"version":"0","burn":"0","device":"flex"}}"#
            )
        };
        let found = |recipe: &str, set: &str, folder: &Path| {
            let wanted =
                Wanted { recipe: base.join(recipe), folder: folder.to_owned(), set: vec![set.to_owned()] };
            wanted.found().map_err(|error| error.to_string())
        };

        std::fs::write(folder.join("recipe.toml"), "seed = 1\n")?;
        std::fs::write(folder.join("manifest.json"), manifest("finished"))?;
        assert_eq!(found("a.toml", "seed=1", &folder), Ok(Found::Finished));
        assert_eq!(found("a.toml", "seed=2", &folder), Ok(Found::Other));
        assert_eq!(found("b.toml", "seed=1", &folder), Ok(Found::Other));
        std::fs::write(folder.join("manifest.json"), manifest("unfinished"))?;
        assert_eq!(found("a.toml", "seed=1", &folder), Ok(Found::Unfinished));
        assert_eq!(found("a.toml", "seed=1", &base.join("kl/seed-2")), Ok(Found::Nothing));
        // What is no run is never taken for one, and never removed.
        assert!(found("a.toml", "seed=1", &base.join("kl")).is_err());
        std::fs::remove_dir_all(&base)?;
        Ok(())
    }
}
