//! Rounding of a whole network: which weights and sites, calibration, and the plan that an export follows.

use std::collections::BTreeMap;

use kd_core::Tap;
use kd_deploy::{QuantPlan, WeightPlan};
use quant_core::{Granularity, QParams, Range, Scheme};

use crate::activations::Activations;
use crate::batches::Batch;
use crate::compress::{Compression, WeightQuant};
use crate::error::Error;
use crate::network::Network;
use crate::recipe::QuantizeSpec;
use crate::survey::Entry;
use crate::weights::masked;

/// Rounding of every convolution's and linear layer's weight, added to the masks that are in force.
pub fn compression(network: &dyn Network, scheme: Scheme) -> Compression {
    let weights = network.entries().into_iter().filter_map(|entry: Entry| {
        let axis = entry.output_axis()?;
        Some((entry.path, WeightQuant { scheme, axis }))
    });
    Compression { masks: network.compression().masks.clone(), quant: weights.collect() }
}

/// Observers at the sites that the graph names, filled with the float network's activations over `batches`.
///
/// # Errors
///
/// A layer that reads no site, activations that are not finite.
pub fn calibrate(
    network: &dyn Network,
    spec: &QuantizeSpec,
    batches: impl Iterator<Item = Batch>,
) -> Result<Activations, Error> {
    let placements = kd_graph::placements(&network.graph()?)?;
    let sites = placements.into_iter().map(|placement| placement.site);
    let mut activations = Activations::new(sites, spec.activations, spec.observer);
    let network = network.inference();
    for batch in batches {
        network.forward(batch.rows, &mut Tap::none().with_rewrite(&mut activations));
    }
    activations.check()?;
    activations.plan()?;
    activations.round(true);
    Ok(activations)
}

/// How an export rounds: scales of the stored weights and of the observed activations.
///
/// # Errors
///
/// Weights that are not finite, a site that no batch has reached.
pub fn plan(network: &dyn Network, activations: &Activations) -> Result<QuantPlan, Error> {
    let stored = masked(network);
    let mut weights = BTreeMap::new();
    for (path, quant) in &network.compression().quant {
        let array = &stored[path];
        let range = weight_range(array.shape(), array.data(), quant.channel_axis())?;
        let qparams = QParams::from_range(&range, &quant.scheme)?;
        weights
            .insert(path.clone(), WeightPlan { scheme: quant.scheme, axis: quant.channel_axis(), qparams });
    }
    Ok(QuantPlan { weights, activations: activations.plan()? })
}

/// Smallest and largest value, of each index of `axis` or of the whole.
fn weight_range(shape: &[usize], values: &[f32], axis: Option<usize>) -> Result<Range, Error> {
    let (cells, inner) = match axis {
        Some(axis) => (shape[axis], shape[axis + 1..].iter().product()),
        None => (1, values.len().max(1)),
    };
    let (mut min, mut max) = (vec![f32::INFINITY; cells], vec![f32::NEG_INFINITY; cells]);
    for (index, &value) in values.iter().enumerate() {
        let cell = index / inner % cells;
        min[cell] = min[cell].min(value);
        max[cell] = max[cell].max(value);
    }
    Ok(Range::new(min, max)?)
}

/// A scheme as a phrase for people: `int8 weights per channel, int8 activations`.
pub fn describe(weights: Scheme, activations: Scheme) -> String {
    let per = match weights.granularity {
        Granularity::Channel => "a scale a channel",
        _ => "one scale",
    };
    format!("weights {weights} ({per}), activations {activations}")
}
