//! Generalized knowledge distillation of language models: from the teacher's view of a token to the student's.
//!
//! The loss of given tokens; that a share of them is written by the student itself is for the data to see to.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::check_pair;
use crate::loss::response::Divergence;
use crate::loss::transformer::common::Tokens;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Generalized Jensen-Shannon divergence of the next token's distributions `t` and `s`, `softmax(z / T)` each:
///
/// ```text
/// L = (1/N) Σ [ β·KL(t ‖ m) + (1 − β)·KL(s ‖ m) ],   m = β·t + (1 − β)·s,   N = counted tokens
/// β = 0: KL(t ‖ s)      β = 1: KL(s ‖ t)
/// ```
///
/// At both ends the formula alone would be 0, so the loss jumps there: a β close to an end is not close to that KL,
/// but that much smaller. There is no factor T².
///
/// Logits are `[B·L, C]`, `mask` is `[B, L]`; without one every row counts. What stands at an ignored token, NaN
/// included, has no influence, and where none counts the result is 0. The value is finite at any gap between finite
/// logits. The teacher's logits are constants.
///
/// # Errors
///
/// [`Error::LogitShapes`], [`Error::Empty`], [`Error::Shape`] for a mask that does not fit.
pub fn gkd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Gkd,
) -> Result<Tensor<1>, Error> {
    let beta = knobs.beta.get();
    let divergence = match beta {
        0.0 => Divergence::Forward,
        1.0 => Divergence::Reverse,
        _ => Divergence::JensenShannon,
    };
    token_divergence(NAME.name, (student, teacher), mask, divergence, knobs.temperature, beta)
}

/// The mean of a divergence over the tokens that count.
pub(super) fn token_divergence(
    loss: &'static str,
    (student, teacher): (Tensor<2>, Tensor<2>),
    mask: Option<&Tensor<2>>,
    divergence: Divergence,
    temperature: Temperature,
    beta: f64,
) -> Result<Tensor<1>, Error> {
    let [rows, _] = check_pair(&student, &teacher)?;
    let tokens = Tokens::of_rows(loss, mask, rows)?;
    // Equal logits wherever a token is ignored: every divergence of them is 0.
    let (s, t) = (tokens.clear_rows(student), tokens.clear_rows(teacher.without_autodiff()));
    Ok(tokens.token_mean(divergence.of_rows(s, t, temperature.get(), beta)))
}

/// The teacher's share of the mixture, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct GkdBeta(f64);

impl GkdBeta {
    /// Both the same.
    pub const HALF: GkdBeta = GkdBeta(0.5);

    /// A share.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 ≤ beta ≤ 1`.
    pub fn new(beta: f64) -> Result<Self, Error> {
        if (0.0..=1.0).contains(&beta) {
            Ok(GkdBeta(beta))
        } else {
            Err(Error::OutOfRange { name: "beta", expected: "from 0 to 1", found: beta })
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for GkdBeta {
    type Error = Error;

    fn try_from(beta: f64) -> Result<Self, Error> {
        GkdBeta::new(beta)
    }
}

impl From<GkdBeta> for f64 {
    fn from(beta: GkdBeta) -> f64 {
        beta.0
    }
}

/// The loss `gkd` of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Gkd {
    /// The teacher's share of the mixture.
    pub beta: GkdBeta,
    /// What both logits are divided by.
    pub temperature: Temperature,
}

impl Default for Gkd {
    fn default() -> Self {
        Gkd { beta: GkdBeta::HALF, temperature: Temperature::ONE }
    }
}

impl DistillLoss for Gkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        gkd(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "gkd",
    line: "generalized Jensen-Shannon divergence of the next token, mean over the tokens that count, without T²",
    formula: "(1/N) sum [ β·KL(p_t ‖ m) + (1-β)·KL(p_s ‖ m) ],  m = β·p_t + (1-β)·p_s,  N counted tokens;  β = 0 is \
              KL(p_t ‖ p_s), β = 1 is KL(p_s ‖ p_t)",
    paper: "Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes, \
            ICLR 2024, arXiv 2306.13649",
    reference: "huggingface/trl trl/experimental/gkd/gkd_trainer.py f2cd57710ae345ea6428ae95363267fcf38a3dc8 \
                `generalized_jsd_loss` with labels",
    when: "For language models on text that the student wrote itself: β near 1 seeks the teacher's main answer, \
           near 0 covers all of them. On fixed text it is a bounded `kl`.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TOKEN_MASK],
    example: "{ beta = 0.5, temperature = 1.0 }",
    lacks: None,
    knobs: &[
        Knob::or(
            "beta",
            "0.5",
            "the teacher's share of the mixture, from 0, which is forward KL, to 1, reverse KL",
        ),
        Knob::or("temperature", "1.0", "divides both logits, above 0"),
    ],
};
