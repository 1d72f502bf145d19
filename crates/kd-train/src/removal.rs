//! What a stage that prunes can do to a network, tried before anything trains.
//!
//! A target out of reach and a pin that no parameter has are known from shapes alone, and a run must not find them out after
//! hours.

use kd_graph::{Axis, Graph};
use prune_core::{Criterion, Error as Impossible, Gathers};

use crate::error::Error;
use crate::gather::Gathered;
use crate::network::Network;
use crate::recipe::{PrunePattern, PruneSpec};
use crate::{elements, follow, provable, weights};

/// The axes of `network`, whose graph this is, as the stage may cut them: those that it pins are so.
///
/// # Errors
///
/// A pin that nothing matches; no heads, of a stage that takes heads.
pub(crate) fn axes(spec: &PruneSpec, network: &dyn Network, graph: &Graph) -> Result<Vec<Axis>, Error> {
    let mut axes = provable::pinned(graph, follow::axes(network, graph));
    pin(spec, &mut axes)?;
    if let PrunePattern::Heads(_) = spec.pattern {
        prune_core::only_heads(&mut axes)?;
    }
    Ok(axes)
}

fn pin(spec: &PruneSpec, axes: &mut [Axis]) -> Result<(), Error> {
    for pin in &spec.pinned {
        prune_core::pin(axes, pin.as_str(), |path| pin.matches(path))?;
    }
    Ok(())
}

/// What a stage would leave of the lists of a network that has not learned: the same number of elements, if not the same
/// ones. None where it leaves the lists alone. `cut` says whether an earlier stage changes how much what costs.
///
/// # Errors
///
/// A network of which nothing of the kind can go, or not so many; a share of its cost that no cut takes; a pin that nothing
/// matches: what a run would otherwise find out after the training.
pub(crate) fn tried(
    spec: &PruneSpec,
    network: &dyn Network,
    cut: bool,
) -> Result<Option<Box<dyn Network>>, Error> {
    let graph = network.graph()?;
    match spec.pattern {
        PrunePattern::Channels(target) | PrunePattern::Heads(target) => {
            let axes = axes(spec, network, &graph)?;
            let (criterion, stored) = (spec.criterion.as_ref(), weights::scored(network));
            let nothing = Gathered::default();
            let evidence = nothing.evidence(&stored);
            // How much can go is the same for all scores, but for axes on which a criterion finds nothing.
            let score = |axis: &Axis| match criterion.gathers() {
                Gathers::Weights => prune_core::score_group(criterion, &graph, axis, &evidence, spec.group),
                _ => Ok(vec![0.0; axis.size]),
            };
            match prune_core::plan_scoped(&graph, &axes, score, target, spec.limits, spec.scope) {
                Err(Impossible::MacsUnreachable { .. }) if cut => Ok(None),
                planned => planned.map(|_| None).map_err(Error::from),
            }
        }
        PrunePattern::Empty(_) => pin(spec, &mut kd_graph::axes(&graph)).map(|()| None),
        PrunePattern::Layers(_) | PrunePattern::Experts(_) => {
            let Some(what) = spec.pattern.elements() else { return Ok(None) };
            match elements::chosen(spec, what, &graph, |_, _| Ok(0.0)) {
                Ok(plan) => network.without(&plan.cut).map(Some),
                Err(Error::Prune(Impossible::MacsUnreachable { .. })) if cut => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}
