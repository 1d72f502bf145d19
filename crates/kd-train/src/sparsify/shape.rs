//! Where zeros may stand, as recipes write it: one pattern in every weight, or one for each kind of part.
//!
//! A pattern looks at one matrix. What makes a network smaller in the end are units that several matrices share, and
//! those are known once there is a network; so a shape is words, and [`Part`](super::Part)s are what it means.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;

use prune_core::{Block, Connections, Lines, NM, Pattern, Sparsity, Unstructured};
use serde::{Deserialize, Serialize};

/// Where zeros may stand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Shape {
    /// The same pattern in every weight that is masked.
    Each(Pattern),
    /// Tiles in attention, whole hidden units between linear layers.
    Hybrid(Hybrid),
}

/// Tiles of `rows × columns` go in the weights of attention, and hidden units go as a whole, with the row that writes them
/// and the column that reads them: the hybrid of Lagunas et al., "Block Pruning For Faster Transformers", 2021,
/// arXiv 2109.04838.
///
/// The weight that reads heads has its tiles turned, `columns × rows`, so that a head's tiles are the same to all four
/// weights. A unit has one score, over the weights on both its sides. Weights of convolutions have tiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hybrid {
    /// Output units that a tile spans.
    pub rows: NonZeroUsize,
    /// Inputs that a tile spans.
    pub columns: NonZeroUsize,
    /// Share of the tiles to remove, weight by weight.
    pub sparsity: Sparsity,
    /// Share of the hidden units to remove, layer by layer; `sparsity` where a recipe does not say.
    pub units: Sparsity,
}

impl Shape {
    /// The share of units, of whatever kind, that it removes in the end; of hidden units and tiles the larger one.
    pub fn sparsity(&self) -> f64 {
        match self {
            Self::Each(pattern) => pattern.sparsity(),
            Self::Hybrid(hybrid) => hybrid.sparsity.get().max(hybrid.units.get()),
        }
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(pattern) => pattern.fmt(f),
            Self::Hybrid(Hybrid { rows, columns, sparsity, units }) => {
                write!(f, "hybrid {rows}x{columns} sparsity={} units={}", sparsity.get(), units.get())
            }
        }
    }
}

impl From<Pattern> for Shape {
    fn from(pattern: Pattern) -> Self {
        Self::Each(pattern)
    }
}

/// [`Shape`] as it is written: the patterns of one matrix and those of a network side by side.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Pattern", rename_all = "kebab-case")]
enum Written {
    Unstructured(Unstructured),
    NM(NM),
    Block(Block),
    Rows(Lines),
    Columns(Lines),
    Random(Connections),
    Hybrid(HybridKnobs),
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Hybrid", rename_all = "kebab-case", deny_unknown_fields)]
struct HybridKnobs {
    rows: NonZeroUsize,
    columns: NonZeroUsize,
    sparsity: Sparsity,
    units: Option<Sparsity>,
}

impl From<Written> for Shape {
    fn from(written: Written) -> Self {
        Self::Each(match written {
            Written::Unstructured(pattern) => Pattern::Unstructured(pattern),
            Written::NM(pattern) => Pattern::NM(pattern),
            Written::Block(pattern) => Pattern::Block(pattern),
            Written::Rows(pattern) => Pattern::Rows(pattern),
            Written::Columns(pattern) => Pattern::Columns(pattern),
            Written::Random(pattern) => Pattern::Random(pattern),
            Written::Hybrid(HybridKnobs { rows, columns, sparsity, units }) => {
                return Self::Hybrid(Hybrid { rows, columns, sparsity, units: units.unwrap_or(sparsity) });
            }
        })
    }
}

impl From<Shape> for Written {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Each(Pattern::Unstructured(pattern)) => Self::Unstructured(pattern),
            Shape::Each(Pattern::NM(pattern)) => Self::NM(pattern),
            Shape::Each(Pattern::Block(pattern)) => Self::Block(pattern),
            Shape::Each(Pattern::Rows(pattern)) => Self::Rows(pattern),
            Shape::Each(Pattern::Columns(pattern)) => Self::Columns(pattern),
            Shape::Each(Pattern::Random(pattern)) => Self::Random(pattern),
            Shape::Hybrid(Hybrid { rows, columns, sparsity, units }) => {
                Self::Hybrid(HybridKnobs { rows, columns, sparsity, units: Some(units) })
            }
        }
    }
}
