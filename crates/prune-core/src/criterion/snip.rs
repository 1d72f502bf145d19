//! How much the loss feels each connection, asked before training.
//!
//! Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", arXiv:1810.02340.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, GRAD, Knob, Removes, UNIT, Unit, WEIGHT, by_unit};
use crate::{Counts, Error, Gathers, Inputs};

/// `|w g|`, which a channel sums; with `normalize` over its sum over all layers, so that scores of a network sum to 1.
///
/// Normalizing changes no order, and no mask: it is for comparing networks. Where the sum is 0, scores are 0.
///
/// Does not help at high sparsity without `scope = "global"`, where the method is at home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snip {
    /// Whether scores sum to 1 over all layers.
    pub normalize: bool,
    /// What gets a score; without it, what the pattern ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Criterion for Snip {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn gathers(&self) -> Gathers {
        Gathers::Gradients
    }

    fn counts(&self) -> Counts {
        Counts::Weights
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        Ok(self.scores_of(std::slice::from_ref(inputs), unit)?.swap_remove(0))
    }

    fn scores_of(&self, layers: &[Inputs<'_>], unit: Unit) -> Result<Vec<Vec<f64>>, Error> {
        let sensitivity = |inputs: &Inputs<'_>| {
            let (weight, grad) = (inputs.weight()?, inputs.grad()?);
            let products = weight.values().iter().zip(grad.values()).map(|(w, g)| (w * g).abs());
            Ok(by_unit(products.collect(), weight.columns(), unit))
        };
        let mut all = layers.iter().map(sensitivity).collect::<Result<Vec<Vec<f64>>, Error>>()?;
        let sum: f64 = all.iter().flatten().sum();
        if self.normalize && sum > 0.0 {
            all.iter_mut().flatten().for_each(|score| *score /= sum);
        }
        Ok(all)
    }

    /// Without the sum over all layers, which a member does not know and which orders nothing anew.
    fn of_member(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, Error> {
        Snip { normalize: false, ..*self }.scores(inputs, Unit::Channel)
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "snip",
    summary: "|w·g|, the sensitivity of the loss to each connection",
    formula: "s = |w g|, with `normalize` over Σ|w g| of all layers;  channel: s = Σ |w g|",
    paper: "Lee et al. 2018, arXiv:1810.02340",
    reference: "namhoonlee/snip-public, whose scores are normalized; the formula alone is compared",
    when: "Before training, on one large batch, with `scope=global`. At very high sparsity it can cut a layer through.",
    inputs: &[WEIGHT, GRAD],
    removes: Removes::Any,
    knobs: &[
        Knob { name: "normalize", values: "false | true", summary: "whether scores of all layers sum to 1" },
        UNIT,
    ],
    example: "{ normalize = false }",
};
