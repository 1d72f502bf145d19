//! What each kind of stage does to a student before it trains, and what is done after any of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use kd_core::Objective;
use kd_deploy::{WeightsContainer, kdz};
use kd_graph::Fold;
use prune_core::Criterion;

use crate::checkpoint::{STATE_FILE, State};
use crate::compress::Compression;
use crate::connect;
use crate::error::Error;
use crate::evaluate::Predictions;
use crate::event::{Event, Sink};
use crate::fit::{Fitted, Job, fit};
use crate::network::Network;
use crate::prune::gather::Lesson;
use crate::recipe::{FitSpec, QuantizeSpec, SparsifySpec, StageKind};
use crate::regime::{Mask, Regime};
use crate::report::masked as masked_report;
use crate::run::{Model, Run};
use crate::run_dir::{StageDir, files};
use crate::sparsify::{Calendar, Calibration, Sparsifier, masked};
use crate::summary::{PackedSummary, SparseSummary, StageSummary};
use crate::{export, fold, measure, quantize, share, weights};

mod prune;

/// A student ready to train: changed as its stage says, not yet trained.
pub(crate) struct Prepared<'a> {
    spec: &'a FitSpec,
    objective: Arc<Objective>,
    network: Box<dyn Network>,
    regime: Regime,
    sparsifier: Option<Sparsifier>,
    /// Training batches over which a stage that sparsifies gathers what its criterion reads.
    calibration: usize,
    /// Share of the stage from which on an epoch may be passed on.
    ready: f64,
    /// Parameters that do not train.
    fixed: BTreeSet<String>,
    /// Batch norms that are folded on the way.
    folds: Vec<Fold>,
    /// Why nothing was removed, of a stage that should have removed something.
    pub(crate) nothing: Option<String>,
}

/// Changes a student as a stage says.
pub(crate) fn prepare<'a>(
    run: &Run<'_>,
    kind: &'a StageKind,
    network: Box<dyn Network>,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    match kind {
        StageKind::Train(spec) => Ok(plain(&spec.fit, network)),
        StageKind::Distill(fit) => Ok(plain(fit, network)),
        StageKind::Prune(spec) => prune::prune(run, spec, network, folder, sink),
        StageKind::Sparsify(spec) => sparsify(run, spec, network, folder, sink),
        StageKind::Share(spec) => {
            let compression = share::shared(network.as_ref(), spec)?;
            Ok(plain(&spec.fit, network.with_compression(compression)))
        }
        StageKind::Quantize(spec) => round(run, spec, network, sink),
        StageKind::Export(_) => unreachable!("an export does not train"),
    }
}

/// The same student without a teacher: cross entropy alone at weight 1, with the label smoothing of the stage.
pub(crate) fn alone(fit: &FitSpec, network: Box<dyn Network>) -> Prepared<'_> {
    Prepared { objective: fit.alone(), ..plain(fit, network) }
}

fn plain(spec: &FitSpec, network: Box<dyn Network>) -> Prepared<'_> {
    Prepared {
        spec,
        objective: spec.objective.clone(),
        network,
        regime: Regime::Plain,
        sparsifier: None,
        calibration: 0,
        ready: 0.0,
        fixed: BTreeSet::new(),
        folds: Vec::new(),
        nothing: None,
    }
}

/// Attaches masks, those of earlier stages or such that keep everything; they tighten while the student trains.
fn sparsify<'a>(
    run: &Run<'_>,
    spec: &'a SparsifySpec,
    network: Box<dyn Network>,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    let steps = spec.fit.epochs * run.data.steps();
    let (entries, weights) = (network.entries(), network.weights());
    let floor = network.compression().masks.clone();
    let calendar = Calendar::new(&spec.when, spec.shape.sparsity(), steps, spec.frequency, spec.lock_after);
    let when = (spec.when.clone(), calendar);
    let sparsifier =
        Sparsifier::new(spec.shape, spec.criterion.clone(), when, network.as_ref(), floor.clone())?;
    let mut masks = floor;
    for (path, _) in masked(&entries) {
        let len = weights[&path].data().len();
        masks.entry(path).or_insert_with(|| vec![true; len]);
    }
    let compression = Compression { masks: masks.clone(), ..Compression::default() };
    let mut network = network.with_compression(compression);
    // One shot where nothing trains; else nothing more is masked before the first step. A state has the masks that an
    // earlier session made.
    if steps == 0 && !folder.file(STATE_FILE).is_file() {
        if spec.criterion.needs().is_of_calibration() {
            let (name, count) = (spec.criterion.name(), spec.calibration);
            let what = format!("gathering what `{name}` reads over {count} batches");
            sink.event(Event::Working { what });
        }
        let batches = run.data.calibration_again(spec.calibration, &run.device);
        let job = job(run, folder.name(), &spec.fit, &spec.fit.objective);
        let connectors = connect::connectors(&job, network.as_ref(), &run.device.clone().autodiff())?;
        let lesson = Lesson { objective: job.objective, teacher: job.teacher, connectors: &connectors };
        let calibration = Calibration { batches: &batches, lesson, device: &run.device };
        sparsifier.at_once(&mut masks, network.as_mut(), &calibration)?;
    }
    if sparsifier.watches() {
        network.watch_masks();
    }
    let regime = Regime::Sparse { masks: masks.into_iter().map(|(path, keep)| (path, Mask(keep))).collect() };
    Ok(Prepared {
        regime,
        ready: sparsifier.calendar.ready(),
        calibration: spec.calibration,
        sparsifier: Some(sparsifier),
        ..plain(&spec.fit, network)
    })
}

/// Folds batch norm, attaches rounding to weights, observes activations.
fn round<'a>(
    run: &Run<'_>,
    spec: &'a QuantizeSpec,
    network: Box<dyn Network>,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    let folded = fold::fold(network.as_ref())?;
    quantize::check_weights(folded.network.as_ref())?;
    sink.event(Event::Working { what: "calibrating activations".into() });
    let activations = quantize::calibrate(
        folded.network.as_ref(),
        spec,
        run.data.calibration(spec.calibration, &run.device),
    )?;
    let mut compression = quantize::compression(folded.network.as_ref(), spec);
    let (freeze_after, after) = (spec.freeze_after, spec.freeze_statistics_after);
    if after > 0.0 && spec.fit.epochs > 0 {
        // Batch norm trains on, and weights are rounded as those that it will be folded into.
        let folds = kd_graph::batch_norm_folds(&network.graph()?);
        compression.factors = fold::factors(&network.weights(), &folds);
        return Ok(Prepared {
            regime: Regime::Rounded { activations, freeze_after, unfolded: Some(after) },
            ready: after,
            folds,
            ..plain(&spec.fit, network.with_compression(compression))
        });
    }
    let mut rounded = folded.network.with_compression(compression);
    rounded.freeze_statistics();
    Ok(Prepared {
        regime: Regime::Rounded { activations, freeze_after, unfolded: None },
        fixed: folded.fixed,
        ..plain(&spec.fit, rounded)
    })
}

/// What a stage trains on, and from whom, where nothing happens on the way.
fn job<'a>(run: &'a Run<'_>, order: &'a str, spec: &'a FitSpec, objective: &'a Objective) -> Job<'a> {
    let teacher = run.teacher.as_ref().map(|teacher| teacher.network.as_ref());
    Job {
        seed: run.recipe.seed,
        order,
        data: &run.data,
        spec,
        objective,
        teacher: teacher.filter(|_| objective.needs_teacher()),
        folds: &[],
        sparsifier: None,
        calibration: 0,
        ready: 0.0,
        device: &run.device,
    }
}

/// Trains what was prepared, or goes on where the folder's state says.
pub(crate) fn train(
    run: &Run<'_>,
    order: &str,
    prepared: Prepared<'_>,
    folder: &mut StageDir,
    sink: &mut dyn Sink,
) -> Result<Fitted, Error> {
    let mut network = prepared.network;
    network.set_trains(&|path| !prepared.fixed.contains(path));
    let job = Job {
        folds: &prepared.folds,
        sparsifier: prepared.sparsifier.as_ref(),
        calibration: prepared.calibration,
        ready: prepared.ready,
        ..job(run, order, prepared.spec, &prepared.objective)
    };
    fit(&job, network, prepared.regime, folder, sink)
}

/// The model of a stage that is done, from its state.
pub(crate) fn reopen(prepared: Prepared<'_>, folder: &StageDir) -> Result<Model, Error> {
    let state =
        State::load(folder.path())?.ok_or_else(|| folder.broken_state("the file is missing".into()))?;
    let mut network = prepared.network;
    if let Some(masks) = state.best_regime.masks() {
        network.remask(masks);
    }
    network.set_weights(&state.best);
    // The weights of a stage that is done are folded.
    network.set_factors(Default::default());
    settled(Model { activations: state.best_regime.for_evaluation(), network: network.inference() })
}

/// The model with the biases that are shipped where it is rounded, and with plain weights where they share values.
fn settled(mut model: Model) -> Result<Model, Error> {
    if !model.network.compression().shared.is_empty() {
        model.network = share::settle(model.network.as_ref());
    }
    if let Some(activations) = &model.activations {
        quantize::settle(model.network.as_mut(), activations)?;
    }
    Ok(model)
}

/// Writes a trained stage's model and scores it on the test data; `float` is what the model before a stage that
/// rounds said there.
pub(crate) fn finish(
    run: &Run<'_>,
    fitted: Fitted,
    float: Option<&Predictions>,
    folder: &mut StageDir,
    sink: &mut dyn Sink,
) -> Result<(Model, StageSummary), Error> {
    sink.event(Event::Working { what: format!("scoring {}", folder.name()) });
    let shares = !fitted.student.compression().shared.is_empty();
    let model = settled(Model { activations: fitted.regime.for_evaluation(), network: fitted.student })?;
    let last = settled(Model { activations: fitted.last_regime.for_evaluation(), network: fitted.last })?;
    weights::save(model.network.as_ref(), &folder.file(files::WEIGHTS))?;
    folder.write(files::ONNX, &export::onnx(&model, WeightsContainer::Int8)?)?;
    let packed = match shares {
        true => Some(pack(model.network.as_ref(), folder)?),
        false => None,
    };
    let size = measure::size(model.network.as_ref())?;
    let test = run.predict(&model);
    let summary = StageSummary {
        name: folder.name().into(),
        kind: folder.kind().into(),
        accuracy: test.accuracy(),
        accuracy_last: run.predict(&last).accuracy(),
        errors: test.errors(),
        examples: test.labels.len(),
        params: size.params,
        nonzero: size.nonzero,
        macs: size.macs,
        bytes: measure::bytes(&folder.file(files::ONNX))?,
        agreement: run.teacher.as_ref().map_or(1.0, |teacher| test.agreement(&teacher.test)),
        seconds: 0.0,
        latency_ms: Vec::new(),
        rounded: match (&model.activations, float) {
            (Some(activations), Some(float)) => {
                quantize::measure(model.network.as_ref(), activations, (float, &test))?
            }
            _ => None,
        },
        packed,
        sparse: sparse(run, folder.name(), model.network.as_ref()),
        nothing_removed: None,
    };
    Ok((model, summary))
}

/// The masks of a stage that sparsifies.
fn sparse(run: &Run<'_>, stage: &str, network: &dyn Network) -> Option<SparseSummary> {
    let StageKind::Sparsify(spec) = &run.recipe.stage(stage)?.kind else { return None };
    let all = || network.compression().masks.values().flatten();
    Some(SparseSummary {
        pattern: spec.shape.to_string(),
        masked: all().filter(|keep| !**keep).count() as u64,
        elements: all().count() as u64,
        kernel: masked_report::kernel(&spec.shape).map(str::to_owned),
    })
}

/// Writes a stage's weights, which share values, in as few bytes as they need.
fn pack(network: &dyn Network, folder: &StageDir) -> Result<PackedSummary, Error> {
    let file = folder.file(files::KDZ);
    let packed = kdz::write(&file, &weights::named(network)?, &weights::metadata(network))?;
    Ok(share::summary(&packed, measure::bytes(&file)?))
}
