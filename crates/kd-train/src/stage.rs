//! What each kind of stage does to a student before it trains, and what is done after any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kd_core::Objective;
use kd_deploy::{WeightsContainer, kdz};
use kd_graph::{Axis, Fold, Graph};
use prune_core::{Blocks, Channels, Criterion, Cut, ElementKind, Gathers};

use crate::checkpoint::State;
use crate::compensate::compensate;
use crate::compress::Compression;
use crate::connect;
use crate::error::Error;
use crate::evaluate::Predictions;
use crate::event::{Event, Sink};
use crate::fit::{Fitted, Job, fit};
use crate::gather::{Gathered, Lesson, gather};
use crate::network::Network;
use crate::recipe::{Empty, FitSpec, PrunePattern, PruneSpec, QuantizeSpec, SparsifySpec, StageKind};
use crate::regime::{Mask, Regime};
use crate::report::masked as masked_report;
use crate::run::{Model, Run};
use crate::run_dir::{StageDir, files};
use crate::sparsify::{Calendar, Memory, Sparsifier, masked};
use crate::summary::{PackedSummary, SparseSummary, StageSummary};
use crate::{elements, empty, export, fold, follow, measure, provable, quantize, share, weights};

/// A student ready to train: changed as its stage says, not yet trained.
pub(crate) struct Prepared<'a> {
    spec: &'a FitSpec,
    objective: Arc<Objective>,
    network: Box<dyn Network>,
    regime: Regime,
    sparsifier: Option<Sparsifier>,
    /// Share of the stage from which on an epoch may be passed on.
    ready: f64,
    /// Parameters that do not train.
    fixed: BTreeSet<String>,
    /// Batch norms that are folded on the way.
    folds: Vec<Fold>,
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
        StageKind::Prune(spec) => prune(run, spec, network, folder, sink),
        StageKind::Sparsify(spec) => sparsify(run, spec, network),
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
        ready: 0.0,
        fixed: BTreeSet::new(),
        folds: Vec::new(),
    }
}

/// Removes whole units; what is left trains on.
fn prune<'a>(
    run: &Run<'_>,
    spec: &'a PruneSpec,
    network: Box<dyn Network>,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    let target = match spec.pattern {
        PrunePattern::Channels(target) | PrunePattern::Heads(target) => Some(target),
        PrunePattern::Empty(_) => None,
        PrunePattern::Layers(blocks) => {
            return take_out(run, spec, (ElementKind::Layers, blocks), network, folder, sink);
        }
        PrunePattern::Experts(blocks) => {
            return take_out(run, spec, (ElementKind::Experts, blocks), network, folder, sink);
        }
    };
    let graph = network.graph()?;
    let cut = match known_cut(folder)? {
        Some(cut) => cut,
        None => planned_cut(run, spec, target, network.as_ref(), &graph, folder, sink)?,
    };
    let network = match spec.compensate {
        true => compensated(run, network, &graph, &cut, sink)?,
        false => network,
    };
    let cut = network.cut(&cut)?;
    // Masked weights are exact zeros in what was cut, and stay masked, or else learn again from there.
    let masks = match spec.pattern {
        PrunePattern::Empty(Empty { fill: true }) => BTreeMap::new(),
        _ => weights::zeros_masked(&cut.weights(), network.compression().masks.keys()),
    };
    Ok(plain(&spec.fit, cut.with_compression(Compression { masks, ..Compression::default() })))
}

/// The cut that an earlier session made: gradients over batches need not be the same bits on every device.
fn known_cut(folder: &StageDir) -> Result<Option<Cut>, Error> {
    let file = folder.file(files::CUT);
    if file.is_file() { crate::run_dir::read_json(&file).map(Some) } else { Ok(None) }
}

/// Chooses channels, so many of them or without a target those that are empty, proves that removing them is silencing them, and writes the cut down.
fn planned_cut(
    run: &Run<'_>,
    spec: &PruneSpec,
    target: Option<Channels>,
    network: &dyn Network,
    graph: &Graph,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Cut, Error> {
    let stored = prune_core::Weights::from_arrays(
        weights::masked(network).into_iter().map(|(path, a)| (path, a.shape().to_vec(), a.into_data())),
    );
    let mut axes = provable::pinned(graph, follow::axes(network, graph));
    for pin in &spec.pinned {
        prune_core::pin(&mut axes, pin.as_str(), |path| pin.matches(path))?;
    }
    if let PrunePattern::Heads(_) = spec.pattern {
        prune_core::only_heads(&mut axes)?;
    }
    let plan = match target {
        Some(target) => {
            let gathered = gathered(run, spec, network, (graph, &axes), folder.name(), sink)?;
            let (criterion, evidence) = (spec.criterion.as_ref(), gathered.evidence(&stored));
            let score = |axis: &Axis| prune_core::score_group(criterion, graph, axis, &evidence, spec.group);
            prune_core::plan_scoped(graph, &axes, score, target, spec.limits, spec.scope)?
        }
        None => {
            let (entries, weights) = (network.entries(), weights::masked(network));
            let empty = |axis: &Axis| empty::units(axis, &entries, &weights);
            prune_core::plan_units(graph, &axes, empty, spec.limits)?
        }
    };
    let rows = run.data.first_rows(&run.device);
    let difference = provable::prove(network, graph, &plan.cut, rows)?;
    sink.event(Event::Note(format!(
        "{}: {} of {} multiply-accumulates stay; removing differs from masking by {difference:.1e} of the largest logit",
        folder.name(),
        plan.after.macs,
        plan.before.macs,
    )));
    for group in plan.cut.across() {
        sink.event(Event::Note(format!(
            "{}: {} runs over the units of `{}`, and goes on with those that stay",
            folder.name(),
            group.operations.join(" and "),
            group.path,
        )));
    }
    folder.write(files::CUT, &crate::run_dir::json(&plan.cut))?;
    Ok(plan.cut)
}

/// What the criterion reads beside weights: of the stage's own objective, before its first step.
fn gathered(
    run: &Run<'_>,
    spec: &PruneSpec,
    network: &dyn Network,
    places: (&Graph, &[Axis]),
    order: &str,
    sink: &mut dyn Sink,
) -> Result<Gathered, Error> {
    let criterion = spec.criterion.as_ref();
    if criterion.gathers() == Gathers::Weights {
        return Ok(Gathered::default());
    }
    let what = format!("gathering what `{}` reads over {} batches", criterion.name(), spec.calibration);
    sink.event(Event::Working { what });
    let job = job(run, order, &spec.fit, &spec.fit.objective);
    let connectors = connect::connectors(&job, network, &run.device.clone().autodiff())?;
    let lesson = Lesson { objective: job.objective, teacher: job.teacher, connectors: &connectors };
    let batches = run.data.calibration(spec.calibration, &run.device);
    gather(network, places, criterion, lesson, batches, &run.device)
}

/// Takes whole modules out of the model's lists; what is left trains on.
fn take_out<'a>(
    run: &Run<'_>,
    spec: &'a PruneSpec,
    what: (ElementKind, Blocks),
    network: Box<dyn Network>,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    sink.event(Event::Working { what: "choosing what goes".into() });
    let graph = network.graph()?;
    let plan = elements::plan(run, spec, what, network.as_ref(), &graph)?;
    let difference = network.verify_without(&plan.cut, run.data.first_rows(&run.device))?;
    // What is read again is what is done, so that the file is known to say it.
    let (json, cut) = elements::written(&plan.cut)?;
    let left = network.without(&cut)?;
    let gone: Vec<&str> = cut.elements.iter().map(|element| element.path.as_str()).collect();
    sink.event(Event::Note(format!(
        "{}: {} of {} go ({}), {} of {} multiply-accumulates stay; removing differs from silencing by {difference:.1e} \
         of the largest logit",
        folder.name(),
        gone.len(),
        plan.candidates,
        gone.join(", "),
        plan.after.macs,
        plan.before.macs,
    )));
    folder.write(files::ELEMENTS, &json)?;
    let masked = network.compression().masks.keys().filter_map(|path| cut.renamed(path));
    let masks = weights::zeros_masked(&left.weights(), &masked.collect::<Vec<String>>());
    Ok(plain(&spec.fit, left.with_compression(Compression { masks, ..Compression::default() })))
}

/// Batches whose means biases take over.
const COMPENSATION_BATCHES: usize = 8;

/// The network with biases that make up for what `cut` will take.
fn compensated(
    run: &Run<'_>,
    mut network: Box<dyn Network>,
    graph: &Graph,
    cut: &Cut,
    sink: &mut dyn Sink,
) -> Result<Box<dyn Network>, Error> {
    let batches = run.data.calibration(COMPENSATION_BATCHES, &run.device);
    let (weights, without) = compensate(network.as_ref(), graph, cut, batches)?;
    if without > 0 {
        let note = format!("{without} layers read removed channels and have no bias to make up for them");
        sink.event(Event::Note(note));
    }
    network.set_weights(&weights);
    Ok(network)
}

/// Attaches masks, those of earlier stages or such that keep everything; they tighten while the student trains.
fn sparsify<'a>(
    run: &Run<'_>,
    spec: &'a SparsifySpec,
    network: Box<dyn Network>,
) -> Result<Prepared<'a>, Error> {
    let steps = spec.fit.epochs * run.data.steps();
    let (entries, weights) = (network.entries(), network.weights());
    let floor = network.compression().masks.clone();
    let calendar = Calendar::new(&spec.when, spec.shape.sparsity(), steps, spec.frequency, spec.lock_after);
    let when = (spec.when.clone(), calendar);
    let sparsifier =
        Sparsifier::new(spec.shape, spec.criterion.clone(), when, network.as_ref(), floor.clone())?;
    let mut masks = floor;
    match steps {
        // One shot where nothing trains; else nothing more is masked before the first step.
        0 => {
            let (memory, floor) = (Memory::default(), &sparsifier.floor);
            masks.extend(sparsifier.masks(&weights, &entries, 1.0, &memory, floor)?);
        }
        _ => {
            for (path, _) in masked(&entries) {
                let len = weights[&path].data().len();
                masks.entry(path).or_insert_with(|| vec![true; len]);
            }
        }
    }
    let compression = Compression { masks: masks.clone(), ..Compression::default() };
    let mut network = network.with_compression(compression);
    if sparsifier.watches() {
        network.watch_masks();
    }
    let regime = Regime::Sparse { masks: masks.into_iter().map(|(path, keep)| (path, Mask(keep))).collect() };
    Ok(Prepared {
        regime,
        ready: sparsifier.calendar.ready(),
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
