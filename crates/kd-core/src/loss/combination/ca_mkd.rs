//! Confidence-aware multi-teacher distillation: for each example, teachers that know its label count more.

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{cross_entropies, teachers, temperature};
use crate::loss::math::{check_pair, divide, sum_rows};
use crate::loss::{DistillLoss, Divergence, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// KL of the student from each of K teachers, weighted for each example by how well that teacher knows its label:
///
/// ```text
/// L    = T²·(1/B) Σ_b Σ_k w_bk·KL(softmax(z_k[b] / T) ‖ softmax(z_s[b] / T))
/// w_bk = (1 − softmax_k(CE_bk)) / (K − 1),    CE_bk = −log softmax(z_k[b])[y_b]
/// ```
///
/// All logits are `[B, C]`, `targets` is `[B]`, the result is `[1]`. The weights of an example sum to 1, so nothing is
/// divided by K again (the authors' code does: its value is 1/K of this). One teacher has weight 1: the loss is `kl`.
/// Teachers and weights are constants.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], [`Error::Labels`], and [`Error::OutOfRange`] without a teacher.
pub fn ca_mkd(
    student: Tensor<2>,
    teachers: &[Tensor<2>],
    targets: &Tensor<1, Int>,
    knobs: &CaMkd,
) -> Result<Tensor<1>, Error> {
    for teacher in teachers {
        check_pair(&student, teacher)?;
    }
    let weights = ca_mkd_weights(teachers, targets)?;
    let (t, batch) = (knobs.temperature.get(), student.dims()[0]);
    let of = |teacher: &Tensor<2>| {
        Divergence::Forward.of_rows(student.clone(), teacher.clone().without_autodiff(), t, 0.5)
    };
    let each = Tensor::cat(teachers.iter().map(of).collect(), 1);
    Ok(sum_rows(each * weights).mul_scalar(t * t / batch as f64))
}

/// The weights of [`ca_mkd`], `[B, K]`, a constant: `(1 − softmax_k(CE_bk)) / (K − 1)`, rows that sum to 1.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Labels`], and [`Error::OutOfRange`] without a teacher.
pub fn ca_mkd_weights(teachers: &[Tensor<2>], targets: &Tensor<1, Int>) -> Result<Tensor<2>, Error> {
    let of = |teacher: &Tensor<2>| cross_entropies(teacher.clone().without_autodiff(), targets);
    let each = teachers.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    match each.len() {
        0 => Err(Error::OutOfRange { name: "teachers", expected: "at least 1", found: 0.0 }),
        // The formula is 0/0 for a single teacher, to whom everything is left.
        1 => Ok(each[0].ones_like()),
        count => Ok(divide(softmax(Tensor::cat(each, 1), 1).neg().add_scalar(1.0), (count - 1) as f64)),
    }
}

/// The loss `ca-mkd` of a recipe, and the knobs of [`ca_mkd`]: the part on logits; the paper's part on features is a
/// `hint` for each teacher.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaMkd {
    /// What all logits are divided by in the divergence; the weights are those at 1.
    pub temperature: Temperature,
}

impl Default for CaMkd {
    fn default() -> Self {
        CaMkd { temperature: temperature(4.0) }
    }
}

impl DistillLoss for CaMkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, targets) = (view.student_logits(NAME.name)?, view.targets(NAME.name)?);
        ca_mkd(student, &teachers(NAME.name, view)?, targets, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ca-mkd",
    line: "T²·KL from several teachers, weighted for each example by how well each of them knows its label",
    formula: "T²·(1/B) sum_b sum_k w_bk·KL(p_k ‖ p_s),  w_bk = (1 - softmax_k(CE_bk)) / (K - 1)",
    paper: "Zhang, Chen and Wang, Confidence-Aware Multi-Teacher Knowledge Distillation, ICASSP 2022, \
            arXiv 2201.00007",
    reference: "none public with weights that sum to 1: Rorozhl/CA-MKD helper/loops.py divides once more by K",
    when: "Helps where some teachers are poor or know other classes than the rest; with teachers of the same \
           accuracy it is nearly their plain average. It needs true labels.",
    inputs: &[
        Input::STUDENT,
        Input::new(
            "teacher.K.logits",
            &["B", "C"],
            "logits of teacher K, counted from 0, before any softmax",
        ),
        Input::TARGETS,
    ],
    example: "{ temperature = 4.0 }",
    lacks: Some("several teachers"),
    knobs: &[Knob::or("temperature", "4.0", "divides all logits, above 0; the weights are those at 1")],
};
