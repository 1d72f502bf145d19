//! Columns are pruned one after the other, and those to the right make up for what went.
//!
//! Frantar and Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", arXiv:2301.00774.
//! Choice and update are one sweep, and rounding fits into it: what a column loses by it goes the same way. Rounding
//! is a function of its caller, so that this crate knows no number formats.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{Bits, Criterion, Entry, Input, Knob, LAYER_INPUTS, NonNegative, Removes, Unit, WEIGHT, only, rows};
use crate::linear::Upper;
use crate::{Error, Inputs, Matrix, NM, Needs, Pattern, Pruned, Samples, Scope, select};

/// `w² / U_jj²` with `H⁻¹ = UᵀU`, `H = 2XᵀX` damped, chosen block by block while the sweep updates the weight.
///
/// `unstructured` makes one cut for each `block-size` columns, over all rows at once; n:m cuts a group when the sweep
/// reaches it. An input that is always 0 gets `H_jj = 1` and a weight of 0, before `damping`, relative to the mean of
/// the diagonal, is added. `bits` rounds kept weights to `scale·(clamp(round(w/scale) + zero, 0, 2^bits − 1) − zero)`
/// in the same sweep; removed ones are exactly 0.
///
/// Does not help without calibration data like what the layer will see, nor beyond what the other columns can express.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SparseGpt {
    /// Columns of one cut.
    pub block_size: NonZeroUsize,
    /// What is added to the diagonal of H, as a share of its mean.
    pub damping: NonNegative,
    /// Bits of a kept weight; without it, kept weights are not rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<Bits>,
}

impl Default for SparseGpt {
    fn default() -> Self {
        Self {
            block_size: NonZeroUsize::new(128).expect("128 is not 0"),
            damping: NonNegative::usual(0.01),
            bits: None,
        }
    }
}

/// `2XᵀX` of a layer's inputs `[samples…, columns]`, row-major; sums of several batches are those of all samples.
///
/// # Errors
///
/// [`Error::Shape`] and [`Error::Empty`] for inputs of another layer.
pub fn hessian(activations: &Samples, columns: usize) -> Result<Vec<f64>, Error> {
    let mut sums = vec![0.0; columns * columns];
    for sample in activations.rows(columns)? {
        for (&x, row) in sample.iter().zip(sums.chunks_exact_mut(columns)) {
            if x != 0.0 {
                row.iter_mut().zip(sample).for_each(|(sum, other)| *sum += 2.0 * x * other);
            }
        }
    }
    Ok(sums)
}

impl SparseGpt {
    /// Prunes a weight by `pattern`, given the [`hessian`] of its inputs, and rounds what is kept by `round`, which gets
    /// row, column and value.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for another pattern than `unstructured` within the layer and n:m, [`Error::Length`] for a
    /// Hessian of another layer, [`Error::Singular`].
    pub fn sweep_with(
        &self,
        weight: &Matrix,
        hessian: Vec<f64>,
        pattern: &Pattern,
        round: impl FnMut(usize, usize, f64) -> f64,
    ) -> Result<Pruned, Error> {
        self.sweep_within(weight, hessian, pattern, None, round)
    }

    /// The same on what is still there: what is gone goes first and counts, and whatever others hand on to it on the way
    /// is handed on again.
    fn sweep_within(
        &self,
        weight: &Matrix,
        hessian: Vec<f64>,
        pattern: &Pattern,
        there: Option<&[bool]>,
        mut round: impl FnMut(usize, usize, f64) -> f64,
    ) -> Result<Pruned, Error> {
        let columns = weight.columns();
        let cut = match pattern {
            Pattern::Unstructured(unstructured) if unstructured.scope == Scope::Local => {
                Cut::Blocks(unstructured.sparsity)
            }
            Pattern::NM(nm) => Cut::Groups(*nm),
            other => {
                let (criterion, pattern) = (ENTRY.name.into(), other.to_string());
                return Err(Error::Pattern { criterion, pattern, expected: ENTRY.removes.patterns() });
            }
        };
        let (u, mut w) = self.prepared(weight, hessian)?;
        let is_there = |i: usize, j: usize| there.is_none_or(|there| there[i * columns + j]);
        let score = |i: usize, j: usize, w: f64| {
            if is_there(i, j) { score(w, &u, j) } else { f64::NEG_INFINITY }
        };
        let mut keep = vec![true; w.len()];
        let size = self.block_size.get();
        for start in (0..columns).step_by(size) {
            let end = columns.min(start.saturating_add(size));
            if let Cut::Blocks(sparsity) = cut {
                let of_row = |(i, row): (usize, &[f64])| {
                    (start..end).map(|j| score(i, j, row[j])).collect::<Vec<f64>>()
                };
                let block: Vec<f64> = rows(&w, columns).enumerate().flat_map(of_row).collect();
                let stays = select::keep(&block, select::removed(sparsity, block.len()))?;
                for (row, stays) in keep.chunks_exact_mut(columns).zip(stays.chunks_exact(end - start)) {
                    row[start..end].copy_from_slice(stays);
                }
            }
            for (i, (row, keep)) in w.chunks_exact_mut(columns).zip(keep.chunks_exact_mut(columns)).enumerate() {
                for j in start..end {
                    if let Cut::Groups(nm) = cut
                        && j % nm.of() == 0
                    {
                        // A group may reach into the next block: all columns to the right are up to date.
                        let group = j..columns.min(j + nm.of());
                        let scores: Vec<f64> = group.clone().map(|j| score(i, j, row[j])).collect();
                        let goes = scores.len().saturating_sub(nm.keep());
                        keep[group].copy_from_slice(&select::keep(&scores, goes)?);
                    }
                    keep[j] &= is_there(i, j);
                    let before = row[j];
                    let after = if keep[j] { round(i, j, before) } else { 0.0 };
                    let error = (before - after) / u.at(j, j);
                    if error != 0.0 {
                        row[j..].iter_mut().zip(u.row(j)).for_each(|(w, u)| *w -= error * u);
                    }
                    row[j] = after;
                }
            }
        }
        Ok(Pruned { unit: Unit::Element, scores: None, keep: Some(keep), weight: Some(w) })
    }

    /// The factor of the damped inverse, and the weight without what no input reaches.
    fn prepared(&self, weight: &Matrix, mut hessian: Vec<f64>) -> Result<(Upper, Vec<f64>), Error> {
        let n = weight.columns();
        let (expected, found) = (n * n, hessian.len());
        if expected != found {
            return Err(Error::Length { path: format!("hessian of {}", weight.path()), expected, found });
        }
        let mut w = weight.values().to_vec();
        for j in (0..n).filter(|j| hessian[j * n + j] == 0.0).collect::<Vec<_>>() {
            hessian[j * n + j] = 1.0;
            w.iter_mut().skip(j).step_by(n).for_each(|w| *w = 0.0);
        }
        let mean = (0..n).map(|j| hessian[j * n + j]).sum::<f64>() / n.max(1) as f64;
        let damping = self.damping.get();
        (0..n).for_each(|j| hessian[j * n + j] += damping * mean);
        let singular = || Error::Singular { path: weight.path().into(), damping };
        Ok((Upper::of_inverse(hessian, n).ok_or_else(singular)?, w))
    }

    fn swept(&self, inputs: &Inputs<'_>, pattern: &Pattern) -> Result<Pruned, Error> {
        let Some(bits) = self.bits else { return self.by_groups(inputs, pattern, |_, w| w) };
        let rows = inputs.weight()?.rows();
        let (scales, zeros) = (inputs.quant_scale()?, inputs.quant_zero()?);
        let (scale, zero) = (scales.exactly(rows)?, zeros.exactly(rows)?);
        if let Some(row) = scale.iter().position(|&scale| scale <= 0.0) {
            return Err(Error::Scale { path: scales.path().into(), row, value: scale[row] });
        }
        self.by_groups(inputs, pattern, |row, w| {
            let code = ((w / scale[row]).round_ties_even() + zero[row]).clamp(0.0, bits.largest());
            scale[row] * (code - zero[row])
        })
    }

    /// Output units that read other inputs than their neighbors are a layer of their own.
    fn by_groups(
        &self,
        inputs: &Inputs<'_>,
        pattern: &Pattern,
        round: impl Fn(usize, f64) -> f64,
    ) -> Result<Pruned, Error> {
        let there = inputs.there()?;
        let (mut keep, mut left) = (Vec::new(), Vec::new());
        for (group, (part, hessian)) in parts(inputs)?.into_iter().enumerate() {
            let (rows, len) = (part.rows(), part.values().len());
            let there = there.map(|there| &there[group * len..][..len]);
            let round = |row, _, w| round(group * rows + row, w);
            let swept = self.sweep_within(&part, hessian, pattern, there, round)?;
            keep.extend(swept.keep.into_iter().flatten());
            left.extend(swept.weight.into_iter().flatten());
        }
        Ok(Pruned { unit: Unit::Element, scores: None, keep: Some(keep), weight: Some(left) })
    }
}

/// What a sweep removes.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Blocks(crate::Sparsity),
    Groups(NM),
}

/// The output units that read the same inputs, as a matrix, with `2XᵀX` of these; all of them where rows are given.
fn parts(inputs: &Inputs<'_>) -> Result<Vec<(Matrix, Vec<f64>)>, Error> {
    let weight = inputs.weight()?;
    let hessians: Vec<Vec<f64>> = match inputs.sums()? {
        Some(sums) => {
            sums.products()?.map(|group| group.iter().map(|product| 2.0 * product).collect()).collect()
        }
        None => vec![hessian(inputs.activations()?, weight.columns())?],
    };
    let (rows, columns) = (weight.rows() / hessians.len(), weight.columns());
    let part = |(group, hessian): (usize, Vec<f64>)| {
        let values = &weight.values()[group * rows * columns..][..rows * columns];
        Ok((Matrix::new(weight.path(), rows, columns, values)?, hessian))
    };
    hessians.into_iter().enumerate().map(part).collect()
}

fn score(w: f64, u: &Upper, j: usize) -> f64 {
    (w / u.at(j, j)).powi(2)
}

impl Criterion for SparseGpt {
    fn needs(&self) -> Needs {
        Needs::InputProducts
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    /// Scores before the sweep has changed a weight.
    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        let mut scores = Vec::new();
        for (part, hessian) in parts(inputs)? {
            let (u, w) = self.prepared(&part, hessian)?;
            scores.extend(w.iter().enumerate().map(|(index, &w)| score(w, &u, index % part.columns())));
        }
        Ok(scores)
    }

    fn sweep(&self, inputs: &Inputs<'_>, pattern: &Pattern) -> Option<Result<Pruned, Error>> {
        Some(self.swept(inputs, pattern))
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "sparsegpt",
    summary: "columns in turn, those to the right make up for what went; rounds in the same sweep",
    formula: "H = 2XᵀX + damping·mean(diag)·I;  H⁻¹ = UᵀU;  s = w²/U_jj²;  w_k −= (w_j − ŵ_j)/U_jj·U_jk for k > j",
    paper: "Frantar and Alistarh 2023, arXiv:2301.00774",
    reference: "IST-DASLab/sparsegpt, sparsegpt.py, fasterprune at 147d215, which removes one weight more in each block",
    when: "One-shot with a few hundred calibration samples and no gradient. Needs memory for columns² numbers.",
    inputs: &[
        WEIGHT,
        LAYER_INPUTS,
        Input {
            name: "quant.scale",
            shape: &["out"],
            meaning: "step between codes of a row, with `bits`",
            optional: true,
        },
        Input {
            name: "quant.zero",
            shape: &["out"],
            meaning: "code of 0 of a row, with `bits`",
            optional: true,
        },
    ],
    removes: Removes::Sweep,
    knobs: &[
        Knob { name: "block-size", values: "128, any integer from 1 up", summary: "columns of one cut" },
        Knob {
            name: "damping",
            values: "0.01, any number from 0 up",
            summary: "added to H's diagonal, a share of its mean",
        },
        Knob { name: "bits", values: "none, or 1 to 16", summary: "bits of kept weights" },
    ],
    example: "{ block-size = 128, damping = 0.01 }",
};
