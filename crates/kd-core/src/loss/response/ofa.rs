//! The loss of One-for-All: for a teacher of another architecture, which is not trusted below its label.
//!
//! The label's probability is raised to a power together with 1, so that the label weighs more than the teacher's
//! other opinions; computed from log-softmaxes, where the authors' code is infinite once a probability underflows.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::loss::math::{check_pair, column, log_p};
use crate::loss::number::ranged;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Cross entropy with a target that is made of the teacher's probabilities and the label, `m = onehot(y)`:
///
/// ```text
/// L = −(1/B) Σ_b Σ_c [(t_bc + m_bc)^ε − m_bc]·log s_bc,    s, t = softmax(z / T)
/// ```
///
/// Logits are `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1 (not checked here), the result is `[1]`, without
/// a factor T². At ε = 1 it is the cross entropy with the teacher. The teacher's logits are a constant. Finite at any
/// gap between finite logits. `mask` is that of tokens, `[B, L]`; then there is a label for each token, and the sum is
/// still divided by B.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], [`Error::Labels`], and [`Error::Shape`] for a mask of another size.
pub fn ofa(
    student: Tensor<2>,
    teacher: Tensor<2>,
    targets: &Tensor<1, Int>,
    mask: Option<&Tensor<2>>,
    knobs: &Ofa,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let labels = column(targets, batch)?;
    let rows = Rows::of(NAME.name, batch, mask)?;
    let t = knobs.temperature.get();
    let log_s = log_p(rows.clear(student), t);
    let p = log_p(rows.clear(teacher.without_autodiff()), t).exp();
    let ones = Tensor::ones([batch, 1], (&p.device(), p.dtype()));
    let label = p.zeros_like().scatter(1, labels, ones, IndexingUpdateOp::Add);
    let target = (p + label.clone()).powf_scalar(knobs.epsilon) - label;
    Ok(rows.batch_mean((target * log_s).sum_dim(1).neg()))
}

/// The loss `ofa` of a recipe, and the knobs of [`ofa()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ofa {
    /// The power, finite and above 0.
    #[serde(deserialize_with = "epsilon")]
    pub epsilon: f64,
    /// What both logits are divided by.
    pub temperature: Temperature,
}

ranged!(epsilon, "epsilon", "finite and above 0", |x| x.is_finite() && x > 0.0);

impl Default for Ofa {
    fn default() -> Self {
        Ofa { epsilon: 1.0, temperature: Temperature::ONE }
    }
}

impl DistillLoss for Ofa {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        ofa(student, teacher, view.targets(NAME.name)?, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ofa",
    line: "cross entropy with the teacher's probabilities, the label's strengthened by a power",
    formula: "-(1/B) sum_b sum_c [(p_t + m)^ε - m]·log p_s,  p = softmax(z / T), m = onehot(y)",
    paper: "Hao et al., One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation, \
            NeurIPS 2023, arXiv 2310.19444",
    reference: "Hao840/OFAKD distillers/ofa.py `ofa_loss` f7bb896cac9879040800bde08a8cc2057a904c52",
    when: "Teacher and student of different families, such as a transformer and a small convolutional net. The paper \
           also gives each stage of the student a classifier of its own; this is the term of the last one. Within \
           one family `kl` or `dist` is as good.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TARGETS],
    example: "{ epsilon = 1.5 }",
    lacks: None,
    knobs: &[
        Knob::or("epsilon", "1.0", "the power, above 0, usually 1 to 1.5; at 1 the label does not matter"),
        Knob::or("temperature", "1.0", "divides both logits, above 0"),
    ],
};
