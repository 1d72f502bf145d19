//! From a criterion and what is to go to masks and weights, for one layer or for all of a network.
//!
//! Most criteria score and a pattern chooses; a few choose by themselves, choose while they update, or update after
//! the choice. Their hooks are called here, in this order and nowhere else, so that a stage of a recipe and a command
//! on saved tensors cannot disagree.

use crate::mask::{connections, each_row, mask};
use crate::{Criterion, Error, Inputs, Pattern, Ranking, Removal, Scope, Unit, select};

/// What a criterion says of one layer, in the order of the weight's matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// What scores and mask belong to.
    pub unit: Unit,
    /// The scores; none of a criterion that makes them up as it goes.
    pub scores: Option<Vec<f64>>,
    /// What stays, `true`; none where nothing was to go.
    pub keep: Option<Vec<bool>>,
    /// The weight with what goes at 0, and what stays updated if the criterion does so; none without a weight.
    pub weight: Option<Vec<f64>>,
}

/// Scores the layers of a network, and removes from them what `removal` says; without it there are scores alone,
/// unless the criterion decides by itself.
///
/// One result a layer; a criterion that takes its layers for the members of one group gives one result.
///
/// ```
/// use prune_core::{Inputs, Matrix, Samples, SparseGpt, prune};
///
/// # fn main() -> Result<(), prune_core::Error> {
/// let weight = Matrix::new("fc.weight", 1, 4, &[0.1_f32, -0.7, 0.3, 0.2])?;
/// // The first two inputs are always the same.
/// let inputs = Samples::new("fc", &[3, 4], &[1.0, 1.0, 0.5, 0.2, -1.0, -1.0, 0.3, 0.4, 0.5, 0.5, -0.2, 0.9])?;
/// let layer = Inputs::new(&weight).with_activations(&inputs);
/// let pruned = prune(&SparseGpt::default(), Some(&"keep=3 of=4".parse()?), &[layer])?.remove(0);
/// let (keep, left) = (pruned.keep.unwrap_or_default(), pruned.weight.unwrap_or_default());
/// // One of the two goes, and the other one does the work of both.
/// assert_eq!(keep, [false, true, true, true]);
/// assert!(left[0] == 0.0 && (left[1] + 0.6).abs() < 0.02);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Unit`] for a criterion that has no scores for what is to go, [`Error::Pattern`] for one that cannot choose
/// so, and what is wrong with the inputs.
pub fn prune(
    criterion: &dyn Criterion,
    removal: Option<&Removal>,
    layers: &[Inputs<'_>],
) -> Result<Vec<Pruned>, Error> {
    let unit = unit(criterion, removal)?;
    if let Some(Removal::Elements(pattern)) = removal {
        let swept: Option<Vec<_>> = layers.iter().map(|inputs| criterion.sweep(inputs, pattern)).collect();
        if let Some(swept) = swept {
            return swept.into_iter().collect();
        }
    }
    let scores = criterion.scores_of(layers, unit)?;
    let masks = masks(criterion, removal, layers, &scores)?;
    let results = scores.into_iter().zip(masks).zip(layers).map(|((scores, keep), inputs)| {
        let weight = keep.as_ref().map(|keep| left(criterion, inputs, unit, keep)).transpose()?.flatten();
        Ok(Pruned { unit, scores: Some(scores), keep, weight })
    });
    results.collect()
}

/// The unit that what is to go consists of, and that the criterion has.
fn unit(criterion: &dyn Criterion, removal: Option<&Removal>) -> Result<Unit, Error> {
    let Some(wanted) = removal.map(Removal::unit) else {
        return Ok(criterion.unit().unwrap_or(criterion.usual_unit()));
    };
    match criterion.unit() {
        Some(unit) if unit != wanted => Err(Error::Unit { criterion: criterion.name().into(), unit: wanted }),
        _ => Ok(wanted),
    }
}

fn masks(
    criterion: &dyn Criterion,
    removal: Option<&Removal>,
    layers: &[Inputs<'_>],
    scores: &[Vec<f64>],
) -> Result<Vec<Option<Vec<bool>>>, Error> {
    let each = scores.iter().zip(layers);
    let Some(removal) = removal else {
        return each.map(|(scores, inputs)| criterion.decide(inputs, scores).transpose()).collect();
    };
    if let Some((scores, inputs)) = each.clone().next()
        && criterion.decide(inputs, scores).is_some()
    {
        let (criterion, pattern) = (criterion.name().into(), removal.to_string());
        return Err(Error::Pattern { criterion, pattern, expected: "none: it decides by itself" });
    }
    match removal {
        Removal::Elements(Pattern::Unstructured(it)) if it.scope == Scope::Global => {
            Ok(select::keep_together(scores, it.sparsity)?.into_iter().map(Some).collect())
        }
        Removal::Elements(pattern) => each
            .map(|(scores, inputs)| {
                let matrix = inputs.any_matrix();
                let (rows, columns) = matrix.map_or((scores.len(), 1), |it| (it.rows(), it.columns()));
                match (pattern, criterion.ranking()) {
                    (Pattern::Random(random), _) => {
                        connections(random, matrix.map_or("", crate::Matrix::path), scores, columns)
                    }
                    (Pattern::Unstructured(it), Ranking::Row) => each_row(it.sparsity, scores, columns),
                    _ => mask(pattern, scores, rows, columns),
                }
                .map(Some)
            })
            .collect(),
        Removal::Channels(sparsity) => {
            let keep =
                |scores: &Vec<f64>| select::keep(scores, select::removed(*sparsity, scores.len())).map(Some);
            scores.iter().map(keep).collect()
        }
    }
}

/// The weight of a layer after removal, if it has one of the mask's units.
fn left(
    criterion: &dyn Criterion,
    inputs: &Inputs<'_>,
    unit: Unit,
    keep: &[bool],
) -> Result<Option<Vec<f64>>, Error> {
    if let Some(updated) = criterion.update(inputs, keep) {
        return updated.map(Some);
    }
    let Ok(weight) = inputs.weight() else { return Ok(None) };
    let each = match unit {
        Unit::Element => 1,
        Unit::Channel => weight.columns().max(1),
    };
    let stays = |index: usize| keep.get(index / each).copied().unwrap_or(true);
    let values = weight.values().iter().enumerate();
    Ok(Some(values.map(|(index, &value)| if stays(index) { value } else { 0.0 }).collect()))
}
