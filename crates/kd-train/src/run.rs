//! What all parts of a run share: its surroundings, its data and models, and what is done so far.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use kd_datasets::Folders;
use kd_deploy::{Engine, WeightsContainer};

use crate::activations::Activations;
use crate::batches::Data;
use crate::error::Error;
use crate::evaluate::{Predictions, predict};
use crate::model::Task;
use crate::network::{Network, seeded};
use crate::quantize::runs_on_integers;
use crate::recipe::{NetworkSpec, Recipe};
use crate::run_dir::{RunDir, files};
use crate::summary::StageSummary;
use crate::{seeds, weights};

/// What a run needs from outside its recipe.
pub struct Env {
    /// Where data may lie.
    pub folders: Folders,
    /// Engines that run artifacts, at least one.
    pub engines: Vec<Box<dyn Engine>>,
    /// Engines that were looked for and not found, as sentences for the report.
    pub absent: Vec<String>,
    /// Whether the thread that calls becomes one of the CPU backend's threads. Each operation then starts at once
    /// instead of waking another thread first. Only for a process in which nobody else uses rayon from other threads:
    /// they would wait for this one.
    pub caller_works: bool,
}

/// A model after a stage, in inference, with how its activations are rounded.
pub struct Model {
    /// Weights, masks, rounding of weights.
    pub network: Box<dyn Network>,
    /// Rounding of activations; there, but empty, where weights alone are rounded.
    pub activations: Option<Activations>,
}

impl Model {
    /// Name of its ONNX file in an export.
    pub fn file(&self, container: WeightsContainer) -> &'static str {
        match &self.activations {
            None => files::ONNX,
            Some(_) if container == WeightsContainer::Packed => files::ONNX_PACKED,
            Some(activations) if runs_on_integers(self.network.as_ref(), activations) => files::ONNX_INT8,
            Some(_) => files::ONNX_ROUNDED,
        }
    }
}

/// A run at work.
pub struct Run<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) dir: &'a RunDir,
    pub(crate) env: &'a Env,
    pub(crate) base: &'a Path,
    pub(crate) device: Device,
    pub(crate) data: Data,
    pub(crate) teacher: Option<Teacher>,
}

/// The teacher, done.
pub(crate) struct Teacher {
    pub(crate) network: Box<dyn Network>,
    pub(crate) test: Predictions,
}

/// A stage that is done.
pub(crate) struct Done {
    pub(crate) folder: String,
    pub(crate) model: Model,
    pub(crate) summary: StageSummary,
}

/// Loads and splits the data of a recipe; `base` is where its relative paths start.
///
/// # Errors
///
/// Data that is missing or broken, more validation examples than there are.
pub fn load_data(recipe: &Recipe, split_seed: u64, env: &Env, base: &Path) -> Result<Data, Error> {
    let folders = Folders { base: base.to_owned(), ..env.folders.clone() };
    let set = recipe.data.source.load(&folders)?;
    let split =
        kd_datasets::split(set.train.len(), recipe.data.validation, seeds::derive(split_seed, "split", &[]))?;
    Ok(Data::new(Arc::new(set), split, &recipe.data))
}

impl Run<'_> {
    /// A network as a recipe describes it: seeded, or with the weights of its checkpoint.
    pub(crate) fn fresh(&self, spec: &NetworkSpec, role: &'static str) -> Result<Box<dyn Network>, Error> {
        build(spec, role, self.recipe.seed, &self.data.task(), &self.device, self.base)
    }

    /// The student before any stage.
    pub(crate) fn student(&self) -> Result<Box<dyn Network>, Error> {
        self.fresh(&self.recipe.student, "student")
    }

    /// What a model says about all test examples.
    pub(crate) fn predict(&self, model: &Model) -> Predictions {
        predict(model.network.as_ref(), model.activations.clone(), self.data.test(&self.device))
    }
}

/// A network as a recipe describes it: seeded, or with the weights of its checkpoint, which `base` is the start of.
///
/// # Errors
///
/// A model that does not fit the task, a checkpoint that cannot be used.
pub(crate) fn build(
    spec: &NetworkSpec,
    role: &'static str,
    seed: u64,
    task: &Task,
    device: &Device,
    base: &Path,
) -> Result<Box<dyn Network>, Error> {
    let seed = seeds::derive(seed, &format!("weights {role}"), &[]);
    let mut network = seeded(device, seed, || spec.model.build(task, device))
        .map_err(|reason| Error::ModelUnfit { role: role.into(), model: spec.model.name().into(), reason })?;
    if let Some(path) = &spec.checkpoint {
        weights::load(network.as_mut(), &weights::resolve(&base.join(path))?)?;
    }
    Ok(network.inference())
}
