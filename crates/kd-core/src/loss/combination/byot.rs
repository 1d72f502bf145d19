//! Be your own teacher: classifiers on a network's earlier layers learn from its last one, in one training.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{kl_mean, temperature, weight};
use crate::loss::math::{check_same, divide, ranked, sum_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, Side, Temperature, View};

/// KL of each shallow classifier from the deepest one, summed over the classifiers:
///
/// ```text
/// L = Σ_i T²·(1/B) Σ_b KL(q_C[b] ‖ q_i[b]),    q = softmax(z / T)
/// ```
///
/// All logits are `[B, C]`, the result is `[1]`. The deepest classifier is a constant: it learns from the labels alone.
/// The cross entropies of all classifiers with the labels are terms of their own. Finite for all finite logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::OutOfRange`] without a shallow classifier.
pub fn byot(deepest: Tensor<2>, shallow: &[Tensor<2>], temperature: Temperature) -> Result<Tensor<1>, Error> {
    let deepest = deepest.without_autodiff();
    let of = |logits: &Tensor<2>| kl_mean(logits.clone(), deepest.clone(), temperature.get());
    let each = shallow.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let sum = each.into_iter().reduce(|sum, x| sum + x);
    sum.ok_or(Error::OutOfRange { name: "classifiers", expected: "at least 1", found: 0.0 })
}

/// Squared distance of each shallow feature from the deepest one, summed over the features:
///
/// ```text
/// L = Σ_i (1/B) ‖F_i − F_C‖²
/// ```
///
/// Features have any rank from 1 to 4, the batch first, and all the same shape: the paper's bottlenecks, which bring
/// them there, belong to the network. The deepest one is a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`], [`Error::Empty`], and [`Error::OutOfRange`] without a shallow feature.
pub fn byot_features(deepest: Feature, shallow: &[Feature]) -> Result<Tensor<1>, Error> {
    let shape = deepest.dims();
    let deepest = deepest.without_autodiff().rows();
    let of = |feature: &Feature| {
        if feature.dims() != shape {
            return Err(Error::FeatureShapes { student: feature.dims(), teacher: shape.clone() });
        }
        let feature = feature.clone().rows();
        let [batch, _] = check_same(&feature, &deepest)?;
        Ok(divide(sum_rows((feature - deepest.clone()).square()), batch as f64))
    };
    let each = shallow.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let sum = each.into_iter().reduce(|sum, x| sum + x);
    sum.ok_or(Error::OutOfRange { name: "features", expected: "at least 1", found: 0.0 })
}

/// The loss `byot` of a recipe: [`byot`], plus [`byot_features`] where features are named. It reads the student alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Byot {
    /// What all logits are divided by.
    pub temperature: Temperature,
    /// Sites of the shallow classifiers' logits; empty for every site of the student that no other knob names.
    pub classifiers: Vec<String>,
    /// Sites of the shallow features; empty for none.
    pub features: Vec<String>,
    /// The site of the deepest feature, read where there are `features`.
    pub deepest: String,
    /// The weight λ of the features beside the classifiers.
    #[serde(deserialize_with = "weight")]
    pub feature_weight: f64,
}

impl Default for Byot {
    fn default() -> Self {
        Byot {
            temperature: temperature(3.0),
            classifiers: Vec::new(),
            features: Vec::new(),
            deepest: "deepest".into(),
            feature_weight: 1.0,
        }
    }
}

impl DistillLoss for Byot {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let sites = &view.student.features;
        let named = |site: &str| !self.features.is_empty() && site == self.deepest;
        let others = || {
            let others =
                sites.sites().filter(|site| !named(site) && !self.features.iter().any(|f| f == site));
            others.map(str::to_string).collect()
        };
        let classifiers = if self.classifiers.is_empty() { others() } else { self.classifiers.clone() };
        let logits = classifiers.iter().map(|site| {
            let logits = sites.require(Side::Student, site)?.clone();
            ranked::<2>(NAME.name, "student.SITE", "[B, C], as `student.logits`", logits)
        });
        let logits = logits.collect::<Result<Vec<_>, _>>()?;
        let value = byot(view.student_logits(NAME.name)?, &logits, self.temperature)?;
        if self.features.is_empty() {
            return Ok(value);
        }
        let deepest = sites.require(Side::Student, &self.deepest)?.clone();
        let shallow = self.features.iter().map(|site| sites.require(Side::Student, site).cloned());
        let features = byot_features(deepest, &shallow.collect::<Result<Vec<_>, _>>()?)?;
        Ok(value + features.mul_scalar(self.feature_weight))
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "byot",
    line: "self-distillation: a network's shallow classifiers, and features, learn from its deepest ones",
    formula: "sum_i T²·(1/B) sum_b KL(sg q_C ‖ q_i) + λ·sum_i (1/B)·‖F_i - sg F_C‖²,  q = softmax(z / T)",
    paper: "Zhang et al., Be Your Own Teacher, ICCV 2019, arXiv 1905.08094",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/kl_divergence.py and l2_loss.py (normalize = False) \
                90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7, summed over classifiers",
    when: "Gives a network that can stop early, and often a better last classifier, without a teacher; of no use where \
           the shallow classifiers cannot be added to the network.",
    inputs: &[
        Input::new("student.logits", &["B", "C"], "logits of the deepest classifier: a constant"),
        Input::new("student.SITE", &["B", "C"], "logits of a shallow classifier; one tensor for each"),
        Input::optional(
            "student.FEATURE",
            &["B", "D"],
            "a shallow feature that `features` names, rank 1 to 4",
        ),
        Input::optional(
            "student.deepest",
            &["B", "D"],
            "the deepest feature, a constant, of the same shape; only with `features`",
        ),
    ],
    example: "{ temperature = 3.0 }",
    lacks: Some("classifiers at several depths"),
    knobs: &[
        Knob::or("temperature", "3.0", "divides all logits, above 0"),
        Knob::or(
            "classifiers",
            "[]",
            "sites of the shallow classifiers' logits; if left out, every site that no other knob names",
        ),
        Knob::or("features", "[]", "sites of the shallow features; none if left out"),
        Knob::or("deepest", "\"deepest\"", "site of the deepest feature, read where there are `features`"),
        Knob::or(
            "feature-weight",
            "1.0",
            "λ, at least 0; the authors use 1e-6 on the sum over a batch beside 0.1 of the divergence",
        ),
    ],
};
