//! Batch norm folded into the layer before it, within an unchanged module.
//!
//! Training with rounded weights must round the weights that will be shipped, and those have batch norm folded in.
//! The module keeps its batch norm, as an identity with frozen statistics whose shift is the layer's bias:
//! γ = 1, mean = 0, variance = 1 − ε, and β carries β − γ·mean/√(variance + ε), plus the layer's own bias, scaled
//! likewise, which becomes zero.

use std::collections::{BTreeMap, BTreeSet};

use kd_deploy::{Array, fold_batch_norm};
use kd_graph::Fold;

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
    let folds = kd_graph::batch_norm_folds(&network.graph()?);
    let mut folded = network.inference();
    let fixed = fold_in_place(folded.as_mut(), &folds)?;
    Ok(Folded { network: folded, fixed })
}

/// Folds these batch norms of a network, which may be training, and names the parameters that must not train any more.
/// Factors that stood in for the folding ([`factors`]) become 1.
///
/// # Errors
///
/// A weight that is missing.
pub fn fold_in_place(network: &mut dyn Network, folds: &[Fold]) -> Result<BTreeSet<String>, Error> {
    let weights = network.weights();
    let mut changed = kd_deploy::Weights::new();
    for fold in folds {
        let (weight, shift) = fold_batch_norm(fold, &weights)?;
        let channels = shift.data().len();
        let all =
            |value: f32| Array::new(vec![channels], vec![value; channels]).expect("one value a channel");
        changed.insert(fold.weight.clone(), weight);
        changed.insert(fold.beta.clone(), shift);
        changed.insert(fold.gamma.clone(), all(1.0));
        changed.insert(fold.mean.clone(), all(0.0));
        changed.insert(fold.variance.clone(), all((1.0 - fold.epsilon) as f32));
        if let Some(bias) = &fold.bias {
            changed.insert(bias.clone(), all(0.0));
        }
    }
    network.set_weights(&changed);
    Ok(settle(network, folds))
}

/// Makes a network whose weights are folded already train as one.
pub fn settle(network: &mut dyn Network, folds: &[Fold]) -> BTreeSet<String> {
    network.set_factors(BTreeMap::new());
    network.freeze_statistics();
    let gammas = folds.iter().map(|fold| fold.gamma.clone());
    gammas.chain(folds.iter().filter_map(|fold| fold.bias.clone())).collect()
}

/// γ/√(variance + ε) of each output, by the weight that it will be folded into; 1 where it is 0.
///
/// While batch norm still trains, weights are rounded as if it were folded: multiplied by these, rounded, and divided
/// again, for running statistics as they are.
pub fn factors(weights: &kd_deploy::Weights, folds: &[Fold]) -> BTreeMap<String, Vec<f32>> {
    let of = |fold: &Fold| {
        let (gamma, variance) = (weights.get(&fold.gamma)?, weights.get(&fold.variance)?);
        let factor = |(&gamma, &variance): (&f32, &f32)| {
            let factor = (f64::from(gamma) / (f64::from(variance) + fold.epsilon).sqrt()) as f32;
            if factor.is_normal() { factor } else { 1.0 }
        };
        Some((fold.weight.clone(), gamma.data().iter().zip(variance.data()).map(factor).collect()))
    };
    folds.iter().filter_map(of).collect()
}
