//! Weights that training moves away from zero stay, whatever their size.
//!
//! Sanh, Wolf and Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", arXiv:2005.07683. There the score is a
//! parameter that a straight-through estimator trains; unrolled, its value is what stands here.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Input, Knob, NonNegative, Removes, Unit, only};
use crate::{Error, Inputs, Matrix};

/// `−rate · Σ_t w_t g_t` over steps, ranked with its sign.
///
/// Positive where a weight and its gradient have opposite signs, so that a step of gradient descent makes the weight
/// larger. Reads `weight` and `grad` of one step, or `weights` and `grads` of several.
///
/// Does not help on pretrained weights at little sparsity, where magnitude is better; it is for fine-tuning at much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Movement {
    /// Learning rate of the scores; a factor that orders nothing anew.
    pub rate: NonNegative,
}

impl Default for Movement {
    fn default() -> Self {
        Self { rate: NonNegative::usual(1.0) }
    }
}

impl Criterion for Movement {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        let (weights, grads): (&[Matrix], &[Matrix]) = match inputs.has_weights() {
            true => (inputs.weights()?, inputs.grads()?),
            false => (std::slice::from_ref(inputs.weight()?), std::slice::from_ref(inputs.grad()?)),
        };
        let (expected, found) = (weights.len(), grads.len());
        if expected != found || expected == 0 {
            let input = grads.first().map_or("grads", Matrix::path).into();
            return Err(Error::Members { input, what: "steps", expected, found });
        }
        let mut moved = vec![0.0; weights[0].values().len()];
        for (weight, grad) in weights.iter().zip(grads) {
            for ((moved, w), g) in moved.iter_mut().zip(weight.values()).zip(grad.values()) {
                *moved += w * g;
            }
        }
        let rate = self.rate.get();
        Ok(moved.into_iter().map(|moved| -rate * moved).collect())
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "movement",
    summary: "−Σ w·g over steps: weights that training moves away from zero",
    formula: "s = −rate·Σ_t w_t g_t, ranked with its sign",
    paper: "Sanh et al. 2020, arXiv:2005.07683",
    reference: "huggingface/block_movement_pruning, where the straight-through estimator trains the score; unrolled here",
    when: "While fine-tuning a pretrained network to high sparsity. At little sparsity magnitude is better.",
    inputs: &[
        Input {
            name: "weight",
            shape: &["out", "…"],
            meaning: "the weight; `weights` takes its place",
            optional: true,
        },
        Input {
            name: "grad",
            shape: &["out", "…"],
            meaning: "gradient of the loss by the weight; `grads` takes its place",
            optional: true,
        },
        Input {
            name: "weights",
            shape: &["steps", "out", "…"],
            meaning: "the weight at each step",
            optional: true,
        },
        Input {
            name: "grads",
            shape: &["steps", "out", "…"],
            meaning: "the gradient at each step",
            optional: true,
        },
    ],
    removes: Removes::Elements,
    knobs: &[Knob {
        name: "rate",
        values: "1.0, any number from 0 up",
        summary: "learning rate of the scores",
    }],
    example: "{ rate = 1.0 }",
};
