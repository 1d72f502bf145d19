//! From what the members of a coupled group say of a unit to one score.
//!
//! A unit of an axis is a set of slices in several tensors, each of which a criterion can score. Which of them count, how
//! they become one number, and what makes numbers of different groups comparable are three choices, apart from the
//! criterion. The defaults are those of group importance in Fang et al., "DepGraph: Towards Any Structural Pruning",
//! arXiv:2301.12900, as Torch-Pruning 1.6 has them.

use serde::{Deserialize, Serialize};

/// How scores of a group come about: `{ members = "coupled", reduction = "mean", normalization = "mean" }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Which members count.
    pub members: Members,
    /// How they become one score.
    pub reduction: Reduction,
    /// What scores are divided by, so that groups can be ranked together. Changes no order within a group.
    pub normalization: Normalization,
}

/// Members of a coupled group that count, among those that the criterion looks at ([`Counts`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Members {
    /// All of them.
    #[default]
    Coupled,
    /// Weights that write the units: outputs of convolutions, linear layers and embeddings.
    Writing,
}

/// How members become one score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// What the scores of a group are divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Their mean, unless it is 0; of `lamp`, what it divides by itself.
    #[default]
    Mean,
    /// Nothing.
    None,
}

/// Members that a criterion looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Weights that write the units or read them, and the scales of norms over them.
    Everything,
    /// The same without batch norm, whose scale has a gradient for reasons of its own.
    Weights,
    /// Weights that write them.
    Writing,
    /// Scales of batch norm.
    BatchScales,
    /// No parameter: activations at the sites that hold them.
    Activations,
}

impl Group {
    /// Weights that write the units alone, as filter pruning without groups does.
    pub fn writing() -> Self {
        Self { members: Members::Writing, ..Self::default() }
    }

    /// Whether everything is as without a word, so that a recipe need not say it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Reduction {
    /// One list from one for each member, all of one length; `lists` is not empty.
    pub(crate) fn of(self, lists: &[Vec<f64>]) -> Vec<f64> {
        let units = lists.first().map_or(0, Vec::len);
        let each = |unit: usize| lists.iter().map(move |list| list[unit]);
        let score = |unit| match self {
            Reduction::Mean => each(unit).sum::<f64>() / lists.len() as f64,
            Reduction::Sum => each(unit).sum(),
            Reduction::Max => each(unit).fold(f64::NEG_INFINITY, f64::max),
        };
        (0..units).map(score).collect()
    }
}

impl Normalization {
    pub(crate) fn of(self, scores: Vec<f64>) -> Vec<f64> {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        match self {
            Normalization::Mean if mean != 0.0 => scores.into_iter().map(|score| score / mean).collect(),
            _ => scores,
        }
    }
}
