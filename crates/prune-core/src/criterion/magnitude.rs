//! Large weights matter: the criterion that every other one is compared with.
//!
//! Elements: Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
//! arXiv:1506.02626. Channels: Li et al., "Pruning Filters for Efficient ConvNets", arXiv:1608.08710.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Knob, Norm, Removes, UNIT, Unit, WEIGHT, by_unit};
use crate::{Error, Inputs};

/// `|w|^p` for an element, `Σ |w|^p` over its row for a channel.
///
/// No root and no normalization: a score is comparable within a layer, not between layers of different
/// fan-in. The sum runs over the row in stored order, in f64.
///
/// Does not help where scale carries no meaning: a layer in front of a batch norm can be rescaled without any
/// change to the network, which moves its scores against those of other layers (not within it).
///
/// Public implementation: `VainF/Torch-Pruning`, `torch_pruning/pruner/importance.py` at 01893e3,
/// `GroupNormImportance(p, normalizer=None)`; a channel's score is its `local_imp` of an output weight. (There
/// "L2" is the sum of squares without a root, too. [`score_group`](crate::score_group()) is a group's score there.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Magnitude {
    /// The exponent.
    pub p: Norm,
    /// What gets a score; without it, what the pattern ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Criterion for Magnitude {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        let score = |weight: &f64| match self.p {
            Norm::L1 => weight.abs(),
            Norm::L2 => weight * weight,
        };
        let weight = inputs.weight()?;
        Ok(by_unit(weight.values().iter().map(score).collect(), weight.columns(), unit))
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "magnitude",
    summary: "|w|^p; a channel sums it over its weights",
    formula: "s = |w|^p;  channel: s = Σ |w|^p, without a root",
    paper: "Han et al. 2015, arXiv:1506.02626; Li et al. 2016, arXiv:1608.08710",
    reference: "VainF/Torch-Pruning 1.6, importance.py, GroupMagnitudeImportance(p), of coupled \
                channels too; torch.nn.utils.prune.l1_unstructured at the same number removed",
    when: "What every other criterion is compared with. Scale carries no meaning in front of a batch norm, so that \
           layers should be ranked apart there.",
    inputs: &[WEIGHT],
    removes: Removes::Any,
    knobs: &[Knob { name: "p", values: "1 | 2", summary: "exponent" }, UNIT],
    example: "{ p = 1 }",
};
