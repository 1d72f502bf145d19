//! Hinton's distillation loss, with nothing left implicit.
//!
//! The same logits give values a factor of 100 apart in public toolkits that all call theirs "KD": they divide by the
//! batch, by batch times classes or not at all, multiply by T² or not, and hide a weight named `alpha` that belongs to
//! the labels in one and to the teacher in the next. Here reduction and T² are knobs, and weights belong to the
//! objective.

use std::fmt;

use burn::tensor::Tensor;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::loss::math::{check_pair, divide, log_p, sum_rows};
use crate::loss::response::kl_compat::KlCompat;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Divergence of the student's softened distribution `s` from the teacher's `t`, `softmax(z / T)` each:
///
/// ```text
/// forward              Σ t·(log t − log s)              the paper's
/// reverse              Σ s·(log s − log t)
/// jensen-shannon       β·KL(t ‖ m) + (1 − β)·KL(s ‖ m),   m = β·t + (1 − β)·s
/// total-variation      ½ Σ |t − s|
/// soft-cross-entropy   −Σ t·log s                        forward plus the teacher's entropy: the same gradient
/// logit-mse            Σ (z_s / T − z_t / T)²
/// probability-mse      Σ (s − t)²
///
/// S = sum of that over all examples
/// batch-mean: S / B      mean: S / (B·C)      sum: S      token-mean: S / counted positions
/// each ·T² where `t-squared` is set
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`; adding a constant to a row changes nothing except in `logit-mse`. The
/// teacher's logits are a constant: no gradient reaches them. All logarithms are log-softmaxes, so that no probability
/// is ever divided by or taken the logarithm of: the value is finite at any gap between finite logits, and a class of
/// probability 0 adds 0.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn kl(student: Tensor<2>, teacher: Tensor<2>, knobs: &Kl) -> Result<Tensor<1>, Error> {
    kl_of_tokens(student, teacher, None, knobs)
}

/// [`kl`] of tokens: logits are `[B·L, C]`, `mask` is `[B, L]`, 1 counted and 0 ignored.
///
/// `batch-mean` still divides by B, `mean` by the counted positions times C, `token-mean` by the counted positions.
/// What stands at an ignored position, NaN included, has no influence; where all are ignored the result is 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`] and [`Error::Shape`] for a mask of another size.
pub fn kl_of_tokens(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Kl,
) -> Result<Tensor<1>, Error> {
    let [rows, classes] = check_pair(&student, &teacher)?;
    let (knobs, teacher) = (knobs.settled(), teacher.without_autodiff());
    let (t, factor) =
        (knobs.temperature.get(), if knobs.t_squared { knobs.temperature.get().powi(2) } else { 1.0 });
    let each = match knobs.compat {
        Some(KlCompat::KdLibTakd) => (log_p(student, t) - log_p(teacher, t)).square().sum_dim(1),
        _ => knobs.divergence.of_rows(student, teacher, t, knobs.beta),
    };
    let Some(mask) = mask else {
        let divisor = match knobs.reduction {
            Reduction::BatchMean | Reduction::TokenMean => rows as f64,
            Reduction::Mean => (rows * classes) as f64,
            Reduction::Sum => 1.0,
        };
        return Ok(sum_rows(each).mul_scalar(factor / divisor));
    };
    let (each, counted) = count(NAME.name, each, mask)?;
    let sum = sum_rows(each).mul_scalar(factor);
    Ok(match knobs.reduction {
        Reduction::BatchMean => divide(sum, mask.dims()[0] as f64),
        Reduction::Mean => divide(sum, classes as f64) / counted,
        Reduction::TokenMean => sum / counted,
        Reduction::Sum => sum,
    })
}

/// Rows `[B·L, 1]` with zeros where the mask `[B, L]` ignores them, and the number of those that count, at least 1.
pub(crate) fn count(
    loss: &'static str,
    rows: Tensor<2>,
    mask: &Tensor<2>,
) -> Result<(Tensor<2>, Tensor<1>), Error> {
    let ([positions, _], [batch, length]) = (rows.dims(), mask.dims());
    if positions != batch * length {
        let expected = "[B, L], as the logits [B, L, C]";
        return Err(Error::Shape { loss, input: "mask", expected, found: vec![batch, length] });
    }
    let mask = mask.clone().without_autodiff().reshape([positions, 1]);
    let counted = mask.clone().sum().clamp_min(1.0);
    Ok((rows.mask_fill(mask.equal_elem(0.0), 0.0), counted))
}

impl Divergence {
    /// One number for each row, `[rows, 1]`.
    pub(crate) fn of_rows(self, student: Tensor<2>, teacher: Tensor<2>, t: f64, beta: f64) -> Tensor<2> {
        if self == Divergence::LogitMse {
            return divide(student - teacher, t).square().sum_dim(1);
        }
        let (log_s, log_t) = (log_p(student, t), log_p(teacher, t));
        let (s, p) = (log_s.clone().exp(), log_t.clone().exp());
        let each = match self {
            Divergence::Forward => p * (log_t - log_s),
            Divergence::Reverse => s * (log_s - log_t),
            Divergence::JensenShannon => {
                let log_m = log_mixture(log_t.clone(), log_s.clone(), beta);
                (p * (log_t - log_m.clone())).mul_scalar(beta) + (s * (log_s - log_m)).mul_scalar(1.0 - beta)
            }
            Divergence::TotalVariation => (p - s).abs().mul_scalar(0.5),
            Divergence::SoftCrossEntropy => (p * log_s).neg(),
            Divergence::ProbabilityMse => (s - p).square(),
            Divergence::LogitMse => unreachable!("returned above"),
        };
        each.sum_dim(1)
    }
}

/// `log(β·t + (1 − β)·s)` from `log t` and `log s`.
pub(crate) fn log_mixture(log_t: Tensor<2>, log_s: Tensor<2>, beta: f64) -> Tensor<2> {
    if beta == 0.0 {
        return log_s;
    }
    if beta == 1.0 {
        return log_t;
    }
    let (a, b) = (log_t.add_scalar(beta.ln()), log_s.add_scalar((1.0 - beta).ln()));
    // The larger one as a constant in front: the derivative of the whole does not depend on it.
    let larger = a.clone().max_pair(b.clone()).without_autodiff();
    ((a - larger.clone()).exp() + (b - larger.clone()).exp()).log() + larger
}

/// The loss `kl` of a recipe, and the knobs of [`kl`]. Any combination is legal; the default, `batch-mean` with T²,
/// is the paper's: T² keeps the size of the gradient when the temperature changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "KlKnobs")]
pub struct Kl {
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// Which distance of the two distributions.
    pub divergence: Divergence,
    /// What the sum over all examples and classes is divided by.
    pub reduction: Reduction,
    /// Whether the result is multiplied by the temperature squared.
    pub t_squared: bool,
    /// The teacher's share of the mixture in `jensen-shannon`, from 0 to 1.
    pub beta: f64,
    /// A public toolkit to equal; it settles all knobs but the temperature, which must be at their defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<KlCompat>,
}

impl Kl {
    /// The paper's: `T²·S / B`.
    pub fn new(temperature: Temperature) -> Self {
        Kl {
            temperature,
            divergence: Divergence::Forward,
            reduction: Reduction::BatchMean,
            t_squared: true,
            beta: 0.5,
            compat: None,
        }
    }

    /// The same with another divergence.
    #[must_use]
    pub fn with_divergence(self, divergence: Divergence) -> Self {
        Kl { divergence, ..self }
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

/// A distance of two distributions over the same classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Divergence {
    /// KL of the student from the teacher.
    #[default]
    Forward,
    /// KL of the teacher from the student.
    Reverse,
    /// Both to their mixture.
    JensenShannon,
    /// Half the sum of absolute differences.
    TotalVariation,
    /// Cross entropy with the teacher's distribution.
    SoftCrossEntropy,
    /// Squared differences of the logits over T.
    LogitMse,
    /// Squared differences of the probabilities.
    ProbabilityMse,
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
    /// By the positions that count; without a mask all examples count.
    TokenMean,
}

impl DistillLoss for Kl {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        kl_of_tokens(student, teacher, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "kl",
    line: "divergence of the student from the teacher, both softened by a temperature: T²·KL, mean over the batch",
    formula: "T²·(1/B) sum_b sum_c p_t·(log p_t - log p_s),  p = softmax(z / T); other divergences as `divergence` says",
    paper: "Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2014, arXiv 1503.02531",
    reference: "HobbitLong/RepDistiller distiller_zoo/KD.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "The first thing to try: with T = 2 to 8 it helps nearly always a little; where the teacher is as sure as the \
           labels it adds nothing.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TOKEN_MASK],
    example: "{ temperature = 4.0 }",
    lacks: None,
    knobs: &[
        Knob::required("temperature", "divides both logits, above 0; usually 1 to 20"),
        Knob::or(
            "divergence",
            "\"forward\"",
            "forward, reverse, jensen-shannon, total-variation, soft-cross-entropy, logit-mse or probability-mse",
        ),
        Knob::or(
            "reduction",
            "\"batch-mean\"",
            "batch-mean (sum / B), mean (sum / (B·C)), sum or token-mean (sum / counted positions)",
        ),
        Knob::or("t-squared", "true", "whether the result is multiplied by the temperature squared"),
        Knob::or("beta", "0.5", "the teacher's share of the mixture in jensen-shannon, from 0 to 1"),
        Knob::optional(
            "compat",
            "the term of torchdistill, kd-lib, kd-lib-takd, model-optimizer, neural-compressor or textbrewer; it \
             settles all but the temperature",
        ),
    ],
};

/// The knobs as they are written, with the one that everybody tries.
#[derive(Deserialize)]
#[serde(rename = "Kl", rename_all = "kebab-case", deny_unknown_fields)]
struct KlKnobs {
    temperature: Temperature,
    #[serde(default)]
    divergence: Divergence,
    #[serde(default)]
    reduction: Reduction,
    #[serde(default = "yes")]
    t_squared: bool,
    #[serde(default)]
    beta: Share,
    #[serde(default)]
    compat: Option<KlCompat>,
    #[serde(default, rename = "alpha")]
    _alpha: NoAlpha,
}

fn yes() -> bool {
    true
}

/// A number from 0 to 1; one half if not given.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Share(f64);

impl Default for Share {
    fn default() -> Self {
        Share(0.5)
    }
}

impl TryFrom<f64> for Share {
    type Error = Error;

    fn try_from(beta: f64) -> Result<Self, Error> {
        let fits = (0.0..=1.0).contains(&beta);
        fits.then_some(Share(beta)).ok_or(Error::OutOfRange {
            name: "beta",
            expected: "from 0 to 1",
            found: beta,
        })
    }
}

impl TryFrom<KlKnobs> for Kl {
    type Error = &'static str;

    fn try_from(knobs: KlKnobs) -> Result<Self, Self::Error> {
        let KlKnobs { temperature, divergence, reduction, t_squared, beta, compat, .. } = knobs;
        let kl = Kl { temperature, divergence, reduction, t_squared, beta: beta.0, compat };
        match compat.is_none() || kl.leaves_the_rest_alone() {
            true => Ok(kl),
            false => {
                Err("`compat` settles `divergence`, `reduction`, `t-squared` and `beta`: leave them out")
            }
        }
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
