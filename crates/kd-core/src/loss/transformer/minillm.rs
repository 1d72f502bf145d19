//! MiniLLM's reverse KL, token by token over the whole vocabulary.
//!
//! The paper follows the policy gradient of the sequence's reverse KL on text that the student samples. This is the
//! part that needs no sampling inside the loss: the expected term of each single step, given the tokens before it.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::response::Divergence;
use crate::loss::transformer::gkd::token_divergence;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Reverse KL of the next token's distributions, `softmax(z / T)` each:
///
/// ```text
/// L = (1/N) Σ KL(s ‖ t),   N = counted tokens
/// ```
///
/// Logits are `[B·L, C]`, `mask` is `[B, L]`; without one every row counts. What stands at an ignored token, NaN
/// included, has no influence, and where none counts the result is 0. The value is finite at any gap between finite
/// logits; there is no factor T². The teacher's logits are constants.
///
/// # Errors
///
/// [`Error::LogitShapes`], [`Error::Empty`], [`Error::Shape`] for a mask that does not fit.
pub fn minillm(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    temperature: Temperature,
) -> Result<Tensor<1>, Error> {
    token_divergence(NAME.name, (student, teacher), mask, Divergence::Reverse, temperature, 0.5)
}

/// The loss `minillm` of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MiniLlm {
    /// What both logits are divided by.
    pub temperature: Temperature,
}

impl Default for MiniLlm {
    fn default() -> Self {
        MiniLlm { temperature: Temperature::ONE }
    }
}

impl DistillLoss for MiniLlm {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        minillm(student, teacher, view.mask, self.temperature)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "minillm",
    line: "reverse KL of the next token over the whole vocabulary, mean over the tokens that count",
    formula: "(1/N) sum sum_c p_s·(log p_s - log p_t),  N counted tokens",
    paper: "Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024, arXiv 2306.08543",
    reference: "huggingface/trl trl/experimental/gkd/gkd_trainer.py f2cd57710ae345ea6428ae95363267fcf38a3dc8 \
                `generalized_jsd_loss` at beta 1; the policy gradient over sampled sequences is not part of it",
    when: "For a student too small for all that the teacher knows, on text that it wrote itself: it keeps to what the \
           teacher finds likely. It drops variety; where that matters use `gkd` with a smaller beta.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TOKEN_MASK],
    example: "{ temperature = 1.0 }",
    lacks: None,
    knobs: &[Knob::or("temperature", "1.0", "divides both logits, above 0; there is no factor T²")],
};
