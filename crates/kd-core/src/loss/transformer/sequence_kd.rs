//! Sequence-level distillation: the student learns the text that its teacher generated, as if it were the label.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_logits, column};
use crate::loss::transformer::common::{Tokens, label_cross_entropy};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, View};

/// Mean cross entropy with the teacher's tokens:
///
/// ```text
/// L = −(1/N) Σ log softmax(z)[y],   N = tokens that count and are not below 0
/// ```
///
/// Logits are `[B·L, C]`, `tokens` is `[B·L]`, each from 0 to C − 1, or below 0, such as −100, where there is none;
/// `mask` is `[B, L]`. What stands at an ignored token, NaN included, has no influence, and where none counts the
/// result is 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Labels`], [`Error::Shape`] for a mask that does not fit.
pub fn sequence_kd(
    student: Tensor<2>,
    tokens: &Tensor<1, Int>,
    mask: Option<&Tensor<2>>,
) -> Result<Tensor<1>, Error> {
    let [rows, _] = check_logits(&student)?;
    let labels = column(tokens, rows)?;
    Ok(label_cross_entropy(student, labels, &Tokens::of_rows(NAME.name, mask, rows)?))
}

/// The loss `sequence-kd`, without knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SequenceKd {}

impl DistillLoss for SequenceKd {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        sequence_kd(view.student_logits(NAME.name)?, view.targets(NAME.name)?, view.mask)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "sequence-kd",
    line: "cross entropy with the tokens that the teacher generated, mean over those that count",
    formula: "-(1/N) sum log p_s[y],  y the teacher's tokens, N those that count",
    paper: "Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016, arXiv 1606.07947",
    reference: "pytorch/pytorch torch/nn/functional.py `cross_entropy(ignore_index=-100)`, release 2.15.0",
    when: "Where the teacher's logits are out of reach or its vocabulary is another: its text is enough. It passes on \
           one answer and not what the teacher thinks of the others.",
    inputs: &[
        Input::new("student.logits", &["B", "L", "C"], "logits of the next token"),
        Input::new(
            "targets",
            &["B·L"],
            "the teacher's tokens, one after the other, 64-bit integers; below 0 is none",
        ),
        Input::optional("mask", &["B", "L"], "1 counted, 0 ignored; all counted if left out"),
    ],
    example: "{}",
    lacks: Some("text that the teacher generated"),
    knobs: &[],
};
