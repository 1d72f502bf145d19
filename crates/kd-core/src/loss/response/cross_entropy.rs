//! Cross entropy with the labels: what a model learns from without a teacher.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_logits, column, divide, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, View};

/// Mean cross entropy between `softmax(logits)` and the smoothed labels `(1 − ε)·onehot + ε/C`:
///
/// ```text
/// L = −(1/B) Σ_b [ (1 − ε)·log p_b[y_b] + (ε/C) Σ_c log p_b[c] ]
/// ```
///
/// `logits` is `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1 (not checked here: it would cost a round
/// trip to the device in every step), the result is `[1]`. Computed from the log-softmax, so it is finite for all
/// finite logits.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::Labels`].
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: &Tensor<1, Int>,
    smoothing: LabelSmoothing,
) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_logits(&logits)?;
    let labels = column(targets, batch)?;
    let log_p = log_softmax(logits, 1);
    let epsilon = smoothing.get();
    let of_labels = log_p.clone().gather(1, labels).sum();
    let sum = if epsilon == 0.0 {
        of_labels
    } else {
        of_labels.mul_scalar(1.0 - epsilon) + sum_rows(log_p).mul_scalar(epsilon / classes as f64)
    };
    Ok(divide(sum, -(batch as f64)))
}

/// The share ε of a label that is spread evenly over all classes: from 0 to 1, usually 0 to 0.1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct LabelSmoothing(f64);

impl LabelSmoothing {
    /// Labels as they are.
    pub const NONE: LabelSmoothing = LabelSmoothing(0.0);

    /// A share.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 ≤ epsilon ≤ 1`.
    pub fn new(epsilon: f64) -> Result<Self, Error> {
        if (0.0..=1.0).contains(&epsilon) {
            Ok(LabelSmoothing(epsilon))
        } else {
            Err(Error::OutOfRange { name: "label-smoothing", expected: "from 0 to 1", found: epsilon })
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for LabelSmoothing {
    type Error = Error;

    fn try_from(epsilon: f64) -> Result<Self, Error> {
        LabelSmoothing::new(epsilon)
    }
}

impl From<LabelSmoothing> for f64 {
    fn from(smoothing: LabelSmoothing) -> f64 {
        smoothing.0
    }
}

/// The loss `cross-entropy` of a recipe: [`cross_entropy`] of the student's logits and the labels.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CrossEntropy {
    /// Share of a label that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: LabelSmoothing,
}

impl DistillLoss for CrossEntropy {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        cross_entropy(view.student_logits(NAME.name)?, view.targets(NAME.name)?, self.label_smoothing)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cross-entropy",
    line: "mean cross entropy with the labels, which may be smoothed to (1 - ε)·onehot + ε/C",
    paper: "Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, arXiv 1512.00567, section 7 (smoothing)",
    reference: "pytorch/pytorch torch/nn/functional.py `cross_entropy(label_smoothing=ε)`, release 2.15.0",
    formula: "-(1/B) sum_b [ (1 - ε)·log p_b[y_b] + (ε/C) sum_c log p_b[c] ],  p = softmax(z)",
    when: "Always there where labels are; smoothing the labels of a teacher makes it a worse teacher.",
    inputs: &[Input::STUDENT, Input::TARGETS],
    example: "{ label-smoothing = 0.1 }",
    lacks: None,
    knobs: &[Knob::or(
        "label-smoothing",
        "0.0",
        "share ε of a label that is spread evenly over all classes, from 0 to 1",
    )],
};
