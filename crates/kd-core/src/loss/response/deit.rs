//! DeiT's distillation token: a second head that learns from the teacher while the first learns from the labels.
//!
//! The model brings the token; this is the loss of its logits. A model without one may learn from the teacher's choice
//! with its only head, which the paper compares with.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use super::kl::{Divergence, Reduction};
use super::rows::Rows;
use crate::loss::math::{check_pair, ranked};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Side, Temperature, View};

/// The distillation token's logits `z`, `[B, C]`, against the teacher's, `[B, C]`:
///
/// ```text
/// hard         −(1/B) Σ_b log softmax(z_b)[argmax z_t]           cross entropy with the teacher's choice
/// soft         T²·Σ_b KL(softmax(z_t / T) ‖ softmax(z / T)) / (B·C)      the authors' code
/// soft-paper   T²·Σ_b KL(softmax(z_t / T) ‖ softmax(z / T)) / B          the paper's formula
/// ```
///
/// The result is `[1]`. The teacher's logits are a constant; of equal largest ones the device's `argmax` chooses. Finite
/// for all finite logits. `mask` is that of tokens of a language model, `[B, L]`, and ignores some of the rows.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::Shape`] for a mask of another size.
pub fn deit(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Deit,
) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let rows = Rows::of(NAME.name, batch, mask)?;
    let (student, teacher) = (rows.clear(student), rows.clear(teacher.without_autodiff()));
    let reduction = match knobs.variant {
        DeitVariant::Hard => {
            let choice = teacher.argmax(1);
            return Ok(rows.batch_mean(log_softmax(student, 1).gather(1, choice).neg()));
        }
        DeitVariant::Soft => Reduction::Mean,
        DeitVariant::SoftPaper => Reduction::BatchMean,
    };
    let t = knobs.temperature.get();
    let each = Divergence::Forward.of_rows(student, teacher, t, 0.0);
    Ok(rows.reduce(each, classes, reduction).mul_scalar(t * t))
}

/// The loss `deit` of a recipe, and the knobs of [`deit()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Deit {
    /// The student's site with the logits of the distillation token; empty for `distillation` where the student has
    /// such a site, and for its logits where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub student: String,
    /// What is learnt of the teacher.
    pub variant: DeitVariant,
    /// What both logits are divided by; the hard variant does not look at it.
    pub temperature: Temperature,
}

/// What a distillation token learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeitVariant {
    /// The teacher's choice.
    #[default]
    Hard,
    /// Its probabilities, divided by B·C.
    Soft,
    /// Its probabilities, divided by B.
    SoftPaper,
}

impl Default for Deit {
    fn default() -> Self {
        let temperature = Temperature::new(3.0).unwrap_or(Temperature::ONE);
        Deit { student: String::new(), variant: DeitVariant::Hard, temperature }
    }
}

impl DistillLoss for Deit {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let features = &view.student.features;
        let token = match self.student.as_str() {
            "" => features.require(Side::Student, TOKEN).ok(),
            site => Some(features.require(Side::Student, site)?),
        };
        let student = match token {
            Some(token) => ranked(NAME.name, "student.distillation", "[B, C]", token.clone())?,
            None => view.student_logits(NAME.name)?,
        };
        deit(student, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

const TOKEN: &str = "distillation";

pub(crate) const NAME: LossName = LossName {
    name: "deit",
    line: "a distillation token's cross entropy with the teacher's choice, or its divergence from the teacher",
    formula: "hard: -(1/B) sum_b log softmax(z)[argmax z_t];  soft: T²·sum_b KL(p_t || p) / (B·C), soft-paper: / B, \
              p = softmax(z / T);  z the logits of the distillation token",
    paper: "Touvron et al., Training Data-Efficient Image Transformers and Distillation through Attention, ICML 2021, \
            arXiv 2012.12877",
    reference: "facebookresearch/deit losses.py 7e160fe43f0252d17191b71cbb5826254114ea5b",
    when: "Vision transformers with a token of their own for it, beside `cross-entropy` of the class token with the \
           same weight; predictions then average both heads. The hard variant beats the soft one there. With one \
           head only, `kl` keeps more of the teacher.",
    inputs: &[
        Input::optional(
            "student.distillation",
            &["B", "C"],
            "logits of the distillation token; where it is left out, student.logits",
        ),
        Input::optional("student.logits", &["B", "C"], "read only without a distillation token"),
        Input::TEACHER,
    ],
    example: "{ variant = \"hard\" }",
    lacks: None,
    knobs: &[
        Knob::optional(
            "student",
            "site of the distillation token's logits; when left out, `distillation`, or the logits without such a site",
        ),
        Knob::or(
            "variant",
            "\"hard\"",
            "hard (the teacher's choice), soft (over B·C) or soft-paper (over B)",
        ),
        Knob::or("temperature", "3.0", "divides both logits in the soft variants, above 0"),
    ],
};
