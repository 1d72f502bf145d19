//! Which plain numbers of a network follow a cut by themselves, tried by recording it without some units.

use kd_graph::{Axis, Graph};
use prune_core::settle_numbers;

use crate::error::Error;
use crate::network::Network;

/// The axes of `graph`, the network's own, as [`settle_numbers`] leaves them.
pub fn axes(network: &dyn Network, graph: &Graph) -> Vec<Axis> {
    // A forward pass that does not fit its weights panics, which the recording makes an error of.
    let short = |error: Error| match error {
        Error::Graph(error) => error.in_short(),
        error => error.to_string(),
    };
    settle_numbers(graph, kd_graph::axes(graph), |cut| {
        network.cut(cut).and_then(|network| network.graph()).map_err(short)
    })
}
