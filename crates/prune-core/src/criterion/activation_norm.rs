//! Channels that say little on average: one forward pass over calibration data.
//!
//! Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation", arXiv:2407.14679.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, FEATURES, Knob, Norm, Removes, Unit, only};
use crate::{Counts, Error, Gathers, Inputs};

/// `mean |a|` per channel over samples and positions, or for `p = 2` the root of the mean square.
///
/// Does not help where a channel's mean is large and constant: its bias does the same without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ActivationNorm {
    /// The exponent.
    pub p: Norm,
}

impl Criterion for ActivationNorm {
    fn gathers(&self) -> Gathers {
        Gathers::Activations(self.p)
    }

    fn counts(&self) -> Counts {
        Counts::Activations
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Channel)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Channel, unit)?;
        let activations = inputs.activations()?;
        let [samples, channels, positions] = activations.channels()?;
        let mut sums = vec![0.0; channels];
        for (index, values) in activations.values().chunks_exact(positions).enumerate() {
            sums[index % channels] += match self.p {
                Norm::L1 => values.iter().map(|value| value.abs()).sum::<f64>(),
                Norm::L2 => values.iter().map(|value| value * value).sum::<f64>(),
            };
        }
        let count = (samples * positions) as f64;
        let score = |sum: f64| match self.p {
            Norm::L1 => sum / count,
            Norm::L2 => (sum / count).sqrt(),
        };
        Ok(sums.into_iter().map(score).collect())
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "activation-norm",
    summary: "mean magnitude of a channel's activations, or their root mean square",
    formula: "p = 1: s = mean |a|;  p = 2: s = √(mean a²), over samples and positions",
    paper: "Muralidharan et al. 2024, arXiv:2407.14679",
    reference: "none: the formula alone is compared",
    when: "Width of transformers, with about a thousand samples. A channel with a large constant mean scores high, \
           though a bias could take its place.",
    inputs: &[FEATURES],
    removes: Removes::Channels,
    knobs: &[Knob { name: "p", values: "1 | 2", summary: "exponent" }],
    example: "{ p = 1 }",
};
