//! Decoupled distillation: how sure the teacher is of the label, and what it thinks of the other classes, weighted
//! apart; in plain KL the second part fades where the teacher is sure.
//!
//! Public implementations take the logarithm of a softmax and push the label down by 1000; here everything is a
//! log-sum-exp and the label is left out, so a confident student costs a finite number.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, column, divide, log_p, sum_rows};
use crate::loss::response::common::{self, at_labels, divergence, of_others};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// The two parts of [`dkd_parts`], weighted:
///
/// ```text
/// L = T²·(1/B) Σ_b [ α·TCKD_b + β·NCKD_b ]
/// ```
///
/// Both logits are `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1, the result is `[1]`. The teacher's logits
/// are a constant. Value and gradient are finite for all finite logits; with one class it is 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`] and [`Error::Labels`].
pub fn dkd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    knobs: &Dkd,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let t = knobs.temperature.get();
    let (target, others) = match knobs.compat {
        None => dkd_parts(student, teacher, targets, knobs.temperature)?,
        Some(DkdCompat::Mdistiller) => mdistiller(student, teacher.without_autodiff(), targets, t)?,
    };
    let each = target.mul_scalar(knobs.alpha) + others.mul_scalar(knobs.beta);
    Ok(sum_rows(each).mul_scalar(t * t / batch as f64))
}

/// For each example the divergence of "the label or not" and that of the other classes among themselves, `[B, 1]` each:
///
/// ```text
/// TCKD = p_t[y]·log(p_t[y] / p_s[y]) + (1 − p_t[y])·log((1 − p_t[y]) / (1 − p_s[y])),    p = softmax(z / T)
/// NCKD = Σ_{c≠y} q_t[c]·log(q_t[c] / q_s[c]),    q = softmax(z / T) over the classes c ≠ y
/// ```
///
/// so that `KL(p_t ‖ p_s) = TCKD + (1 − p_t[y])·NCKD`. Without T².
///
/// # Errors
///
/// Those of [`dkd`].
pub fn dkd_parts(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: Temperature,
) -> Result<(Tensor<2>, Tensor<2>), Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let labels = column(targets, batch)?;
    if classes == 1 {
        let nothing = student.mul_scalar(0.0);
        return Ok((nothing.clone(), nothing));
    }
    let label = at_labels(&labels, classes);
    let parts = |logits: Tensor<2>| {
        let logits = divide(logits, temperature.get());
        let (others, rest) = of_others(logits.clone(), &label);
        (log_p(Tensor::cat(vec![logits.gather(1, labels.clone()), rest], 1), 1.0), others)
    };
    let ((target_s, others_s), (target_t, others_t)) = (parts(student), parts(teacher.without_autodiff()));
    Ok((divergence(target_t, target_s), divergence(others_t, others_s)))
}

/// The parts as mdistiller computes them: the same numbers until a probability rounds to 0, then infinity or NaN.
fn mdistiller(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    t: f64,
) -> Result<(Tensor<2>, Tensor<2>), Error> {
    let [batch, classes] = student.dims();
    let label = at_labels(&column(targets, batch)?, classes);
    let binary = |logits: Tensor<2>| {
        let p = log_p(logits, t).exp();
        let of_label = p.clone().mask_fill(label.clone().bool_not(), 0.0).sum_dim(1);
        Tensor::cat(vec![of_label, p.mask_fill(label.clone(), 0.0).sum_dim(1)], 1)
    };
    let others = |logits: Tensor<2>| {
        let logits = divide(logits, t);
        log_p(logits.clone().mask_where(label.clone(), logits.sub_scalar(1000.0)), 1.0)
    };
    // PyTorch's `kl_div`: t·log t is 0 at 0, t·log s is not.
    let divergence = |p: Tensor<2>, log_s: Tensor<2>| {
        let zero = p.clone().equal_elem(0.0);
        let entropy = (p.clone() * p.clone().mask_fill(zero, 1.0).log()).sum_dim(1);
        entropy - (p * log_s).sum_dim(1)
    };
    Ok((
        divergence(binary(teacher.clone()), binary(student.clone()).log()),
        divergence(others(teacher).exp(), others(student)),
    ))
}

/// The loss `dkd` of a recipe, and the knobs of [`dkd`].
///
/// The paper chooses β for each pair of models: 2 to 8 on CIFAR-100, 0.5 to 2 on ImageNet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dkd {
    /// Weight of the label against all others, at least 0.
    #[serde(deserialize_with = "common::alpha")]
    pub alpha: f64,
    /// Weight of the others among themselves, at least 0.
    #[serde(deserialize_with = "common::beta")]
    pub beta: f64,
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// A public implementation to equal where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<DkdCompat>,
}

/// A public implementation of [`dkd`] that gives infinity or NaN where this one gives a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DkdCompat {
    /// The logarithm of a softmax, and a label pushed down by 1000; MMRazor's is the same.
    #[serde(alias = "mmrazor")]
    Mdistiller,
}

impl Default for Dkd {
    fn default() -> Self {
        let temperature = Temperature::new(4.0).unwrap_or(Temperature::ONE);
        Dkd { alpha: 1.0, beta: 8.0, temperature, compat: None }
    }
}

impl DistillLoss for Dkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        dkd(student, teacher, view.targets(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "dkd",
    line: "KL taken apart: the label against all others times α, and the others among themselves times β",
    formula: "T²·(1/B) sum_b [ α·KL((p_t[y], 1 - p_t[y]) || (p_s[y], 1 - p_s[y])) + β·KL(q_t || q_s) ],  \
              p = softmax(z / T), q the same without the label",
    paper: "Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, arXiv 2203.08679",
    reference: "megvii-research/mdistiller mdistiller/distillers/DKD.py a08d46f10d6102bd6e3f258ca5ac880b020ea259",
    when: "Where the teacher is sure of nearly every label, so that `kl` has little left to say; β has to be found for \
           each pair of models, and a large one needs a warm-up of its weight. Labels must be hard.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TARGETS],
    example: "{ alpha = 1.0, beta = 8.0, temperature = 4.0 }",
    lacks: None,
    knobs: &[
        Knob::or("alpha", "1.0", "weight of the label against all others, at least 0"),
        Knob::or("beta", "8.0", "weight of the others among themselves, at least 0; 2 to 8 on CIFAR-100"),
        Knob::or("temperature", "4.0", "divides both logits, above 0"),
        Knob::optional(
            "compat",
            "mdistiller: infinite or NaN where a probability of the student rounds to 0",
        ),
    ],
};
