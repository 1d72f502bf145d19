//! One student of several teachers. Averaging their probabilities and averaging their logits are two different
//! teachers, and toolkits call both "the ensemble"; here the knob says which.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::teachers;
use crate::loss::math::{check_pair, log_p, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// KL of the student from the combination of all teachers:
///
/// ```text
/// L = T²·(1/B) Σ_b Σ_c p·(log p − log s),    s = softmax(z_s / T)
///
/// mean-probabilities   p = Σ_k w_k·softmax(z_k / T)      You et al.
/// mean-logits          p = softmax(Σ_k w_k·z_k / T)      TextBrewer
///
/// w_k = weight of teacher k over the sum of all weights; 1/K each if none are given
/// ```
///
/// All logits are `[B, C]`, the result is `[1]`. With one teacher, or with equal ones, it is `kl`. The teachers are
/// constants: no gradient reaches them. Their mixture is computed from log-softmaxes, so the value is finite for all
/// finite logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::OutOfRange`] where there is not one weight for each teacher,
/// or no teacher.
pub fn multi_teacher(
    student: Tensor<2>,
    teachers: &[Tensor<2>],
    knobs: &MultiTeacher,
) -> Result<Tensor<1>, Error> {
    let shares = knobs.weights.shares(teachers.len())?;
    for teacher in teachers {
        check_pair(&student, teacher)?;
    }
    let t = knobs.temperature.get();
    let parts = teachers.iter().zip(shares).filter(|(_, share)| *share > NEGLIGIBLE);
    let parts = parts.map(|(teacher, share)| (teacher.clone().without_autodiff(), share));
    let log_t = match knobs.combine {
        Combine::MeanProbabilities => {
            mixture(parts.map(|(teacher, share)| (log_p(teacher, t), share)).collect())
        }
        Combine::MeanLogits => {
            let sum = parts.map(|(teacher, share)| teacher.mul_scalar(share)).reduce(|sum, x| sum + x);
            sum.map(|sum| log_p(sum, t))
        }
    };
    let log_t = log_t.ok_or(Error::OutOfRange { name: "teachers", expected: "at least 1", found: 0.0 })?;
    let batch = student.dims()[0];
    let each = log_t.clone().exp() * (log_t - log_p(student, t));
    Ok(sum_rows(each).mul_scalar(t * t / batch as f64))
}

/// `log Σ_k w_k·exp(x_k)`, element by element. The largest x is taken out, so its term is w_k itself and the sum is not
/// 0 even in f32; and equal x give x to the last bit.
fn mixture(logs: Vec<(Tensor<2>, f64)>) -> Option<Tensor<2>> {
    let largest = logs.iter().map(|(x, _)| x.clone()).reduce(|largest, x| largest.max_pair(x))?;
    let parts = logs.into_iter().map(|(x, share)| (x - largest.clone()).exp().mul_scalar(share));
    let sum = parts.reduce(|sum, x| sum + x)?;
    Some(sum.log() + largest)
}

/// Shares below this count as 0: no probability could tell.
const NEGLIGIBLE: f64 = 1e-30;

/// The loss `multi-teacher` of a recipe, and the knobs of [`multi_teacher`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MultiTeacher {
    /// What all logits are divided by.
    pub temperature: Temperature,
    /// What is averaged.
    #[serde(default)]
    pub combine: Combine,
    /// How much each teacher counts.
    #[serde(default)]
    pub weights: TeacherWeights,
}

/// What is averaged over teachers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their softened probabilities: a mixture, in which a class that one teacher excludes keeps the others' share.
    #[default]
    MeanProbabilities,
    /// Their logits: a product, in which one teacher can veto a class.
    MeanLogits,
}

/// One number for each teacher, of which only the proportions matter; none for equal ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct TeacherWeights(Vec<f64>);

impl TeacherWeights {
    /// Weights.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless all are finite and at least 0 and, if there are any, one is above 0.
    pub fn new(weights: Vec<f64>) -> Result<Self, Error> {
        let wrong = |expected, found| Err(Error::OutOfRange { name: "weights", expected, found });
        if let Some(&weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            return wrong("finite and at least 0", weight);
        }
        match weights.iter().sum::<f64>() {
            sum if weights.is_empty() || (sum > 0.0 && sum.is_finite()) => Ok(TeacherWeights(weights)),
            sum => wrong("above 0 in sum, and finite", sum),
        }
    }

    /// The numbers.
    pub fn get(&self) -> &[f64] {
        &self.0
    }

    /// Shares that sum to 1, one for each of `teachers`.
    fn shares(&self, teachers: usize) -> Result<Vec<f64>, Error> {
        let weights = if self.0.is_empty() { vec![1.0; teachers] } else { self.0.clone() };
        if weights.len() != teachers {
            let found = weights.len() as f64;
            return Err(Error::OutOfRange { name: "weights", expected: "one for each teacher", found });
        }
        let sum: f64 = weights.iter().sum();
        Ok(weights.into_iter().map(|weight| weight / sum).collect())
    }
}

impl TryFrom<Vec<f64>> for TeacherWeights {
    type Error = Error;

    fn try_from(weights: Vec<f64>) -> Result<Self, Error> {
        TeacherWeights::new(weights)
    }
}

impl From<TeacherWeights> for Vec<f64> {
    fn from(weights: TeacherWeights) -> Vec<f64> {
        weights.0
    }
}

impl DistillLoss for MultiTeacher {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        multi_teacher(view.student_logits(NAME.name)?, &teachers(NAME.name, view)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "multi-teacher",
    line: "T²·KL of the student from the average of several teachers, of their probabilities or of their logits",
    formula: "T²·(1/B) sum_b sum_c p·(log p - log s),  p = sum_k w_k·softmax(z_k / T) or softmax(sum_k w_k·z_k / T)",
    paper: "You et al., Learning from Multiple Teacher Networks, KDD 2017, doi 10.1145/3097983.3098135",
    reference: "airaria/TextBrewer src/textbrewer/distiller_multiteacher.py and losses.py `kd_ce_loss` \
                2c105fa664bbc10669cd2888bd846d2c9b8afca8 (mean-logits; without T² and plus the teachers' entropy)",
    when: "Helps where the teachers err on different examples; several runs of one network are worth less than one \
           better teacher, and each costs a forward pass.",
    inputs: &[
        Input::STUDENT,
        Input::new(
            "teacher.K.logits",
            &["B", "C"],
            "logits of teacher K, counted from 0, before any softmax",
        ),
    ],
    example: "{ temperature = 4.0, combine = \"mean-probabilities\" }",
    lacks: Some("several teachers"),
    knobs: &[
        Knob::required("temperature", "divides all logits, above 0; usually 1 to 20"),
        Knob::or("combine", "\"mean-probabilities\"", "what is averaged: mean-probabilities or mean-logits"),
        Knob::or(
            "weights",
            "[]",
            "one number for each teacher, at least 0, divided by their sum; equal if left out",
        ),
    ],
};
