//! Adversarial feature distillation: a discriminator tells the student's features from the teacher's, and the student
//! learns to deceive it. The discriminator is a model of the caller's; here are the losses of both sides.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use crate::loss::math::mean_all;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, Side, View};

/// The loss of one side, from the discriminator's outputs on the student's features and on the teacher's:
///
/// ```text
/// student          −mean log D(fake)
/// discriminator    −mean log D(real) − mean log(1 − D(fake))
///
/// D = σ(output) for logits, D = output for probabilities
/// ```
///
/// Outputs have any rank, the means are over all their elements, the result is `[1]`. With logits the value is finite
/// for all finite outputs; probabilities, and what is left of them to 1, count as at least 1e-12, with a gradient of 0
/// there, and in f32 they cannot tell 1 − 1e-8 from 1. For the student's side the caller holds the discriminator's
/// parameters fixed; for the discriminator's side, the features.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Missing`] where the discriminator's side has no `real`.
pub fn discriminator(
    fake: Feature,
    real: Option<Feature>,
    knobs: &Discriminator,
) -> Result<Tensor<1>, Error> {
    let (log_fake, log_rest) = knobs.input.logs(fake)?;
    match knobs.role {
        DiscriminatorRole::Student => Ok(mean_all(log_fake).neg()),
        DiscriminatorRole::Discriminator => {
            let real = real.ok_or(Error::Missing { loss: NAME.name, input: "student.real" })?;
            let (log_real, _) = knobs.input.logs(real)?;
            Ok((mean_all(log_real) + mean_all(log_rest)).neg())
        }
    }
}

impl DiscriminatorInput {
    /// `log D` and `log(1 − D)`, `[N, 1]` each.
    fn logs(self, output: Feature) -> Result<(Tensor<2>, Tensor<2>), Error> {
        let shape = output.dims();
        if shape.contains(&0) {
            return Err(Error::Empty { shape });
        }
        let flat = output.flat();
        let count = flat.dims()[0];
        let x = flat.reshape([count, 1]);
        Ok(match self {
            DiscriminatorInput::Logits => {
                // σ(x) is the softmax of (x, 0): no kink, and no overflow on either side.
                let zeros = x.zeros_like();
                let logs = log_softmax(Tensor::cat(vec![x, zeros], 1), 1);
                (logs.clone().narrow(1, 0, 1), logs.narrow(1, 1, 1))
            }
            DiscriminatorInput::Probabilities => {
                let rest = x.clone().neg().add_scalar(1.0);
                (x.clamp_min(1e-12).log(), rest.clamp_min(1e-12).log())
            }
        })
    }
}

/// The loss `discriminator` of a recipe, and the knobs of [`discriminator`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Discriminator {
    /// Who is trained with it.
    pub role: DiscriminatorRole,
    /// What the outputs are.
    pub input: DiscriminatorInput,
    /// Where the output on the student's features is.
    pub fake: String,
    /// Where the output on the teacher's features is; not read for the student.
    pub real: String,
}

impl Default for Discriminator {
    fn default() -> Self {
        Discriminator {
            role: DiscriminatorRole::Student,
            input: DiscriminatorInput::Logits,
            fake: "fake".into(),
            real: "real".into(),
        }
    }
}

/// Who is trained with [`discriminator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorRole {
    /// The student, whose features are to pass for the teacher's.
    #[default]
    Student,
    /// The discriminator, which tells them apart.
    Discriminator,
}

/// What a discriminator's outputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorInput {
    /// Before the sigmoid.
    #[default]
    Logits,
    /// After it, from 0 to 1.
    Probabilities,
}

impl DistillLoss for Discriminator {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let site = |name: &str| view.student.features.require(Side::Student, name).cloned();
        let real = match self.role {
            DiscriminatorRole::Student => None,
            DiscriminatorRole::Discriminator => Some(site(&self.real)?),
        };
        discriminator(site(&self.fake)?, real, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "discriminator",
    line: "adversarial: the student's features pass for the teacher's; the student's side or the discriminator's",
    formula: "student: -mean log D(fake);  discriminator: -mean log D(real) - mean log(1 - D(fake))",
    paper: "Xu, Hsu and Huang, Training Shallow and Thin Networks with Conditional Adversarial Networks, 2018, \
            arXiv 1709.00513; Goodfellow et al., Generative Adversarial Nets, NIPS 2014, arXiv 1406.2661",
    reference: "pytorch/pytorch torch/nn/functional.py `binary_cross_entropy_with_logits`, release 2.15.0, with \
                targets 1 for the student, 1 (real) and 0 (fake) for the discriminator",
    when: "Beside `kl`, with a small weight (0.01 to 0.1), where a distance of features is too strict; alone it does \
           not say which example a feature is of, and it needs the usual care of adversarial training.",
    inputs: &[
        Input::new(
            "student.fake",
            &["N"],
            "the discriminator's output on the student's features, any rank from 1 to 4",
        ),
        Input::optional(
            "student.real",
            &["M"],
            "its output on the teacher's features, any rank from 1 to 4; only with role discriminator, whose output it \
             is: not a constant",
        ),
    ],
    example: "{ role = \"student\", input = \"logits\" }",
    lacks: Some("a discriminator"),
    knobs: &[
        Knob::or("role", "\"student\"", "who is trained: student or discriminator"),
        Knob::or("input", "\"logits\"", "what the discriminator gives: logits or probabilities"),
        Knob::or("fake", "\"fake\"", "site of its output on the student's features"),
        Knob::or("real", "\"real\"", "site of its output on the teacher's features"),
    ],
};
