//! What the units of an axis are, in the field's words.
//!
//! A kind is read off the operations that an axis goes through and decides nothing about what is coupled: it is there
//! for people, and for criteria and patterns that ask for heads or channels alone. Operations leave [`Trait`]s at
//! the labels they see, and the strongest word that the traits allow is the kind.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result};

use serde::{Deserialize, Serialize};

/// What the units of an [`Axis`](crate::Axis) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Channels of convolutions.
    Channels,
    /// Heads of attention.
    Heads,
    /// Keys and values that several queries share.
    KvGroups,
    /// Queries that share keys and values.
    QueryReplicas,
    /// The dimension in which queries meet keys.
    QkDims,
    /// The dimension of values.
    VDims,
    /// Width of a layer: hidden units, and the model's own features and classes.
    Width,
    /// Width of an embedding table or of a residual stream that no convolution reads.
    Embedding,
    /// Experts of a mixture.
    Experts,
    /// Rows of a table that are looked up by number.
    Rows,
    /// Places in space, time or batch.
    Positions,
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Kind::Channels => "channels",
            Kind::Heads => "heads",
            Kind::KvGroups => "kv-groups",
            Kind::QueryReplicas => "query-replicas",
            Kind::QkDims => "qk-dims",
            Kind::VDims => "v-dims",
            Kind::Width => "width",
            Kind::Embedding => "embedding",
            Kind::Experts => "experts",
            Kind::Rows => "rows",
            Kind::Positions => "positions",
        })
    }
}

/// What an operation saw along a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trait {
    /// A convolution reads it.
    ConvIn,
    /// A convolution writes it.
    ConvOut,
    /// A linear layer writes it.
    LinearOut,
    /// An embedding table has it as its width.
    Table,
    /// An embedding table has it as its rows.
    Row,
    /// It is that of a residual stream.
    Stream,
    /// An expansion repeats along it.
    Repeated,
    /// Queries meet keys in it.
    QueryKey,
    /// Attention's values have it.
    Value,
    /// Queries and keys have it side by side, each with its own.
    Head,
    /// Queries have it and the keys that they meet do not.
    Query,
    /// Keys have it, and several queries for each.
    Shared,
    /// Weights have it side by side, in one product each.
    Expert,
    /// Attention chooses from it, or rows are looked up for it.
    Place,
}

/// The kind of an axis with these traits.
pub(crate) fn kind(traits: &BTreeSet<Trait>, position: bool) -> Kind {
    let has = |it: Trait| traits.contains(&it);
    match () {
        () if position || has(Trait::Place) => Kind::Positions,
        () if has(Trait::Row) => Kind::Rows,
        // Attention may also be that of a stream with itself, without a layer between.
        () if has(Trait::QueryKey) && !has(Trait::Stream) => Kind::QkDims,
        () if has(Trait::Value) && !has(Trait::Stream) => Kind::VDims,
        // A table of relative positions has heads as its width.
        () if has(Trait::Query) => Kind::QueryReplicas,
        () if has(Trait::Shared) => Kind::KvGroups,
        () if has(Trait::Head) => Kind::Heads,
        () if has(Trait::Table) => Kind::Embedding,
        () if has(Trait::Expert) => Kind::Experts,
        () if has(Trait::ConvIn) || has(Trait::ConvOut) && !has(Trait::LinearOut) => Kind::Channels,
        // The width of image patches: a convolution writes it and layers of the stream do.
        () if has(Trait::Stream) => Kind::Embedding,
        () if has(Trait::ConvOut) => Kind::Channels,
        () => Kind::Width,
    }
}
