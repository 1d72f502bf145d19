//! What a recipe would do: sizes and costs of its models, its stages, and how long they should take.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use serde::Serialize;

use crate::batches::Data;
use crate::error::Error;
use crate::fit::Job;
use crate::network::Network;
use crate::prune::removal;
use crate::recipe::{NetworkSpec, Recipe, Role, Source, StageKind};
use crate::registry::Registry;
use crate::run::{Env, build, load_data};
use crate::{connect, device, measure, sparsify};

/// What a recipe would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The recipe's name.
    pub name: String,
    /// Where it would run.
    pub device: String,
    /// Name of the data set.
    pub data: String,
    /// Training, validation and test examples.
    pub examples: [usize; 3],
    /// Shape of an example.
    pub shape: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// The teacher.
    pub teacher: Sized,
    /// The student, before any stage.
    pub student: Sized,
    /// Stages, the baseline among them.
    pub stages: Vec<Planned>,
    /// Estimated seconds, from one measured step of each model.
    pub seconds: f64,
}

/// A model's size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sized {
    /// Its registered name.
    pub model: String,
    /// Trainable elements.
    pub params: u64,
    /// Multiply-accumulates at batch 1.
    pub macs: u64,
}

/// A stage that would run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Passes over the training examples.
    pub epochs: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Estimated seconds.
    pub seconds: f64,
}

/// Checks a recipe against its data and models, without training.
///
/// # Errors
///
/// Problems of the recipe; data that is missing; models, sites or features that do not fit.
pub fn check(source: &Source, overrides: &[String], env: &Env, registry: &Registry) -> Result<Plan, Error> {
    let recipe = Recipe::parse(source, overrides, registry).map_err(Error::Problems)?;
    let Fits { device, data, teacher, student } = fits(&recipe, env, &source.folder)?;
    let task = data.task();
    let rows = Tensor::zeros([data.batch, task.features()], &device);
    let forward = seconds(|| {
        teacher.inference().forward(rows.clone(), &mut Tap::none()).into_data();
    });
    let steps = data.steps();
    let (own, taught) = (step(teacher.as_ref(), &rows), step(student.as_ref(), &rows));

    let mut stages = Vec::new();
    let mut mirrored = false;
    for stage in &recipe.stages {
        let Some(fit) = stage.kind.fit() else { continue };
        let of_teacher = matches!(&stage.kind, StageKind::Train(spec) if spec.of == Role::Teacher);
        let cost = match (of_teacher, fit.objective.needs_teacher()) {
            (true, _) => own,
            (false, true) => taught + forward,
            (false, false) => taught,
        };
        if matches!(stage.kind, StageKind::Distill(_)) && !mirrored {
            mirrored = true;
            stages.push(planned("baseline", "train", fit.epochs, steps, taught));
        }
        stages.push(planned(&stage.name, stage.kind.name(), fit.epochs, steps, cost));
    }
    Ok(Plan {
        name: recipe.name.clone(),
        device: recipe.device.name.clone(),
        data: recipe.data.name.clone(),
        examples: [data.split.train.len(), data.split.validation.len(), data.set.test.len()],
        shape: task.input.clone(),
        classes: task.classes,
        teacher: sized(teacher.as_ref())?,
        student: sized(student.as_ref())?,
        seconds: stages.iter().map(|stage| stage.seconds).sum(),
        stages,
    })
}

/// A recipe's data and models, loaded and built.
pub(super) struct Fits {
    device: Device,
    data: Data,
    teacher: Box<dyn Network>,
    student: Box<dyn Network>,
}

/// Loads the data, builds the models, reads their checkpoints, and checks every site that an objective names: what a run
/// would otherwise find out after hours.
pub(super) fn fits(recipe: &Recipe, env: &Env, base: &Path) -> Result<Fits, Error> {
    let device = device::open(&recipe.device.name)?;
    let data = load_data(recipe, recipe.seed, env, base)?;
    let network = |spec: &NetworkSpec, role| build(spec, role, recipe.seed, &data.task(), &device, base);
    let teacher = network(&recipe.teacher, "teacher")?;
    let student = network(&recipe.student, "student")?;
    for (spec, role) in [(&recipe.teacher, "teacher"), (&recipe.student, "student")] {
        if let Some(vocabulary) = spec.model.vocabulary() {
            tokens(&data, vocabulary).map_err(|reason| Error::ModelUnfit {
                role: role.into(),
                model: spec.model.name().into(),
                reason,
            })?;
        }
    }
    // What is left of the student's lists, whose sites later stages name.
    let mut left: Option<Box<dyn Network>> = None;
    let mut cut = false;
    for stage in &recipe.stages {
        let Some(fit) = stage.kind.fit() else { continue };
        if let StageKind::Prune(spec) = &stage.kind {
            let before = left.as_deref().unwrap_or(student.as_ref());
            left = removal::tried(spec, before, cut)?.or(left);
            cut = true;
        }
        let job = Job {
            seed: recipe.seed,
            order: &stage.name,
            data: &data,
            spec: fit,
            objective: &fit.objective,
            teacher: Some(teacher.as_ref()).filter(|_| fit.objective.needs_teacher()),
            folds: &[],
            sparsifier: None,
            calibration: 0,
            ready: 0.0,
            device: &device,
        };
        let student = left.as_deref().unwrap_or(student.as_ref());
        if let StageKind::Sparsify(spec) = &stage.kind {
            sparsify::check_inputs(student, spec.criterion.as_ref())?;
        }
        connect::connectors(&job, student, &device.clone().autodiff())?;
    }
    Ok(Fits { device, data, teacher, student })
}

/// Whether all data are whole numbers that the model knows; what it does not know it would look up beyond its table.
fn tokens(data: &Data, vocabulary: usize) -> Result<(), String> {
    let mut row = Vec::new();
    for (examples, which) in [(&data.set.train, "training"), (&data.set.test, "test")] {
        for example in 0..examples.len() {
            examples.rows(&[example], &mut row);
            let known = |token: &f32| token.fract() == 0.0 && (0.0..vocabulary as f32).contains(token);
            if let Some(token) = row.iter().find(|token| !known(token)) {
                return Err(format!(
                    "expected tokens from 0 to {}, as its `vocabulary` of {vocabulary} says, found {token} in {which} \
                     example {example}",
                    vocabulary.saturating_sub(1)
                ));
            }
        }
    }
    Ok(())
}

fn planned(name: &str, kind: &str, epochs: usize, steps: usize, cost: f64) -> Planned {
    let steps = epochs * steps;
    Planned { name: name.into(), kind: kind.into(), epochs, steps, seconds: steps as f64 * cost }
}

fn sized(network: &dyn Network) -> Result<Sized, Error> {
    let size = measure::size(network)?;
    Ok(Sized { model: network.model().into(), params: size.params, macs: size.macs })
}

/// Seconds of a training step, the second of two.
fn step(network: &dyn Network, rows: &Tensor<2>) -> f64 {
    let network = network.training();
    let run = || {
        let loss = network.forward(rows.clone().autodiff(), &mut Tap::none()).sum();
        let mut gradients = loss.backward();
        network.gradients(&mut gradients);
    };
    run();
    seconds(run)
}

fn seconds(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, validation, test] = self.examples;
        writeln!(f, "{} on {}", self.name, self.device)?;
        writeln!(
            f,
            "data      {}: {train} training, {validation} validation, {test} test examples of shape {:?}, {} classes",
            self.data, self.shape, self.classes
        )?;
        for (role, model) in [("teacher", &self.teacher), ("student", &self.student)] {
            writeln!(f, "{role}   {}: {} parameters, {} MACs", model.model, model.params, model.macs)?;
        }
        for stage in &self.stages {
            writeln!(
                f,
                "stage     {} ({}): {} epochs, {} steps, about {:.0} s",
                stage.name, stage.kind, stage.epochs, stage.steps, stage.seconds
            )?;
        }
        write!(f, "in all    about {:.0} s, from one measured step of each model", self.seconds)
    }
}
