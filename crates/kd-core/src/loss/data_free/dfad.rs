//! Data-free adversarial distillation: a generator looks for images on which student and teacher differ, and the
//! student learns to agree there. Both sides are one number with two signs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, mean_all};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, View};

/// Mean absolute difference of the logits on generated images:
///
/// ```text
/// student      L =  (1/(B·C)) Σ |z_t − z_s|    the teacher is a constant
/// generator    L = −(1/(B·C)) Σ |z_t − z_s|    the gradient goes through both models into the generator
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`. Where two logits are equal, the derivative is taken as 0. The
/// generator's side has no lower bound: what holds it is that the student is trained more often (five times in the
/// authors' code).
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn dfad(student: Tensor<2>, teacher: Tensor<2>, role: DfadRole) -> Result<Tensor<1>, Error> {
    check_pair(&student, &teacher)?;
    Ok(match role {
        DfadRole::Student => mean_all((teacher.without_autodiff() - student).abs()),
        DfadRole::Generator => mean_all((teacher - student).abs()).neg(),
    })
}

/// The loss `dfad` of a recipe, and the knob of [`dfad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dfad {
    /// Who is trained with it.
    pub role: DfadRole,
}

/// Who is trained with [`dfad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DfadRole {
    /// The student, which makes the difference small.
    #[default]
    Student,
    /// The generator, which makes it large.
    Generator,
}

impl DistillLoss for Dfad {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        // Not `teacher_logits`: the generator is trained through the teacher.
        let teacher = view.teacher(NAME.name)?.logits.clone();
        let teacher = teacher.ok_or(Error::Missing { loss: NAME.name, input: "teacher.logits" })?;
        dfad(view.student_logits(NAME.name)?, teacher, self.role)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "dfad",
    line: "data-free: mean absolute difference of logits on generated images; the student's side or the generator's",
    formula: "±(1/(B·C)) sum |z_t - z_s|,  + for the student, - for the generator",
    paper: "Fang et al., Data-Free Adversarial Distillation, 2019, arXiv 1912.11006; Micaelli and Storkey, \
            NeurIPS 2019, arXiv 1905.09768",
    reference: "VainF/Data-Free-Adversarial-Distillation DFAD_mnist.py c161591aae4c13e53943dcb61c162876421aad7a; \
                vectors compared with open-mmlab/mmrazor mmrazor/models/losses/l1_loss.py \
                90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "Where no data of the teacher's are left; with any real images, even of another domain, `kl` on those is the \
           first thing to try.",
    inputs: &[
        Input::STUDENT,
        Input::new(
            "teacher.logits",
            &["B", "C"],
            "logits of the teacher, before any softmax; a constant for the student only",
        ),
    ],
    example: "{ role = \"student\" }",
    lacks: Some("a generator"),
    knobs: &[Knob::or(
        "role",
        "\"student\"",
        "who is trained: student (makes it small) or generator (large)",
    )],
};
