//! A stage that takes out whole elements of a model's lists: residual blocks, or experts that are modules of their own.
//!
//! What an element is worth is the criterion's to say where the recipe names one, and else the loss: each candidate is
//! taken out in turn, the network without it is scored on training batches, and the one that is missed least goes. That is
//! asked again after every choice, since blocks make up for each other.

use kd_graph::Graph;
use prune_core::{Blocks, Element, ElementCut, ElementKind, ElementPlan, Error as Impossible};

use crate::error::Error;
use crate::evaluate::predict;
use crate::network::Network;
use crate::recipe::PruneSpec;
use crate::run::Run;
use crate::weights;

/// Batches that a network without an element is scored on.
const SCORING_BATCHES: usize = 8;

/// Which elements of `network`, whose graph this is, a stage takes out.
///
/// # Errors
///
/// A network that has none, a target out of reach, a module that cannot drop one.
pub(crate) fn plan(
    run: &Run<'_>,
    spec: &PruneSpec,
    (kind, target): (ElementKind, Blocks),
    network: &dyn Network,
    graph: &Graph,
) -> Result<ElementPlan, Error> {
    let stored = weights::scored(network);
    let score = |element: &Element, with: &ElementCut| match spec.by_loss {
        true => {
            let batches = run.data.calibration(SCORING_BATCHES, &run.device);
            let loss = predict(network.without(with)?.as_ref(), None, batches).loss();
            // A network that gives no numbers is the worst of all.
            Ok(if loss.is_finite() { loss } else { f64::INFINITY })
        }
        false => Ok(prune_core::score_element(spec.criterion.as_ref(), graph, element, &stored)?),
    };
    chosen(spec, (kind, target), graph, score)
}

/// The plan by these scores.
///
/// # Errors
///
/// As [`plan`].
pub(crate) fn chosen(
    spec: &PruneSpec,
    (kind, target): (ElementKind, Blocks),
    graph: &Graph,
    score: impl FnMut(&Element, &ElementCut) -> Result<f64, Error>,
) -> Result<ElementPlan, Error> {
    for pin in &spec.pinned {
        if !graph.params.iter().any(|param| pin.matches(&param.path)) {
            let paths = graph.params.iter().map(|param| param.path.clone()).collect();
            return Err(Impossible::PinsNothing { pattern: pin.as_str().to_owned(), paths }.into());
        }
    }
    let pinned = |path: &str| spec.pinned.iter().any(|pin| pin.matches(path));
    prune_core::plan_elements(graph, kind, score, target, spec.limits, pinned)
}

/// What the receipt takes out, as the network would be told after reading it from a file: its JSON and what was read of it.
///
/// # Errors
///
/// [`Error::Prune`] where the two are not the same cut.
pub(crate) fn written(cut: &ElementCut) -> Result<(Vec<u8>, ElementCut), Error> {
    let json = crate::run_dir::json(cut);
    let read: Option<ElementCut> = serde_json::from_slice(&json).ok();
    match read.filter(|read| read == cut) {
        Some(read) => Ok((json, read)),
        None => {
            let (what, planned) = ("the receipt".into(), format!("{cut:?}"));
            Err(Impossible::NotAsPlanned { what, planned, found: "another one when read again".into() }
                .into())
        }
    }
}
