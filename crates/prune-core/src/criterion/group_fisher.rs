//! What the loss would change by if a channel were silenced everywhere it is coupled to.
//!
//! Liu et al., "Group Fisher Pruning for Practical Network Compression", arXiv:2108.00708.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, FEATURES, Input, Removes, Unit, only};
use crate::{Counts, Error, Gathers, Inputs};

/// `mean over samples of (Σ over members and positions of a · ∂L/∂a)²`, per channel.
///
/// Several layers are the members of one group and give one list of scores: a mask on a channel is one variable, and
/// its gradient is summed over all it multiplies before it is squared. Division by a cost is the caller's.
///
/// A mean, as the paper's expectation says; public code that sums over the batch has scores that differ by a factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct GroupFisher {}

impl Criterion for GroupFisher {
    fn gathers(&self) -> Gathers {
        Gathers::Effects
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
        Ok(self.scores_of(std::slice::from_ref(inputs), unit)?.swap_remove(0))
    }

    fn scores_of(&self, layers: &[Inputs<'_>], unit: Unit) -> Result<Vec<Vec<f64>>, Error> {
        only(&ENTRY, Unit::Channel, unit)?;
        // Derivative of each sample's loss by the mask of each channel.
        let mut by_mask: Vec<f64> = Vec::new();
        let mut group = None;
        for inputs in layers {
            let (activations, gradients) = (inputs.activations()?, inputs.grad_activations()?);
            let [samples, channels, positions] = activations.channels()?;
            let &mut (n, c) = group.get_or_insert((samples, channels));
            for (what, expected, found) in [("samples", n, samples), ("channels", c, channels)] {
                if expected != found {
                    let input = activations.path().into();
                    return Err(Error::Members { input, what, expected, found });
                }
            }
            by_mask.resize(n * c, 0.0);
            let pairs = activations.values().chunks_exact(positions);
            for ((sum, a), g) in by_mask.iter_mut().zip(pairs).zip(gradients.values().chunks_exact(positions)) {
                *sum += a.iter().zip(g).map(|(a, g)| a * g).sum::<f64>();
            }
        }
        let (samples, channels) = group.unwrap_or((1, 0));
        let mut scores = vec![0.0; channels];
        for sample in by_mask.chunks_exact(channels.max(1)) {
            scores.iter_mut().zip(sample).for_each(|(score, sum)| *score += sum * sum);
        }
        Ok(vec![scores.into_iter().map(|score| score / samples as f64).collect()])
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "group-fisher",
    summary: "squared effect on the loss of silencing a channel wherever it is coupled, mean over samples",
    formula: "s = mean over samples of (Σ over members and positions of a·∂L/∂a)²",
    paper: "Liu et al. 2021, arXiv:2108.00708",
    reference: "jshilong/FisherPruning, detection/tools/fisher_pruning.py at 456106c, which sums over samples and takes \
                input sides only",
    when: "Coupled channels of convolutional networks, a few at a time, with gradients of single examples.",
    inputs: &[
        FEATURES,
        Input {
            name: "grad.activations",
            shape: &["samples", "channels", "…"],
            meaning: "gradients of the samples' losses by them",
            optional: false,
        },
    ],
    removes: Removes::Channels,
    knobs: &[],
    example: "{}",
};
