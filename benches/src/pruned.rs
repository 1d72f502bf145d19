//! A network without some of its channels, as a stage `prune` leaves it, but for its training.
//!
//! How long an engine takes depends on shapes and not on the values of weights, so that latency can be measured of
//! networks that have learned nothing.

use kd_deploy::WeightsContainer;
use kd_graph::Axis;
use kd_train::network::Network;
use kd_train::prune::{follow, provable};
use kd_train::run::Model;
use kd_train::{Error, export, weights};
use prune_core::{Channels, Limits, Magnitude, Weights, plan_axes, score_axis};

/// Removes channels by the sums of their squares, in groups of coupled layers.
///
/// # Errors
///
/// A forward pass that cannot be captured, a target that cannot be met.
pub fn channels(network: &dyn Network, target: Channels, limits: Limits) -> Result<Box<dyn Network>, Error> {
    let graph = network.graph()?;
    let arrays = weights::masked(network).into_iter();
    let stored =
        Weights::from_arrays(arrays.map(|(path, array)| (path, array.shape().to_vec(), array.into_data())));
    let axes = provable::pinned(&graph, follow::axes(network, &graph));
    let criterion = Magnitude::default();
    let score = |axis: &Axis| score_axis(&criterion, &graph, axis, &stored);
    let plan = plan_axes(&graph, &axes, score, target, limits)?;
    network.cut(&plan.cut)
}

/// Multiply-accumulates of an example.
///
/// # Errors
///
/// A forward pass that cannot be captured.
pub fn macs(network: &dyn Network) -> Result<u64, Error> {
    Ok(kd_graph::macs(&network.graph()?))
}

/// The network's ONNX file, in floats.
///
/// # Errors
///
/// An operation that has no lowering.
pub fn onnx(network: &dyn Network) -> Result<Vec<u8>, Error> {
    export::onnx(&Model { network: network.inference(), activations: None }, WeightsContainer::default())
}

#[cfg(test)]
mod tests {
    use prune_core::Share;

    use super::*;

    #[test]
    fn half_of_the_multiplications_go() {
        let whole = crate::networks::build("student", &crate::device()).expect("a name of the table");
        let half = Channels::Macs(Share::new(0.5).expect("a share"));
        let pruned = channels(whole.as_ref(), half, Limits::default()).expect("a plan");
        let (before, after) =
            (macs(whole.as_ref()).expect("a graph"), macs(pruned.as_ref()).expect("a graph"));
        assert!(2 * after <= before && 4 * after > before, "{after} of {before}");
        assert!(!onnx(pruned.as_ref()).expect("a file").is_empty());
    }
}
