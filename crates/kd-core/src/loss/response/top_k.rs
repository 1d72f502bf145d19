//! KL on the teacher's k likeliest classes: what is left of a teacher whose outputs were stored, at 50 numbers a token
//! instead of a whole vocabulary.

use std::num::NonZeroUsize;

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

use super::kl::Reduction;
use super::rows::{Rows, log_sum};
use crate::loss::math::{check_pair, log_p};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Temperature, View};

/// Forward KL on the set K of the teacher's k likeliest classes. Both softmaxes are over all classes, at T, and are cut
/// down to K afterwards, `p = softmax(z / T)`:
///
/// ```text
/// bucket   Σ_{c∈K} t·(log t − log s)  +  t_rest·(log t_rest − log s_rest),    rest = 1 − Σ_{c∈K}
/// zero     Σ_{c∈K} t·(log t − log s)
///
/// L = T²·S / B, S the sum of that over all examples; B as `reduction` says
/// ```
///
/// Logits are `[B, C]`, the result is `[1]`; the teacher's logits are a constant. Equal logits give 0, and k = C gives
/// [`kl()`](super::kl()) for both. `bucket` is a divergence of k + 1 classes and never negative; `zero` may be negative,
/// since what it leaves out may be. The probability of the rest comes from its own logarithms, not from one minus a
/// sum, and is finite at any gap. Which of equally likely classes are in K is up to the device's sort. `mask` is that
/// of tokens, `[B, L]`.
///
/// With [`TopKCompat::DistillKit`], `zero` makes the teacher's k probabilities sum to 1 and leaves the student's alone,
/// so that equal logits do not give 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], [`Error::Shape`] for a mask of another size, and [`Error::OutOfRange`]
/// where there are fewer classes than k.
pub fn top_k(
    student: Tensor<2>,
    teacher: Tensor<2>,
    mask: Option<&Tensor<2>>,
    knobs: &TopK,
) -> Result<Tensor<1>, Error> {
    let [batch, classes] = check_pair(&student, &teacher)?;
    let (k, t) = (knobs.k.get(), knobs.temperature.get());
    if k > classes {
        let expected = "at most the number of classes";
        return Err(Error::OutOfRange { name: "k", expected, found: k as f64 });
    }
    let rows = Rows::of(NAME.name, batch, mask)?;
    let log_s = log_p(rows.clear(student), t);
    let log_t = log_p(rows.clear(teacher.without_autodiff()), t);
    let order = log_t.clone().argsort_descending(1);
    let (log_s, log_t) = (log_s.gather(1, order.clone()), log_t.gather(1, order));

    let (s, mut p) = (log_s.clone().narrow(1, 0, k), log_t.clone().narrow(1, 0, k));
    if knobs.missing == Missing::Zero && knobs.compat == Some(TopKCompat::DistillKit) {
        p = p.clone() - log_sum(p);
    }
    let mut each = (p.clone().exp() * (p - s)).sum_dim(1);
    if knobs.missing == Missing::Bucket && k < classes {
        let rest = |x: Tensor<2>| log_sum(x.narrow(1, k, classes - k));
        let (s, p) = (rest(log_s), rest(log_t));
        each = each + p.clone().exp() * (p - s);
    }
    Ok(rows.reduce(each, classes, knobs.reduction).mul_scalar(t * t))
}

/// The loss `top-k` of a recipe, and the knobs of [`top_k()`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TopK {
    /// How many of the teacher's classes count.
    #[serde(deserialize_with = "at_least_one")]
    pub k: NonZeroUsize,
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// What the other classes are.
    #[serde(default)]
    pub missing: Missing,
    /// What the sum over all examples is divided by.
    #[serde(default)]
    pub reduction: Reduction,
    /// A toolkit whose defect is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<TopKCompat>,
}

impl TopK {
    /// The sum over k classes and a bucket, divided by B.
    pub fn new(k: NonZeroUsize, temperature: Temperature) -> Self {
        TopK { k, temperature, missing: Missing::Bucket, reduction: Reduction::BatchMean, compat: None }
    }
}

/// What becomes of the classes that are not among the teacher's k likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// One class with all their probability.
    #[default]
    Bucket,
    /// Nothing.
    Zero,
}

/// A toolkit whose defect [`TopK`] can reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopKCompat {
    /// The teacher is renormalised over its k classes, the student is not.
    DistillKit,
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<NonZeroUsize, D::Error> {
    let refused = Error::OutOfRange { name: "k", expected: "at least 1", found: 0.0 };
    NonZeroUsize::new(usize::deserialize(from)?).ok_or_else(|| serde::de::Error::custom(refused))
}

impl DistillLoss for TopK {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        top_k(view.student_logits(NAME.name)?, view.teacher_logits(NAME.name)?, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "top-k",
    line: "KL on the teacher's k likeliest classes, the others in one bucket or left out: T²·KL, mean over the batch",
    formula: "T²·(1/B) sum_b [ sum_{c in K} p_t·(log p_t - log p_s) + r_t·(log r_t - log r_s) ],  p = softmax(z / T) \
              over all classes, r = 1 - sum_{c in K} p, without the last term where missing is zero",
    paper: "Anshumann et al., Sparse Logit Sampling, 2025, arXiv 2503.16870, for what truncation does to a student",
    reference: "arcee-ai/DistillKit distillkit/lossfuncs/kl.py `sparse_kl_div` \
                a61c2e7d25c2e990d45832e12bd8542bdee9c810 (`symmetric_uniform` is bucket; `zero` with `compat`)",
    when: "Large vocabularies and stored teachers: k = 50 keeps nearly all of the probability. On ten classes take \
           `kl`. Without the bucket nothing holds the student's other classes down.",
    inputs: &[Input::STUDENT, Input::TEACHER, Input::TOKEN_MASK],
    example: "{ k = 2, temperature = 1.0 }",
    lacks: None,
    knobs: &[
        Knob::required("k", "how many of the teacher's classes count, from 1 to the number of classes"),
        Knob::required("temperature", "divides both logits, above 0"),
        Knob::or("missing", "\"bucket\"", "bucket (the other classes are one) or zero (they are left out)"),
        Knob::or(
            "reduction",
            "\"batch-mean\"",
            "batch-mean (sum / B), mean (sum / (B·C)), sum or token-mean (sum / counted positions)",
        ),
        Knob::optional(
            "compat",
            "\"distillkit\": with zero, the teacher's k probabilities are made to sum to 1",
        ),
    ],
};
