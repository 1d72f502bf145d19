//! A whole run: data, teacher, baseline, the student's stages in order, artifacts, results.
//!
//! A stage is done when its folder has a `summary.json`, which is written last. A run that goes on takes the models
//! of done stages from their folders and the stage in the middle from its state.

use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::evaluate::{Predictions, predict};
use crate::event::{Event, Sink};
use crate::fit::Fitted;
use crate::kept::Kept;
use crate::network::Network;
use crate::prune::removal;
use crate::recipe::{Recipe, Role, StageKind, StageSpec};
use crate::run::{Done, Env, Model, Run, Teacher, load_data};
use crate::run_dir::{RunDir, StageDir, files, json, read_json};
use crate::stage;
use crate::summary::{ParitySummary, StageSummary, Summary};
use crate::{device, gates, latency, report};

/// A stage with its folder.
struct Step<'a> {
    folder: String,
    spec: &'a StageSpec,
}

/// Runs a recipe in its directory from the beginning, or from where the directory says that it stopped. `base` is where
/// relative paths of the recipe start.
///
/// # Errors
///
/// Whatever stops it; the directory then says how far it came.
pub fn run(
    recipe: &Recipe,
    split_seed: u64,
    dir: &RunDir,
    env: &Env,
    base: &Path,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    let device = device::open(&recipe.device.name)?;
    let data = load_data(recipe, split_seed, env, base)?;
    let mut run = Run { recipe, dir, env, base, device, data, teacher: None };

    let mut done: Vec<Done> = Vec::new();
    let mut parity: Vec<ParitySummary> = Vec::new();
    let mut baseline = None;
    let mut student: Option<Box<dyn Network>> = None;
    if recipe.teacher.checkpoint.is_some() {
        done.push(run.given_teacher(sink)?);
    }
    for step in steps(recipe) {
        match &step.spec.kind {
            StageKind::Train(spec) if spec.of == Role::Teacher => {
                let start = || run.fresh(&recipe.teacher, "teacher");
                let stage = run.stage(&step, start, sink)?;
                let test = run.predict(&stage.model);
                run.teacher = Some(Teacher { network: stage.model.network.inference(), test });
                done.push(stage);
            }
            StageKind::Export(spec) => {
                parity = crate::artifacts::export(&run, *spec, &done, sink)?;
            }
            kind => {
                if matches!(kind, StageKind::Distill(_)) && baseline.is_none() {
                    baseline = Some(run.baseline(&step, sink)?);
                }
                let before = student.take();
                let start = || match before {
                    Some(network) => Ok(network),
                    None => run.student(),
                };
                let stage = run.stage(&step, start, sink)?;
                student = Some(stage.model.network.inference());
                done.push(stage);
            }
        }
    }

    latency::measure_all(&run, &mut done, baseline.as_mut(), sink)?;
    let mut summary = Summary {
        schema: 1,
        name: recipe.name.clone(),
        stages: done.into_iter().map(|done| done.summary).collect(),
        baseline,
        parity,
        seed: recipe.seed,
        device: recipe.device.name.clone(),
        wall_s: crate::run_dir::seconds(dir.path(), |_| true),
        notes: Vec::new(),
        gates: Vec::new(),
    };
    summary.notes = report::notes(&summary, env);
    summary.gates = gates::check(&recipe.expect, &summary);
    dir.write_json(files::SUMMARY, &summary)?;
    dir.write(files::REPORT, report::markdown(&summary).as_bytes())?;
    Ok(summary)
}

/// Elements that masks hold at zero.
fn masked(network: &dyn Network) -> usize {
    network.compression().masks.values().flatten().filter(|keep| !**keep).count()
}

/// Stages that have a numbered folder get one; `export` has its own.
fn steps(recipe: &Recipe) -> Vec<Step<'_>> {
    let mut number = usize::from(recipe.teacher.checkpoint.is_some());
    let mut steps = Vec::new();
    for spec in &recipe.stages {
        number += usize::from(!matches!(spec.kind, StageKind::Export(_)));
        steps.push(Step { folder: format!("{number}-{}", spec.name), spec });
    }
    steps
}

impl Run<'_> {
    /// Trains a stage, or takes it from its folder if it is done.
    fn stage(
        &self,
        step: &Step<'_>,
        start: impl FnOnce() -> Result<Box<dyn Network>, Error>,
        sink: &mut dyn Sink,
    ) -> Result<Done, Error> {
        let mut folder = self.dir.stage(&step.folder, &step.spec.name, step.spec.kind.name())?;
        let summary = folder.file(files::SUMMARY);
        let begun = Instant::now();
        let network = start()?;
        let float = (matches!(step.spec.kind, StageKind::Quantize(_)) && !summary.is_file())
            .then(|| predict(network.inference().as_ref(), None, self.data.test(&self.device)));
        // A stage that prunes changes shapes, and hands masks on to what is left.
        let kept = (!matches!(step.spec.kind, StageKind::Prune(_))).then(|| Kept::of(network.as_ref()));
        let before = masked(network.as_ref());
        let mut prepared = stage::prepare(self, &step.spec.kind, network, &folder, sink)?;
        let done = |model, summary| Done { folder: step.folder.clone(), model, summary };
        if summary.is_file() {
            return Ok(done(stage::reopen(prepared, &folder)?, read_json(&summary)?));
        }
        let mut nothing = prepared.nothing.take();
        let fitted = stage::train(self, &step.spec.name, prepared, &mut folder, sink)?;
        if let Some(kept) = kept {
            kept.check(&step.spec.name, fitted.student.as_ref())?;
        }
        if let StageKind::Sparsify(spec) = &step.spec.kind
            && masked(fitted.student.as_ref()) == before
        {
            nothing = Some(removal::no_masks(spec, before));
        }
        let (model, summary) = self.conclude((fitted, nothing), float.as_ref(), &mut folder, begun, sink)?;
        Ok(done(model, summary))
    }

    /// The student trained alone, mirroring the first stage that distills.
    fn baseline(&self, step: &Step<'_>, sink: &mut dyn Sink) -> Result<StageSummary, Error> {
        let mut folder = self.dir.stage(files::BASELINE, files::BASELINE, "train")?;
        let summary = folder.file(files::SUMMARY);
        if summary.is_file() {
            return read_json(&summary);
        }
        let begun = Instant::now();
        let StageKind::Distill(fit) = &step.spec.kind else {
            unreachable!("only a stage that distills is mirrored")
        };
        let prepared = stage::alone(fit, self.student()?);
        let fitted = stage::train(self, &step.spec.name, prepared, &mut folder, sink)?;
        let (_, summary) = self.conclude((fitted, None), None, &mut folder, begun, sink)?;
        Ok(summary)
    }

    /// A teacher that the user brought: nothing is trained, but it has a folder, a score and an ONNX file.
    fn given_teacher(&mut self, sink: &mut dyn Sink) -> Result<Done, Error> {
        const FOLDER: &str = "1-teacher";
        let mut folder = self.dir.stage(FOLDER, "teacher", "train")?;
        let network = self.fresh(&self.recipe.teacher, "teacher")?;
        let test = predict(network.as_ref(), None, self.data.test(&self.device));
        self.teacher = Some(Teacher { network: network.inference(), test });
        let done = |model, summary| Done { folder: FOLDER.into(), model, summary };
        let summary = folder.file(files::SUMMARY);
        if summary.is_file() {
            return Ok(done(Model { network, activations: None }, read_json(&summary)?));
        }
        let fitted = Fitted {
            last: network.inference(),
            student: network,
            regime: Default::default(),
            last_regime: Default::default(),
        };
        let (model, summary) = stage::finish(self, fitted, None, &mut folder, sink)?;
        folder.write(files::SUMMARY, &json(&summary))?;
        Ok(done(model, summary))
    }

    /// Scores what a stage trained, and writes the summary that makes the stage a done one; with why it removed nothing, if
    /// it should have removed something.
    fn conclude(
        &self,
        (fitted, nothing): (Fitted, Option<String>),
        float: Option<&Predictions>,
        folder: &mut StageDir,
        begun: Instant,
        sink: &mut dyn Sink,
    ) -> Result<(Model, StageSummary), Error> {
        let (model, mut summary) = stage::finish(self, fitted, float, folder, sink)?;
        // What no epoch has booked yet.
        let rest = begun.elapsed().as_secs_f64() - folder.booked();
        folder.timing("stage", rest.max(0.0))?;
        summary.seconds = folder.seconds();
        if let Some(why) = &nothing {
            sink.event(Event::Note(report::nothing_removed(folder.name(), why)));
        }
        summary.nothing_removed = nothing;
        folder.write(files::SUMMARY, &json(&summary))?;
        sink.event(Event::StageDone {
            stage: folder.name().into(),
            accuracy: summary.accuracy,
            seconds: summary.seconds,
        });
        Ok((model, summary))
    }
}
