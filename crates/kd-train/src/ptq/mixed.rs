//! Mixed precision: a scheme for each layer, the best for what all of them may cost.

use std::collections::BTreeMap;

use quant_core::Scheme;
use quant_core::budget::{Choice, Front, Point};

use super::layers::Layer;
use super::sensitivity::Candidate;
use crate::error::Error;

/// What costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cost {
    /// Bytes on disk.
    #[default]
    Bytes,
    /// Bit operations at batch 1.
    BitOperations,
}

/// The words of the schemes that are candidates unless told otherwise: affine, so that every method that rounds to
/// integers takes them. Of a layer with few inputs, scales are most of what it costs.
pub const CANDIDATES: [&str; 8] = [
    "int2 channel affine",
    "int3 channel affine",
    "int4 channel affine",
    "int6 channel affine",
    "int8 channel affine",
    "int2 group=32 affine",
    "int3 group=32 affine",
    "int4 group=32 affine",
];

/// [`CANDIDATES`], and none: 32-bit floats.
pub fn candidates() -> Vec<Option<Scheme>> {
    let parsed = CANDIDATES.iter().map(|words| Some(words.parse().expect("a test parses them all")));
    parsed.chain([None]).collect()
}

/// All best trades over the layers' candidates; with `most`, those within it.
///
/// # Errors
///
/// A budget below the cheapest choices.
pub fn front(candidates: &[Vec<Candidate>], cost: Cost, most: Option<u64>) -> Result<Front, Error> {
    let choice = |candidate: &Candidate| Choice {
        cost: match cost {
            Cost::Bytes => candidate.bytes,
            Cost::BitOperations => candidate.bit_operations,
        },
        loss: candidate.loss,
    };
    let items: Vec<Vec<Choice>> = candidates.iter().map(|layer| layer.iter().map(choice).collect()).collect();
    Ok(Front::new(&items, most)?)
}

/// Bytes that all layers may take at so many bits a weight.
pub fn bytes(layers: &[Layer], bits_per_weight: f64) -> u64 {
    let weights: usize = layers.iter().map(Layer::len).sum();
    (weights as f64 * bits_per_weight / 8.0).floor() as u64
}

/// The schemes of a trade, by a layer's path; layers that stay in floats are left out.
pub fn schemes(layers: &[Layer], candidates: &[Vec<Candidate>], point: &Point) -> BTreeMap<String, Scheme> {
    let chosen = layers.iter().zip(candidates).zip(&point.choices);
    chosen.filter_map(|((layer, own), &choice)| Some((layer.path.clone(), own[choice].scheme?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_candidates_are_schemes() {
        assert_eq!(candidates().len(), CANDIDATES.len() + 1);
    }
}
