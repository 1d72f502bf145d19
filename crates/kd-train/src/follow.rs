//! Which plain numbers of a model follow a cut by themselves.
//!
//! A depthwise convolution has as many groups as channels, and a recording cannot tell whether the model reads that
//! number off a weight's shape or keeps it in a field that no cut reaches. So it is tried: the network without one
//! unit of the axis is recorded again, and either computes what was predicted or does not.

use kd_graph::{Axis, Graph};

use crate::network::Network;

/// The channel axes of `graph`, the network's own; those whose numbers were seen to follow have none left.
pub fn axes(network: &dyn Network, graph: &Graph) -> Vec<Axis> {
    let mut axes = kd_graph::axes(graph);
    for axis in &mut axes {
        let open = axis.pinned.is_none() && axis.size > 1 && !axis.numbers.is_empty();
        if open && follow(network, graph, axis) {
            axis.numbers.clear();
        }
    }
    axes
}

/// Whether the network without the first unit of `axis` is what the graph says it would be.
fn follow(network: &dyn Network, graph: &Graph, axis: &Axis) -> bool {
    let keep: Vec<usize> = (1..axis.size).collect();
    let Ok(cut) = prune_core::cut_of(graph, [(axis, keep.as_slice())]) else { return false };
    let Ok(planned) = prune_core::predict(graph, &cut) else { return false };
    // A forward pass that does not fit its weights panics, which the recording makes an error of.
    network.cut(&cut).and_then(|network| network.graph()).is_ok_and(|found| found == planned.graph)
}
