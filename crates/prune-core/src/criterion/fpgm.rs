//! Filters near the geometric median can be replaced by the others: redundancy instead of size.
//!
//! He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
//! arXiv:1811.00250.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Removes, Unit, WEIGHT, only};
use crate::{Counts, Error, Inputs};

/// `Σ_j ‖f_i − f_j‖₂` over the rows `f` of the layer, on the weights as they are.
///
/// Signs count: a filter and its negative are far apart. (Torch-Pruning 1.6 takes distances of `|w|^p` instead.)
/// Quadratic in the number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fpgm {}

impl Criterion for Fpgm {
    fn counts(&self) -> Counts {
        Counts::Writing
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Channel)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Channel, unit)?;
        let filters: Vec<&[f64]> = inputs.weight()?.iter_rows().collect();
        let mut scores = vec![0.0; filters.len()];
        for (i, first) in filters.iter().enumerate() {
            for (j, second) in filters.iter().enumerate().skip(i + 1) {
                let squares = first.iter().zip(*second).map(|(a, b)| (a - b) * (a - b));
                let distance = squares.sum::<f64>().sqrt();
                scores[i] += distance;
                scores[j] += distance;
            }
        }
        Ok(scores)
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "fpgm",
    summary: "sum of a filter's distances to all others of the layer",
    formula: "s_i = Σ_j ‖f_i − f_j‖₂ on raw weights",
    paper: "He et al. 2019, arXiv:1811.00250",
    reference: "he-y/filter-pruning-geometric-median, pruning_cifar10.py, get_filter_similar at 44fbab4",
    when: "Where filters repeat each other. A filter of zeros among large ones scores low too, but not the lowest.",
    inputs: &[WEIGHT],
    removes: Removes::Channels,
    knobs: &[],
    example: "{}",
};
