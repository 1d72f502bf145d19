//! Chance: the control that a criterion has to beat before anything is said about it.
//!
//! With good layer shares, random masks match many published criteria: Liu et al., "The Unreasonable
//! Effectiveness of Random Pruning", arXiv:2202.02643.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Knob, Removes, UNIT, Unit, WEIGHT};
use crate::{Counts, Error, Inputs};

/// Uniform scores in [0, 1), drawn from `seed`, the weight's path and the index of the element or channel.
///
/// Stateless: the same seed gives the same scores whatever was scored before, and two layers of one size
/// get different ones. The stream is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014) and does not change between versions of this crate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Random {
    /// Seed of the scores.
    pub seed: u64,
    /// What gets a score; without it, what the pattern ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Criterion for Random {
    fn counts(&self) -> Counts {
        Counts::Writing
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        let weight = inputs.weight()?;
        let units = match unit {
            Unit::Element => weight.values().len(),
            Unit::Channel => weight.rows(),
        };
        Ok(chance(self.seed, weight.path(), units).collect())
    }
}

/// Uniform numbers in [0, 1) for the units of the weight at `path`.
pub(crate) fn chance(seed: u64, path: &str, units: usize) -> impl Iterator<Item = f64> {
    let key = path.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
    (1..=units as u64).map(move |unit| uniform(mix(key.wrapping_add(unit.wrapping_mul(STEP)))))
}

/// SplitMix64's increment, 2^64 divided by the golden ratio and made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The upper 53 bits as a number in [0, 1).
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

pub(super) const ENTRY: Entry = Entry {
    name: "random",
    summary: "uniform scores, the control that a criterion has to beat",
    formula: "s ~ U[0, 1), a function of the seed, the weight's name and the index",
    paper: "Liu et al. 2022, arXiv:2202.02643",
    reference: "none: the numbers are SplitMix64's, and stay the same",
    when: "As a control. With good shares of each layer, random masks come close to many published criteria.",
    inputs: &[WEIGHT],
    removes: Removes::Any,
    knobs: &[Knob { name: "seed", values: "0, any integer from 0 up", summary: "seed of the scores" }, UNIT],
    example: "{ seed = 0 }",
};
