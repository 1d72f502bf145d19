//! What a criterion reads that only a stage can gather, so that whoever trains gathers that and nothing else.

use crate::{Entry, Norm, Removes};

/// What a stage that sparsifies has to gather for a criterion's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: the weight says it all.
    #[default]
    Weight,
    /// The gradient of the loss by the weight in force, as a mean over the steps since masks were last recomputed.
    Gradient,
    /// Such a gradient that, times the weight, is Σ w·g over all steps so far: where training has been moving the weight.
    Movement,
    /// The mean over single examples of the squared gradient of the loss by the weight, over calibration batches: `hessian`.
    Squares,
    /// Σ x² of each column of the layer's inputs, over calibration batches: [`InputSums`](crate::InputSums).
    InputSquares,
    /// Σ x xᵀ of them, of a network whose layers before are pruned already: the weights that stay change.
    InputProducts,
}

impl Needs {
    /// Whether steps of training gather it.
    pub fn is_of_training(self) -> bool {
        matches!(self, Needs::Gradient | Needs::Movement)
    }

    /// Whether it is gathered over calibration batches.
    pub fn is_of_calibration(self) -> bool {
        self.is_of_inputs() || self == Needs::Squares
    }

    /// Whether it is about what layers read.
    pub fn is_of_inputs(self) -> bool {
        matches!(self, Needs::InputSquares | Needs::InputProducts)
    }
}

/// What has to be gathered over calibration batches before coupled channels are scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gathers {
    /// Nothing: weights say it all.
    #[default]
    Weights,
    /// The mean over batches of the loss's gradient by weights: [`Evidence::with_gradients`](crate::Evidence).
    Gradients,
    /// The mean over single examples of its square: [`Evidence::with_squares`](crate::Evidence).
    Squares,
    /// Magnitudes of activations, the mean of |a| over an example's positions or the root of the mean of a²:
    /// [`Evidence::with_activations`](crate::Evidence).
    Activations(Norm),
    /// What silencing them changes of each example's loss, Σ over positions of a·∂L/∂a: the same.
    Effects,
}

impl Entry {
    /// Whether a stage that removes coupled channels can use it.
    pub fn removes_channels(&self) -> bool {
        matches!(self.removes, Removes::Any | Removes::Channels)
    }

    /// What a stage that sparsifies gathers for the criterion; none where it cannot be used there.
    pub fn needs(&self) -> Option<Needs> {
        if matches!(self.removes, Removes::Nothing | Removes::Channels) {
            return None;
        }
        let names: Vec<&str> = self.inputs.iter().map(|input| input.name).collect();
        match names.as_slice() {
            ["weight"] => Some(Needs::Weight),
            ["weight", "grad"] => Some(Needs::Gradient),
            ["weight", "grad", "weights", "grads"] => Some(Needs::Movement),
            ["weight", "grads", "hessian"] => Some(Needs::Squares),
            ["weight", "activations"] | ["layers.K.weight", "layers.K.activations"] => {
                Some(Needs::InputSquares)
            }
            ["weight", "activations", "quant.scale", "quant.zero"] => Some(Needs::InputProducts),
            _ => None,
        }
    }
}
