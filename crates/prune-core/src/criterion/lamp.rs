//! Magnitude that can be compared between layers: each square over the sum of those that are no smaller.
//!
//! Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", arXiv:2010.07611.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Removes, UNIT, Unit, WEIGHT, by_unit};
use crate::{Error, Inputs};

/// `w² / Σ v²` over all `v² ≥ w²` of the layer; for a channel the same on the channels' `Σ w²`.
///
/// Scores are in 0 ..= 1, the largest weight of every layer has 1, and equal weights have equal scores (the authors
/// score them by their place in a sort). 0/0 is 0. The order within a layer is that of magnitude; what changes is
/// how layers compare under `scope = "global"`, where no layer can be emptied before another one's largest weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lamp {
    /// What gets a score; without it, what the pattern ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Criterion for Lamp {
    fn of_member(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, Error> {
        let weight = inputs.weight()?;
        let squares = weight.values().iter().map(|value| value * value).collect();
        Ok(by_unit(squares, weight.columns(), Unit::Channel))
    }

    fn of_group(&self, scores: &[f64]) -> Option<Vec<f64>> {
        Some(shares(scores))
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        let weight = inputs.weight()?;
        let squares = weight.values().iter().map(|value| value * value).collect();
        Ok(shares(&by_unit(squares, weight.columns(), unit)))
    }
}

/// Each number over the sum of all that are at least as large; numbers are not negative.
fn shares(squares: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..squares.len()).collect();
    order.sort_unstable_by(|&a, &b| squares[b].total_cmp(&squares[a]));
    let (mut shares, mut sum) = (vec![0.0; squares.len()], 0.0);
    for equal in order.chunk_by(|&a, &b| squares[a] == squares[b]) {
        let square = squares[equal[0]];
        sum += square * equal.len() as f64;
        if square > 0.0 {
            equal.iter().for_each(|&unit| shares[unit] = square / sum);
        }
    }
    shares
}

pub(super) const ENTRY: Entry = Entry {
    name: "lamp",
    summary: "w² over the sum of all squares of the layer that are no smaller",
    formula: "s = w² / Σ v² over v² ≥ w²;  channel: the same on Σ w²",
    paper: "Lee et al. 2020, arXiv:2010.07611",
    reference: "jaeho-lee/layer-adaptive-sparsity, tools/pruners.py at 94e53b1, which scores equal weights by their \
                place in a sort",
    when: "With `scope=global`: it keeps global ranking from emptying a layer. Within one layer it ranks as magnitude.",
    inputs: &[WEIGHT],
    removes: Removes::Any,
    knobs: &[UNIT],
    example: "{}",
};
