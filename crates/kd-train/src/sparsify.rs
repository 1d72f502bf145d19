//! Masks that tighten while a student trains: which weights, scored how, and how much of the target at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use kd_core::{Progress, Schedule};
use kd_deploy::Weights;
use prune_core::{Block, Criterion, Inputs, Lines, Matrix, NM, Pattern, Removal, Sparsity, Unstructured};

use crate::error::Error;
use crate::survey::Entry;

/// How masks come about.
#[derive(Debug, Clone)]
pub struct Sparsifier {
    /// Shape and final share of what is masked.
    pub pattern: Pattern,
    /// What is kept.
    pub criterion: Arc<dyn Criterion>,
    /// Share of the final sparsity in force, from 0 to 1, over the stage (Zhu and Gupta 2017: cubic).
    pub schedule: Schedule,
    /// Steps between two updates.
    pub every: usize,
}

impl Sparsifier {
    /// Whether masks are updated before this step, counted over the whole stage.
    pub fn acts_at(&self, step: usize) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Share of a stage of `epochs` epochs from whose end on masks are final: those of an epoch before are not passed on.
    pub fn final_from(&self, epochs: usize) -> f64 {
        let end = self.schedule.at(Progress::END);
        let done = |epoch: usize| self.schedule.at(Progress::of(epoch, epochs)) >= end;
        let first = (1..=epochs).find(|&epoch| done(epoch)).unwrap_or(epochs);
        Progress::of(first, epochs).get()
    }

    /// The masks of all convolutions and linear layers but the last one, which decides between classes and is
    /// small.
    ///
    /// # Errors
    ///
    /// Weights that are not finite.
    pub fn masks(
        &self,
        weights: &Weights,
        entries: &[Entry],
        progress: Progress,
    ) -> Result<BTreeMap<String, Vec<bool>>, Error> {
        let pattern = scaled(&self.pattern, self.schedule.at(progress).clamp(0.0, 1.0))?;
        let matrix = |(path, axis): (String, usize)| {
            let array = &weights[&path];
            Matrix::from_weight(&path, array.shape(), array.data(), axis)
        };
        let matrices = masked(entries).into_iter().map(matrix).collect::<Result<Vec<_>, _>>()?;
        let layers: Vec<Inputs<'_>> = matrices.iter().map(Inputs::new).collect();
        let removal = Removal::Elements(pattern);
        let pruned = prune_core::prune(self.criterion.as_ref(), Some(&removal), &layers)?;
        let mut masks = BTreeMap::new();
        for (matrix, pruned) in matrices.iter().zip(pruned) {
            let keep = pruned.keep.unwrap_or_else(|| vec![true; matrix.values().len()]);
            masks.insert(matrix.path().to_owned(), matrix.to_stored(&keep)?);
        }
        Ok(masks)
    }
}

/// The pattern with `share` of what it removes in the end.
fn scaled(pattern: &Pattern, share: f64) -> Result<Pattern, prune_core::Error> {
    let part = |sparsity: Sparsity| Sparsity::new(sparsity.get() * share);
    Ok(match pattern {
        Pattern::Unstructured(p) => Pattern::Unstructured(Unstructured { sparsity: part(p.sparsity)?, ..*p }),
        Pattern::Rows(p) => Pattern::Rows(Lines { sparsity: part(p.sparsity)? }),
        Pattern::Columns(p) => Pattern::Columns(Lines { sparsity: part(p.sparsity)? }),
        Pattern::Block(p) => Pattern::Block(Block { sparsity: part(p.sparsity)?, ..*p }),
        Pattern::NM(p) => {
            // A group loses whole elements; 1e-9 keeps a product that should be whole from falling below it.
            let gone = ((p.of() - p.keep()) as f64 * share + 1e-9) as usize;
            Pattern::NM(NM::new(p.of() - gone, p.of())?)
        }
    })
}

/// Path and output axis of the weights that are masked.
pub fn masked(entries: &[Entry]) -> Vec<(String, usize)> {
    let weights = entries.iter().filter_map(|entry| Some((entry.path.clone(), entry.output_axis()?)));
    let mut weights: Vec<_> = weights.collect();
    if weights.len() > 1 {
        weights.pop();
    }
    weights
}
