//! Hinton's distillation loss, with nothing left implicit.
//!
//! The same logits give values a factor of 100 apart in public toolkits that all call theirs "KD": they divide by the
//! batch, by batch times classes or not at all, multiply by T² or not, and hide a weight named `alpha` that belongs to
//! the labels in one and to the teacher in the next. Here reduction and T² are knobs, and weights belong to the
//! objective.

use std::fmt;

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use super::{DistillLoss, LossName, check_logits, divide, sum_rows};
use crate::{Error, Knob, Temperature, View};

/// KL divergence of the student's softened distribution from the teacher's:
///
/// ```text
/// S = Σ_b Σ_c p_t[c]·(log p_t[c] − log p_s[c]),    p = softmax(z / T)
///
/// batch-mean: S / B      mean: S / (B·C)      sum: S          each ·T² where `t-squared` is set
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`, at least 0 up to rounding, and 0 only where the distributions are
/// equal; adding a constant to a row changes nothing. The teacher's logits are a constant: no gradient reaches them.
/// Both logarithms are log-softmaxes, so that no probability is ever divided by or taken the logarithm of: the value
/// is finite at any gap between finite logits, and a class of probability 0 adds 0.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn kl(student: Tensor<2>, teacher: Tensor<2>, knobs: &Kl) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_logits(&student)?;
    if teacher.dims() != [batch, classes] {
        return Err(Error::LogitShapes { student: [batch, classes], teacher: teacher.dims() });
    }
    let t = knobs.temperature.get();
    let log_s = log_softmax(divide(student, t), 1);
    let log_t = log_softmax(divide(teacher.without_autodiff(), t), 1);
    let sum = sum_rows(log_t.clone().exp() * (log_t - log_s));
    let divisor = match knobs.reduction {
        Reduction::BatchMean => batch as f64,
        Reduction::Mean => (batch * classes) as f64,
        Reduction::Sum => 1.0,
    };
    let factor = if knobs.t_squared { t * t } else { 1.0 };
    Ok(sum.mul_scalar(factor / divisor))
}

/// The loss `kl` of a recipe, and the knobs of [`kl`]. Any combination is legal; the default, `batch-mean` with T²,
/// is the paper's: T² keeps the size of the gradient when the temperature changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "KlKnobs")]
pub struct Kl {
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// What the sum over all examples and classes is divided by.
    pub reduction: Reduction,
    /// Whether the result is multiplied by the temperature squared.
    pub t_squared: bool,
}

impl Kl {
    /// The paper's: `T²·S / B`.
    pub fn new(temperature: Temperature) -> Self {
        Kl { temperature, reduction: Reduction::BatchMean, t_squared: true }
    }

    /// The same with another reduction.
    #[must_use]
    pub fn with_reduction(self, reduction: Reduction) -> Self {
        Kl { reduction, ..self }
    }

    /// The same with or without the factor T².
    #[must_use]
    pub fn with_t_squared(self, t_squared: bool) -> Self {
        Kl { t_squared, ..self }
    }
}

/// What a sum over B examples and C classes is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// By B.
    #[default]
    BatchMean,
    /// By B·C.
    Mean,
    /// By nothing.
    Sum,
}

impl DistillLoss for Kl {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let teacher = view.require_teacher(NAME.name)?;
        kl(view.student.logits.clone(), teacher.logits.clone(), self)
    }
}

pub(super) const NAME: LossName = LossName {
    name: "kl",
    line: "T²·KL(teacher ‖ student) of the distributions softened by a temperature, mean over the batch",
    paper: "Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2014, arXiv 1503.02531",
    reference: "HobbitLong/RepDistiller distiller_zoo/KD.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    knobs: &[
        Knob::required("temperature", "divides both logits, above 0; usually 1 to 20"),
        Knob::or("reduction", "\"batch-mean\"", "batch-mean (sum / B), mean (sum / (B·C)) or sum"),
        Knob::or("t-squared", "true", "whether the result is multiplied by the temperature squared"),
    ],
};

/// The knobs as they are written, with the one that everybody tries.
#[derive(Deserialize)]
#[serde(rename = "Kl", rename_all = "kebab-case", deny_unknown_fields)]
struct KlKnobs {
    temperature: Temperature,
    #[serde(default)]
    reduction: Reduction,
    #[serde(default = "yes")]
    t_squared: bool,
    #[serde(default, rename = "alpha")]
    _alpha: NoAlpha,
}

fn yes() -> bool {
    true
}

impl From<KlKnobs> for Kl {
    fn from(knobs: KlKnobs) -> Self {
        Kl { temperature: knobs.temperature, reduction: knobs.reduction, t_squared: knobs.t_squared }
    }
}

/// A key that may not be written: half of the field means the share of the teacher by it, half the share of the labels.
#[derive(Default)]
struct NoAlpha;

impl fmt::Display for NoAlpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`kl` has no `alpha`: give each term of the objective its own `weight`, such as `weight = 0.9` beside \
             `kl` and `weight = 0.1` beside `cross-entropy`",
        )
    }
}

impl<'de> Deserialize<'de> for NoAlpha {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Err(D::Error::custom(NoAlpha))
    }
}
