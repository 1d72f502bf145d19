//! Normalised distillation: the teacher's probability of the label, and the other classes brought to sum 1, so that
//! student and teacher compare them as distributions.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, column, divide, log_p, sum_rows};
use crate::loss::response::common::{self, at_labels, of_others};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Cross entropies of the label and of the other classes:
///
/// ```text
/// L = −(1/B) Σ_b p_t[y]·log p_s[y] − γT²·(1/B) Σ_b Σ_{c≠y} q_t[c]·log q_s[c]
/// p = softmax(z),    q = softmax(z / T) over the classes c ≠ y
/// ```
///
/// Both logits are `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1, the result is `[1]`. The teacher's logits
/// are a constant. It is not 0 where both agree: the entropies stay. Finite for all finite logits; with one class it
/// is 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`] and [`Error::Labels`].
pub fn nkd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    knobs: &Nkd,
) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let labels = column(targets, batch)?;
    let (t, teacher) = (knobs.temperature.get(), teacher.without_autodiff());
    let of_label = |logits: &Tensor<2>| log_p(logits.clone(), 1.0).gather(1, labels.clone());
    let label = of_label(&teacher).exp() * of_label(&student);
    let each = if classes == 1 {
        label
    } else {
        let at = at_labels(&labels, classes);
        let (log_t, _) = of_others(divide(teacher, t), &at);
        let (log_s, _) = of_others(divide(student, t), &at);
        label + (log_t.exp() * log_s).sum_dim(1).mul_scalar(knobs.gamma * t * t)
    };
    Ok(divide(sum_rows(each), -(batch as f64)))
}

/// The loss `nkd` of a recipe, and the knobs of [`nkd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Nkd {
    /// Weight of the other classes, at least 0.
    #[serde(deserialize_with = "common::gamma")]
    pub gamma: f64,
    /// What the logits of the other classes are divided by.
    pub temperature: Temperature,
}

impl Default for Nkd {
    fn default() -> Self {
        Nkd { gamma: 1.5, temperature: Temperature::ONE }
    }
}

impl DistillLoss for Nkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        nkd(student, teacher, view.targets(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "nkd",
    line: "cross entropy with the teacher's probability of the label, plus that of the other classes brought to sum 1",
    formula: "-(1/B) sum_b p_t[y]·log p_s[y] - γ·T²·(1/B) sum_b sum_{c != y} q_t[c]·log q_s[c],  p = softmax(z), q = \
              softmax(z / T) without the label",
    paper: "Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized \
            Loss and Customized Soft Labels, ICCV 2023, arXiv 2303.13005",
    reference: "yzd-v/cls_KD mmcls/models/dis_losses/nkd.py 1e5d48f36957ee460d39d7ebc592c6cc7f8f3d66",
    when: "Beside cross entropy on image classes, with less tuning than `dkd`; with two classes the second part is 0. \
           Labels must be hard.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TARGETS],
    example: "{ gamma = 1.5, temperature = 1.0 }",
    lacks: None,
    knobs: &[
        Knob::or("gamma", "1.5", "weight of the other classes, at least 0"),
        Knob::or("temperature", "1.0", "divides the logits of the other classes, above 0"),
    ],
};
