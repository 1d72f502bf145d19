//! Shared weights: every weight becomes one of few values, and the values learn on.
//!
//! The second step of Deep Compression (Han et al., arXiv:1510.00149): k-means finds the values of each weight tensor,
//! zeros of a pruned one keep theirs; then a value's gradient is the sum over the weights that have it. What is left of
//! a tensor is which weights are there, which value each has, and the values: a `.kdz` file.

use kd_deploy::kdz::Packed;
use quant_core::ptq::{Kmeans, kmeans};

use crate::compress::{Compression, SharedWeight};
use crate::error::Error;
use crate::network::Network;
use crate::recipe::ShareSpec;
use crate::summary::PackedSummary;
use crate::weights;

/// What shares the weights of convolutions and linear layers, masks of before among it.
///
/// # Errors
///
/// A weight that is not finite.
pub fn shared(network: &dyn Network, spec: &ShareSpec) -> Result<Compression, Error> {
    let stored = weights::masked(network);
    let mut compression = network.compression().clone();
    for entry in network.entries().into_iter().filter(|entry| entry.output_axis().is_some()) {
        let values = stored[&entry.path].data();
        let zero = values.contains(&0.0);
        let count = match entry.shape.len() {
            2 => spec.values,
            _ => spec.conv_values.unwrap_or(spec.values),
        };
        let knobs = Kmeans { start: spec.start, zero, ..Kmeans::default() };
        // A value of their own for zeros comes on top: they cost no choice among the others.
        let found = kmeans(values, count.get() + usize::from(zero), &knobs);
        let found = found.map_err(|source| Error::Weight { path: entry.path.clone(), source })?;
        let share = SharedWeight { values: found.centroids, codes: found.codes };
        compression.shared.insert(entry.path, share);
    }
    Ok(compression)
}

/// The network with the values that its weights have come to share as plain weights, zeros masked.
pub fn settle(network: &dyn Network) -> Box<dyn Network> {
    let plain = network.materialized();
    let mut masks = network.compression().masks.clone();
    let zeros = weights::zeros_masked(&plain.weights(), network.compression().shared.keys());
    masks.extend(zeros.into_iter().filter(|(_, keep)| keep.contains(&false)));
    plain.with_compression(Compression { masks, ..Compression::default() })
}

/// What a packed file says of a stage.
pub fn summary(packed: &[Packed], bytes: u64) -> PackedSummary {
    let shared = || packed.iter().filter_map(|tensor| tensor.shared);
    let elements: usize = packed.iter().map(|tensor| tensor.elements).sum();
    let float_bytes = 4 * elements as u64;
    PackedSummary {
        most_values: shared().map(|(_, values)| values).max().unwrap_or(0),
        shared: shared().map(|(nonzero, _)| nonzero as u64).sum(),
        bytes,
        float_bytes,
        ratio: float_bytes as f64 / bytes as f64,
    }
}
