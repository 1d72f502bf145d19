//! The runs behind a table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Shell;

use super::folder;
use super::rows::{Limit, ROWS, Row};
use crate::runs::{self, Manifest, Rounded, Stage, Summary};
use crate::{recipes, workspace};

/// One data set, set up.
pub(crate) struct Experiment<'a> {
    sh: &'a Shell,
    kd: &'a Path,
    recipe_name: String,
    /// Where the runs are, from the root.
    runs: PathBuf,
    seeds: Vec<u64>,
    quick: bool,
}

/// What all formats reached on one data set.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) data: String,
    pub(crate) seeds: Vec<u64>,
    pub(crate) examples: usize,
    /// Percent of the test examples, a number for each seed: as trained, after further steps, after further steps
    /// with the teacher.
    pub(crate) float: [Vec<f64>; 3],
    pub(crate) formats: Vec<(&'static Row, Result<Format, String>)>,
}

/// One format.
#[derive(Debug, Default)]
pub(crate) struct Format {
    /// Percent of the test examples, as in [`Reached::float`].
    pub(crate) accuracy: [Vec<f64>; 3],
    /// After rounding alone, a number for each seed.
    pub(crate) rounded: Vec<Rounded>,
}

/// A limit and the differences to the float student, one a seed, with 8-bit activations and with float ones.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) limit: &'static Limit,
    pub(crate) differences: [Vec<f64>; 2],
}

/// How the student goes on from where floats left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Further {
    /// Not at all.
    Not,
    /// Further steps from labels.
    Labels,
    /// The same with the teacher on.
    Teacher,
}

pub(crate) const FURTHER: [Further; 3] = [Further::Not, Further::Labels, Further::Teacher];

const TEACHER: &str = "[{ weight = 0.1, cross-entropy = {} }, { weight = 0.9, kl = { temperature = 4.0 } }]";

impl<'a> Experiment<'a> {
    pub(crate) fn new(sh: &'a Shell, kd: &'a Path, data: &str, seeds: u64, quick: bool) -> Result<Self> {
        let recipe_name = format!("configs/{data}-formats.toml");
        let recipe = sh.read_file(&recipe_name)?;
        let first =
            recipes::seed(&recipe).with_context(|| format!("`{recipe_name}` has no line `seed = …`"))?;
        let runs = folder(data, quick);
        let note = "A run of its own";
        let cut = |text: &str, stage: &str| {
            recipes::without_stage(text, stage, note)
                .with_context(|| format!("`{recipe_name}` has no stage that is named `{stage}`"))
        };
        let open = recipes::without_gates(&recipe).to_owned() + "[expect]\n";
        let float = cut(&open, "rounded")?;
        let rounded = cut(&cut(&open, "teacher")?, "student")?;
        let steps =
            "[stage.quantize]\nweights = \"int4 channel narrow\"\nactivations = \"int8 tensor affine\"\n";
        let further = rounded.replace(steps, "[stage.train]\nof = \"student\"\n");
        let root = workspace::root().join(&runs);
        let weights_only = rounded.replace("activations = \"int8 tensor affine\"\n", "");
        let texts =
            [("float", float), ("rounded", rounded), ("weights-only", weights_only), ("further", further)];
        for (name, text) in texts {
            sh.write_file(root.join(format!("{name}.toml")), text.trim_end_matches("[expect]\n"))?;
        }
        Ok(Self { sh, kd, recipe_name, runs, seeds: (first..first + seeds).collect(), quick })
    }

    /// Seed by seed, so that an experiment that is cut off has compared all formats with as many seeds as it came to.
    pub(crate) fn run(&self, rows: &[&'static Row]) -> Result<Reached> {
        let data = self.runs.to_string_lossy().trim_start_matches("runs/formats-").to_owned();
        let mut reached = Reached {
            data,
            seeds: self.seeds.clone(),
            examples: 0,
            float: Default::default(),
            formats: rows.iter().map(|row| (*row, Ok(Format::default()))).collect(),
        };
        for &seed in &self.seeds {
            for (further, list) in FURTHER.iter().zip(&mut reached.float) {
                let (accuracy, examples) = self.float(seed, *further)?;
                list.push(accuracy);
                reached.examples = examples;
            }
            for (row, format) in &mut reached.formats {
                let Ok(found) = format else { continue };
                if let Err(error) = self.format(seed, row, found) {
                    eprintln!("{} failed, seed {seed}: {error:#}", row.name);
                    let reason = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                    *format = Err(format!("with seed {seed}, {reason}"));
                }
            }
        }
        Ok(reached)
    }

    fn format(&self, seed: u64, row: &Row, format: &mut Format) -> Result<()> {
        for (further, list) in FURTHER.iter().zip(&mut format.accuracy) {
            let stage = self.rounded(seed, row, *further, true)?;
            list.push(stage.accuracy_last * 100.0);
            if *further == Further::Not {
                format.rounded.push(stage.rounded.context("the stage says nothing of its rounding")?);
            }
        }
        Ok(())
    }

    /// Differences to the float student after the same further steps, for each limit.
    pub(crate) fn limits(&self, limits: &'static [Limit]) -> Result<Vec<Held>> {
        let mut held: Vec<Held> =
            limits.iter().map(|limit| Held { limit, differences: Default::default() }).collect();
        for &seed in &self.seeds {
            for Held { limit, differences } in &mut held {
                let row = ROWS.iter().find(|row| row.name == limit.row).context("a limit of no format")?;
                let further = if limit.trained { Further::Labels } else { Further::Not };
                let (float, _) = self.float(seed, further)?;
                for (activations, list) in [true, false].into_iter().zip(differences) {
                    let stage = self.rounded(seed, row, further, activations)?;
                    list.push(stage.accuracy_last * 100.0 - float);
                }
            }
        }
        Ok(held)
    }

    /// Accuracy in percent of the float student, and the number of test examples.
    fn float(&self, seed: u64, further: Further) -> Result<(f64, usize)> {
        let summary = match further {
            Further::Not => {
                let mut set = vec![format!("seed={seed}")];
                if self.quick {
                    set.extend(["teacher", "student"].map(|stage| format!("stage.{stage}.train.epochs=1")));
                }
                self.go("float", "float", seed, set)?
            }
            _ => {
                let name = if further == Further::Labels { "further" } else { "further-teacher" };
                self.go(name, "further", seed, self.set(seed, "train", further))?
            }
        };
        let stage = if further == Further::Not { "student" } else { "rounded" };
        Ok((summary.accuracy(stage)? * 100.0, summary.examples()))
    }

    /// The student in a format.
    fn rounded(&self, seed: u64, row: &Row, further: Further, activations: bool) -> Result<Stage> {
        let mut set = self.set(seed, "quantize", further);
        set.push(format!("stage.rounded.quantize.weights=\"{}\"", row.weights));
        set.push(format!("stage.rounded.quantize.estimator={}", row.estimator));
        let how = match further {
            Further::Not => "alone",
            Further::Labels => "trained",
            Further::Teacher => "teacher",
        };
        let (recipe, end) = if activations { ("rounded", "") } else { ("weights-only", "-weights-only") };
        let name = format!("{}-{how}{end}", row.name.replace(' ', "-"));
        let summary = self.go(&name, recipe, seed, set)?;
        Ok(summary.stage("rounded")?.clone())
    }

    /// The keys of a run that goes on from the float student.
    fn set(&self, seed: u64, kind: &str, further: Further) -> Vec<String> {
        let stages = format!("{}/float/seed-{seed}", self.runs.display());
        let stage = format!("stage.rounded.{kind}");
        let mut set = vec![
            format!("seed={seed}"),
            format!("teacher.checkpoint=\"{stages}/1-teacher/model.safetensors\""),
            format!("student.checkpoint=\"{stages}/2-student/model.safetensors\""),
        ];
        match further {
            Further::Not => set.push(format!("{stage}.epochs=0")),
            Further::Labels if self.quick => set.push(format!("{stage}.epochs=1")),
            Further::Labels => {}
            Further::Teacher => {
                set.extend(self.quick.then(|| format!("{stage}.epochs=1")));
                set.push(format!("{stage}.objective={TEACHER}"));
            }
        }
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
        Ok(format!("`{}`, kd {version}, burn {burn}, device `{device}`.", self.recipe_name))
    }
}
