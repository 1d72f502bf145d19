//! Multi-level logit distillation: the same probabilities compared example by example, across the batch and across the
//! classes, each at several temperatures.
//!
//! The paper also feeds a weakly and a strongly augmented view of each image; which views there are is the data's
//! business, and a term of an objective sees one of them.

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::loss::math::{check_pair, divide, log_p, sum_rows};
use crate::loss::number::ranged;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Three comparisons of `s = softmax(student / T)` with `t = softmax(teacher / T)`, both `[B, C]`, summed over the
/// temperatures:
///
/// ```text
/// instance   T²·(1/B) Σ_b KL(t_b ‖ s_b)
/// batch      (1/B) ‖t·tᵀ − s·sᵀ‖²         [B, B]: how alike two examples are
/// class      (1/C) ‖tᵀ·t − sᵀ·s‖²         [C, C]: which classes go together
///
/// L = Σ_T  w_i·instance + w_b·batch + w_c·class
/// ```
///
/// Norms are Frobenius norms. The result is `[1]`; the teacher's logits are a constant. Finite for all finite logits.
/// It needs memory for B² and C² numbers.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn mlkd(student: Tensor<2>, teacher: Tensor<2>, knobs: &Mlkd) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let teacher = teacher.without_autodiff();
    let terms = knobs.temperatures.iter().map(|t| {
        let t = t.get();
        let (log_s, log_t) = (log_p(student.clone(), t), log_p(teacher.clone(), t));
        let (s, p) = (log_s.clone().exp(), log_t.clone().exp());
        let instance = sum_rows(p.clone() * (log_t - log_s)).mul_scalar(t * t / batch as f64);
        let batch_level = apart(p.clone().transpose(), s.clone().transpose());
        instance.mul_scalar(knobs.instance_weight)
            + divide(batch_level, batch as f64).mul_scalar(knobs.batch_weight)
            + divide(apart(p, s), classes as f64).mul_scalar(knobs.class_weight)
    });
    terms.reduce(|sum, term| sum + term).ok_or(NO_TEMPERATURE)
}

/// `‖aᵀ·a − bᵀ·b‖²`
fn apart(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    sum_rows((a.clone().transpose().matmul(a) - b.clone().transpose().matmul(b)).square())
}

/// The loss `mlkd` of a recipe, and the knobs of [`mlkd()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mlkd {
    /// What the logits are divided by, in turn; at least one.
    #[serde(deserialize_with = "some")]
    pub temperatures: Vec<Temperature>,
    /// Weight of the divergence of each example.
    #[serde(deserialize_with = "instance_weight")]
    pub instance_weight: f64,
    /// Weight of the comparison of pairs of examples.
    #[serde(deserialize_with = "batch_weight")]
    pub batch_weight: f64,
    /// Weight of the comparison of pairs of classes.
    #[serde(deserialize_with = "class_weight")]
    pub class_weight: f64,
}

ranged!(instance_weight, "instance-weight", "finite and at least 0", |x| x.is_finite() && x >= 0.0);
ranged!(batch_weight, "batch-weight", "finite and at least 0", |x| x.is_finite() && x >= 0.0);
ranged!(class_weight, "class-weight", "finite and at least 0", |x| x.is_finite() && x >= 0.0);

const NO_TEMPERATURE: Error =
    Error::OutOfRange { name: "temperatures", expected: "a list of at least one", found: 0.0 };

fn some<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Temperature>, D::Error> {
    let all = Vec::<Temperature>::deserialize(from)?;
    if all.is_empty() { Err(serde::de::Error::custom(NO_TEMPERATURE)) } else { Ok(all) }
}

impl Default for Mlkd {
    fn default() -> Self {
        let temperatures = [2.0, 3.0, 4.0, 5.0, 6.0].into_iter().filter_map(|t| Temperature::new(t).ok());
        Mlkd {
            temperatures: temperatures.collect(),
            instance_weight: 1.0,
            batch_weight: 1.0,
            class_weight: 1.0,
        }
    }
}

impl DistillLoss for Mlkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        if let Some(mask) = view.mask {
            // Pairs of all tokens of a batch are neither what the paper compares nor affordable.
            let expected = "absent: it compares whole examples with logits [B, C], not tokens";
            return Err(Error::Shape {
                loss: NAME.name,
                input: "mask",
                expected,
                found: mask.dims().to_vec(),
            });
        }
        mlkd(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "mlkd",
    line: "probabilities compared for each example, across the batch and across the classes, at several temperatures",
    formula: "sum_T [ w_i·T²·(1/B) sum_b KL(t_b || s_b) + w_b·(1/B)·|t tᵀ - s sᵀ|² + w_c·(1/C)·|tᵀ t - sᵀ s|² ],  \
              t, s = softmax(z / T)",
    paper: "Jin, Wang and Lin, Multi-Level Logit Distillation, CVPR 2023",
    reference: "sunshangquan/logit-standardization-KD mdistiller/distillers/MLKD.py `kd_loss`, `bc_loss`, `cc_loss` \
                f6e5aa5172bad618e801163c3385322eea673754; without its masks of unsure examples, which multiply a mean",
    when: "A stronger `kl` on classifiers of many classes; its gain in the paper comes with strong augmentation and \
           long training. Batches of a few examples leave little to compare, and C² numbers are kept.",
    inputs: &[Input::STUDENT, Input::TEACHER],
    example: "{ temperatures = [2.0, 4.0] }",
    lacks: None,
    knobs: &[
        Knob::or("temperatures", "[2.0, 3.0, 4.0, 5.0, 6.0]", "what both logits are divided by, in turn"),
        Knob::or("instance-weight", "1.0", "weight of the divergence of each example, at least 0"),
        Knob::or("batch-weight", "1.0", "weight of the comparison of pairs of examples, at least 0"),
        Knob::or("class-weight", "1.0", "weight of the comparison of pairs of classes, at least 0"),
    ],
};
