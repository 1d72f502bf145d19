//! Robust soft label adversarial distillation: as `ard`, but the teacher's answer replaces the labels everywhere, also
//! on clean images.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{kl_mean, share};
use crate::loss::math::ranked;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Side, Temperature, View};

/// KL from the teacher's answer to clean images to the student's answers to attacked and to clean ones:
///
/// ```text
/// L = α·T²·(1/B) Σ_b KL(p_t(x_b) ‖ p_s(x_b + δ_b)) + (1 − α)·T²·(1/B) Σ_b KL(p_t(x_b) ‖ p_s(x_b))
/// ```
///
/// `p = softmax(z / T)`, all logits are `[B, C]`, the result is `[1]`. δ is found beforehand, by projected gradient
/// ascent on the first divergence. The teacher is a constant. Where a share is 0, its term is still evaluated. Finite
/// for all finite logits; 0 where all three agree.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn rslad(
    attacked: Tensor<2>,
    clean: Tensor<2>,
    teacher: Tensor<2>,
    knobs: &Rslad,
) -> Result<Tensor<1>, Error> {
    let (t, teacher) = (knobs.temperature.get(), teacher.without_autodiff());
    let robust = kl_mean(attacked, teacher.clone(), t)?.mul_scalar(knobs.alpha);
    Ok(robust + kl_mean(clean, teacher, t)?.mul_scalar(1.0 - knobs.alpha))
}

/// The loss `rslad` of a recipe, and the knobs of [`rslad`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rslad {
    /// The share of attacked images; the rest belongs to the clean ones.
    #[serde(deserialize_with = "share")]
    pub alpha: f64,
    /// What all logits are divided by; 1 in the paper.
    pub temperature: Temperature,
    /// Where the logits of the attacked images are; empty for the only site.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub adversarial: String,
}

impl Default for Rslad {
    fn default() -> Self {
        Rslad { alpha: 5.0 / 6.0, temperature: Temperature::ONE, adversarial: String::new() }
    }
}

impl DistillLoss for Rslad {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let attacked = view.student.features.require(Side::Student, &self.adversarial)?.clone();
        let attacked =
            ranked::<2>(NAME.name, "student.adversarial", "[B, C], as `student.logits`", attacked)?;
        rslad(attacked, view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "rslad",
    line: "robustness: the student answers attacked and clean images as the teacher answers clean ones, no labels",
    formula: "α·T²·(1/B) sum_b KL(p_t(x) ‖ p_s(x + δ)) + (1 - α)·T²·(1/B) sum_b KL(p_t(x) ‖ p_s(x)),  \
              p = softmax(z / T)",
    paper: "Zi et al., Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make Student Better, \
            ICCV 2021, arXiv 2108.07969",
    reference: "none public that agrees: zibojia/RSLAD resnet18_rslad_cifar10.py divides by B·C and adds 1e-5 under \
                the teacher's logarithm; this is C times as large",
    when: "As `ard`, and usually better than it: where the teacher is robust. It needs the teacher's answers inside \
           the attack too.",
    inputs: &[
        Input::new(
            "student.adversarial",
            &["B", "C"],
            "the student's logits of attacked images; any name if it is the only site",
        ),
        Input::new("student.logits", &["B", "C"], "the student's logits of clean images"),
        Input::TEACHER,
    ],
    example: "{ temperature = 1.0 }",
    lacks: Some("attacked images"),
    knobs: &[
        Knob::or(
            "alpha",
            "0.8333333333333334",
            "share of attacked images, from 0 to 1; the rest belongs to the clean ones",
        ),
        Knob::or("temperature", "1.0", "divides all logits, above 0; 1 in the paper"),
        Knob::optional("adversarial", "site of the logits of attacked images; the only site if left out"),
    ],
};
