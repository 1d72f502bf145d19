//! Which weights may be removed together: the granularity of a mask, and of a cut.
//!
//! Masks and cuts are two types because they are two promises. A [`Pattern`] leaves the network's shapes alone
//! and only says where zeros may stand; [`Channels`] takes whole units out of every tensor they are coupled to.
//! Both have the spelling of recipes (kebab-case, unknown keys refused), and both are checked when they are
//! made, so that nothing downstream meets a sparsity of 3 or a group that keeps more than it has.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{Error, Unit};

/// Where the zeros of a mask may stand in a matrix `[rows = output units, columns = the rest]`.
///
/// A convolution's matrix is `[out, in·kh·kw]`, that of a linear layer `[out, in]`: groups and blocks are counted
/// in these, whatever the layout that the weight is stored in.
///
/// | spelling | removes | measured gain on a CPU |
/// | --- | --- | --- |
/// | `unstructured = { sparsity }` | single elements | storage only |
/// | `n-m = { keep, of }` | all but `keep` of every `of` neighbors in a row | storage only |
/// | `block = { rows, columns, sparsity }` | whole tiles | time, with a kernel that skips tiles |
/// | `rows = { sparsity }`, `columns = { sparsity }` | whole rows or columns | time, once they are taken out |
/// | `random = { sparsity, seed }` | connections by chance, as many in each row | storage only: a control |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Any element.
    Unstructured(Unstructured),
    /// A fixed number of every group of neighbors.
    NM(NM),
    /// Whole tiles.
    Block(Block),
    /// Whole rows: tiles of one row and all columns.
    Rows(Lines),
    /// Whole columns: tiles of all rows and one column.
    Columns(Lines),
    /// Connections by chance, as many of each output unit.
    Random(Connections),
}

/// The `sparsity · n` elements with the lowest scores go, wherever they stand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Unstructured {
    /// Share of the elements to remove.
    pub sparsity: Sparsity,
    /// Which elements are ranked against each other.
    #[serde(default, skip_serializing_if = "Scope::is_local")]
    pub scope: Scope,
}

/// Which elements are ranked against each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those of a layer, or of less where the criterion says so: every layer loses the same share.
    #[default]
    Local,
    /// Those of all layers together; of equal scores, the lower layer's stays.
    Global,
}

/// Rows or columns go as a whole; `sparsity` counts them. The score of one is the mean of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lines {
    /// Share of the rows or columns to remove.
    pub sparsity: Sparsity,
}

/// Every output unit keeps as many connections as every other one, `n − ⌊sparsity · n + 1e-9⌋` of its `n` inputs, and
/// chance says which: no criterion is asked.
///
/// It is a control. What a criterion or a finer pattern is worth is what it gains over this one at the same sparsity,
/// which often is less than expected: Gadhikar, Mukherjee and Burkholz, "Why Random Pruning Is All We Need to Start
/// Sparse", 2023, arXiv:2210.02412. The draw follows from `seed` and the weight's name; at a higher sparsity the same
/// connections go and some more, as under a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Connections {
    /// Share of each output unit's connections to remove.
    pub sparsity: Sparsity,
    /// Seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

/// What is taken out of a layer's tensors: elements, whose places keep their zeros, or whole output units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Removal {
    /// Elements.
    Elements(Pattern),
    /// This share of the output units, by scores of channels.
    Channels(Sparsity),
}

/// Exactly `keep` of every `of` consecutive elements of a row stay.
///
/// Public tools disagree whether the first number of "2:4" counts kept or removed weights, hence the names. A last
/// group of `r < of` elements keeps `min(keep, r)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawNM", into = "RawNM")]
pub struct NM {
    keep: usize,
    of: usize,
}

/// Tiles of `rows × columns` go as a whole; `sparsity` counts tiles.
///
/// Tiles are aligned to the matrix's first row and column; those at the far edges may be partial and count as one.
/// The score of a tile is the mean of the elements that are really in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Block {
    /// Output units that a tile spans.
    pub rows: NonZeroUsize,
    /// Columns (inputs) that a tile spans.
    pub columns: NonZeroUsize,
    /// Share of the tiles to remove.
    pub sparsity: Sparsity,
}

/// How many channels a cut takes out: `{ sparsity = 0.4 }` or `{ macs = 0.5 }`, the share to go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// This share of the units of every axis.
    Sparsity(Share),
    /// The smallest uniform share of units that takes at least this share of the multiply-accumulates.
    Macs(Share),
}

/// How many blocks of a network go: `{ count = 2 }`, `{ sparsity = 0.5 }` or `{ macs = 0.3 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocks {
    /// So many.
    Count(NonZeroUsize),
    /// This share of those that can go, `⌊share · n + 1e-9⌋` of `n`.
    Sparsity(Share),
    /// As few, in the order of their scores, as take at least this share of the multiply-accumulates.
    Macs(Share),
}

/// A share of elements to remove, 0 ..= 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Sparsity(f64);

/// A share of channels or of cost to remove, 0 .. 1: a network without channels is no network.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Pattern {
    /// The share of the units that it removes, 0 ..= 1.
    pub fn sparsity(&self) -> f64 {
        match self {
            Pattern::Unstructured(pattern) => pattern.sparsity.get(),
            Pattern::NM(pattern) => (pattern.of - pattern.keep) as f64 / pattern.of as f64,
            Pattern::Block(pattern) => pattern.sparsity.get(),
            Pattern::Rows(pattern) | Pattern::Columns(pattern) => pattern.sparsity.get(),
            Pattern::Random(pattern) => pattern.sparsity.get(),
        }
    }
}

impl Removal {
    /// What goes one by one.
    pub fn unit(&self) -> Unit {
        match self {
            Removal::Elements(_) => Unit::Element,
            Removal::Channels(_) => Unit::Channel,
        }
    }
}

impl NM {
    /// Keeps `keep` of every `of`; both at least 1, and `keep` at most `of`.
    pub fn new(keep: usize, of: usize) -> Result<Self, Error> {
        match (1..=of).contains(&keep) {
            true => Ok(Self { keep, of }),
            false => Err(Error::Group { keep, of }),
        }
    }

    /// Elements of a group that stay.
    pub fn keep(self) -> usize {
        self.keep
    }

    /// Elements of a group.
    pub fn of(self) -> usize {
        self.of
    }
}

impl Unstructured {
    /// This share of each layer's elements.
    pub fn new(sparsity: Sparsity) -> Self {
        Self { sparsity, scope: Scope::Local }
    }
}

impl Scope {
    fn is_local(&self) -> bool {
        *self == Scope::Local
    }
}

impl Sparsity {
    /// A sparsity of `value`, 0 ..= 1.
    pub fn new(value: f64) -> Result<Self, Error> {
        match (0.0..=1.0).contains(&value) {
            true => Ok(Self(value)),
            false => Err(Error::Sparsity { value }),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Share {
    /// A share of `value`, at least 0 and below 1.
    pub fn new(value: f64) -> Result<Self, Error> {
        match (0.0..1.0).contains(&value) {
            true => Ok(Self(value)),
            false => Err(Error::Share { value }),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Sparsity {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl TryFrom<f64> for Share {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl From<Sparsity> for f64 {
    fn from(sparsity: Sparsity) -> f64 {
        sparsity.0
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0
    }
}

/// [`NM`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "NM", rename_all = "kebab-case", deny_unknown_fields)]
struct RawNM {
    keep: usize,
    of: usize,
}

impl TryFrom<RawNM> for NM {
    type Error = Error;

    fn try_from(raw: RawNM) -> Result<Self, Error> {
        Self::new(raw.keep, raw.of)
    }
}

impl From<NM> for RawNM {
    fn from(NM { keep, of }: NM) -> Self {
        Self { keep, of }
    }
}
