//! The generator's loss of DAFL: images are good where the teacher is sure of them, is excited by them, and sees all
//! classes equally often. The student's side of the method is `kl` at temperature 1.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::weight;
use crate::loss::math::{check_logits, divide, mean_all, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, Side, View};

/// What a generator minimizes, of the teacher's logits and feature on its images:
///
/// ```text
/// L = oh·CE + ie·Σ_k p̄_k·log p̄_k − a·mean |f|
///
/// CE = −(1/B) Σ_b max_c log p_b[c],   p = softmax(z),   p̄ = (1/B) Σ_b p_b
/// ```
///
/// `logits` is `[B, C]`, `feature` of any rank, the result is `[1]`. The logarithm is decimal, as in the authors' code;
/// the natural one makes the middle term 2.303 times as large. Nothing is a constant here: the gradient goes through
/// the teacher into the generator. p̄ is computed from log-softmaxes, so a class that no image shows adds 0 and no NaN.
/// The class of an image is the largest logit, and the choice has no gradient.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Missing`] where the activations have a weight and there is no feature.
pub fn dafl(logits: Tensor<2>, feature: Option<Feature>, knobs: &Dafl) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_logits(&logits)?;
    let log_p = log_softmax(logits, 1);
    let classes = log_p.clone().without_autodiff().argmax(1);
    let one_hot = divide(sum_rows(log_p.clone().gather(1, classes)), -(batch as f64));
    let largest = log_p.clone().without_autodiff().max_dim(0);
    let sum = (log_p - largest.clone()).exp().sum_dim(0);
    let log_mean = (sum.log() + largest).sub_scalar((batch as f64).ln());
    let negative_entropy = sum_rows(log_mean.clone().exp() * log_mean);
    let base = match knobs.logarithm {
        Logarithm::Decimal => std::f64::consts::LN_10,
        Logarithm::Natural => 1.0,
    };
    let value =
        one_hot.mul_scalar(knobs.one_hot_weight) + negative_entropy.mul_scalar(knobs.entropy_weight / base);
    if knobs.activation_weight == 0.0 {
        return Ok(value);
    }
    let feature = feature.ok_or(Error::Missing { loss: NAME.name, input: "teacher.SITE" })?;
    if feature.dims().contains(&0) {
        return Err(Error::Empty { shape: feature.dims() });
    }
    Ok(value - mean_all(feature.rows().abs()).mul_scalar(knobs.activation_weight))
}

/// The loss `dafl` of a recipe, and the knobs of [`dafl`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dafl {
    /// The teacher's site whose activations are to be large; empty for the only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub teacher: String,
    /// The weight of the cross entropy with the teacher's own answer, `oh`.
    #[serde(deserialize_with = "weight")]
    pub one_hot_weight: f64,
    /// The weight of the negative entropy of the mean answer, `ie`.
    #[serde(deserialize_with = "weight")]
    pub entropy_weight: f64,
    /// The weight of the activations, `a`; at 0 no feature is read.
    #[serde(deserialize_with = "weight")]
    pub activation_weight: f64,
    /// The logarithm of the entropy.
    pub logarithm: Logarithm,
}

impl Default for Dafl {
    fn default() -> Self {
        Dafl {
            teacher: String::new(),
            one_hot_weight: 1.0,
            entropy_weight: 5.0,
            activation_weight: 0.1,
            logarithm: Logarithm::Decimal,
        }
    }
}

/// The base of a logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logarithm {
    /// 10.
    #[default]
    Decimal,
    /// e.
    Natural,
}

impl DistillLoss for Dafl {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        // As they are: the generator is trained through the teacher.
        let teacher = view.teacher(NAME.name)?;
        let logits = teacher.logits.clone();
        let logits = logits.ok_or(Error::Missing { loss: NAME.name, input: "teacher.logits" })?;
        let feature = match self.activation_weight {
            0.0 => None,
            _ => Some(teacher.features.require(Side::Teacher, &self.teacher)?.clone()),
        };
        dafl(logits, feature, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "dafl",
    line: "data-free: images of which the teacher is sure, with large activations and all classes equally often",
    formula: "oh·CE(z_t, argmax z_t) + ie·sum_k p̄_k·log10 p̄_k - a·mean |f_t|,  p̄ = (1/B) sum_b softmax(z_t)",
    paper: "Chen et al., Data-Free Learning of Student Networks, ICCV 2019, arXiv 1904.01186",
    reference: "huawei-noah/Efficient-Computing Data-Efficient-Model-Compression/DAFL/DAFL-train.py \
                225ddd2e6ca41915434557f7f49d395e4f801e3e; vectors compared with open-mmlab/mmrazor \
                mmrazor/models/losses/dafl_loss.py 90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "Where no data of the teacher's are left and its classes are few and balanced; images of many or similar \
           classes collapse.",
    inputs: &[
        Input::new(
            "teacher.logits",
            &["B", "C"],
            "logits of the teacher on generated images; not a constant",
        ),
        Input::new(
            "teacher.SITE",
            &["B", "D"],
            "feature of the teacher before its last layer, any rank from 1 to 4; not a constant",
        ),
    ],
    example: "{ one-hot-weight = 1.0, entropy-weight = 5.0, activation-weight = 0.1 }",
    lacks: Some("a generator"),
    knobs: &[
        Knob::optional("teacher", "site of the teacher's feature; the only one if left out"),
        Knob::or(
            "one-hot-weight",
            "1.0",
            "weight oh of the cross entropy with the largest logit, at least 0",
        ),
        Knob::or("entropy-weight", "5.0", "weight ie of the negative entropy of the mean answer, at least 0"),
        Knob::or(
            "activation-weight",
            "0.1",
            "weight a of the activations, at least 0; at 0 no feature is read",
        ),
        Knob::or("logarithm", "\"decimal\"", "decimal or natural: the logarithm of the entropy, 2.303 apart"),
    ],
};
