//! Losses: a free function that does the arithmetic, and a struct of knobs that is its name in a recipe.
//!
//! One paper, one file. A loss holds numbers and never parameters (those are in [`Connectors`](crate::Connectors)),
//! takes the teacher's outputs as constants, and is reported without its weight. [`TABLE`] says of each which paper
//! defines it and which public implementation it equals.

mod cross_entropy;
mod hint;
mod kl;

use std::fmt::Debug;

use burn::tensor::Tensor;

pub use cross_entropy::{CrossEntropy, LabelSmoothing, cross_entropy};
pub use hint::{Hint, hint};
pub use kl::{Kl, Reduction, kl};

use crate::{Error, Knob, SitePair, View};

/// A loss as an [`Objective`](crate::Objective) sees it.
///
/// It is used as `Box<dyn DistillLoss>`: the set of losses is open, and an objective is a list of them.
pub trait DistillLoss: Debug + Send + Sync {
    /// Whether it compares with a teacher.
    fn needs_teacher(&self) -> bool;

    /// The sites that it compares; they are checked against both models before the first step.
    fn sites(&self) -> Vec<SitePair> {
        Vec::new()
    }

    /// Its value on one batch, unweighted, one element.
    ///
    /// # Errors
    ///
    /// Where what it needs is missing from `view` or has the wrong shape.
    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error>;
}

/// What is known about a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossName {
    /// Its key in a recipe.
    pub name: &'static str,
    /// What it does, in one line.
    pub line: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// The public implementation that it equals: repository, file and commit or release.
    pub reference: &'static str,
    /// What its table takes.
    pub knobs: &'static [Knob],
}

/// The losses of this crate.
pub const TABLE: &[LossName] = &[cross_entropy::NAME, kl::NAME, hint::NAME];

/// Sum of all elements: along each row, then over the rows.
///
/// Not `sum()` at once: on the CPU, Burn adds four million elements and more in an order that depends on the threads,
/// and the same run must give the same bits.
fn sum_rows(rows: Tensor<2>) -> Tensor<1> {
    rows.sum_dim(1).sum()
}

/// `x / divisor`, as a product.
///
/// Burn's backward pass of a division by a number takes the reciprocal in f32 whatever the precision of the tensor is,
/// which costs an f64 gradient half its digits; that of a product does not.
fn divide<const D: usize>(x: Tensor<D>, divisor: f64) -> Tensor<D> {
    x.mul_scalar(1.0 / divisor)
}

/// The shape `[batch, classes]`, both at least 1.
fn check_logits(logits: &Tensor<2>) -> Result<[usize; 2], Error> {
    let shape = logits.dims();
    if shape.contains(&0) { Err(Error::Empty { shape: shape.to_vec() }) } else { Ok(shape) }
}
