//! DIST: a strong teacher's probabilities are too far from a small student's to be matched, so only their linear
//! relation is: that of the classes of one example, and that of one class over the examples of a batch.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, divide, log_p, sum_rows};
use crate::loss::response::common::{self, around_mean, norms};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Added to the product of two norms, as the authors do.
const EPSILON: f64 = 1e-8;

/// One minus the mean Pearson correlation of rows and of columns, of `p = softmax(z / T)`:
///
/// ```text
/// L = T²·[ β·(1 − (1/B) Σ_b ρ(p_s[b, :], p_t[b, :])) + γ·(1 − (1/C) Σ_c ρ(p_s[:, c], p_t[:, c])) ]
/// ρ(u, v) = ⟨ū, v̄⟩ / (‖ū‖·‖v̄‖ + 1e-8),    ū = u − mean(u)
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`. The teacher's logits are a constant. A row or column without
/// variation, as all are where B or C is 1, has a correlation of 0: it adds 1 and its gradient is finite. Equal logits
/// give 0 up to the 1e-8.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn dist(student: Tensor<2>, teacher: Tensor<2>, knobs: &Dist) -> Result<Tensor<1>, Error> {
    check_pair(&student, &teacher)?;
    let t = knobs.temperature.get();
    let (student, teacher) = (log_p(student, t).exp(), log_p(teacher.without_autodiff(), t).exp());
    let inter = unrelated(student.clone(), teacher.clone()).mul_scalar(knobs.beta);
    let intra = unrelated(student.transpose(), teacher.transpose()).mul_scalar(knobs.gamma);
    Ok((inter + intra).mul_scalar(t * t))
}

/// One minus the mean correlation of rows.
fn unrelated(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    let [rows, _] = student.dims();
    let (student, teacher) = (around_mean(student), around_mean(teacher));
    let norms = (norms(student.clone()) * norms(teacher.clone())).add_scalar(EPSILON);
    let correlation = (student * teacher).sum_dim(1) / norms;
    divide(sum_rows(correlation), rows as f64).neg().add_scalar(1.0)
}

/// The loss `dist` of a recipe, and the knobs of [`dist`].
///
/// The paper's β, γ and T are 2, 2 and 1 on ImageNet, 2, 2 and 4 on CIFAR-100; the defaults are those of its code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dist {
    /// Weight of the relation of classes, at least 0.
    #[serde(deserialize_with = "common::beta")]
    pub beta: f64,
    /// Weight of the relation of examples, at least 0.
    #[serde(deserialize_with = "common::gamma")]
    pub gamma: f64,
    /// What both logits are divided by.
    pub temperature: Temperature,
}

impl Default for Dist {
    fn default() -> Self {
        Dist { beta: 1.0, gamma: 1.0, temperature: Temperature::ONE }
    }
}

impl DistillLoss for Dist {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        dist(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "dist",
    line: "one minus the Pearson correlation of softened probabilities, within each example and within each class",
    formula: "T²·[ β·(1 - mean_b ρ(p_s[b,:], p_t[b,:])) + γ·(1 - mean_c ρ(p_s[:,c], p_t[:,c])) ],  ρ(u,v) = \
              <u-mean, v-mean> / (|u-mean|·|v-mean| + 1e-8), p = softmax(z / T)",
    paper: "Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv 2205.10536",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/dist_loss.py 90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7; \
                hunto/DIST_KD segmentation/losses/dist_kd.py 2418f18b1fedd7c2646a7b1b9a27d5c674c2170b at T = 1",
    when: "Where the teacher is much stronger than the student and `kl` hurts. The relation within a class needs batches \
           of dozens; with one example it says nothing.",
    inputs: &[Input::STUDENT, Input::TEACHER],
    example: "{ beta = 2.0, gamma = 2.0, temperature = 4.0 }",
    lacks: None,
    knobs: &[
        Knob::or("beta", "1.0", "weight of the relation of the classes of an example, at least 0"),
        Knob::or("gamma", "1.0", "weight of the relation of the examples in a class, at least 0"),
        Knob::or("temperature", "1.0", "divides both logits, above 0"),
    ],
};
