//! Validation examples, taken out of the training set by number and seed.
//!
//! The split is a value of its own, made once from the recipe's seed, so that a run repeats and so that several
//! seeds of training can share it. The shuffle is written out here instead of taken from `rand`: its result is
//! part of what a run directory promises, and must not change with the version of a dependency.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Error;

/// Indices into the training examples, each half in ascending order; together they are `0..len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Examples to learn from.
    pub train: Vec<usize>,
    /// Examples that choose an epoch, never learned from.
    pub validation: Vec<usize>,
}

/// Draws `validation` of `len` examples without replacement, uniformly, with ChaCha8 of `seed`.
///
/// # Errors
/// [`Error::Split`] where nothing would be left to learn from.
pub fn split(len: usize, validation: usize, seed: u64) -> Result<Split, Error> {
    if validation >= len {
        return Err(Error::Split { examples: len, validation });
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..len).collect();
    // The first `validation` steps of a Fisher-Yates shuffle.
    for here in 0..validation {
        order.swap(here, here + below(len - here, &mut random));
    }
    let mut train = order.split_off(validation);
    train.sort_unstable();
    order.sort_unstable();
    Ok(Split { train, validation: order })
}

/// A number below `bound`: the high half of a 64 x 64 bit product. The most and the least likely numbers differ
/// by a share of `bound / 2^64`, which no data set can notice.
fn below(bound: usize, random: &mut ChaCha8Rng) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}
