//! A fixed height that a weight has to reach: the oldest rule, and the one that asks for no sparsity.
//!
//! Han et al., "Learning both Weights and Connections for Efficient Neural Networks", arXiv:1506.02626, whose
//! thresholds are a quality parameter times the standard deviation of a layer's weights.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Knob, NonNegative, Removes, Unit, WEIGHT, only};
use crate::{Error, Inputs, Matrix};

/// Keeps `|w| ≥ value`, or `|w| ≥ sigma · std(w)` with the sample standard deviation (n − 1) of the layer.
///
/// The scores are `|w|`; how many weights go follows from the layer, so that there is no pattern.
///
/// Does not help across layers with one `value`: a weight of 0.001 is large in one layer and nothing in the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Threshold {
    /// This height.
    Value(NonNegative),
    /// This many standard deviations.
    Sigma(NonNegative),
}

impl Threshold {
    /// The height for one layer.
    ///
    /// # Errors
    ///
    /// [`Error::Deviation`] for standard deviations of fewer than two weights.
    pub fn height(self, weight: &Matrix) -> Result<f64, Error> {
        let sigma = match self {
            Threshold::Value(value) => return Ok(value.get()),
            Threshold::Sigma(sigma) => sigma.get(),
        };
        let (values, n) = (weight.values(), weight.values().len());
        if n < 2 {
            return Err(Error::Deviation { path: weight.path().into(), found: n });
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Ok(sigma * (squares / (n - 1) as f64).sqrt())
    }
}

impl Criterion for Threshold {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        Ok(inputs.weight()?.values().iter().map(|value| value.abs()).collect())
    }

    fn decide(&self, inputs: &Inputs<'_>, scores: &[f64]) -> Option<Result<Vec<bool>, Error>> {
        let height = inputs.weight().and_then(|weight| self.height(weight));
        Some(height.map(|height| scores.iter().map(|&score| score >= height).collect()))
    }
}

/// [`Threshold`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Threshold", rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<NonNegative>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigma: Option<NonNegative>,
}

impl TryFrom<Raw> for Threshold {
    type Error = Error;

    fn try_from(raw: Raw) -> Result<Self, Error> {
        match (raw.value, raw.sigma) {
            (Some(value), None) => Ok(Threshold::Value(value)),
            (None, Some(sigma)) => Ok(Threshold::Sigma(sigma)),
            (None, None) => Err(Error::Threshold { found: "neither" }),
            (Some(_), Some(_)) => Err(Error::Threshold { found: "both" }),
        }
    }
}

impl From<Threshold> for Raw {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Value(value) => Raw { value: Some(value), sigma: None },
            Threshold::Sigma(sigma) => Raw { value: None, sigma: Some(sigma) },
        }
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "threshold",
    summary: "|w|, kept where it reaches a height; no pattern",
    formula: "s = |w|, kept where s ≥ value, or s ≥ sigma·std(w), the deviation with n − 1",
    paper: "Han et al. 2015, arXiv:1506.02626",
    reference: "none: the authors' code is not public",
    when: "Where the share to remove should follow from the layer. One `value` for all layers means something else in \
           each; `sigma` does not.",
    inputs: &[WEIGHT],
    removes: Removes::Nothing,
    knobs: &[
        Knob { name: "value", values: "a number from 0 up; or else", summary: "the height" },
        Knob { name: "sigma", values: "a number from 0 up", summary: "the height in standard deviations" },
    ],
    example: "{ sigma = 0.5 }",
};
