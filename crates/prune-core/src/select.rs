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

/// Which units of several lists stay when all lists are ranked together: `⌊sparsity · n + 1e-9⌋` of all `n` go.
///
/// # Errors
///
/// [`Error::ScoreNaN`], its index counted through all lists.
pub fn keep_together<S: AsRef<[f64]>>(scores: &[S], sparsity: Sparsity) -> Result<Vec<Vec<bool>>, Error> {
    keep_within(&vec![(); scores.len()], scores, sparsity)
}

/// Which units of several lists stay when those of equal structure are ranked together.
///
/// `structures[i]` says what list `i` is, such as the operations and dimensions that a coupled axis goes through. Each
/// set of equal structures loses the same share, so that attention is not ranked against convolutions, whose scores
/// have another scale: Fang et al., "Isomorphic Pruning for Vision Models", arXiv:2407.04616. Ties as everywhere: the
/// lower list's, and in it the lower index, stays.
///
/// # Errors
///
/// [`Error::Length`] where there is not one structure for each list, [`Error::ScoreNaN`], its index counted through
/// the lists of one structure.
pub fn keep_within<K: PartialEq, S: AsRef<[f64]>>(
    structures: &[K],
    scores: &[S],
    sparsity: Sparsity,
) -> Result<Vec<Vec<bool>>, Error> {
    let (expected, found) = (scores.len(), structures.len());
    if expected != found {
        return Err(Error::Length { path: "structures".into(), expected, found });
    }
    let mut keep = vec![Vec::new(); scores.len()];
    for (first, structure) in structures.iter().enumerate() {
        if structures[..first].contains(structure) {
            continue;
        }
        let members: Vec<usize> = (first..found).filter(|&list| structures[list] == *structure).collect();
        let all: Vec<f64> = members.iter().flat_map(|&list| scores[list].as_ref()).copied().collect();
        let mut stays = self::keep(&all, removed(sparsity, all.len()))?.into_iter();
        for list in members {
            keep[list] = stays.by_ref().take(scores[list].as_ref().len()).collect();
        }
    }
    Ok(keep)
}

/// How many of `units` go by a share from 0 to 1: ⌊share·n + 1e-9⌋, the last of which keeps a product that should be whole
/// from falling below it.
pub fn removed_of(share: f64, units: usize) -> usize {
    // In range: a share is 0 ..= 1, so that the product is at most `units`.
    ((share * units as f64 + 1e-9).floor() as usize).min(units)
}
