//! What the loss would gain by, to second order, without a weight, if no two weights had anything to do with each other.
//!
//! LeCun, Denker and Solla, "Optimal Brain Damage", NIPS 1989.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, GRADS, Input, Removes, UNIT, Unit, WEIGHT, by_unit};
use crate::{Counts, Error, Gathers, Inputs, Needs};

/// `½ h w²`, with `h` the diagonal of the Hessian, or the mean over samples of `g²`; a channel sums it.
///
/// The mean of squared gradients of single examples is the diagonal of the empirical Fisher matrix, which is near the
/// Hessian's where the network fits its data. Gradients of whole batches are something else, and smaller.
///
/// Does not help far from a minimum, where the first-order term is not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Obd {
    /// What gets a score; without it, what the pattern ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Criterion for Obd {
    fn needs(&self) -> Needs {
        Needs::Squares
    }

    fn gathers(&self) -> Gathers {
        Gathers::Squares
    }

    fn counts(&self) -> Counts {
        Counts::Weights
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        let weight = inputs.weight()?;
        let hessian = match inputs.hessian()? {
            Some(hessian) => hessian.values().to_vec(),
            None => {
                let grads = inputs.grads()?;
                let mut squares = vec![0.0; weight.values().len()];
                for grad in grads {
                    squares.iter_mut().zip(grad.values()).for_each(|(sum, g)| *sum += g * g);
                }
                squares.iter_mut().for_each(|sum| *sum /= grads.len() as f64);
                squares
            }
        };
        let scores = weight.values().iter().zip(&hessian).map(|(w, h)| 0.5 * h * w * w).collect();
        Ok(by_unit(scores, weight.columns(), unit))
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "obd",
    summary: "half the second derivative times w², weights taken one by one",
    formula: "s = ½·h·w², h the Hessian's diagonal or the mean over samples of g²",
    paper: "LeCun et al. 1989, NIPS 2",
    reference: "none: Torch-Pruning 1.6 keeps the last sample's square alone and leaves out ½",
    when: "Near a minimum, with gradients of single examples. It takes weights one by one; `obs` does not.",
    inputs: &[
        WEIGHT,
        Input { optional: true, ..GRADS },
        Input {
            name: "hessian",
            shape: &["out", "…"],
            meaning: "diagonal of the Hessian; with it, `grads` are not read",
            optional: true,
        },
    ],
    removes: Removes::Any,
    knobs: &[UNIT],
    example: "{}",
};
