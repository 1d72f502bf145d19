//! A temperature for each example, from how far the student is from the teacher there (focal-loss-style weights).
//!
//! An example on which the student already agrees gets a higher temperature, one on which it does not a lower one. The
//! temperatures are constants to the gradient, as in TextBrewer, from which the name is.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use super::rows::{Rows, kl_at};
use crate::loss::math::check_pair;
use crate::loss::number::ranged;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// `kl` with a temperature of its own for each example:
///
/// ```text
/// w_b = (1 − cos(z_s, z_t)_b)^γ            with ‖z‖ + 1e-4 as norms
/// τ_b = T + β·(mean w − w_b)               at least 0.01
/// L   = (1/B) Σ_b τ_b²·KL(softmax(z_t / τ_b) ‖ softmax(z_s / τ_b))
/// ```
///
/// Both logits are `[B, C]`, the result is `[1]`. The temperatures are constants: no gradient passes through them. Of
/// one example alone, and of equally far examples, it is `kl` at T. A row of zeros has w = 1. `mask` is that of tokens,
/// `[B, L]`: then means are over those that count, and the sum is still divided by B.
///
/// With [`TemperatureCompat::TextBrewer`] the value is that of TextBrewer: the mean over b of the cross entropy
/// `−Σ_c p_t·log p_s`, without τ², and without the floor, below which a temperature turns negative and with it the
/// order of the classes.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::Shape`] for a mask of another size.
pub fn flsw(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &Flsw,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let rows = Rows::of(NAME.name, batch, mask)?;
    let (student, teacher) = (rows.clear(student), rows.clear(teacher.without_autodiff()));
    let unit = |x: Tensor<2>| {
        let norm = x.clone().square().sum_dim(1).sqrt();
        x / norm.add_scalar(1e-4)
    };
    let cosine = (unit(student.clone().without_autodiff()) * unit(teacher.clone())).sum_dim(1);
    // Rounding must not leave a negative number, whose power is no number.
    let weights = cosine.neg().add_scalar(1.0).clamp_min(0.0).powf_scalar(knobs.gamma);
    let temperatures = temperatures(weights, &rows, knobs.temperature, knobs.beta);
    Ok(at_temperatures(student, teacher, temperatures, &rows, knobs.compat))
}

/// `T + β·(mean w − w)`, `[rows, 1]`.
pub(super) fn temperatures(weights: Tensor<2>, rows: &Rows, t: Temperature, beta: f64) -> Tensor<2> {
    let mean = rows.token_mean(weights.clone()).reshape([1, 1]);
    (mean - weights).mul_scalar(beta).add_scalar(t.get())
}

/// The loss at a temperature for each row.
pub(super) fn at_temperatures(
    student: Tensor<2>,
    teacher: Tensor<2>,
    t: Tensor<2>,
    rows: &Rows,
    compat: Option<TemperatureCompat>,
) -> Tensor<1> {
    match compat {
        None => {
            let t = t.clamp_min(COLDEST);
            rows.batch_mean(kl_at(student, teacher, t.clone()) * t.square())
        }
        Some(TemperatureCompat::TextBrewer) => {
            let (log_s, log_t) = (log_softmax(student / t.clone(), 1), log_softmax(teacher / t, 1));
            rows.token_mean((log_t.exp() * log_s).sum_dim(1).neg())
        }
    }
}

/// The lowest temperature that an example gets: at 0 there is no softmax, and below it the order of classes turns.
const COLDEST: f64 = 0.01;

/// A toolkit whose value [`Flsw`] and [`Cwsm`](super::Cwsm) can reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemperatureCompat {
    /// Cross entropy without τ².
    TextBrewer,
}

/// The loss `flsw` of a recipe, and the knobs of [`flsw()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Flsw {
    /// The mean temperature.
    pub temperature: Temperature,
    /// How far temperatures spread, finite and at least 0.
    #[serde(deserialize_with = "beta")]
    pub beta: f64,
    /// The power of the distance, finite and above 0.
    #[serde(deserialize_with = "gamma")]
    pub gamma: f64,
    /// A toolkit to reproduce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<TemperatureCompat>,
}

ranged!(beta, "beta", "finite and at least 0", |x| x.is_finite() && x >= 0.0);
ranged!(gamma, "gamma", "finite and above 0", |x| x.is_finite() && x > 0.0);

impl Default for Flsw {
    fn default() -> Self {
        let temperature = Temperature::new(4.0).unwrap_or(Temperature::ONE);
        Flsw { temperature, beta: 1.0, gamma: 2.0, compat: None }
    }
}

impl DistillLoss for Flsw {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        flsw(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

/// What `compat` says about itself.
pub(super) const COMPAT: Knob =
    Knob::optional("compat", "\"textbrewer\": cross entropy instead of KL, without τ² and the floor of τ");

pub(crate) const NAME: LossName = LossName {
    name: "flsw",
    line: "kl with a lower temperature for examples whose logits point elsewhere than the teacher's",
    formula: "(1/B) sum_b τ_b²·KL(softmax(z_t / τ_b) || softmax(z_s / τ_b)),  τ_b = T + β·(mean w - w_b), \
              w_b = (1 - cos(z_s, z_t)_b)^γ; τ is a constant to the gradient",
    paper: "Wen, Lai and Qian, Preparing Lessons: Improve Knowledge Distillation with Better Supervision, 2019, \
            arXiv 1911.07471",
    reference: "airaria/TextBrewer src/textbrewer/schedulers.py `flsw_temperature_scheduler_builder` \
                2c105fa664bbc10669cd2888bd846d2c9b8afca8 (its temperatures; its value with `compat`)",
    when: "Where examples differ much in difficulty and `kl` at one temperature is already tuned; rarely more than a \
           little. A large β makes temperatures of the farthest examples useless: β·2^γ should stay well below T.",
    inputs: &[Input::STUDENT, Input::TEACHER],
    example: "{ temperature = 4.0, beta = 1.0, gamma = 2.0 }",
    lacks: None,
    knobs: &[
        Knob::or("temperature", "4.0", "the mean temperature, above 0"),
        Knob::or("beta", "1.0", "how far temperatures spread, at least 0; at 0 it is `kl`"),
        Knob::or("gamma", "2.0", "power of one minus the cosine, above 0"),
        COMPAT,
    ],
};
