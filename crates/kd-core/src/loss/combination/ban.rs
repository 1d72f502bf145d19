//! Born-again networks: generation k learns from generation k − 1, a network of the same architecture. The two other
//! variants are the paper's experiments on why that helps: confidence alone, and what is not confidence.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{cross_entropies, kl_mean};
use crate::loss::math::{check_pair, divide, log_p, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// What a network learns from the generation before it:
///
/// ```text
/// kd     T²·(1/B) Σ_b KL(t_b ‖ s_b)                                the previous generation's distribution
/// cwtm   Σ_b w_b·CE(s_b, y_b),   w_b = max t_b / Σ_u max t_u       labels, weighted by its confidence
/// dkpp   T²·(1/B) Σ_b E_φ KL(φ(t_b) ‖ s_b)                         its distribution, permuted
///
/// t = softmax(z_t / T), s = softmax(z_s / T), CE at 1; φ permutes all classes but the largest
/// ```
///
/// Both logits are `[B, C]`, `targets` is `[B]` and read by `cwtm` alone, the result is `[1]`. The previous generation
/// is a constant. The paper draws a φ for each example; here the mean over all of them is taken, which needs no random
/// numbers and has the same expectation: each class but the largest one gets the mean of their probabilities. Finite
/// for all finite logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], [`Error::Labels`], and [`Error::Missing`] where `cwtm` has no labels.
pub fn ban(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: Option<&Tensor<1, Int>>,
    knobs: &Ban,
) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let (t, teacher) = (knobs.temperature.get(), teacher.without_autodiff());
    match knobs.variant {
        BanVariant::Kd => kl_mean(student, teacher, t),
        BanVariant::Cwtm => {
            let targets = targets.ok_or(Error::Missing { loss: NAME.name, input: "targets" })?;
            let confidence = log_p(teacher, t).exp().max_dim(1);
            let total = sum_rows(confidence.clone()).reshape([1, 1]);
            Ok(sum_rows(cross_entropies(student, targets)? * (confidence / total)))
        }
        BanVariant::Dkpp => {
            let (log_t, log_s) = (log_p(teacher, t), log_p(student, t));
            let p = log_t.clone().exp();
            let largest = log_t.clone().argmax(1);
            let all = Tensor::<1, Int>::arange(0..classes as i64, &log_t.device()).reshape([1, classes]);
            let is_largest = all.expand([batch, classes]).equal(largest.clone().expand([batch, classes]));
            let rest = p.clone().mask_fill(is_largest.clone(), 0.0).sum_dim(1);
            let rest = divide(rest, classes.saturating_sub(1).max(1) as f64);
            let of_largest = p.clone().gather(1, largest.clone()) * log_s.clone().gather(1, largest);
            let of_rest = rest * log_s.mask_fill(is_largest, 0.0).sum_dim(1);
            let each = (p * log_t).sum_dim(1) - of_largest - of_rest;
            Ok(sum_rows(each).mul_scalar(t * t / batch as f64))
        }
    }
}

/// The loss `ban` of a recipe, and the knobs of [`ban`]. The teacher of the recipe is the previous generation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ban {
    /// What the logits are divided by, except in the cross entropy of `cwtm`; 1 in the paper.
    pub temperature: Temperature,
    /// Which of the paper's three.
    pub variant: BanVariant,
}

impl Default for Ban {
    fn default() -> Self {
        Ban { temperature: Temperature::ONE, variant: BanVariant::Kd }
    }
}

/// What is taken from the previous generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanVariant {
    /// Its distribution.
    #[default]
    Kd,
    /// Its confidence, as the weight of an example.
    Cwtm,
    /// Its distribution, with all classes but the largest permuted.
    Dkpp,
}

impl DistillLoss for Ban {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        ban(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.targets, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ban",
    line: "born-again networks: the distribution, or the confidence alone, of the previous generation",
    formula: "kd: T²·(1/B) sum_b KL(t ‖ s);  cwtm: sum_b w_b·CE(s, y), w_b = max t_b / sum_u max t_u;  \
              dkpp: T²·(1/B) sum_b E_φ KL(φ(t) ‖ s), φ permutes all classes but the largest",
    paper: "Furlanello et al., Born Again Neural Networks, ICML 2018, arXiv 1805.04770",
    reference: "none public for cwtm and dkpp (from the paper); kd is \
                HobbitLong/RepDistiller distiller_zoo/KD.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Where the teacher may have the student's own architecture: it gains on it for two or three generations. \
           cwtm and dkpp show where that comes from, and gain less.",
    inputs: &[
        Input::STUDENT,
        Input::TEACHER,
        Input::optional("targets", &["B"], "class of each example, from 0 to C - 1; only with variant cwtm"),
    ],
    example: "{ temperature = 1.0, variant = \"kd\" }",
    lacks: None,
    knobs: &[
        Knob::or("temperature", "1.0", "divides the logits, above 0; 1 in the paper"),
        Knob::or("variant", "\"kd\"", "kd, cwtm (confidence as weights of labels) or dkpp (permuted)"),
    ],
};
