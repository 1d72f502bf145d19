//! Distillation without a teacher: a made-up one that is right with a given probability and indifferent otherwise.
//!
//! The paper softens that distribution by a temperature as it would logits, the authors' code puts the probabilities
//! themselves through a softmax, which at their temperature is nearly uniform; so there are two variants.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::loss::math::{check_logits, column, log_p, sum_rows};
use crate::loss::response::common::at_labels;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Divergence of the student from a virtual teacher `u`, which gives the label probability a and every other class
/// `(1 − a) / (C − 1)`:
///
/// ```text
/// paper    T²·(1/B) Σ_b KL(softmax(ln u / T) ‖ softmax(z / T))
/// author   1/(B·C) Σ_b KL(softmax(u / T) ‖ softmax(z))
/// ```
///
/// `logits` is `[B, C]`, `targets` is `[B]` with classes from 0 to C − 1, the result is `[1]`. It is finite for all
/// finite logits, at a = 0 and a = 1 too; with one class it is 0.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::Labels`].
pub fn tf_kd(logits: Tensor<2>, targets: &Tensor<1, Int>, knobs: &TfKd) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_logits(&logits)?;
    let labels = column(targets, batch)?;
    let t = knobs.temperature.get();
    let (of_label, of_other) = knobs.teacher(classes);
    let (log_s, factor) = match knobs.variant {
        TfKdVariant::Paper => (log_p(logits, t), t * t / batch as f64),
        TfKdVariant::Author => (log_p(logits, 1.0), 1.0 / (batch * classes) as f64),
    };
    // p·(ln p − log s), where p = 0 adds 0.
    let terms = |log_s: Tensor<2>, p: f64| {
        let log = if p > 0.0 { p.ln() } else { 0.0 };
        log_s.neg().add_scalar(log).mul_scalar(p)
    };
    let others = terms(log_s.clone(), of_other).mask_fill(at_labels(&labels, classes), 0.0);
    let each = terms(log_s.gather(1, labels), of_label) + others.sum_dim(1);
    Ok(sum_rows(each).mul_scalar(factor))
}

/// The loss `tf-kd` of a recipe, and the knobs of [`tf_kd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TfKd {
    /// The paper's definition or that of the authors' code.
    pub variant: TfKdVariant,
    /// What the virtual teacher gives the label, from 0 to 1.
    #[serde(deserialize_with = "probability")]
    pub correct_probability: f64,
    /// What softens the virtual teacher.
    pub temperature: Temperature,
}

/// A published definition of [`tf_kd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TfKdVariant {
    /// Both sides softened, T², divided by B.
    #[default]
    Paper,
    /// A softmax of probabilities, the student not softened, divided by B·C.
    Author,
}

impl Default for TfKd {
    fn default() -> Self {
        let temperature = Temperature::new(20.0).unwrap_or(Temperature::ONE);
        TfKd { variant: TfKdVariant::Paper, correct_probability: 0.99, temperature }
    }
}

impl TfKd {
    /// What the virtual teacher gives the label and each of the others, softened.
    fn teacher(&self, classes: usize) -> (f64, f64) {
        let (a, t, others) = (self.correct_probability, self.temperature.get(), (classes - 1) as f64);
        if classes == 1 {
            return (1.0, 0.0);
        }
        let rest = (1.0 - a) / others;
        // By how much the label's logit is larger; infinite where one of them has no probability.
        let gap = match self.variant {
            TfKdVariant::Paper => (a.ln() - rest.ln()) / t,
            TfKdVariant::Author => (a - rest) / t,
        };
        (1.0 / (1.0 + others * (-gap).exp()), 1.0 / (others + gap.exp()))
    }
}

impl DistillLoss for TfKd {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        tf_kd(view.student_logits(NAME.name)?, view.targets(NAME.name)?, self)
    }
}

fn probability<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(from)?;
    let (name, expected) = ("correct-probability", "from 0 to 1");
    let fits = (0.0..=1.0).contains(&found);
    fits.then_some(found).ok_or_else(|| D::Error::custom(Error::OutOfRange { name, expected, found }))
}

pub(crate) const NAME: LossName = LossName {
    name: "tf-kd",
    line: "divergence from a virtual teacher that is right with probability a and indifferent otherwise",
    formula: "paper: T²·(1/B) sum_b KL(softmax(ln u / T) || softmax(z / T)),  u = a at the label, (1 - a)/(C - 1) \
              elsewhere; author: (1/(B·C)) sum_b KL(softmax(u / T) || softmax(z))",
    paper: "Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020, \
            arXiv 1909.11723, section 5 (Tf-KD_reg)",
    reference: "yuanli2333/Teacher-free-Knowledge-Distillation my_loss_function.py \
                d000ab378a409535a5f5f645b473e05e27529a02 (author)",
    when: "Where there is no teacher: it does what smoothed labels do. It knows nothing of which classes look alike, so \
           a real teacher is better.",
    inputs: &[Input::STUDENT, Input::TARGETS],
    example: "{ correct-probability = 0.99, temperature = 20.0 }",
    lacks: None,
    knobs: &[
        Knob::or(
            "variant",
            "\"paper\"",
            "paper (both softened, T², over B) or author (a softmax of probabilities, the student at T = 1, over B·C)",
        ),
        Knob::or("correct-probability", "0.99", "what the virtual teacher gives the label, from 0 to 1"),
        Knob::or("temperature", "20.0", "softens the virtual teacher, above 0"),
    ],
};
