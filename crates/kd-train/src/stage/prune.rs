//! Stages that remove: what goes is chosen, proved to be no more than silenced, written down, and taken out.

use std::collections::BTreeMap;

use kd_graph::{Axis, Graph};
use prune_core::{Blocks, Criterion, Cut, ElementKind, Gathers};

use super::{Prepared, job, plain};
use crate::compress::Compression;
use crate::connect;
use crate::error::Error;
use crate::event::{Event, Sink};
use crate::network::Network;
use crate::prune::compensate::compensate;
use crate::prune::gather::{Gathered, Lesson, gather};
use crate::prune::{elements, empty, provable, removal};
use crate::recipe::{Empty, PrunePattern, PruneSpec};
use crate::run::Run;
use crate::run_dir::{StageDir, files};
use crate::weights;

/// Removes whole units; what is left trains on.
pub(super) fn prune<'a>(
    run: &Run<'_>,
    spec: &'a PruneSpec,
    network: Box<dyn Network>,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Prepared<'a>, Error> {
    if let Some(what) = spec.pattern.elements() {
        return take_out(run, spec, what, network, folder, sink);
    }
    let graph = network.graph()?;
    let cut = match known_cut(folder)? {
        Some(cut) => cut,
        None => planned_cut(run, spec, network.as_ref(), &graph, folder, sink)?,
    };
    let nothing = match cut.is_empty() {
        true => {
            let axes = removal::axes(spec, network.as_ref(), &graph)?;
            Some(removal::no_units(spec, network.as_ref(), &axes))
        }
        false => None,
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
    let cut = cut.with_compression(Compression { masks, ..Compression::default() });
    Ok(Prepared { nothing, ..plain(&spec.fit, cut) })
}

/// The cut that an earlier session made: gradients over batches need not be the same bits on every device.
fn known_cut(folder: &StageDir) -> Result<Option<Cut>, Error> {
    let file = folder.file(files::CUT);
    if file.is_file() { crate::run_dir::read_json(&file).map(Some) } else { Ok(None) }
}

/// Chooses units, so many of them or those that are empty, proves that removing them is silencing them, and writes the
/// cut down.
fn planned_cut(
    run: &Run<'_>,
    spec: &PruneSpec,
    network: &dyn Network,
    graph: &Graph,
    folder: &StageDir,
    sink: &mut dyn Sink,
) -> Result<Cut, Error> {
    let axes = removal::axes(spec, network, graph)?;
    let plan = match spec.pattern {
        PrunePattern::Channels(target) | PrunePattern::Heads(target) => {
            let gathered = gathered(run, spec, network, (graph, &axes), folder.name(), sink)?;
            let stored = weights::scored(network);
            let (criterion, evidence) = (spec.criterion.as_ref(), gathered.evidence(&stored));
            let score = |axis: &Axis| prune_core::score_group(criterion, graph, axis, &evidence, spec.group);
            prune_core::plan_scoped(graph, &axes, score, target, spec.limits, spec.scope)?
        }
        PrunePattern::Empty(_) => {
            let (entries, weights) = (network.entries(), weights::masked(network));
            let empty = |axis: &Axis| empty::units(axis, &entries, &weights);
            prune_core::plan_units(graph, &axes, empty, spec.limits)?
        }
        PrunePattern::Layers(_) | PrunePattern::Experts(_) => unreachable!("whole modules are taken out"),
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
    let left = left.with_compression(Compression { masks, ..Compression::default() });
    Ok(Prepared { nothing: removal::no_elements(spec, &plan), ..plain(&spec.fit, left) })
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
