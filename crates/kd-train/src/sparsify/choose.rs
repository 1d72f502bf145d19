//! Which weights stay: a criterion's scores under a pattern, at a share of what it removes in the end.

use std::collections::BTreeMap;

use kd_deploy::{Array, Weights};
use prune_core::{InputSums, Inputs, Matrix, Needs, Pattern, Removal, Sparsity, Unit, Unstructured, select};

use super::ranked::Ranked;
use super::seen::in_rows;
use super::units::scaled;
use super::{Kind, Masks, Memory, Part, Shape, Sparsifier, masked, trained, within};
use crate::error::Error;
use crate::survey::Entry;

impl Sparsifier {
    /// The masks of all convolutions and linear layers but the last one, which decides between classes and is small, at a
    /// share of the pattern's sparsity. What `floor` masks is gone, and counts as such.
    ///
    /// # Errors
    ///
    /// Weights that are not finite.
    pub fn masks(
        &self,
        weights: &Weights,
        entries: &[Entry],
        share: f64,
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Masks, Error> {
        let layers = masked(entries);
        let asked = self.asked(weights, &layers, memory, floor)?;
        let (matrices, inputs) = (&asked.matrices, asked.inputs());
        let Shape::Each(pattern) = &self.shape else {
            return self.ranked_by_parts(matrices, &inputs, share, memory, floor);
        };
        let prune = |pattern: &Pattern, inputs: &[Inputs<'_>]| {
            let pattern = scaled(pattern, share)?;
            let (criterion, moved) = (self.criterion.as_ref(), self.when.is_movement());
            let ranked = Ranked { criterion, moved, pattern: &pattern };
            prune_core::prune(&ranked, Some(&Removal::Elements(pattern)), inputs)
        };
        let own = matrices.iter().map(|matrix| memory.wide(Kind::Sparsity, matrix.path()));
        let pruned = match (pattern, own.collect::<Option<Vec<_>>>()) {
            (Pattern::Unstructured(unstructured), Some(own)) if !own.is_empty() => {
                let of_layer = |(inputs, own): (&Inputs<'_>, Vec<f64>)| {
                    let sparsity = Sparsity::new(own[0])?;
                    let pattern = Pattern::Unstructured(Unstructured { sparsity, ..*unstructured });
                    prune(&pattern, std::slice::from_ref(inputs))
                };
                inputs
                    .iter()
                    .zip(own)
                    .map(of_layer)
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .flatten()
                    .collect()
            }
            _ => prune(pattern, &inputs)?,
        };
        let mut masks = BTreeMap::new();
        for (matrix, pruned) in matrices.iter().zip(pruned) {
            let keep = pruned.keep.unwrap_or_else(|| vec![true; matrix.values().len()]);
            let keep = within(matrix.to_stored(&keep)?, floor.get(matrix.path()));
            masks.insert(matrix.path().to_owned(), keep);
        }
        Ok(masks)
    }

    /// Everything that a criterion is asked with.
    pub(super) fn asked(
        &self,
        weights: &Weights,
        layers: &[(String, usize)],
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Asked, Error> {
        let mut asked = Asked::default();
        for (path, axis) in layers {
            let array = &weights[path];
            let matrix = Matrix::from_weight(path, array.shape(), array.data(), *axis)?;
            asked.gathered.push(self.gathered(path, array, *axis, memory)?);
            let squares = memory.get(Kind::Squares, path);
            let hessian = squares.map(|squares| Matrix::from_weight(path, array.shape(), squares, *axis));
            asked.hessians.push(hessian.transpose()?);
            let squares = memory.wide(Kind::InputSquares, path);
            let columns = matrix.columns();
            let sums = squares.map(|squares| InputSums::of_squares(path, columns, squares));
            asked.sums.push(sums.transpose()?);
            let there = floor.get(path).map(|floor| in_rows(floor, array, path, *axis));
            asked.there.push(there.transpose()?);
            asked.matrices.push(matrix);
        }
        Ok(asked)
    }

    /// The masks of a hybrid shape: a unit's score is the mean of its elements', or the one that was trained.
    fn ranked_by_parts(
        &self,
        matrices: &[Matrix],
        inputs: &[Inputs<'_>],
        share: f64,
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Masks, Error> {
        let all = match self.when.is_movement() {
            true => {
                let negative =
                    |inputs: &Inputs<'_>| Ok(inputs.grad()?.values().iter().map(|sum| -sum).collect());
                inputs.iter().map(negative).collect::<Result<Vec<Vec<f64>>, prune_core::Error>>()?
            }
            false => self.criterion.scores_of(inputs, Unit::Element)?,
        };
        let stored = matrices
            .iter()
            .zip(all)
            .map(|(matrix, scores)| Ok((matrix.path().to_owned(), matrix.to_stored(&scores)?)));
        let elements = stored.collect::<Result<BTreeMap<_, _>, prune_core::Error>>()?;
        self.by_parts(floor, |part| {
            let mut scores = match self.when.rate_of_scores() {
                Some(_) => {
                    trained::scores(memory, &part.name, part.count).into_iter().map(f64::from).collect()
                }
                None => part.means(&elements),
            };
            for (score, there) in scores.iter_mut().zip(part.there(floor)) {
                // What is gone goes first, and counts.
                *score = if there { *score } else { f64::NEG_INFINITY };
            }
            Ok(select::keep(&scores, part.removed(share)?)?)
        })
    }

    /// Masks from what each part keeps, and without what is gone.
    pub(super) fn by_parts(
        &self,
        floor: &Masks,
        keep: impl Fn(&Part) -> Result<Vec<bool>, Error>,
    ) -> Result<Masks, Error> {
        let mut masks = Masks::new();
        for part in &self.parts {
            part.mask(&keep(part)?, &mut masks);
        }
        let within = |(path, keep): (String, Vec<bool>)| {
            let keep = within(keep, floor.get(&path));
            (path, keep)
        };
        Ok(masks.into_iter().map(within).collect())
    }

    /// What training has gathered for a layer: the sums that movement ranks by, or the gradient behind them.
    fn gathered(
        &self,
        path: &str,
        weight: &Array,
        axis: usize,
        memory: &Memory,
    ) -> Result<Option<Matrix>, Error> {
        let zeros = vec![0.0; weight.data().len()];
        let sums = memory.get(Kind::Products, path).unwrap_or(&zeros);
        let values = match self.criterion.needs() {
            _ if self.when.rate_of_scores().is_some() => self.trained(path, weight.data().len(), memory),
            _ if self.when.is_movement() => sums.iter().map(|&sum| f64::from(sum)).collect(),
            Needs::Weight | Needs::Squares | Needs::InputSquares | Needs::InputProducts => return Ok(None),
            Needs::Gradient => {
                let steps = memory.get(Kind::Steps, path).map_or(1.0, |steps| steps[0]);
                by_weight(sums, weight.data(), steps)
            }
            Needs::Movement => by_weight(sums, weight.data(), 1.0),
        };
        Ok(Some(Matrix::from_weight(path, weight.shape(), &values, axis)?))
    }

    /// For each element the negative of its unit's trained score, as sums of weight times gradient are.
    fn trained(&self, path: &str, len: usize, memory: &Memory) -> Vec<f64> {
        let own = self.parts.iter().find_map(|part| Some((part, part.units(path)?)));
        let Some((part, units)) = own else { return vec![0.0; len] };
        let scores = trained::scores(memory, &part.name, part.count);
        units.iter().map(|unit| unit.map_or(0.0, |unit| -f64::from(scores[unit as usize]))).collect()
    }
}

/// What a criterion is asked with, one each for every layer.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) matrices: Vec<Matrix>,
    gathered: Vec<Option<Matrix>>,
    hessians: Vec<Option<Matrix>>,
    sums: Vec<Option<InputSums>>,
    there: Vec<Option<Vec<bool>>>,
}

impl Asked {
    pub(super) fn inputs(&self) -> Vec<Inputs<'_>> {
        let inputs = self.matrices.iter().enumerate().map(|(at, matrix)| {
            let mut inputs = Inputs::new(matrix);
            if let Some(gathered) = &self.gathered[at] {
                inputs = inputs.with_grad(gathered);
            }
            if let Some(hessian) = &self.hessians[at] {
                inputs = inputs.with_hessian(hessian);
            }
            if let Some(sums) = &self.sums[at] {
                inputs = inputs.with_sums(sums);
            }
            if let Some(there) = &self.there[at] {
                inputs = inputs.with_there(there);
            }
            inputs
        });
        inputs.collect()
    }
}

/// The gradient behind sums of weight times gradient over `steps`. Criteria of first order look at the product alone, which
/// is 0 where the weight is.
fn by_weight(sums: &[f32], weights: &[f32], steps: f32) -> Vec<f64> {
    let gradient = |(&sum, &weight): (&f32, &f32)| match weight == 0.0 {
        true => 0.0,
        false => f64::from(sum) / f64::from(steps) / f64::from(weight),
    };
    sums.iter().zip(weights).map(gradient).collect()
}
