//! Which plain numbers of a model follow a cut by themselves, by trying it.

use kd_graph::{Axis, Graph};

use crate::network::Network;

/// The channel axes of `graph`, the network's own; those whose numbers were seen to follow have none left.
pub fn axes(network: &dyn Network, graph: &Graph) -> Vec<Axis> {
    // A forward pass that does not fit its weights panics, which the recording makes an error of.
    prune_core::follow(graph, kd_graph::axes(graph), |cut| {
        network.cut(cut).and_then(|network| network.graph()).ok()
    })
}
