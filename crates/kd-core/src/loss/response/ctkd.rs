//! Curriculum temperature: the temperature is trained against the student, gently at first.
//!
//! The student descends the loss and the temperature climbs it, since its gradient is reversed; the factor of the
//! reversal grows from easy to hard along the run and is a pure function of progress.

use std::f64::consts::PI;

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::rows::{Rows, kl_at};
use crate::loss::math::check_pair;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Observed, Parameter, Progress, Temperature, View};

/// `kl` at a temperature that is a tensor:
///
/// ```text
/// L = T²·(1/B) Σ_b KL(softmax(z_t / T) ‖ softmax(z_s / T))
/// ```
///
/// Both logits are `[B, C]`, `temperature` is `[1]` and above 0, the result is `[1]`. The teacher's logits are a
/// constant, the temperature is not: its gradient counts T² and both softmaxes. `mask` is that of tokens, `[B, L]`.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::Shape`] for a mask of another size.
pub fn ctkd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    temperature: Tensor<1>,
    mask: Option<&Tensor<2>>,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let rows = Rows::of(NAME.name, batch, mask)?;
    let t = temperature.clone().reshape([1, 1]);
    let each = kl_at(rows.clear(student), rows.clear(teacher.without_autodiff()), t);
    Ok(rows.batch_mean(each) * temperature.square())
}

/// The loss `ctkd` of a recipe: [`ctkd()`] at the parameter `temperature`, which is trained with a reversed gradient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "CtkdKnobs")]
pub struct Ctkd {
    /// What the parameter is.
    pub variant: CtkdVariant,
    /// The first temperature.
    pub temperature: Temperature,
    /// The lowest temperature.
    pub minimum: Temperature,
    /// The highest temperature.
    pub maximum: Temperature,
    /// The factor of the reversed gradient at the beginning, at least 0.
    pub lambda_min: f64,
    /// The factor at the end of the ramp, at least `lambda_min`.
    pub lambda_max: f64,
    /// The share of the stage in which the factor grows, from 0 to 1.
    pub ramp: f64,
}

/// What the parameter `temperature` of [`Ctkd`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CtkdVariant {
    /// The temperature; one beyond the range counts as its end, and its gradient still lets it return.
    #[default]
    Direct,
    /// A number θ behind `minimum + (maximum − minimum)·sigmoid(θ)`, as in the authors' code.
    Author,
}

impl Ctkd {
    /// The factor of the reversed gradient:
    ///
    /// ```text
    /// λ = λ_min + ½(λ_max − λ_min)·(1 + cos((1 + min(progress / ramp, 1))·π))
    /// ```
    ///
    /// `λ_min` at the beginning, `λ_max` from the end of the ramp on.
    pub fn lambda(&self, progress: Progress) -> f64 {
        let done = if progress.get() < self.ramp { progress.get() / self.ramp } else { 1.0 };
        self.lambda_min + 0.5 * (self.lambda_max - self.lambda_min) * (1.0 + ((1.0 + done) * PI).cos())
    }

    fn parameter(&self) -> Parameter {
        let (low, high) = (self.minimum.get(), self.maximum.get());
        let first = match self.variant {
            CtkdVariant::Direct => self.temperature.get(),
            CtkdVariant::Author => {
                let share = (self.temperature.get() - low) / (high - low);
                (share / (1.0 - share)).ln()
            }
        };
        Parameter::constant(NAME.name, "temperature", &[1], first)
    }

    /// The temperature, with −λ times its gradient for the parameter.
    fn temperature(&self, parameter: Tensor<1>, lambda: f64) -> Tensor<1> {
        let (low, high) = (self.minimum.get(), self.maximum.get());
        let (free, value) = match self.variant {
            CtkdVariant::Direct => {
                let value = parameter.clone().without_autodiff().clamp(low, high);
                (parameter, value)
            }
            CtkdVariant::Author => {
                let t = sigmoid(parameter).mul_scalar(high - low).add_scalar(low);
                (t.clone(), t.without_autodiff())
            }
        };
        // Adds exactly 0, with a derivative of −λ.
        let nothing = (free.clone().without_autodiff() - free).mul_scalar(lambda);
        nothing + value
    }
}

impl Default for Ctkd {
    fn default() -> Self {
        Ctkd {
            variant: CtkdVariant::Direct,
            temperature: Temperature::new(4.0).unwrap_or(Temperature::ONE),
            minimum: Temperature::ONE,
            maximum: Temperature::new(21.0).unwrap_or(Temperature::ONE),
            lambda_min: 0.0,
            lambda_max: 1.0,
            ramp: 0.05,
        }
    }
}

impl DistillLoss for Ctkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn parameters(&self, _student: &Observed, _teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        Ok(vec![self.parameter()])
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let parameter = view.parameter::<1>(NAME.name, &self.parameter())?;
        let temperature = self.temperature(parameter, self.lambda(view.progress));
        let (student, teacher) = (view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?);
        ctkd(student, teacher, temperature, view.mask)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ctkd",
    line: "kl at a temperature that is trained to make it larger, by a reversed gradient that grows along the run",
    formula: "T²·(1/B) sum_b KL(softmax(z_t / T) || softmax(z_s / T)),  T the parameter; its gradient is -λ·dL/dT, \
              λ = λ_min + ½(λ_max - λ_min)·(1 + cos((1 + min(progress / ramp, 1))·π))",
    paper: "Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023, arXiv 2211.16231",
    reference: "sunshangquan/logit-standardization-KD CTKD/models/temp_global.py and CTKD/distiller_zoo/KD.py \
                f6e5aa5172bad618e801163c3385322eea673754 (the authors' code with a global temperature)",
    when: "Where no temperature has been searched for. Gains over a well chosen fixed temperature are small; the \
           temperature needs a learning rate and no weight decay, and one per example is not offered.",
    inputs: &[
        Input::STUDENT,
        Input::TEACHER,
        Input::new("connector.temperature", &["1"], "the trained parameter: T, or θ in the variant `author`"),
    ],
    example: "{ temperature = 4.0, ramp = 0.05 }",
    lacks: None,
    knobs: &[
        Knob::or(
            "variant",
            "\"direct\"",
            "direct (the parameter is T) or author (T = minimum + (maximum - minimum)·sigmoid(θ))",
        ),
        Knob::or("temperature", "4.0", "the first temperature, between minimum and maximum"),
        Knob::or("minimum", "1.0", "the lowest temperature"),
        Knob::or("maximum", "21.0", "the highest temperature"),
        Knob::or("lambda-min", "0.0", "factor of the reversed gradient at the beginning, at least 0"),
        Knob::or("lambda-max", "1.0", "factor at the end of the ramp, at least lambda-min"),
        Knob::or("ramp", "0.05", "share of the stage in which the factor grows, from 0 to 1"),
    ],
};

/// The knobs as they are written.
#[derive(Deserialize)]
#[serde(rename = "Ctkd", rename_all = "kebab-case", deny_unknown_fields, default)]
struct CtkdKnobs {
    variant: CtkdVariant,
    temperature: Temperature,
    minimum: Temperature,
    maximum: Temperature,
    lambda_min: f64,
    lambda_max: f64,
    ramp: f64,
}

impl Default for CtkdKnobs {
    fn default() -> Self {
        let Ctkd { variant, temperature, minimum, maximum, lambda_min, lambda_max, ramp } = Ctkd::default();
        CtkdKnobs { variant, temperature, minimum, maximum, lambda_min, lambda_max, ramp }
    }
}

impl TryFrom<CtkdKnobs> for Ctkd {
    type Error = Error;

    fn try_from(knobs: CtkdKnobs) -> Result<Self, Error> {
        let CtkdKnobs { variant, temperature, minimum, maximum, lambda_min, lambda_max, ramp } = knobs;
        let refuse = |name, expected, found| Err(Error::OutOfRange { name, expected, found });
        if maximum <= minimum {
            return refuse("maximum", "above `minimum`", maximum.get());
        }
        let fits = match variant {
            CtkdVariant::Direct => minimum <= temperature && temperature <= maximum,
            // A sigmoid reaches neither end.
            CtkdVariant::Author => minimum < temperature && temperature < maximum,
        };
        if !fits {
            return refuse("temperature", "between `minimum` and `maximum`", temperature.get());
        }
        if !(lambda_min.is_finite() && lambda_min >= 0.0) {
            return refuse("lambda-min", "finite and at least 0", lambda_min);
        }
        if !(lambda_max.is_finite() && lambda_max >= lambda_min) {
            return refuse("lambda-max", "finite and at least `lambda-min`", lambda_max);
        }
        if !(0.0..=1.0).contains(&ramp) {
            return refuse("ramp", "from 0 to 1", ramp);
        }
        Ok(Ctkd { variant, temperature, minimum, maximum, lambda_min, lambda_max, ramp })
    }
}
