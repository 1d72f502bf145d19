//! The kinds of connectors, and which one two shapes need.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Obstacle;

/// The layer between a student's feature and a teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectorKind {
    /// Nothing; the shapes must agree.
    Identity,
    /// Nothing; the loss compares features of different shapes by itself.
    AsIs,
    /// A linear layer with bias over the last dimension, rank 2 or 3.
    Linear,
    /// A 1×1 convolution with bias over the channels, rank 4.
    Conv,
    /// A 1×1 convolution without bias, then batch normalization, rank 4.
    ConvBatchNorm,
    /// A 3×3 convolution with bias that keeps height and width, rank 4.
    #[serde(rename = "conv-3x3")]
    Conv3,
    /// A 3×3 convolution without bias that keeps height and width, then batch normalization, rank 4.
    #[serde(rename = "conv-3x3-batch-norm")]
    Conv3BatchNorm,
    /// A linear layer over the tokens' features `[batch, height·width, features]`, which then become the channels of a
    /// map, row by row.
    TokensToMap,
    /// The pixels of a map `[batch, channels, height, width]` as tokens, row by row, then a linear layer.
    MapToTokens,
    /// A 1×1 convolution with bias, then the nearest pixels at the teacher's height and width, rank 4.
    Upsample,
    /// Several sites of the student, joined by `+`: a linear layer or 1×1 convolution for each, and their sum weighted
    /// by a learned softmax.
    Mixture,
}

impl ConnectorKind {
    /// Every kind.
    pub const ALL: [ConnectorKind; 11] = [
        ConnectorKind::Identity,
        ConnectorKind::AsIs,
        ConnectorKind::Linear,
        ConnectorKind::Conv,
        ConnectorKind::ConvBatchNorm,
        ConnectorKind::Conv3,
        ConnectorKind::Conv3BatchNorm,
        ConnectorKind::TokensToMap,
        ConnectorKind::MapToTokens,
        ConnectorKind::Upsample,
        ConnectorKind::Mixture,
    ];

    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            ConnectorKind::Identity => "identity",
            ConnectorKind::AsIs => "as-is",
            ConnectorKind::Linear => "linear",
            ConnectorKind::Conv => "conv",
            ConnectorKind::ConvBatchNorm => "conv-batch-norm",
            ConnectorKind::Conv3 => "conv-3x3",
            ConnectorKind::Conv3BatchNorm => "conv-3x3-batch-norm",
            ConnectorKind::TokensToMap => "tokens-to-map",
            ConnectorKind::MapToTokens => "map-to-tokens",
            ConnectorKind::Upsample => "upsample",
            ConnectorKind::Mixture => "mixture",
        }
    }

    /// The ranks it joins, in words.
    pub(crate) fn ranks(self) -> &'static str {
        match self {
            ConnectorKind::Identity | ConnectorKind::AsIs => "1 to 4",
            ConnectorKind::Linear => "2 or 3",
            ConnectorKind::Mixture => "2 to 4",
            ConnectorKind::TokensToMap => "3 to features of rank 4",
            ConnectorKind::MapToTokens => "4 to features of rank 3",
            _ => "4",
        }
    }
}

impl fmt::Display for ConnectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind for two shapes, or what stands in its way.
///
/// Where none is asked for, equal shapes get the identity, rank 2 and 3 a linear layer, rank 4 a 1×1 convolution,
/// tokens and a map of as many pixels the layer between them.
pub(super) fn choose(
    kind: Option<ConnectorKind>,
    student: &[usize],
    teacher: &[usize],
) -> Result<ConnectorKind, Obstacle> {
    use ConnectorKind::{AsIs, Conv, Conv3, Conv3BatchNorm, ConvBatchNorm, Identity, Linear};
    use ConnectorKind::{MapToTokens, Mixture, TokensToMap, Upsample};
    if student.first() != teacher.first() {
        return Err(Obstacle::Batch);
    }
    let ranks = (student.len(), teacher.len());
    let kind = match (kind, ranks) {
        (Some(kind), _) => kind,
        (None, _) if student == teacher => Identity,
        (None, (2, 2) | (3, 3)) => Linear,
        (None, (4, 4)) => Conv,
        (None, (3, 4)) => TokensToMap,
        (None, (4, 3)) => MapToTokens,
        (None, (1, 1)) => return Err(Obstacle::NoChannels),
        (None, _) => return Err(Obstacle::Ranks),
    };
    // The dimensions that the connector leaves as they are.
    let kept = match (kind, ranks) {
        (AsIs, _) => return Ok(kind),
        (Identity, _) if student == teacher => return Ok(kind),
        (Identity, (from, to)) => {
            return Err(if from == to { Obstacle::NotIdentical } else { Obstacle::Ranks });
        }
        (TokensToMap, (3, 4)) if student[1] == teacher[2] * teacher[3] => return Ok(kind),
        (MapToTokens, (4, 3)) if student[2] * student[3] == teacher[1] => return Ok(kind),
        (TokensToMap, (3, 4)) | (MapToTokens, (4, 3)) => return Err(Obstacle::Pixels),
        (Upsample, (4, 4)) => return Ok(kind),
        (Linear | Mixture, (rank @ (2 | 3), to)) if rank == to => 0..rank - 1,
        (Conv | ConvBatchNorm | Conv3 | Conv3BatchNorm | Mixture, (4, 4)) => 2..4,
        (_, (from, to)) if from != to => return Err(Obstacle::Ranks),
        _ => return Err(Obstacle::Kind { kind }),
    };
    if kept.into_iter().all(|dim| student[dim] == teacher[dim]) { Ok(kind) } else { Err(Obstacle::Positions) }
}
