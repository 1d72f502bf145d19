//! From scores to a mask: which elements of a weight stay.
//!
//! Plain slices in and out. A mask says `true` for what is kept; it is applied, trained under and exported
//! elsewhere. Every pattern settles ties by [`select`](crate::select)'s rule.

use std::num::NonZeroUsize;

use crate::criterion::chance;
use crate::{Block, Connections, Error, Lines, NM, Pattern, Sparsity, select};

/// The mask of a matrix `[rows, columns]` with these scores (row-major, higher is kept), `true` where kept.
///
/// Use [`Matrix::to_stored`](crate::Matrix::to_stored) to bring it into the weight's own layout. One matrix is all
/// there is here: for a scope of several, and for the weight's name that [`Pattern::Random`] draws by, see
/// [`prune`](crate::prune()).
///
/// # Errors
///
/// [`Error::Length`] when there is not one score for each element, [`Error::ScoreNaN`].
pub fn mask(pattern: &Pattern, scores: &[f64], rows: usize, columns: usize) -> Result<Vec<bool>, Error> {
    let (expected, found) = (rows * columns, scores.len());
    if expected != found {
        return Err(Error::Length { path: "scores".into(), expected, found });
    }
    match pattern {
        Pattern::Unstructured(unstructured) => {
            select::keep(scores, select::removed(unstructured.sparsity, scores.len()))
        }
        Pattern::NM(nm) => groups(*nm, scores, columns),
        Pattern::Block(block) => blocks(block, scores, rows, columns),
        Pattern::Rows(Lines { sparsity }) => {
            let row = Block { rows: NonZeroUsize::MIN, columns: all(columns), sparsity: *sparsity };
            blocks(&row, scores, rows, columns)
        }
        Pattern::Columns(Lines { sparsity }) => {
            let column = Block { rows: all(rows), columns: NonZeroUsize::MIN, sparsity: *sparsity };
            blocks(&column, scores, rows, columns)
        }
        Pattern::Random(random) => connections(random, "", scores, columns),
    }
}

/// The mask in which chance chooses as many connections in every row of the weight at `path`. Of the scores it is only
/// asked what is gone already, −∞: that goes first.
pub(crate) fn connections(
    random: &Connections,
    path: &str,
    scores: &[f64],
    columns: usize,
) -> Result<Vec<bool>, Error> {
    let drawn = chance(random.seed, path, scores.len()).zip(scores);
    let drawn = drawn.map(|(drawn, &score)| if score == f64::NEG_INFINITY { score } else { drawn });
    each_row(random.sparsity, &drawn.collect::<Vec<f64>>(), columns)
}

/// The mask in which every row of `columns` loses the same share.
pub(crate) fn each_row(sparsity: Sparsity, scores: &[f64], columns: usize) -> Result<Vec<bool>, Error> {
    let mut mask = Vec::with_capacity(scores.len());
    for row in scores.chunks(columns.max(1)) {
        let start = mask.len();
        let keep = select::keep(row, select::removed(sparsity, row.len()));
        mask.extend(keep.map_err(|error| error.offset(start))?);
    }
    Ok(mask)
}

fn all(lines: usize) -> NonZeroUsize {
    NonZeroUsize::new(lines).unwrap_or(NonZeroUsize::MIN)
}

fn groups(nm: NM, scores: &[f64], columns: usize) -> Result<Vec<bool>, Error> {
    let mut mask = Vec::with_capacity(scores.len());
    // `max(1)`: a matrix without columns has no rows to cut into chunks either.
    for row in scores.chunks(columns.max(1)) {
        for group in row.chunks(nm.of()) {
            let start = mask.len();
            let keep = select::keep(group, group.len().saturating_sub(nm.keep()));
            mask.extend(keep.map_err(|error| error.offset(start))?);
        }
    }
    Ok(mask)
}

fn blocks(block: &Block, scores: &[f64], rows: usize, columns: usize) -> Result<Vec<bool>, Error> {
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::ScoreNaN { index });
    }
    let (height, width) = (block.rows.get(), block.columns.get());
    let across = columns.div_ceil(width);
    let tile = |row: usize, column: usize| row / height * across + column / width;
    let mut sums = vec![(0.0, 0_usize); rows.div_ceil(height) * across];
    for (index, score) in scores.iter().enumerate() {
        let (sum, count) = &mut sums[tile(index / columns, index % columns)];
        *sum += score;
        *count += 1;
    }
    // Infinities of both signs in one tile have no mean; `select` reports the tile.
    let means: Vec<f64> = sums.iter().map(|&(sum, count)| sum / count as f64).collect();
    let keep = select::keep(&means, select::removed(block.sparsity, means.len()))?;
    Ok((0..scores.len()).map(|index| keep[tile(index / columns, index % columns)]).collect())
}
