//! Class-wise self-distillation: a network should say about one example what it says about another one of the same
//! class. The sampler brings the pairs; this is the term that compares them.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{kl_mean, temperature};
use crate::loss::math::ranked;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Side, Temperature, View};

/// KL of a network's answer `x` from its own answer to another example `x'` of the same class:
///
/// ```text
/// L = T²·(1/B) Σ_b KL(p(x'_b) ‖ p(x_b)),    p = softmax(z / T)
/// ```
///
/// Both logits are `[B, C]`, row b of both of one class, the result is `[1]`. `pair` is a constant: no gradient reaches
/// it. 0 where both answers are equal, finite for all finite logits.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn cs_kd(logits: Tensor<2>, pair: Tensor<2>, temperature: Temperature) -> Result<Tensor<1>, Error> {
    kl_mean(logits, pair.without_autodiff(), temperature.get())
}

/// The loss `cs-kd` of a recipe, and the knobs of [`cs_kd`]. It reads the student alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CsKd {
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// Where the logits of the other examples are; empty for the only site.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pair: String,
}

impl Default for CsKd {
    fn default() -> Self {
        CsKd { temperature: temperature(4.0), pair: String::new() }
    }
}

impl DistillLoss for CsKd {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let pair = view.student.features.require(Side::Student, &self.pair)?.clone();
        let pair = ranked::<2>(NAME.name, "student.pair", "[B, C], as `student.logits`", pair)?;
        cs_kd(view.student_logits(NAME.name)?, pair, self.temperature)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cs-kd",
    line: "self-distillation: T²·KL from the network's own answer to another example of the same class",
    formula: "T²·(1/B) sum_b KL(sg p(x'_b) ‖ p(x_b)),  p = softmax(z / T), x' of the class of x",
    paper: "Yun et al., Regularizing Class-wise Predictions via Self-knowledge Distillation, CVPR 2020, \
            arXiv 2003.13964",
    reference: "SforAiDl/KD_Lib KD_Lib/KD/vision/CSKD/cskd.py a94d236050e81965d7e0c03d7dee3b63e67b675a",
    when: "Helps on classes that are fine-grained or have few examples, and calibrates; it costs a second forward \
           pass and adds little beside a good teacher.",
    inputs: &[
        Input::STUDENT,
        Input::new(
            "student.pair",
            &["B", "C"],
            "the student's logits of other examples of the same classes, a constant; any name if it is the only site",
        ),
    ],
    example: "{ temperature = 4.0 }",
    lacks: Some("pairs of the same class"),
    knobs: &[
        Knob::or("temperature", "4.0", "divides both logits, above 0"),
        Knob::optional("pair", "site of the logits of the other examples; the only site if left out"),
    ],
};
