//! A temperature for each example, from how sure the student is of it (confidence weighted by student max).
//!
//! The second of two weights of the same paper; the first, `flsw`, says how a temperature is made of a weight.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::flsw::{COMPAT, TemperatureCompat, at_temperatures, temperatures};
use super::rows::Rows;
use crate::loss::math::{check_pair, log_p};
use crate::loss::number::ranged;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// `kl` with a temperature of its own for each example:
///
/// ```text
/// w_b = 1 / (max_c softmax(z_s)_bc + 1e-3)      from about 1, sure, to about C, unsure
/// τ_b = T + β·(mean w − w_b)                    at least 0.01
/// L   = (1/B) Σ_b τ_b²·KL(softmax(z_t / τ_b) ‖ softmax(z_s / τ_b))
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`. The temperatures are constants: no gradient passes through them. The
/// rest is as in [`flsw()`](super::flsw()).
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::Shape`] for a mask of another size.
pub fn cwsm(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Cwsm,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let rows = Rows::of(NAME.name, batch, mask)?;
    let (student, teacher) = (rows.clear(student), rows.clear(teacher.without_autodiff()));
    let surest = log_p(student.clone().without_autodiff(), 1.0).exp().max_dim(1);
    let weights = surest.add_scalar(1e-3).recip();
    let temperatures = temperatures(weights, &rows, knobs.temperature, knobs.beta);
    Ok(at_temperatures(student, teacher, temperatures, &rows, knobs.compat))
}

/// The loss `cwsm` of a recipe, and the knobs of [`cwsm()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cwsm {
    /// The mean temperature.
    pub temperature: Temperature,
    /// How far temperatures spread, finite and at least 0.
    #[serde(deserialize_with = "beta")]
    pub beta: f64,
    /// A toolkit to reproduce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<TemperatureCompat>,
}

ranged!(beta, "beta", "finite and at least 0", |x| x.is_finite() && x >= 0.0);

impl Default for Cwsm {
    fn default() -> Self {
        let temperature = Temperature::new(4.0).unwrap_or(Temperature::ONE);
        Cwsm { temperature, beta: 1.0, compat: None }
    }
}

impl DistillLoss for Cwsm {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        cwsm(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cwsm",
    line: "kl with a lower temperature for examples of which the student is unsure",
    formula: "(1/B) sum_b τ_b²·KL(softmax(z_t / τ_b) || softmax(z_s / τ_b)),  τ_b = T + β·(mean w - w_b), \
              w_b = 1 / (max_c softmax(z_s)_bc + 1e-3); τ is a constant to the gradient",
    paper: "Wen, Lai and Qian, Preparing Lessons: Improve Knowledge Distillation with Better Supervision, 2019, \
            arXiv 1911.07471",
    reference: "airaria/TextBrewer src/textbrewer/schedulers.py `cwsm_temperature_scheduler_builder` \
                2c105fa664bbc10669cd2888bd846d2c9b8afca8 (its temperatures; its value with `compat`)",
    when: "Few classes. With C classes w reaches C, so that an untrained student of many classes pushes temperatures \
           to the floor of 0.01 unless β is far below T / C.",
    inputs: &[Input::STUDENT, Input::TEACHER],
    example: "{ temperature = 4.0, beta = 0.3 }",
    lacks: None,
    knobs: &[
        Knob::or("temperature", "4.0", "the mean temperature, above 0"),
        Knob::or("beta", "1.0", "how far temperatures spread, at least 0; at 0 it is `kl`"),
        COMPAT,
    ],
};
