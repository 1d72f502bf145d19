//! Logits brought to mean 0 and standard deviation 1 before the temperature: a student need not have logits as large as
//! its teacher's to agree with it, only as ordered and as spaced.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, divide, log_p, sum_rows};
use crate::loss::response::common::{around_mean, divergence, norms};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Added to the standard deviation, as the authors do.
const EPSILON: f64 = 1e-7;

/// [`kl`](crate::loss::kl) of standardised logits:
///
/// ```text
/// L = T²·(1/B) Σ_b KL(softmax(n(z_t) / T) ‖ softmax(n(z_s) / T))
/// n(z) = (z − mean(z)) / (std(z) + 1e-7),    std² = Σ (z − mean)² / (C − 1)
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`. The teacher's logits are a constant. Neither adding a constant to a
/// row nor multiplying it by a positive number changes anything, up to the 1e-7. A row of equal logits becomes a row of
/// zeros; its gradient is finite, but 1e7 times as large as usual. With one class it is 0.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn logit_standardization(
    student: Tensor<2>,
    teacher: Tensor<2>,
    knobs: &LogitStandardization,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let t = knobs.temperature.get();
    let factor = match knobs.compat {
        None => t * t,
        Some(LogitStandardizationCompat::Torchdistill) => 1.0,
    };
    let (student, teacher) = (standardized(student), standardized(teacher.without_autodiff()));
    let each = divergence(log_p(teacher, t), log_p(student, t));
    Ok(sum_rows(each).mul_scalar(factor / batch as f64))
}

/// Each row with mean 0 and standard deviation 1.
fn standardized(logits: Tensor<2>) -> Tensor<2> {
    let [_, classes] = logits.dims();
    let centred = around_mean(logits);
    let freedom = (classes.max(2) - 1) as f64;
    let deviation = divide(norms(centred.clone()), freedom.sqrt());
    centred / deviation.add_scalar(EPSILON)
}

/// The loss `logit-standardization` of a recipe, and the knobs of [`logit_standardization`].
///
/// The paper gives it a weight of 9 beside 0.1 of cross entropy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogitStandardization {
    /// What both standardised logits are divided by.
    pub temperature: Temperature,
    /// A public implementation to equal where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<LogitStandardizationCompat>,
}

/// A public implementation of [`logit_standardization`] with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitStandardizationCompat {
    /// `LogitStdKDLoss` with α = 0 or without labels: no T².
    Torchdistill,
}

impl Default for LogitStandardization {
    fn default() -> Self {
        let temperature = Temperature::new(2.0).unwrap_or(Temperature::ONE);
        LogitStandardization { temperature, compat: None }
    }
}

impl DistillLoss for LogitStandardization {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        logit_standardization(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "logit-standardization",
    line: "KL of logits that are brought to mean 0 and standard deviation 1, each row by itself, before the temperature",
    formula: "T²·(1/B) sum_b KL(softmax(n(z_t) / T) || softmax(n(z_s) / T)),  n(z) = (z - mean) / (std + 1e-7), std \
              with C - 1",
    paper: "Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427",
    reference: "sunshangquan/logit-standardization-KD mdistiller/distillers/KD.py \
                f6e5aa5172bad618e801163c3385322eea673754",
    when: "In place of `kl` where the teacher's logits are much larger than the student can make its own. With few \
           classes there is little left to compare: with two, only which is larger.",
    inputs: &[Input::STUDENT, Input::TEACHER],
    example: "{ temperature = 2.0 }",
    lacks: None,
    knobs: &[
        Knob::or("temperature", "2.0", "divides both standardised logits, above 0"),
        Knob::optional("compat", "torchdistill: without T², as its loss is with alpha = 0 or without labels"),
    ],
};
