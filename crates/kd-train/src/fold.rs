//! Batch norm folded into the layer before it, within an unchanged module.
//!
//! Training with rounded weights must round the weights that will be shipped, and those have batch norm folded in.
//! The module keeps its batch norm, as an identity with frozen statistics whose shift is the layer's bias:
//! γ = 1, mean = 0, variance = 1 − ε, and β carries β − γ·mean/√(variance + ε), plus the layer's own bias, scaled
//! likewise, which becomes zero.

use std::collections::BTreeSet;

use kd_deploy::{Array, fold_batch_norm};

use crate::error::Error;
use crate::network::Network;

/// A network with folded batch norms, on the plain device.
pub struct Folded {
    /// The network.
    pub network: Box<dyn Network>,
    /// Parameters that must not train: they are constants of the folded form.
    pub fixed: BTreeSet<String>,
}

/// Folds every batch norm that directly follows a convolution or a linear layer; masks stay in force.
///
/// # Errors
///
/// A forward pass that cannot be captured.
pub fn fold(network: &dyn Network) -> Result<Folded, Error> {
    let graph = network.graph()?;
    let weights = network.weights();
    let mut folded = network.inference();
    let mut changed = kd_deploy::Weights::new();
    let mut fixed = BTreeSet::new();
    for fold in kd_graph::batch_norm_folds(&graph) {
        let (weight, shift) = fold_batch_norm(&fold, &weights)?;
        let channels = shift.data().len();
        let all =
            |value: f32| Array::new(vec![channels], vec![value; channels]).expect("one value a channel");
        changed.insert(fold.weight.clone(), weight);
        changed.insert(fold.beta.clone(), shift);
        changed.insert(fold.gamma.clone(), all(1.0));
        changed.insert(fold.mean.clone(), all(0.0));
        changed.insert(fold.variance.clone(), all((1.0 - fold.epsilon) as f32));
        fixed.insert(fold.gamma.clone());
        if let Some(bias) = &fold.bias {
            changed.insert(bias.clone(), all(0.0));
            fixed.insert(bias.clone());
        }
    }
    folded.set_weights(&changed);
    folded.freeze_statistics();
    Ok(Folded { network: folded, fixed })
}
