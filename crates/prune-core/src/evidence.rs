//! What is known of a network when its coupled channels are scored: weights, and what was gathered over batches.
//!
//! Gathering needs a training loop and is the caller's; a criterion says what it wants by
//! [`Criterion::gathers`](crate::Criterion::gathers).

use std::collections::BTreeMap;

use crate::{Error, Samples, Weights};

/// The numbers that scores of coupled channels are made of.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    weights: &'a Weights,
    gradients: Option<&'a Weights>,
    squares: Option<&'a Weights>,
    activations: Option<&'a Activations>,
}

/// A number for each example and each index of a dimension that holds units, by site and dimension; `[examples, indices]`.
///
/// What the number is depends on the criterion: a magnitude over the other dimensions for
/// [`Gathers::Activations`](crate::Gathers), for [`Gathers::Effects`](crate::Gathers) the sum over them of activation
/// times gradient of the example's loss.
pub type Activations = BTreeMap<(String, usize), Samples>;

impl<'a> Evidence<'a> {
    /// Weights and nothing else.
    pub fn new(weights: &'a Weights) -> Self {
        Self { weights, gradients: None, squares: None, activations: None }
    }

    /// The same with gradients of the loss by parameters, by the parameters' paths and in their shapes.
    #[must_use]
    pub fn with_gradients(self, gradients: &'a Weights) -> Self {
        Self { gradients: Some(gradients), ..self }
    }

    /// The same with means over examples of squared gradients, the diagonal of the empirical Fisher matrix.
    #[must_use]
    pub fn with_squares(self, squares: &'a Weights) -> Self {
        Self { squares: Some(squares), ..self }
    }

    /// The same with numbers of activations.
    #[must_use]
    pub fn with_activations(self, activations: &'a Activations) -> Self {
        Self { activations: Some(activations), ..self }
    }

    /// The weights.
    pub fn weights(&self) -> &'a Weights {
        self.weights
    }

    pub(crate) fn gradients(&self) -> Option<&'a Weights> {
        self.gradients
    }

    pub(crate) fn squares(&self) -> Option<&'a Weights> {
        self.squares
    }

    pub(crate) fn activations(&self) -> Result<&'a Activations, Error> {
        self.activations.ok_or_else(|| Error::Missing { input: "activations".into() })
    }
}
