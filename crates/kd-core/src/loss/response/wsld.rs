//! Weighted soft labels: where a student already knows the label better than its teacher, soft labels mislead it more
//! than they inform it, so each example's term is weighted by how the two losses on the label compare.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, column, divide, log_p, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Soft cross entropy, weighted for each example:
///
/// ```text
/// L = −T²·(1/B) Σ_b w_b Σ_c p_t[c]·log p_s[c],    p = softmax(z / T)
/// w = 1 − exp(−CE_s / (CE_t + 1e-7)),    CE = −log softmax(z)[y]
/// ```
///
/// Both logits are `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1, the result is `[1]`. The teacher's logits
/// and w are constants. It is a cross entropy and not a divergence: it is not 0 where both agree. Finite for all finite
/// logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`] and [`Error::Labels`].
pub fn wsld(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    knobs: &Wsld,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let labels = column(targets, batch)?;
    let (t, teacher) = (knobs.temperature.get(), teacher.without_autodiff());
    let of_label = |logits: Tensor<2>| log_p(logits, 1.0).gather(1, labels.clone()).neg();
    let of_student = of_label(student.clone().without_autodiff());
    let ratio = of_student / of_label(teacher.clone()).add_scalar(1e-7);
    let weight = ratio.clamp_min(0.0).neg().exp().neg().add_scalar(1.0);
    let each = (log_p(teacher, t).exp() * log_p(student, t)).sum_dim(1) * weight;
    Ok(divide(sum_rows(each).mul_scalar(t * t), -(batch as f64)))
}

/// The loss `wsld` of a recipe, and the knobs of [`wsld`].
///
/// The paper's T is 2 on ImageNet and 4 on CIFAR-100, with a weight of 2.5 and 2.25.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Wsld {
    /// What both logits are divided by in the soft term, not in the weights.
    pub temperature: Temperature,
}

impl Default for Wsld {
    fn default() -> Self {
        Wsld { temperature: Temperature::new(2.0).unwrap_or(Temperature::ONE) }
    }
}

impl DistillLoss for Wsld {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        wsld(student, teacher, view.targets(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "wsld",
    line: "soft cross entropy, weighted for each example by how its student's loss on the label compares to the teacher's",
    formula: "-T²·(1/B) sum_b w_b sum_c p_t[c]·log p_s[c],  w = 1 - exp(-CE_s / (CE_t + 1e-7)) at T = 1, a constant",
    paper: "Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective, ICLR \
            2021, arXiv 2102.00650",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/weighted_soft_label_distillation.py \
                90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "Where the teacher is wrong on a part of the data, or was trained with smoothed labels; with a teacher that is \
           nearly always surer than the student, all weights are near 1 and it is `kl`.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TARGETS],
    example: "{ temperature = 2.0 }",
    lacks: None,
    knobs: &[Knob::or("temperature", "2.0", "divides both logits in the soft term, above 0")],
};
