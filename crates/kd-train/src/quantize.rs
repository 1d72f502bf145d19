//! Rounding of a whole network: which weights and sites, calibration, and the plan that an export follows.

use std::collections::BTreeMap;

use kd_core::Tap;
use kd_deploy::{QuantPlan, WeightPlan};
use quant_core::{Layout, Observer, ObserverSpec, QParams, Scheme};

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
        let layout = Layout { shape: array.shape().to_vec(), axis: quant.channel_axis() };
        let mut observer = Observer::new(ObserverSpec::MinMax);
        observer.observe(array.data(), &layout)?;
        let range = observer.range().expect("a weight has elements: no model is built or cut without");
        let qparams = QParams::from_range(range, &quant.scheme)?;
        weights
            .insert(path.clone(), WeightPlan { scheme: quant.scheme, axis: quant.channel_axis(), qparams });
    }
    Ok(QuantPlan { weights, activations: activations.plan()? })
}

/// Moves biases onto the steps in which an integer engine adds them, so that what is scored is what is shipped.
///
/// # Errors
///
/// As [`plan`], and a forward pass that cannot be captured.
pub fn settle(network: &mut dyn Network, activations: &Activations) -> Result<(), Error> {
    let plan = plan(network, activations)?;
    let biases = kd_deploy::rounded_biases(&network.graph()?, &masked(network), &plan)?;
    network.set_weights(&biases);
    Ok(())
}
