//! Which plain numbers of a model follow a cut by themselves.
//!
//! A depthwise convolution has as many groups as channels, and a recording cannot tell whether the model reads that
//! number off a weight's shape or keeps it in a field that no cut reaches. So it is tried: the network without one
//! unit of the axis is recorded again, and either computes what was predicted or does not.

use kd_graph::{Axis, Graph};

use crate::{Cut, cut_of, predict};

/// `axes` of `graph`, none of which has [numbers](Axis::numbers) any more: they follow, or the axis is pinned.
///
/// `recorded` is the graph of the network without what a cut removes, and `None` where that network has none: its
/// forward pass fails, as it does when a number no longer fits the weights.
pub fn settle_numbers(
    graph: &Graph,
    mut axes: Vec<Axis>,
    recorded: impl Fn(&Cut) -> Option<Graph>,
) -> Vec<Axis> {
    for axis in axes.iter_mut().filter(|axis| !axis.numbers.is_empty()) {
        let numbers = std::mem::take(&mut axis.numbers);
        if axis.pinned.is_none() && axis.size > 1 && !follows(graph, axis, &recorded) {
            let numbers = numbers.join(", ");
            axis.pinned = Some(format!("plain numbers of the module do not follow a cut: {numbers}"));
        }
    }
    axes
}

/// Whether the network without the first unit of `axis` is what the graph says it would be.
fn follows(graph: &Graph, axis: &Axis, recorded: impl Fn(&Cut) -> Option<Graph>) -> bool {
    let keep: Vec<usize> = (1..axis.size).collect();
    let Ok(cut) = cut_of(graph, [(axis, keep.as_slice())]) else { return false };
    let Ok(planned) = predict(graph, &cut) else { return false };
    recorded(&cut).is_some_and(|found| found == planned.graph)
}
