//! Universal logit distillation: teacher and student with different vocabularies, compared by their sorted
//! probabilities, which say how sure a model is and not of what.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::loss::math::{check_logits, log_p};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// L1 distance of sorted probabilities, the shorter row filled up with zeros:
///
/// ```text
/// L = (1/N) Σ_n Σ_i |sort(softmax(z_s / T))_ni − sort(softmax(z_t / T))_ni|,    descending
/// ```
///
/// The student's logits are `[N, C]`, the teacher's `[N, D]`, the result is `[1]`; N is the number of rows, or of those
/// that the mask `[B, L]` keeps. Between 0 and 2. The teacher's logits are a constant. Any permutation of either
/// vocabulary changes nothing. Where two sorted probabilities are equal, the gradient is 0 there.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for another number of rows or a mask of another size.
pub fn uld(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Uld,
) -> Result<Tensor<1>, Error> {
    let ([n, c], [m, d]) = (check_logits(&student)?, check_logits(&teacher)?);
    if n != m {
        let expected = "[B, D], a row for each row of `student.logits`";
        return Err(Error::Shape { loss: NAME.name, input: "teacher.logits", expected, found: vec![m, d] });
    }
    let rows = Rows::of(NAME.name, n, mask)?;
    let sorted = |z: Tensor<2>| log_p(rows.clear(z), knobs.temperature.get()).exp().sort_descending(1);
    let (s, t) = (sorted(student), sorted(teacher.without_autodiff()));
    let both = c.min(d);
    let head = (s.clone().narrow(1, 0, both) - t.clone().narrow(1, 0, both)).abs().sum_dim(1);
    // What the longer one has beyond the shorter one is compared with zeros.
    let each = match (c > d, c < d) {
        (true, _) => head + s.narrow(1, d, c - d).sum_dim(1),
        (_, true) => head + t.narrow(1, c, d - c).sum_dim(1),
        _ => head,
    };
    Ok(rows.token_mean(each))
}

/// The loss `uld` of a recipe, and the knobs of [`uld()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Uld {
    /// What both logits are divided by.
    pub temperature: Temperature,
}

impl Default for Uld {
    fn default() -> Self {
        Uld { temperature: Temperature::ONE }
    }
}

impl DistillLoss for Uld {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        uld(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "uld",
    line: "L1 distance of sorted probabilities: for a teacher with another vocabulary",
    formula: "(1/N) sum_n sum_i |sort(softmax(z_s / T))_ni - sort(softmax(z_t / T))_ni|,  the shorter one filled up \
              with zeros",
    paper: "Boizard et al., Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for LLMs, \
            2024, arXiv 2402.12030",
    reference: "none public at hand: derived from the paper; huggingface/trl trl/experimental/gold/gold_trainer.py \
                `ULDLoss` reads the same for sequences of one length (it averages over each sequence first)",
    when: "Only where vocabularies differ and rows of both models stand for the same text. Over one vocabulary it \
           throws away which class is meant: take `kl`.",
    inputs: &[
        Input::STUDENT,
        Input::new("teacher.logits", &["B", "D"], "logits of the teacher, over as many classes as it has"),
        Input::TOKEN_MASK,
    ],
    example: "{ temperature = 1.0 }",
    lacks: None,
    knobs: &[Knob::or("temperature", "1.0", "divides both logits, above 0")],
};
