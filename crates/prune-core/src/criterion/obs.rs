//! What the loss would gain by without a weight when all others move to make up for it, and that move.
//!
//! Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", NIPS 1992; in blocks of
//! the empirical Fisher matrix, Kurtic et al., "The Optimal BERT Surgeon", arXiv:2203.07259.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, GRADS, Knob, NonNegative, Removes, Unit, WEIGHT, only};
use crate::linear::Upper;
use crate::{Error, Inputs, Matrix};

/// `w² / (2 [F⁻¹]_qq)`, with `F = mean over samples of g gᵀ + damping · I` in blocks of the weight.
///
/// Blocks are `block-size` consecutive weights in row-major order, the last one shorter. `damping` is absolute. After
/// the choice, what stays in a block makes up for what went by `update`.
///
/// Does not help with fewer gradients than a block has weights unless `damping` is chosen with care: directions that
/// no gradient has seen look free.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Obs {
    /// Weights of a block.
    pub block_size: NonZeroUsize,
    /// What is added to the diagonal of the Fisher matrix.
    pub damping: NonNegative,
    /// How the weights that stay are updated.
    pub update: Update,
}

/// What happens to the weights that stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// The minimum of the quadratic model under all of a block's zeros at once.
    #[default]
    Joint,
    /// The sum of what each removed weight alone asks for, which counts correlations twice.
    Sum,
    /// Nothing.
    None,
}

impl Default for Obs {
    fn default() -> Self {
        Self {
            block_size: NonZeroUsize::new(50).expect("50 is not 0"),
            damping: NonNegative::usual(1e-7),
            update: Update::default(),
        }
    }
}

impl Obs {
    /// `R` with `RᵀR` = the Fisher matrix of the block of `len` weights at `start`.
    fn factor(&self, grads: &[Matrix], start: usize, len: usize) -> Option<Upper> {
        // The rows of gradients over √samples and √damping·I: their products are the matrix.
        let root = (grads.len() as f64).sqrt();
        let mut rows = Vec::with_capacity((grads.len() + len) * len);
        for grad in grads {
            rows.extend(grad.values()[start..start + len].iter().map(|g| g / root));
        }
        let damping = self.damping.get().sqrt();
        for i in 0..len {
            rows.extend((0..len).map(|j| if i == j { damping } else { 0.0 }));
        }
        Upper::of_qr(rows, len)
    }

    fn singular(&self, weight: &Matrix) -> Error {
        Error::Singular { path: weight.path().into(), damping: self.damping.get() }
    }

    /// Start and factor of every block.
    fn blocks<'a>(
        &'a self,
        inputs: &Inputs<'a>,
    ) -> Result<impl Iterator<Item = Result<(usize, usize, Upper), Error>> + 'a, Error> {
        let (weight, grads) = (inputs.weight()?, inputs.grads()?);
        let (count, size) = (weight.values().len(), self.block_size.get());
        Ok((0..count).step_by(size).map(move |start| {
            let len = size.min(count - start);
            let factor = self.factor(grads, start, len).ok_or_else(|| self.singular(weight))?;
            Ok((start, len, factor))
        }))
    }

    fn updated(&self, inputs: &Inputs<'_>, keep: &[bool]) -> Result<Vec<f64>, Error> {
        let stored = inputs.weight()?;
        let mut weight = stored.values().to_vec();
        for block in self.blocks(inputs)? {
            let (start, len, factor) = block?;
            let (weight, keep) = (&mut weight[start..start + len], &keep[start..start + len]);
            match self.update {
                Update::Joint => joint(&factor, weight, keep).ok_or_else(|| self.singular(stored))?,
                Update::Sum => sum(&factor.inverse(), weight, keep),
                Update::None => {}
            }
            weight.iter_mut().zip(keep).filter(|(_, keep)| !**keep).for_each(|(w, _)| *w = 0.0);
        }
        Ok(weight)
    }
}

/// Moves the weights that stay to the minimum of `δᵀFδ` under `δ = −w` where weights go.
fn joint(factor: &Upper, weight: &mut [f64], keep: &[bool]) -> Option<()> {
    let n = weight.len();
    let stays: Vec<usize> = (0..n).filter(|&i| keep[i]).collect();
    let goes: Vec<usize> = (0..n).filter(|&i| !keep[i]).collect();
    if stays.is_empty() || goes.is_empty() {
        return Some(());
    }
    // With what goes in the last columns, F_KK δ_K = F_KQ w_Q reads R_KK δ_K = R_KQ w_Q.
    let order: Vec<usize> = stays.iter().chain(&goes).copied().collect();
    let rows = (0..n).flat_map(|i| order.iter().map(move |&j| factor.at(i, j))).collect();
    let factor = Upper::of_qr(rows, n)?;
    let kept = stays.len();
    let mut delta: Vec<f64> = (0..kept)
        .map(|i| goes.iter().enumerate().map(|(q, &j)| factor.at(i, kept + q) * weight[j]).sum())
        .collect();
    factor.solve(&mut delta);
    stays.iter().zip(delta).for_each(|(&i, delta)| weight[i] += delta);
    Some(())
}

/// Adds `−w_q / [F⁻¹]_qq · F⁻¹ e_q` for every weight that goes; `root` is R⁻¹.
fn sum(root: &Upper, weight: &mut [f64], keep: &[bool]) {
    let n = weight.len();
    // F⁻¹ = R⁻¹ R⁻ᵀ; below the diagonal R⁻¹ is 0.
    let inverse = |i: usize, j: usize| (i.max(j)..n).map(|k| root.at(i, k) * root.at(j, k)).sum::<f64>();
    let before = weight.to_vec();
    for q in (0..n).filter(|&q| !keep[q]) {
        let factor = before[q] / inverse(q, q);
        weight.iter_mut().enumerate().for_each(|(i, w)| *w -= factor * inverse(i, q));
    }
}

impl Criterion for Obs {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        let weight = inputs.weight()?;
        let mut scores = Vec::with_capacity(weight.values().len());
        for block in self.blocks(inputs)? {
            let (start, len, factor) = block?;
            let root = factor.inverse();
            scores.extend((0..len).map(|q| {
                let diagonal: f64 = root.row(q).iter().map(|x| x * x).sum();
                weight.values()[start + q].powi(2) / (2.0 * diagonal)
            }));
        }
        Ok(scores)
    }

    fn update(&self, inputs: &Inputs<'_>, keep: &[bool]) -> Option<Result<Vec<f64>, Error>> {
        (self.update != Update::None).then(|| self.updated(inputs, keep))
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "obs",
    summary: "the loss gained by without a weight when the others of its block make up for it, and that update",
    formula: "F = mean ggᵀ + damping·I;  s = w²/(2[F⁻¹]_qq);  joint: δ_K = F_KK⁻¹F_KQ w_Q;  sum: δ = −Σ_q w_q/[F⁻¹]_qq·F⁻¹e_q",
    paper: "Hassibi and Stork 1992, NIPS 5; Kurtic et al. 2022, arXiv:2203.07259",
    reference: "neuralmagic/sparseml, modifier_pruning_obs.py at 1c04a01, which has `sum` and adds a tiny number to 2[F⁻¹]_qq",
    when: "After training, with many gradients of single examples. With few, `damping` decides. `sum` overshoots where \
           many weights of a block go at once.",
    inputs: &[WEIGHT, GRADS],
    removes: Removes::Elements,
    knobs: &[
        Knob { name: "block-size", values: "50, any integer from 1 up", summary: "weights of a block" },
        Knob { name: "damping", values: "1e-7, any number from 0 up", summary: "added to F's diagonal" },
        Knob {
            name: "update",
            values: "\"joint\" | \"sum\" | \"none\"",
            summary: "how weights that stay move",
        },
    ],
    example: "{ block-size = 50 }",
};
