//! Size of a weight times size of what it is multiplied with: one forward pass, no gradient, no update.
//!
//! Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", arXiv:2306.11695.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Knob, LAYER_INPUTS, Ranking, Removes, Unit, WEIGHT, only};
use crate::sums::squares;
use crate::{Error, Inputs, Needs};

/// `|w_ij| · ‖X_j‖₂`, the norm over all samples of input `j`: a root of a sum and not of a mean.
///
/// `unstructured` cuts each output row on its own, as the authors found to matter; `group = "layer"` and
/// `scope = "global"` rank over more. Inputs are `[samples…, in]`, for a convolution its unfolded patches, or their sums
/// ([`InputSums`](crate::InputSums)).
///
/// Does not help small vision models as it does large language models, whose inputs have few huge features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wanda {
    /// What `unstructured` ranks together.
    pub group: Ranking,
}

impl Default for Wanda {
    fn default() -> Self {
        Self { group: Ranking::Row }
    }
}

impl Criterion for Wanda {
    fn needs(&self) -> Needs {
        Needs::InputSquares
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    fn ranking(&self) -> Ranking {
        self.group
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        scores(inputs)
    }
}

/// The scores, which OWL counts too.
pub(super) fn scores(inputs: &Inputs<'_>) -> Result<Vec<f64>, Error> {
    let weight = inputs.weight()?;
    let (columns, sums) = (weight.columns(), inputs.sums()?);
    let (groups, squares) = match sums {
        Some(sums) => (sums.groups(), sums.squares().to_vec()),
        None => (1, squares(inputs.activations()?, columns)?),
    };
    let norms: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
    let rows_of_group = (weight.rows() / groups).max(1);
    let scores = weight.iter_rows().enumerate().flat_map(|(index, row)| {
        let norms = &norms[index / rows_of_group * columns..][..columns];
        row.iter().zip(norms).map(|(w, norm)| w.abs() * norm)
    });
    Ok(scores.collect())
}

pub(super) const ENTRY: Entry = Entry {
    name: "wanda",
    summary: "|w| times the norm of its input, ranked within each output row",
    formula: "s_ij = |w_ij|·‖X_j‖₂, the sum under the root over all samples",
    paper: "Sun et al. 2023, arXiv:2306.11695",
    reference: "locuslab/wanda, lib/prune.py, prune_wanda at 8e8fc87, whose norm is over a mean: the same order",
    when: "Large language models without gradients or retraining, whose inputs have few huge features. Small vision \
           models gain less over magnitude.",
    inputs: &[WEIGHT, LAYER_INPUTS],
    removes: Removes::Elements,
    knobs: &[Knob {
        name: "group",
        values: "\"row\" | \"layer\"",
        summary: "what `unstructured` ranks together",
    }],
    example: "{ group = \"row\" }",
};
