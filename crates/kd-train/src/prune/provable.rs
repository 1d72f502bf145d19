//! Which axes may be cut by a stage that proves every cut.
//!
//! A cut is checked by silencing the same units and comparing outputs. Where a layer norm averages over the units,
//! as it does over the width of a transformer, removing some changes what is left of the others; then the other side of the
//! comparison is the graph in f64 with the units absent, whose averages are those of the units that stay. Where the graph
//! has an operation without such a definition, no comparison can tell a right cut from a wrong one, and the axis
//! stays whole.

use burn::tensor::Tensor;
use kd_graph::{Axis, Graph};
use prune_core::{Comparison, Cut, absent_equals_removed, apply, as_planned, mask_equals_remove, uncovered};

use crate::error::Error;
use crate::network::Network;

/// Examples on which the graph is computed in f64, one plain loop an operation.
const EXAMPLES: usize = 4;

/// `axes` of `graph`, those pinned whose cuts cannot be compared in either way, each with the first reason.
pub fn pinned(graph: &Graph, mut axes: Vec<Axis>) -> Vec<Axis> {
    let Some(uncovered) = uncovered(graph) else { return axes };
    for axis in axes.iter_mut().filter(|axis| axis.pinned.is_none() && axis.size > 1) {
        let keep: Vec<usize> = (1..axis.size).collect();
        let tried = prune_core::cut_of(graph, [(&*axis, keep.as_slice())]);
        // A cut that does not fit is the plan's to refuse, in its own words.
        let Ok(tried) = tried.and_then(|cut| prune_core::predict(graph, &cut)) else { continue };
        if let Some(reason) = tried.incomparable.first() {
            axis.pinned = Some(format!(
                "removing its units is not the same as silencing them: {reason}; nor are units defined as absent in \
                 {uncovered}"
            ));
        }
    }
    axes
}

/// Proves a cut of `network`, whose graph is `graph`, in three ways before a weight changes: silencing or leaving out the
/// units is removing them, on `rows`; the network without them is recorded again and is what was planned; and the receipt,
/// written and read, makes the same network. Returns the relative difference of the first.
///
/// # Errors
///
/// The first of them that fails.
pub fn prove(network: &dyn Network, graph: &Graph, cut: &Cut, rows: Tensor<2>) -> Result<f64, Error> {
    let difference = network.verify_cut(cut, rows)?;
    let removed = network.cut(cut)?;
    as_planned(graph, cut, &removed.graph()?)?;
    let differs = |what: String, found: String| {
        let planned = "the same as before it was written".into();
        Error::from(prune_core::Error::NotAsPlanned { what, planned, found })
    };
    let receipt = serde_json::from_slice::<Cut>(&crate::run_dir::json(cut));
    let receipt = receipt.map_err(|error| differs("receipt".into(), error.to_string()))?;
    let (expected, replayed) = (removed.weights(), network.cut(&receipt)?.weights());
    match expected.iter().find(|(path, array)| replayed.get(*path) != Some(*array)) {
        Some((path, _)) => Err(differs(format!("replay of `{path}`"), "something else".into())),
        None => Ok(difference),
    }
}

/// The largest difference of outputs between removing what `cut` removes and silencing it, or where silencing says nothing
/// computing without it, relative to the largest output.
///
/// # Errors
///
/// A cut that does not fit, outputs that differ, and operations that let neither be compared.
pub fn difference<M: burn::module::Module, const D: usize>(
    module: &M,
    graph: &Graph,
    cut: &Cut,
    input: Tensor<D>,
    forward: impl Fn(&M, Tensor<D>) -> Tensor<2>,
) -> Result<f64, Error> {
    let silenced = mask_equals_remove(module, graph, cut, |module| forward(module, input.clone()))?;
    let Comparison::NotComparable { .. } = silenced else { return Ok(silenced.check()?) };
    let count = input.dims()[0].min(EXAMPLES);
    let few = input.narrow(0, 0, count);
    let absent = absent_equals_removed(module, |module| apply(module, cut), graph, cut, few, forward)?;
    Ok(absent.check()?)
}
