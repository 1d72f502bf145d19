//! The runs behind the table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Shell;

use super::ways::{STEPS, WAYS, Way};
use crate::bench::latency::{Latency, Times};
use crate::runs::{self, Manifest, Stage, Summary};
use crate::{recipes, workspace};

const RECIPE: &str = "configs/mnist-sparsity.toml";

/// Examples of a run in which latency is measured, and the shape of one.
const BATCH: usize = 32;
const SHAPE: [usize; 3] = [1, 28, 28];

/// The recipes and their runs, set up.
pub(crate) struct Experiment<'a> {
    sh: &'a Shell,
    kd: &'a Path,
    device: &'a str,
    /// Where the runs are, from the root.
    runs: PathBuf,
    seeds: Vec<u64>,
    quick: bool,
}

/// What was reached; lists have a number for each seed.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) seeds: usize,
    pub(crate) examples: usize,
    /// Percent of the test examples, before any further step.
    pub(crate) before: Vec<f64>,
    /// For each of [`WAYS`].
    pub(crate) ways: Vec<Taken>,
    /// Of a batch, for each of [`WAYS`].
    pub(crate) times: Times,
}

/// What became of the student on one way.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Percent of the test examples.
    pub(crate) accuracy: Vec<f64>,
    pub(crate) masked: Vec<f64>,
    pub(crate) params: Vec<f64>,
    pub(crate) macs: Vec<f64>,
    pub(crate) bytes: Vec<f64>,
}

impl Taken {
    fn push(&mut self, stage: &Stage) {
        self.accuracy.push(stage.accuracy_last * 100.0);
        self.masked.push((stage.params - stage.nonzero) as f64);
        self.params.push(stage.params as f64);
        self.macs.push(stage.macs as f64);
        self.bytes.push(stage.bytes as f64);
    }
}

impl<'a> Experiment<'a> {
    pub(crate) fn new(sh: &'a Shell, kd: &'a Path, device: &'a str, seeds: u64, quick: bool) -> Result<Self> {
        let recipe = sh.read_file(RECIPE)?;
        let first = recipes::seed(&recipe).with_context(|| format!("`{RECIPE}` has no line `seed = …`"))?;
        let mut runs = "runs/sparsity-mnist".to_owned();
        if device != "flex" {
            runs += &format!("-{device}");
        }
        if quick {
            runs += "-quick";
        }
        let runs = PathBuf::from(runs);
        let root = workspace::root().join(&runs);
        sh.write_file(root.join("student.toml"), student(&recipe)?)?;
        for way in &WAYS {
            sh.write_file(root.join(format!("{}.toml", way.folder)), further(&recipe, way)?)?;
        }
        Ok(Self { sh, kd, device, runs, seeds: (first..first + seeds).collect(), quick })
    }

    /// Seed by seed, so that an experiment that is cut off has compared all ways with as many seeds as it came to.
    pub(crate) fn run(&self) -> Result<Reached> {
        let mut reached = Reached {
            seeds: self.seeds.len(),
            ways: WAYS.iter().map(|_| Taken::default()).collect(),
            ..Reached::default()
        };
        for &seed in &self.seeds {
            let mut set = vec![format!("seed={seed}")];
            if self.quick {
                set.extend(["teacher", "student"].map(|stage| format!("stage.{stage}.train.epochs=1")));
            }
            let student = self.go("student", seed, set)?;
            reached.examples = student.examples();
            reached.before.push(student.accuracy("student")? * 100.0);
            for (way, taken) in WAYS.iter().zip(&mut reached.ways) {
                taken.push(self.go(way.folder, seed, self.set(seed, way))?.stage("sparse")?);
            }
        }
        Ok(reached)
    }

    /// Times of a batch for what each way has left of the first seed's student, in turns.
    pub(crate) fn times(&self, latency: &Latency<'_>, rounds: u32) -> Result<Times> {
        let first = *self.seeds.first().context("no seed")?;
        let files = WAYS.iter().map(|way| self.folder(way.folder, first).join("2-sparse/model.onnx"));
        latency.measure(BATCH, &SHAPE, rounds, &files.collect::<Vec<_>>())
    }

    /// The keys of a run that goes on from the student.
    fn set(&self, seed: u64, way: &Way) -> Vec<String> {
        // Paths from the root, where `kd` runs: they are the same on every machine.
        let stages = format!("{}/student/seed-{seed}", self.runs.display());
        let mut set = vec![
            format!("seed={seed}"),
            format!("teacher.checkpoint=\"{stages}/1-teacher/model.safetensors\""),
            format!("student.checkpoint=\"{stages}/2-student/model.safetensors\""),
        ];
        set.extend(self.quick.then(|| format!("stage.sparse.{}.epochs=1", way.kind)));
        set
    }

    /// Runs the recipe of `name` in the folder of `name` and `seed`.
    fn go(&self, name: &str, seed: u64, mut set: Vec<String>) -> Result<Summary> {
        if self.device != "flex" {
            set.push(format!("device.name=\"{}\"", self.device));
        }
        runs::go((self.sh, self.kd), &self.runs, (name, name), seed, set)
    }

    fn folder(&self, name: &str, seed: u64) -> PathBuf {
        runs::of_seed(&self.runs, name, seed)
    }

    /// What made the numbers.
    pub(crate) fn about(&self) -> Result<String> {
        let first = self.seeds.first().context("no seed")?;
        let Manifest { version, burn, device, .. } = Manifest::read(&self.folder("student", *first))?;
        Ok(format!("`{RECIPE}`, kd {version}, burn {burn}, device `{device}`."))
    }
}

/// The recipe as far as the student.
fn student(recipe: &str) -> Result<String> {
    without(&ungated(recipe), "sparse").map(|text| text.trim_end_matches("[expect]\n").to_owned())
}

/// The recipe that goes on from the student on one way.
fn further(recipe: &str, way: &Way) -> Result<String> {
    let rest = without(&without(&ungated(recipe), "teacher")?, "student")?;
    anyhow::ensure!(rest.contains(STEPS), "`{RECIPE}` does not sparsify as expected:\n{STEPS}");
    Ok(rest.replace(STEPS, way.stage).trim_end_matches("[expect]\n").to_owned())
}

/// Without gates, but with the mark at which the last stage ends.
fn ungated(recipe: &str) -> String {
    recipes::without_gates(recipe).to_owned() + "[expect]\n"
}

fn without(recipe: &str, stage: &str) -> Result<String> {
    recipes::without_stage(recipe, stage, "A run of its own")
        .with_context(|| format!("`{RECIPE}` has no stage that is named `{stage}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_differ_in_what_they_take_and_in_nothing_else() -> Result<()> {
        let recipe = workspace::shell()?.read_file(RECIPE)?;
        assert_eq!(recipes::seed(&recipe), Some(42));
        let names = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("name = ")).map(str::to_owned).collect()
        };
        assert_eq!(
            names(&student(&recipe)?),
            ["name = \"mnist-sparsity\"", "name = \"teacher\"", "name = \"student\""]
        );
        let dense = further(&recipe, &WAYS[0])?;
        assert_eq!(names(&dense), ["name = \"mnist-sparsity\"", "name = \"sparse\""]);
        for way in &WAYS[1..] {
            assert_eq!(further(&recipe, way)?.replace(way.stage, WAYS[0].stage), dense, "{}", way.name);
        }
        Ok(())
    }

    #[test]
    fn the_student_is_that_of_the_main_job() -> Result<()> {
        let sh = workspace::shell()?;
        let (main, own) = (sh.read_file("configs/mnist.toml")?, sh.read_file(RECIPE)?);
        for part in ["[data.mnist]", "[teacher]", "[student]", "[[objective]]"] {
            let block = |text: &str| -> Option<String> {
                Some(text[text.find(part)?..].split("\n\n").next()?.to_owned())
            };
            assert_eq!(block(&main), block(&own), "{part}");
        }
        Ok(())
    }
}
