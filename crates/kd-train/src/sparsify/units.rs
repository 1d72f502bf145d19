//! What a pattern removes as one: elements, tiles or lines, and sparsities on the way to the final one.

use prune_core::{Block, Connections, Error, Lines, Matrix, NM, Pattern, Sparsity, Unstructured};

/// The pattern with `share` of what it removes in the end.
pub(super) fn scaled(pattern: &Pattern, share: f64) -> Result<Pattern, Error> {
    let part = |sparsity: Sparsity| Sparsity::new((sparsity.get() * share).clamp(0.0, 1.0));
    Ok(match pattern {
        Pattern::Unstructured(p) => Pattern::Unstructured(Unstructured { sparsity: part(p.sparsity)?, ..*p }),
        Pattern::Rows(p) => Pattern::Rows(Lines { sparsity: part(p.sparsity)? }),
        Pattern::Columns(p) => Pattern::Columns(Lines { sparsity: part(p.sparsity)? }),
        Pattern::Block(p) => Pattern::Block(Block { sparsity: part(p.sparsity)?, ..*p }),
        Pattern::Random(p) => Pattern::Random(Connections { sparsity: part(p.sparsity)?, ..*p }),
        Pattern::NM(p) => {
            // A group loses whole elements; 1e-9 keeps a product that should be whole from falling below it.
            let gone = ((p.of() - p.keep()) as f64 * share + 1e-9) as usize;
            Pattern::NM(NM::new(p.of() - gone, p.of())?)
        }
    })
}

/// The unit of each element of a matrix, row-major; units are numbered from 0.
pub(super) fn units(pattern: &Pattern, matrix: &Matrix) -> Vec<usize> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    match pattern {
        Pattern::Unstructured(_) | Pattern::NM(_) | Pattern::Random(_) => (0..rows * columns).collect(),
        Pattern::Rows(_) => (0..rows * columns).map(|index| index / columns).collect(),
        Pattern::Columns(_) => (0..rows * columns).map(|index| index % columns).collect(),
        Pattern::Block(block) => {
            let (height, width) = (block.rows.get(), block.columns.get());
            let across = columns.div_ceil(width);
            let tile = |index: usize| index / columns / height * across + index % columns / width;
            (0..rows * columns).map(tile).collect()
        }
    }
}

/// How many units there are.
pub(super) fn count(units: &[usize]) -> usize {
    units.iter().max().map_or(0, |last| last + 1)
}

/// Puts the scores of units of `weight` that are gone below all others, so that they are taken first and counted. `there`
/// says which elements are still there. A tile that is gone in part is ranked as any other.
pub(super) fn lowest(scores: &mut [f64], pattern: &Pattern, weight: &Matrix, there: &[bool]) {
    let units = units(pattern, weight);
    let mut left = vec![false; count(&units)];
    for (&unit, &element) in units.iter().zip(there) {
        left[unit] |= element;
    }
    for (score, &unit) in scores.iter_mut().zip(&units) {
        if !left[unit] {
            *score = f64::NEG_INFINITY;
        }
    }
}
