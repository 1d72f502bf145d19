//! From scores to a decision: how many units go, and which.
//!
//! One rule for masks and for cuts, so that a number in a recipe means the same everywhere. Of `n` units,
//! `⌊sparsity · n + 1e-9⌋` go (the 1e-9 takes back what `0.7 * 10.0` loses in binary, and a share never takes
//! more than it says). Those with the lowest scores go; of equal scores, the lowest index stays. −0 equals 0.
//! Ties are common (a layer that is all zeros, an integer-valued weight), and a rule that does not settle
//! them gives another mask on every machine.

use crate::{Error, Sparsity};

/// The number of `units` that `sparsity` removes: `⌊sparsity · units + 1e-9⌋`.
pub fn removed(sparsity: Sparsity, units: usize) -> usize {
    removed_of(sparsity.get(), units)
}

/// Which units stay when the `removed` with the lowest scores go; exactly `min(removed, n)` are `false`.
///
/// # Errors
///
/// [`Error::ScoreNaN`] where a score is not a number; infinities are ordered as numbers are.
pub fn keep(scores: &[f64], removed: usize) -> Result<Vec<bool>, Error> {
    let mut keep = vec![true; scores.len()];
    for &unit in order(scores)?.iter().take(removed) {
        keep[unit] = false;
    }
    Ok(keep)
}

/// Units in the order in which they go: lowest score first, and of equal scores the highest index first.
///
/// What is removed at one sparsity is therefore removed at every higher one too.
pub fn order(scores: &[f64]) -> Result<Vec<usize>, Error> {
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::ScoreNaN { index });
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // `+ 0.0` turns −0 into 0, so that the total order sees equal scores as equal.
    order.sort_unstable_by(|&a, &b| (scores[a] + 0.0).total_cmp(&(scores[b] + 0.0)).then(b.cmp(&a)));
    Ok(order)
}

pub(crate) fn removed_of(share: f64, units: usize) -> usize {
    // In range: a share is 0 ..= 1, so that the product is at most `units`.
    ((share * units as f64 + 1e-9).floor() as usize).min(units)
}
