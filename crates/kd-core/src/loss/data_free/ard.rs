//! Adversarially robust distillation: the student answers an attacked image as the teacher answers the clean one. The
//! attack is the caller's; this is the outer loss.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{kl_mean, share, temperature};
use crate::loss::math::ranked;
use crate::loss::{CrossEntropy, DistillLoss, LossName, cross_entropy};
use crate::{Error, Input, Knob, Side, Temperature, View};

/// KL from the teacher's answer to clean images to the student's answer to attacked ones, and the cross entropy of the
/// student's answer to the clean ones:
///
/// ```text
/// L = α·T²·(1/B) Σ_b KL(p_t(x_b) ‖ p_s(x_b + δ_b)) + (1 − α)·CE(z_s(x), y),    p = softmax(z / T)
/// ```
///
/// All logits are `[B, C]`, the result is `[1]`. δ is found beforehand, by projected gradient ascent on the student's
/// cross entropy (8/255, ten steps of 2/255 in the paper). The teacher is a constant. At α = 1, the authors' choice,
/// `clean` is not read and may be none. Finite for all finite logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], [`Error::Labels`], and [`Error::Missing`] where α is below 1 and there is
/// no `clean`.
pub fn ard(
    attacked: Tensor<2>,
    clean: Option<(Tensor<2>, &Tensor<1, Int>)>,
    teacher: Tensor<2>,
    knobs: &Ard,
) -> Result<Tensor<1>, Error> {
    let robust = kl_mean(attacked, teacher.without_autodiff(), knobs.temperature.get())?;
    if knobs.alpha == 1.0 {
        return Ok(robust);
    }
    let (clean, targets) = clean.ok_or(Error::Missing { loss: NAME.name, input: "student.logits" })?;
    let labels = cross_entropy(clean, targets, CrossEntropy::default().label_smoothing)?;
    Ok(robust.mul_scalar(knobs.alpha) + labels.mul_scalar(1.0 - knobs.alpha))
}

/// The loss `ard` of a recipe, and the knobs of [`ard`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ard {
    /// The share of the divergence; the rest belongs to the labels.
    #[serde(deserialize_with = "share")]
    pub alpha: f64,
    /// What the logits are divided by in the divergence.
    pub temperature: Temperature,
    /// Where the logits of the attacked images are; empty for the only site.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub adversarial: String,
}

impl Default for Ard {
    fn default() -> Self {
        Ard { alpha: 1.0, temperature: temperature(30.0), adversarial: String::new() }
    }
}

impl DistillLoss for Ard {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let attacked = view.student.features.require(Side::Student, &self.adversarial)?.clone();
        let attacked =
            ranked::<2>(NAME.name, "student.adversarial", "[B, C], as `teacher.logits`", attacked)?;
        let clean = match self.alpha {
            1.0 => None,
            _ => Some((view.student_logits(NAME.name)?, view.targets(NAME.name)?)),
        };
        ard(attacked, clean, view.teacher_logits(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ard",
    line: "robustness: the student answers attacked images as the teacher answers clean ones, beside the labels",
    formula: "α·T²·(1/B) sum_b KL(p_t(x) ‖ p_s(x + δ)) + (1 - α)·CE(z_s(x), y),  p = softmax(z / T)",
    paper: "Goldblum et al., Adversarially Robust Distillation, AAAI 2020, arXiv 1905.09747",
    reference: "none public that agrees: goldblum/AdversariallyRobustDistillation main.py divides the divergence by \
                B·C (`nn.KLDivLoss()`), this is C times as large",
    when: "Where the teacher is robust and the student must be; it costs clean accuracy, a non-robust teacher gives \
           nothing, and both accuracies must be reported.",
    inputs: &[
        Input::new(
            "student.adversarial",
            &["B", "C"],
            "the student's logits of attacked images; any name if it is the only site",
        ),
        Input::TEACHER,
        Input::optional(
            "student.logits",
            &["B", "C"],
            "the student's logits of clean images; only where alpha < 1",
        ),
        Input::optional("targets", &["B"], "class of each example, from 0 to C - 1; only where alpha < 1"),
    ],
    example: "{ alpha = 1.0, temperature = 30.0 }",
    lacks: Some("attacked images"),
    knobs: &[
        Knob::or("alpha", "1.0", "share of the divergence, from 0 to 1; the rest belongs to the labels"),
        Knob::or("temperature", "30.0", "divides the logits in the divergence, above 0"),
        Knob::optional("adversarial", "site of the logits of attacked images; the only site if left out"),
    ],
};
