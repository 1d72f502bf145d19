//! BRECQ: the weights of a block of layers are rounded together, by what the block's output becomes.
//!
//! Rounding layer by layer takes no account of what a later layer makes of an error; rounding the whole network at once
//! overfits a small calibration set. A block, such as a residual one, is in between. What a block is, only its owner
//! knows: it lends a [`Block`], which runs samples through with weights that it is given.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::matrix::{check_knob, check_size};
use super::soft::{SoftWeight, rounding_regularizer, soft_bits};
use super::{Grid, Matrix, Quantized, rtn};
use crate::Error;
use crate::number::draw;

/// A block of layers and the samples that are kept of its inputs.
pub trait Block<const D: usize> {
    /// What can go wrong; errors of this crate among it.
    type Error: From<Error>;

    /// Number of samples, at least one.
    fn samples(&self) -> usize;

    /// Outputs, channels along axis 1, for the given samples, with weights `[out, K]` in the order of
    /// [`brecq`]'s, in place of the block's own. A convolution brings its weight into shape itself; the gradient has to
    /// reach it.
    ///
    /// # Errors
    ///
    /// Those of the block.
    fn outputs(&self, weights: &[Tensor<2>], samples: &[usize]) -> Result<Tensor<D>, Self::Error>;

    /// What the outputs should be for the given samples.
    ///
    /// # Errors
    ///
    /// Those of the block.
    fn targets(&self, samples: &[usize]) -> Result<Targets<D>, Self::Error>;
}

/// What a block should put out.
#[derive(Debug, Clone)]
pub struct Targets<const D: usize> {
    /// The float block's outputs.
    pub outputs: Tensor<D>,
    /// How much each error counts: (∂loss/∂output)², the diagonal of the Fisher information; none counts each as 1. The
    /// paper's code adds 1 to |∂loss/∂output| beforehand, which keeps λ in proportion.
    pub fisher: Option<Tensor<D>>,
}

/// A weight of a block, and the codes it starts from, whose scales and zero points stay.
#[derive(Debug, Clone)]
pub struct BlockWeight<'a> {
    weight: Matrix<'a>,
    start: Quantized,
}

impl<'a> BlockWeight<'a> {
    /// A weight with any codes, such as [`gptq`](super::gptq)'s: they are kept if nothing better is found.
    ///
    /// # Errors
    ///
    /// [`Error::Size`].
    pub fn new(weight: Matrix<'a>, start: Quantized) -> Result<Self, Error> {
        weight.check_columns(start.columns)?;
        check_size("rows", weight.rows(), start.rows)?;
        check_size("codes", weight.values().len(), start.codes.len())?;
        check_size("cells", start.rows * start.grid.groups(start.columns), start.cells.len())?;
        Ok(Self { weight, start })
    }

    /// A weight with [`rtn`]'s codes.
    ///
    /// # Errors
    ///
    /// Those of [`rtn`].
    pub fn nearest(weight: Matrix<'a>, grid: &Grid) -> Result<Self, Error> {
        Self::new(weight, rtn(weight, grid)?)
    }
}

/// Knobs of [`brecq`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Brecq {
    /// Steps of Adam.
    pub iterations: usize,
    /// Its learning rate, above 0.
    pub learning_rate: f64,
    /// λ, weight of the regularizer, at least 0.
    pub lambda: f64,
    /// Exponent β at the end of the warm start and at the end, above 1.
    pub beta: (f64, f64),
    /// Share of the steps without a regularizer, 0 ..= 1.
    pub warm_start: f64,
    /// Samples of a step, at least one.
    pub batch: usize,
    /// Which samples come when.
    pub seed: u64,
}

impl Default for Brecq {
    fn default() -> Self {
        Self {
            iterations: 20_000,
            learning_rate: 1e-3,
            lambda: 0.01,
            beta: (20.0, 2.0),
            warm_start: 0.2,
            batch: 32,
            seed: 0,
        }
    }
}

/// Result of [`brecq`].
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// A weight's codes, for each weight.
    pub quantized: Vec<Quantized>,
    /// V of each weight, `[out, K]`: above 0 is up.
    pub v: Vec<Vec<f32>>,
    /// Objective of the codes it started from, over all samples.
    pub before: f64,
    /// Objective of the codes that were learned, over all samples.
    pub after: f64,
    /// Whether the first codes were not beaten, and kept.
    pub kept: bool,
}

/// Minimizes, over V of all weights of a block together,
///
/// ```text
/// mean over all but channels of Σ_channels F · (block(W̃) − target)²  +  λ Σ (1 − |2 h(V) − 1|^β)
/// W̃ = s · (clamp(⌊W / s⌋ + h(V) + z, qmin, qmax) − z)          h(V) = clamp(1.2 · σ(V) − 0.1, 0, 1)
/// β(t) = β₁ + (β₀ − β₁) (1 − t),  t from 0 at the end of the warm start to 1
/// ```
///
/// with Adam (0.9, 0.999, 1e-8) in the 32-bit floats of `device`, then rounds up where h(V) ≥ ½. V starts where W̃ = W, but
/// for 1e-4 of a step. A weight that is exactly 0 stays so, as in [`adaround`](super::adaround).
/// Each step takes other samples: the seed shuffles them, and once more when they run out. If, over all samples, the
/// codes that it started from have the smaller objective, they stay: the result is never worse than these.
///
/// Errors of outputs and λ belong together, as in [`adaround`](super::adaround), which is this for one linear layer and
/// F = 1, without minibatches. A step costs what the block costs forward and backward.
///
/// Source: Li et al. 2021, arXiv 2102.05426; yhhhli/BRECQ, `quant/block_recon.py`, whose steps count from 1.
///
/// # Errors
///
/// Those of the block; [`Error::Setting`], [`Error::NothingSeen`] without samples, [`Error::Shapes`] where outputs are
/// not of their targets' shape, [`Error::NotOfWeights`] where they do not depend on the weights, [`Error::NotFiniteIn`]
/// where the first codes' objective is not finite.
pub fn brecq<const D: usize, B: Block<D>>(
    weights: &[BlockWeight<'_>],
    block: &B,
    knobs: &Brecq,
    device: &Device,
) -> Result<Reconstruction, B::Error> {
    check(knobs)?;
    if block.samples() == 0 {
        return Err(Error::NothingSeen.into());
    }
    let device = device.clone().autodiff();
    let mut soft: Vec<SoftWeight> =
        weights.iter().map(|weight| SoftWeight::new(weight.weight, &weight.start, &device)).collect();
    let mut samples = Samples::new(block.samples(), knobs);
    for step in 0..knobs.iterations {
        let bits: Vec<Tensor<2>> = soft.iter().map(|weight| soft_bits(weight.v.clone())).collect();
        let effective: Vec<Tensor<2>> =
            soft.iter().zip(&bits).map(|(weight, bits)| weight.effective(bits.clone())).collect();
        let mut loss = objective(block, &effective, samples.next())?;
        if !loss.is_tracked() {
            return Err(Error::NotOfWeights.into());
        }
        if let Some(beta) = exponent(step, knobs) {
            for bits in bits {
                loss = loss + rounding_regularizer(bits, beta).mul_scalar(knobs.lambda);
            }
        }
        let mut gradients = loss.backward();
        for weight in &mut soft {
            if let Some(gradient) = weight.v.grad_remove(&mut gradients) {
                weight.update(gradient, knobs.learning_rate, step as i32 + 1);
            }
        }
    }
    let first: Vec<Quantized> = weights.iter().map(|weight| weight.start.clone()).collect();
    let learned: Vec<Quantized> = first
        .iter()
        .zip(&soft)
        .map(|(start, weight)| Quantized { codes: weight.codes(start), ..start.clone() })
        .collect();
    let plain = device.without_autodiff();
    let (before, after) = (
        block_error(&first, block, knobs.batch, &plain)?,
        block_error(&learned, block, knobs.batch, &plain)?,
    );
    if !before.is_finite() {
        return Err(Error::NotFiniteIn { what: "objective", index: 0, value: before }.into());
    }
    // Not a number is not better.
    let kept = !matches!(after.partial_cmp(&before), Some(std::cmp::Ordering::Less));
    let values =
        |weight: &SoftWeight| weight.v.clone().without_autodiff().into_data().iter::<f32>().collect();
    let v = soft.iter().map(values).collect();
    Ok(Reconstruction { quantized: if kept { first } else { learned }, v, before, after, kept })
}

/// The first term of [`brecq`]'s objective for codes, the mean over all samples, `batch` of them at a time; codes are in
/// the order of its weights. λ is in proportion where it is a number times this by a weight.
///
/// # Errors
///
/// Those of the block; [`Error::Setting`] for a batch of none, [`Error::NothingSeen`] without samples, [`Error::Shapes`]
/// where outputs are not of their targets' shape.
pub fn block_error<const D: usize, B: Block<D>>(
    weights: &[Quantized],
    block: &B,
    batch: usize,
    device: &Device,
) -> Result<f64, B::Error> {
    check_knob("a batch", "of at least one sample", 0.0, batch > 0)?;
    if block.samples() == 0 {
        return Err(Error::NothingSeen.into());
    }
    let tensor = |weight: &Quantized| {
        Tensor::from_data(TensorData::new(weight.dequantize(), [weight.rows, weight.columns]), device)
    };
    let weights: Vec<Tensor<2>> = weights.iter().map(tensor).collect();
    let all: Vec<usize> = (0..block.samples()).collect();
    let mut sum = 0.0;
    for samples in all.chunks(batch) {
        let mean = objective(block, &weights, samples)?.without_autodiff().into_scalar::<f32>();
        sum += f64::from(mean) * samples.len() as f64;
    }
    Ok(sum / all.len() as f64)
}

fn check(knobs: &Brecq) -> Result<(), Error> {
    let Brecq { learning_rate, lambda, beta, warm_start, batch, .. } = *knobs;
    let legal = learning_rate > 0.0 && learning_rate.is_finite();
    check_knob("a learning rate", "above 0", learning_rate, legal)?;
    check_knob("lambda", "of at least 0", lambda, lambda >= 0.0 && lambda.is_finite())?;
    check_knob("beta", "above 1", beta.0.min(beta.1), beta.0 > 1.0 && beta.1 > 1.0)?;
    check_knob("a warm start", "from 0 to 1", warm_start, (0.0..=1.0).contains(&warm_start))?;
    check_knob("a batch", "of at least one sample", 0.0, batch > 0)
}

/// The first term for some samples, `[1]`.
fn objective<const D: usize, B: Block<D>>(
    block: &B,
    weights: &[Tensor<2>],
    samples: &[usize],
) -> Result<Tensor<1>, B::Error> {
    let (outputs, targets) = (block.outputs(weights, samples)?, block.targets(samples)?);
    let (dims, expected) = (outputs.dims(), targets.outputs.dims());
    if dims != expected {
        return Err(Error::Shapes { left: dims.to_vec(), right: expected.to_vec() }.into());
    }
    let error = outputs - targets.outputs.without_autodiff();
    let mut squares = error.clone() * error;
    if let Some(fisher) = targets.fisher {
        let found = fisher.dims();
        if found != dims {
            return Err(Error::Shapes { left: dims.to_vec(), right: found.to_vec() }.into());
        }
        squares = squares * fisher.without_autodiff();
    }
    let channels = dims.get(1).copied().unwrap_or(1).max(1);
    let places = (dims.iter().product::<usize>() / channels).max(1);
    Ok(squares.sum().mul_scalar(1.0 / places as f64))
}

/// β of a step; none in the warm start.
fn exponent(step: usize, knobs: &Brecq) -> Option<f64> {
    let (step, all) = (step as f64, knobs.iterations as f64);
    let warm = knobs.warm_start * all;
    let (from, to) = knobs.beta;
    (step >= warm).then(|| to + (from - to) * (1.0 - (step - warm) / (all - warm)))
}

/// Which samples come next; a batch of all has them in order.
struct Samples {
    order: Vec<usize>,
    at: usize,
    batch: usize,
    seed: u64,
    drawn: usize,
}

impl Samples {
    fn new(count: usize, knobs: &Brecq) -> Self {
        let batch = knobs.batch.min(count);
        Self { order: (0..count).collect(), at: count, batch, seed: knobs.seed, drawn: 0 }
    }

    fn next(&mut self) -> &[usize] {
        let count = self.order.len();
        if self.batch == count {
            return &self.order;
        }
        if self.at + self.batch > count {
            for last in (1..count).rev() {
                let at = (u64::from(draw(self.seed, self.drawn)) * (last as u64 + 1)) >> 32;
                self.order.swap(last, at as usize);
                self.drawn += 1;
            }
            self.at = 0;
        }
        self.at += self.batch;
        &self.order[self.at - self.batch..self.at]
    }
}
