//! The scale that batch norm gives a channel, after training has been asked to make scales small.
//!
//! Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Input, Removes, Unit, only};
use crate::{Counts, Error, Inputs};

/// `|γ|` of the batch norm behind the layer, per channel.
///
/// Does not help without the penalty `λ Σ|γ|` during training (`bn-scale-penalty` in stages of recipes): the next layer can undo any scale, so that a small γ
/// alone says little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BnScale {}

impl Criterion for BnScale {
    fn counts(&self) -> Counts {
        Counts::BatchScales
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Channel)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Channel, unit)?;
        Ok(inputs.bn_weight()?.values().iter().map(|scale| scale.abs()).collect())
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "bn-scale",
    summary: "|γ| of the batch norm behind the layer",
    formula: "s = |γ|",
    paper: "Liu et al. 2017, arXiv:1708.06519",
    reference: "VainF/Torch-Pruning 1.6, importance.py, BNScaleImportance(), of coupled channels too",
    when: "After training with a penalty on Σ|γ|. Without it the next layer can undo any scale, and the score says little.",
    inputs: &[Input {
        name: "bn.weight",
        shape: &["channels"],
        meaning: "scales of the batch norm",
        optional: false,
    }],
    removes: Removes::Channels,
    knobs: &[],
    example: "{}",
};
