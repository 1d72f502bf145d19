//! The runs behind the table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Shell;

use super::rows::{How, ROWS, Row};
use super::{Args, RECIPE, folder};
use crate::runs::{self, Manifest, Stage, Summary};
use crate::{recipes, workspace};

/// The experiment, set up.
pub(crate) struct Experiment<'a> {
    sh: &'a Shell,
    kd: &'a Path,
    /// Where the runs are, from the root.
    runs: PathBuf,
    seeds: Vec<u64>,
    /// Keys that all runs have.
    device: String,
    /// Epochs of a stage that is not the recipe's number of them.
    epochs: Option<u64>,
    /// Whether every stage has so many.
    quick: bool,
    /// Those asked for, if not all.
    ways: Vec<String>,
}

/// What all ways reached.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) examples: usize,
    pub(crate) seeds: usize,
    /// The teacher's and the dense student's accuracy before further steps, percent.
    pub(crate) before: [Vec<f64>; 2],
    /// Elements of the dense student.
    pub(crate) params: u64,
    pub(crate) ways: Vec<(&'static Row, Vec<Stage>)>,
}

impl<'a> Experiment<'a> {
    pub(crate) fn new(sh: &'a Shell, kd: &'a Path, args: &Args) -> Result<Self> {
        let recipe = sh.read_file(RECIPE)?;
        let first = recipes::seed(&recipe).with_context(|| format!("`{RECIPE}` has no line `seed = …`"))?;
        let runs = folder(args);
        let open = recipes::without_gates(&recipe).to_owned() + "[expect]\n";
        let keep = |stages: &[&str]| -> Result<String> {
            let all = ["teacher", "student", "sparse", "filled"];
            all.iter().filter(|name| !stages.contains(name)).try_fold(open.clone(), |text, stage| {
                recipes::without_stage(&text, stage, "A run of its own")
                    .with_context(|| format!("`{RECIPE}` has no stage that is named `{stage}`"))
            })
        };
        let sparse = keep(&["sparse"])?;
        // What comes behind changes nothing of it, and another way to prune needs no other student.
        let (float, _) = open
            .split_once("[[stage]]\nname = \"sparse\"\n")
            .with_context(|| format!("`{RECIPE}` has no stage that is named `sparse`"))?;
        let mut texts = vec![
            ("float", float.to_owned()),
            ("dense", unmasked(&sparse).with_context(|| format!("`{RECIPE}` sparsifies otherwise"))?),
            ("filled", keep(&["filled"])?),
        ];
        for row in ROWS {
            let text = match row.how {
                How::Sparse(lines) => with_lines(&sparse, lines),
                How::Alone(lines) => with_lines(&sparse, lines).and_then(|text| from_labels(&text)),
                How::Dense | How::Filled(_) => continue,
            };
            texts.push((row.name, text.with_context(|| format!("`{RECIPE}` sparsifies otherwise"))?));
        }
        for (name, text) in texts {
            let path = workspace::root().join(&runs).join(format!("{name}.toml"));
            sh.write_file(path, text.trim_end_matches("[expect]\n"))?;
        }
        let seeds = (first..first + args.seeds).collect();
        let (device, quick, ways) = (args.device.clone(), args.quick, args.ways.clone());
        Ok(Self {
            sh,
            kd,
            runs,
            seeds,
            device,
            epochs: if quick { Some(1) } else { args.epochs },
            quick,
            ways,
        })
    }

    /// Seed by seed, so that an experiment that is cut off has compared all ways with as many seeds as it came to.
    pub(crate) fn run(&self, rows: &[&'static Row]) -> Result<Reached> {
        let ways = rows.iter().map(|row| (*row, Vec::new())).collect();
        let seeds = self.seeds.len();
        let mut reached = Reached { examples: 0, seeds, before: Default::default(), params: 0, ways };
        for &seed in &self.seeds {
            let float = self.float(seed)?;
            for (list, stage) in reached.before.iter_mut().zip(["teacher", "student"]) {
                list.push(float.accuracy(stage)? * 100.0);
            }
            (reached.examples, reached.params) = (float.examples(), float.stage("student")?.params);
            for (row, list) in &mut reached.ways {
                list.push(self.way(seed, row)?);
            }
        }
        Ok(reached)
    }

    fn float(&self, seed: u64) -> Result<Summary> {
        let mut set = self.common(seed);
        if self.quick {
            set.extend(["teacher.train", "student.train"].map(|stage| format!("stage.{stage}.epochs=1")));
        }
        self.go("float", "float", seed, set)
    }

    fn way(&self, seed: u64, row: &Row) -> Result<Stage> {
        let mut set = self.common(seed);
        let runs = self.runs.display();
        let float = format!("{runs}/float/seed-{seed}");
        set.push(format!("teacher.checkpoint=\"{float}/1-teacher/model.safetensors\""));
        let mut from = format!("{float}/2-student");
        let (recipe, stage, kind) = match row.how {
            How::Dense => ("dense", "sparse", "train"),
            How::Sparse(_) | How::Alone(_) => (row.name, "sparse", "sparsify"),
            How::Filled(name) => {
                let other =
                    ROWS.iter().find(|row| row.name == name).context("a way that goes on from none")?;
                self.way(seed, other)?;
                from = format!("{runs}/{name}/seed-{seed}/2-sparse");
                ("filled", "filled", "prune")
            }
        };
        set.push(format!("student.checkpoint=\"{from}/model.safetensors\""));
        // The filled one has as many epochs as the recipe says: it comes behind those of the hybrid one.
        let own = self.epochs.filter(|_| self.quick || kind != "prune");
        set.extend(own.map(|epochs| format!("stage.{stage}.{kind}.epochs={epochs}")));
        Ok(self.go(row.name, recipe, seed, set)?.stage(stage)?.clone())
    }

    /// The keys of every run. The CPU is the recipe's own device.
    fn common(&self, seed: u64) -> Vec<String> {
        let mut set = vec![format!("seed={seed}")];
        set.extend((self.device != "flex").then(|| format!("device.name=\"{}\"", self.device)));
        set
    }

    /// Runs a recipe in the folder of `name` and `seed`.
    fn go(&self, name: &str, recipe: &str, seed: u64, set: Vec<String>) -> Result<Summary> {
        runs::go((self.sh, self.kd), &self.runs, (name, recipe), seed, set)
    }

    fn folder(&self, name: &str, seed: u64) -> PathBuf {
        runs::of_seed(&self.runs, name, seed)
    }

    /// What made the numbers.
    pub(crate) fn about(&self) -> Result<String> {
        let first = self.seeds.first().context("no seed")?;
        let Manifest { version, burn, device, .. } = Manifest::read(&self.folder("float", *first))?;
        let epochs = self.epochs.map(|epochs| format!(" with `--epochs {epochs}`")).unwrap_or_default();
        let ways = match self.ways.is_empty() {
            true => String::new(),
            false => format!(" `--ways {}`", self.ways.join(",")),
        };
        Ok(format!("`{RECIPE}`{epochs}{ways}, kd {version}, burn {burn}, device `{device}`."))
    }
}

/// The recipe's stage `sparse` without masks: what it trains with. A stage `distill` would train a baseline beside it.
fn unmasked(recipe: &str) -> Option<String> {
    let (before, rest) = recipe.split_once("\n[stage.sparsify]\n")?;
    let (masks, rest) = rest.split_once("epochs = ")?;
    masks
        .starts_with("pattern.")
        .then(|| format!("{before}\n[stage.train]\nof = \"student\"\nepochs = {rest}"))
}

/// The recipe with `lines` in the places of those of the same key: `schedule.cubic = …` for `schedule.movement = …`. In a
/// recipe of one stage there is one of each.
fn with_lines(recipe: &str, lines: &[&str]) -> Option<String> {
    let mut all: Vec<&str> = recipe.lines().collect();
    for line in lines {
        let (key, _) = line.split_once('.')?;
        let same = |other: &str| other.split_once('.').is_some_and(|(other, _)| other == key);
        let at = all.iter().position(|other| same(other))?;
        all[at] = line;
    }
    Some(all.join("\n") + "\n")
}

/// The recipe with labels in the place of all its objectives.
fn from_labels(recipe: &str) -> Option<String> {
    let (before, rest) = recipe.split_once("[[objective]]\n")?;
    let (_, stages) = rest.split_once("[[stage]]\n")?;
    Some(format!("{before}[[objective]]\nweight = 1.0\ncross-entropy = {{}}\n\n[[stage]]\n{stages}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_has_what_the_experiment_takes_out() -> Result<()> {
        let recipe = workspace::shell()?.read_file(RECIPE)?;
        let dense = unmasked(&recipe).context("no stage with masks")?;
        assert!(!dense.contains("pattern.hybrid") && dense.contains("pattern.empty"));
        assert_eq!(dense.matches("\nof = \"student\"\nepochs = ").count(), 2);
        let lines = ["schedule.cubic = {}", "pattern.unstructured = { sparsity = 0.5 }"];
        let other = with_lines(&recipe, &lines).context("no such lines")?;
        assert!(lines.iter().all(|line| other.contains(&format!("\n{line}\n"))));
        assert!(!other.contains("schedule.movement") && !other.contains("pattern.hybrid"));
        assert_eq!(other.lines().count(), recipe.lines().count());
        assert_eq!(with_lines(&recipe, &["criterion.random = {}"]), None);
        let alone = from_labels(&recipe).context("no objectives")?;
        assert_eq!(alone.matches("[[objective]]\nweight = 1.0\ncross-entropy = {}\n").count(), 1);
        assert!(!alone.contains("kl = ") && alone.matches("[[stage]]").count() == 4);
        for stage in ["teacher", "student", "sparse", "filled"] {
            assert!(recipes::without_stage(&recipe, stage, "Done").is_some(), "{stage}");
        }
        Ok(())
    }
}
