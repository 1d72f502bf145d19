//! What can be done with a run that is there: score it, export from it, report on it.

use std::path::{Path, PathBuf};

use kd_deploy::WeightsContainer;
use serde::Serialize;

use super::start;
use crate::checkpoint::State;
use crate::compress::{Compression, SCALE, START};
use crate::error::Error;
use crate::evaluate::Predictions;
use crate::network::Network;
use crate::recipe::{Recipe, StageKind};
use crate::registry::Registry;
use crate::run::{Env, Model, load_data};
use crate::run_dir::{Status, files, manifest, read_json};
use crate::summary::Summary;
use crate::{
    batches::Data, device, evaluate as scoring, export as artifacts, quantize as rounding, report as reports,
    sparsify, weights,
};

/// A score over all test examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluated {
    /// What was scored.
    pub model: String,
    /// `burn`, `tract` or `onnxruntime`.
    pub engine: String,
    /// Name of the data set.
    pub data: String,
    /// Share of test examples that were right.
    pub accuracy: f64,
    /// Mean cross entropy in nats.
    pub loss: f64,
    /// Test examples that were wrong.
    pub errors: usize,
    /// Test examples.
    pub examples: usize,
}

/// A stage of a run, opened.
pub(super) struct Opened {
    pub(super) recipe: Recipe,
    folder: PathBuf,
    pub(super) base: PathBuf,
    pub(super) split_seed: u64,
    kind: String,
}

/// Scores a run (its last stage), a stage's folder or an ONNX file on test data.
///
/// # Errors
///
/// A path that is none of these, an engine that is not there, data that is missing.
pub fn evaluate(
    target: &Path,
    data: Option<&str>,
    engine: &str,
    env: &Env,
    registry: &Registry,
) -> Result<Evaluated, Error> {
    let opened = match target.extension().is_some_and(|extension| extension == "onnx") {
        true => target.parent().and_then(|folder| open(folder, None, registry).ok()),
        false => Some(open(target, None, registry)?),
    };
    if !target.exists() {
        return Err(crate::run_dir::io("read", target, std::io::ErrorKind::NotFound.into()));
    }
    let (set, split_seed, base) = match (data, &opened) {
        (Some(name), opened) => {
            (named(name, registry)?, 0, opened.as_ref().map(|o| o.base.clone()).unwrap_or_default())
        }
        (None, Some(opened)) => (opened.recipe.clone(), opened.split_seed, opened.base.clone()),
        (None, None) => return Err(Error::DataUnknown { path: target.to_owned() }),
    };
    let loaded = load_data(&set, split_seed, env, &base)?;
    let onnx = match target.is_file() {
        true => target.to_owned(),
        false => opened.as_ref().map(|o| o.folder.join(files::ONNX)).unwrap_or_default(),
    };
    let predictions = match engine {
        "burn" if target.is_file() => return Err(engine_unknown("burn, for an ONNX file", env)),
        "burn" => {
            let opened = opened.as_ref().expect("a folder was opened");
            let device = device::open(&opened.recipe.device.name)?;
            let model = model(opened, &loaded, &device)?;
            scoring::predict(model.network.as_ref(), model.activations, loaded.test(&device))
        }
        name => {
            let engine = env.engines.iter().find(|engine| engine.name() == name);
            let engine = engine.ok_or_else(|| engine_unknown(name, env))?;
            // A model of rank 2 reads features, one of rank 4 images; the engine's file says which.
            let logits = any_shape(&onnx, engine.as_ref(), &loaded)?;
            Predictions { logits, classes: loaded.set.classes, labels: loaded.set.test.labels().to_vec() }
        }
    };
    Ok(Evaluated {
        model: target.display().to_string(),
        engine: engine.into(),
        data: set.data.name.clone(),
        accuracy: predictions.accuracy(),
        loss: predictions.loss(),
        errors: predictions.errors(),
        examples: predictions.labels.len(),
    })
}

/// Writes the artifacts of a stage, the last one without a name, into a new folder. Engines that do not read `container`
/// check nothing.
///
/// # Errors
///
/// A stage that the run does not have, a folder that holds files, a difference between engines and the model here.
pub fn export(
    run: &Path,
    stage: Option<&str>,
    out: &Path,
    container: WeightsContainer,
    env: &Env,
    registry: &Registry,
) -> Result<Vec<PathBuf>, Error> {
    let opened = open(run, stage, registry)?;
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        return Err(Error::FileExists { path: out.to_owned() });
    }
    let device = device::open(&opened.recipe.device.name)?;
    let data = load_data(&opened.recipe, opened.split_seed, env, &opened.base)?;
    let model = model(&opened, &data, &device)?;
    std::fs::create_dir_all(out).map_err(|source| crate::run_dir::io("create", out, source))?;
    let file = out.join(model.file(container));
    kd_deploy::write_atomically(&file, &artifacts::onnx(&model, container)?)?;
    artifacts::tensors(&model, out)?;
    let test = scoring::predict(model.network.as_ref(), model.activations.clone(), data.test(&device));
    let parity = env
        .engines
        .iter()
        .filter(|engine| artifacts::runs(engine.as_ref(), &model, container))
        .map(|engine| artifacts::check(&file, engine.as_ref(), &data, &model, &test));
    let parity = parity.collect::<Result<Vec<_>, _>>()?;
    kd_deploy::write_atomically(&out.join(files::PARITY), &crate::run_dir::json(&parity))?;
    let mut written: Vec<PathBuf> = vec![file, out.join(files::WEIGHTS)];
    if model.activations.is_some() {
        written.push(out.join(files::QUANTIZATION));
    }
    written.push(out.join(files::PARITY));
    Ok(written)
}

/// The report of one run, or several side by side; and their summaries.
///
/// # Errors
///
/// A path that holds no run, a run that is not finished.
pub fn report(runs: &[PathBuf]) -> Result<(String, serde_json::Value), Error> {
    for run in runs {
        if manifest(run)?.status == Status::Unfinished {
            return Err(Error::RunUnfinished { path: run.clone() });
        }
    }
    if let [run] = runs {
        let outcome = start::finished(run, &manifest(run)?)?;
        return Ok((outcome.report, outcome.json));
    }
    let mut summaries = Vec::new();
    for run in runs {
        let seeds = manifest(run)?.seeds;
        let single = [(run.display().to_string(), run.clone())];
        let each = seeds
            .iter()
            .map(|seed| (format!("{} seed {seed}", run.display()), run.join(format!("seed-{seed}"))));
        let each: Vec<_> = if seeds.is_empty() { single.to_vec() } else { each.collect() };
        for (name, path) in each {
            summaries.push((name, read_json::<Summary>(&path.join(files::SUMMARY))?));
        }
    }
    let json = summaries
        .iter()
        .map(|(run, summary)| serde_json::json!({ "run": run, "summary": summary }))
        .collect();
    Ok((reports::side_by_side(&summaries), json))
}

impl Opened {
    /// Whether this stage or one before it masks weights.
    fn masked(&self) -> bool {
        let stages = &self.recipe.stages;
        let until = stages.iter().position(|stage| stage.name == self.kind).map_or(0, |at| at + 1);
        stages[..until].iter().any(|stage| matches!(stage.kind, StageKind::Sparsify(_)))
    }
}

/// The network with masks over what is stored as 0 of the weights that stages mask. No file has masks, and needs none: a
/// masked weight is an exact zero.
fn masked(network: Box<dyn Network>) -> Box<dyn Network> {
    let paths: Vec<String> = sparsify::masked(&network.entries()).into_iter().map(|(path, _)| path).collect();
    let mut masks = weights::zeros_masked(&network.weights(), &paths);
    masks.retain(|_, keep| keep.contains(&false));
    network.with_compression(Compression { masks, ..Compression::default() })
}

/// Opens a run's stage, or a stage by its folder.
pub(super) fn open(path: &Path, stage: Option<&str>, registry: &Registry) -> Result<Opened, Error> {
    let (run, own) = match manifest(path) {
        Ok(_) => (path.to_owned(), None),
        Err(error) => match path.parent().filter(|parent| manifest(parent).is_ok()) {
            Some(parent) => {
                (parent.to_owned(), path.file_name().map(|name| name.to_string_lossy().into_owned()))
            }
            None => return Err(error),
        },
    };
    let manifest = manifest(&run)?;
    let (recipe, base) = start::recipe(&run, &manifest, registry)?;
    let folders = stage_folders(&run)?;
    let name_of =
        |folder: &String| folder.split_once('-').map_or(folder.clone(), |(_, name)| name.to_owned());
    let wanted = match (own, stage) {
        (Some(own), _) => folders.iter().find(|folder| **folder == own),
        (None, Some(stage)) => folders.iter().find(|folder| name_of(folder) == stage),
        (None, None) => folders.iter().rfind(|folder| *folder != files::BASELINE),
    };
    let Some(folder) = wanted else {
        let stage = stage.map_or_else(|| path.display().to_string(), str::to_owned);
        return Err(Error::StageUnknown { run, stage, stages: folders.iter().map(name_of).collect() });
    };
    let kind = name_of(folder);
    Ok(Opened { folder: run.join(folder), recipe, base, split_seed: manifest.split_seed, kind })
}

/// Folders of a run's stages that are done, in order; `baseline` among them.
fn stage_folders(run: &Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(run).map_err(|source| crate::run_dir::io("read", run, source))?;
    let done = entries.flatten().filter(|entry| entry.path().join(files::SUMMARY).is_file());
    let mut names: Vec<String> = done.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let number = |name: &String| name.split('-').next().and_then(|number| number.parse::<usize>().ok());
    names.sort_by_key(|name| (number(name).unwrap_or(0), name.clone()));
    Ok(names)
}

/// The model of a stage, from its folder.
pub(super) fn model(opened: &Opened, data: &Data, device: &burn::tensor::Device) -> Result<Model, Error> {
    let stage = opened.recipe.stage(&opened.kind);
    let teacher = match stage.map(|stage| &stage.kind) {
        Some(StageKind::Train(spec)) => spec.of == crate::recipe::Role::Teacher,
        Some(_) => false,
        None => opened.kind == "teacher",
    };
    let (role, spec) = match teacher {
        true => ("teacher", &opened.recipe.teacher),
        false => ("student", &opened.recipe.student),
    };
    let built = spec.model.build(&data.task(), device);
    let mut network = built.map_err(|reason| Error::ModelUnfit {
        role: role.into(),
        model: spec.model.name().into(),
        reason,
    })?;
    weights::load(network.as_mut(), &opened.folder.join(files::WEIGHTS))?;
    if !teacher && opened.masked() {
        network = masked(network);
    }
    let Some(StageKind::Quantize(quantize)) = stage.map(|stage| &stage.kind) else {
        return Ok(Model { network: network.inference(), activations: None });
    };
    let compression = rounding::compression(network.as_ref(), quantize);
    let mut network = network.with_compression(compression);
    let state = State::load(&opened.folder)?;
    if let Some(state) = &state {
        // The weights are those of the file, with their biases as shipped; trained scales are nowhere else.
        let trained = state.best.iter().filter(|(path, _)| path.ends_with(SCALE) || path.ends_with(START));
        network.set_weights(&trained.map(|(path, array)| (path.clone(), array.clone())).collect());
    }
    let activations = state.and_then(|state| state.best_regime.for_evaluation());
    Ok(Model { network: network.inference(), activations })
}

/// A recipe that is nothing but a data set, by name and with its defaults.
pub(super) fn named(name: &str, registry: &Registry) -> Result<Recipe, Error> {
    let text = format!(
        "schema = 1\nname = \"data\"\n[data.{name}]\n[teacher]\nmodel.mlp = {{ hidden = [] }}\n[student]\n\
         model.mlp = {{ hidden = [] }}\n[[stage]]\nname = \"t\"\n[stage.train]\nof = \"teacher\"\nepochs = 1\n"
    );
    let source = crate::recipe::Source { name: "--data".into(), text, folder: PathBuf::new() };
    Recipe::parse(&source, &[], registry).map_err(Error::Problems)
}

/// Runs a file whose input rank is not known: images first, then plain features.
fn any_shape(file: &Path, engine: &dyn kd_deploy::Engine, data: &Data) -> Result<Vec<f32>, Error> {
    let images = artifacts::run(file, engine, data, &data.set.shape);
    match images {
        Err(_) if data.set.shape.len() > 1 => artifacts::run(file, engine, data, &[data.task().features()]),
        result => result,
    }
}

fn engine_unknown(name: &str, env: &Env) -> Error {
    let engines = std::iter::once("burn".to_owned());
    let engines = engines.chain(env.engines.iter().map(|engine| engine.name().to_owned())).collect();
    Error::EngineUnknown { name: name.into(), engines }
}
