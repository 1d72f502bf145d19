//! What losses of sequences share: which tokens count, and how far two attention distributions are apart.
//!
//! Ignored places are overwritten before any arithmetic, not multiplied by zero after it, so that whatever stands
//! there, NaN included, reaches neither the value nor the gradient.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, DType, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_same, divide, log_p, ranked, sum_rows};
use crate::{ConnectorKind, Error, Feature, Observed, SitePair, View};

/// Two tensors that are compared: the student's, then the teacher's.
pub(crate) type Both<const D: usize> = (Tensor<D>, Tensor<D>);

/// The tokens of a batch that count.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    shape: [usize; 2],
    ignored: Option<Ignored>,
}

#[derive(Debug, Clone)]
struct Ignored {
    /// `[B, L]`, set where a token is ignored.
    places: Tensor<2, Bool>,
    /// How many tokens of each sample count, `[B, 1]`.
    counted: Tensor<2>,
}

impl Tokens {
    /// Those of features with `shape` `[B, L]` in front.
    pub(crate) fn new(
        loss: &'static str,
        mask: Option<&Tensor<2>>,
        shape: [usize; 2],
    ) -> Result<Self, Error> {
        let Some(mask) = mask else { return Ok(Tokens { shape, ignored: None }) };
        if mask.dims() != shape {
            let found = mask.dims().to_vec();
            return Err(Error::Shape { loss, input: "mask", expected: "[B, L], as what it masks", found });
        }
        let mask = mask.clone().without_autodiff();
        let ignored = Ignored { places: mask.clone().equal_elem(0.0), counted: mask.sum_dim(1) };
        Ok(Tokens { shape, ignored: Some(ignored) })
    }

    /// Those of logits `[B·L, C]`.
    pub(crate) fn of_rows(loss: &'static str, mask: Option<&Tensor<2>>, rows: usize) -> Result<Self, Error> {
        match mask.map(Tensor::dims) {
            Some([batch, length]) if batch * length == rows => Tokens::new(loss, mask, [batch, length]),
            _ => Tokens::new(loss, mask, [rows, 1]),
        }
    }

    /// Those of logits `[B·L, C]`, or all of logits `[B, C]`, of which the mask of the tokens below says nothing.
    pub(crate) fn of_rows_or_sequences(
        loss: &'static str,
        mask: Option<&Tensor<2>>,
        rows: usize,
    ) -> Result<Self, Error> {
        Tokens::of_rows(loss, mask.filter(|mask| mask.dims()[0] != rows || mask.dims()[1] == 1), rows)
    }

    /// Only those among them that have a label, which is a class of at least 0; `labels` is `[B·L, 1]`.
    fn labelled(&self, labels: &Tensor<2, Int>, dtype: DType) -> Self {
        let without = labels.clone().lower_elem(0).reshape(self.shape);
        let places = match &self.ignored {
            Some(ignored) => ignored.places.clone().bool_or(without),
            None => without,
        };
        let counted = places.clone().bool_not().float().cast(dtype).sum_dim(1);
        Tokens { shape: self.shape, ignored: Some(Ignored { places, counted }) }
    }

    /// `x`, the batch in its first dimension and tokens in dimension `dim`, with `value` wherever a token is ignored.
    pub(crate) fn fill<const D: usize>(&self, x: Tensor<D>, dim: usize, value: f64) -> Tensor<D> {
        let Some(ignored) = &self.ignored else { return x };
        let mut shape = [1; D];
        (shape[0], shape[dim]) = (self.shape[0], self.shape[1]);
        let places = ignored.places.clone().reshape(shape).expand(x.dims());
        x.mask_fill(places, value)
    }

    /// Rows `[B·L, …]` with zeros where a token is ignored.
    pub(crate) fn clear_rows(&self, x: Tensor<2>) -> Tensor<2> {
        let Some(ignored) = &self.ignored else { return x };
        let [rows, width] = x.dims();
        x.mask_fill(ignored.places.clone().reshape([rows, 1]).expand([rows, width]), 0.0)
    }

    /// The mean over the batch of `sums / countedᵖ`: sums of each sample, `[B, 1]`, over its counted tokens (p = 1) or
    /// pairs of them (p = 2). A sample without tokens adds what its sum is, which is 0.
    pub(crate) fn mean(&self, sums: Tensor<2>, power: i32) -> Tensor<1> {
        let [batch, length] = self.shape;
        match &self.ignored {
            None => divide(sums.sum(), batch as f64 * (length as f64).powi(power)),
            Some(Ignored { counted, .. }) => {
                let counted = counted.clone().clamp_min(1.0);
                let of = (1..power).fold(counted.clone(), |of, _| of * counted.clone());
                divide((sums / of).sum(), batch as f64)
            }
        }
    }

    /// The mean of `each`, `[B·L, 1]`, over all tokens that count; 0 where none does, if `each` is.
    pub(crate) fn token_mean(&self, each: Tensor<2>) -> Tensor<1> {
        let sum = sum_rows(each);
        match &self.ignored {
            None => divide(sum, (self.shape[0] * self.shape[1]) as f64),
            Some(ignored) => sum / ignored.counted.clone().sum().clamp_min(1.0),
        }
    }
}

/// Sums of each sample, `[B, 1]`.
pub(crate) fn of_samples<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    let (batch, last, all) = (x.dims()[0], x.dims()[D - 1], x.shape().num_elements());
    // In two steps: a sum over very many elements at once depends on the threads.
    x.reshape([all / last, last]).sum_dim(1).reshape([batch, all / last / batch]).sum_dim(1)
}

/// Mean squared difference of hidden states `[B, L, D]` over the width and each sample's tokens, then over the batch.
pub(crate) fn hidden_mse(
    loss: &'static str,
    (student, teacher): Both<3>,
    mask: Option<&Tensor<2>>,
) -> Result<Tensor<1>, Error> {
    let [batch, length, width] = check_same(&student, &teacher)?;
    let tokens = Tokens::new(loss, mask, [batch, length])?;
    let gap = tokens.fill(student, 1, 0.0) - tokens.fill(teacher.without_autodiff(), 1, 0.0);
    Ok(divide(tokens.mean(of_samples(gap.square()), 1), width as f64))
}

/// Mean cross entropy with labels `[B·L, 1]` over the tokens that count and have a label of at least 0.
pub(crate) fn label_cross_entropy(logits: Tensor<2>, labels: Tensor<2, Int>, tokens: &Tokens) -> Tensor<1> {
    let tokens = tokens.labelled(&labels, logits.dtype());
    let labels = match &tokens.ignored {
        Some(ignored) => labels.clone().mask_fill(ignored.places.clone().reshape(labels.dims()), 0),
        None => labels,
    };
    let of_labels = log_p(tokens.clear_rows(logits), 1.0).gather(1, labels);
    tokens.token_mean(tokens.clear_rows(of_labels.neg()))
}

/// What `attention` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionInput {
    /// Scaled products of queries and keys, before the softmax; −∞ may stand where a model may not look.
    #[default]
    Scores,
    /// Attention itself, after the softmax.
    Probabilities,
}

/// The shape `[B, L]` of two attentions `[B, h, L, L]`.
pub(crate) fn check_attention(
    loss: &'static str,
    student: &Tensor<4>,
    teacher: &Tensor<4>,
) -> Result<[usize; 2], Error> {
    match check_same(student, teacher)? {
        [batch, _, rows, columns] if rows == columns => Ok([batch, rows]),
        found => {
            let expected = "[B, h, L, L], as many rows as columns";
            Err(Error::Shape { loss, input: "student.attention", expected, found: found.to_vec() })
        }
    }
}

/// KL of the student's attention from the teacher's, both `[B, h, L, L]`:
///
/// ```text
/// (1/B) Σ_b (1/(h·n_b)) Σ_{h, i counted} Σ_{j counted} t·(log t − log s),   n_b = counted tokens of sample b
/// ```
///
/// Of scores, the softmax runs over the counted columns. Probabilities are taken as they are, without dividing by
/// their sum once more.
pub(crate) fn attention_kl((student, teacher): Both<4>, input: AttentionInput, tokens: &Tokens) -> Tensor<1> {
    let heads = student.dims()[1];
    let (t, log_t) = input.distribution(teacher.without_autodiff(), tokens);
    let (_, log_s) = input.distribution(student, tokens);
    divide(tokens.mean(of_samples(t * (log_t - log_s)), 1), heads as f64)
}

impl AttentionInput {
    /// Probabilities and their logarithms, which are finite everywhere; rows of ignored tokens are the same whatever
    /// the input.
    fn distribution(self, x: Tensor<4>, tokens: &Tokens) -> (Tensor<4>, Tensor<4>) {
        // A probability of 0 then counts 0·(finite − finite) = 0. Half precision ends at ±65504.
        let half = x.dtype() == DType::F16;
        match self {
            AttentionInput::Scores => {
                let lowest = if half { -3e4 } else { -1e30 };
                let x = tokens.fill(tokens.fill(x, 3, lowest), 2, 0.0);
                let below = x.clone().lower_elem(lowest);
                let log_p = log_softmax(x.mask_fill(below, lowest), 3);
                (log_p.clone().exp(), log_p)
            }
            AttentionInput::Probabilities => {
                let floor = if half { 1e-7 } else { 1e-30 };
                let x = tokens.fill(tokens.fill(x, 3, 0.0), 2, 0.0);
                let below = x.clone().lower_elem(floor);
                (x.clone(), x.mask_fill(below, floor).log())
            }
        }
    }
}

/// `softmax(x xᵀ / √d)` before the softmax: how the tokens of `x`, `[B, h, L, d]`, relate to each other.
pub(crate) fn relation(x: Tensor<4>, tokens: &Tokens) -> Tensor<4> {
    let width = x.dims()[3] as f64;
    let x = tokens.fill(x, 2, 0.0);
    divide(x.clone().matmul(x.swap_dims(2, 3)), width.sqrt())
}

/// What a term of a loss counts for beside its others: finite and at least 0; at 0 the term is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TermWeight(f64);

impl TermWeight {
    /// A term as it is.
    pub const ONE: TermWeight = TermWeight(1.0);

    pub(crate) const fn of(weight: f64) -> Self {
        TermWeight(weight)
    }

    /// A weight.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `weight` is finite and at least 0.
    pub fn new(weight: f64) -> Result<Self, Error> {
        if weight.is_finite() && weight >= 0.0 {
            Ok(TermWeight(weight))
        } else {
            Err(Error::OutOfRange { name: "weight", expected: "finite and at least 0", found: weight })
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    pub(crate) fn counts(self) -> bool {
        self.0 > 0.0
    }
}

impl TryFrom<f64> for TermWeight {
    type Error = Error;

    fn try_from(weight: f64) -> Result<Self, Error> {
        TermWeight::new(weight)
    }
}

impl From<TermWeight> for f64 {
    fn from(weight: TermWeight) -> f64 {
        weight.0
    }
}

/// The sum of terms with their weights.
pub(crate) fn total(
    loss: &'static str,
    input: &'static str,
    terms: impl IntoIterator<Item = (TermWeight, Tensor<1>)>,
) -> Result<Tensor<1>, Error> {
    let weighted = terms.into_iter().map(|(weight, value)| value.mul_scalar(weight.get()));
    weighted.reduce(|sum, term| sum + term).ok_or(Error::Missing { loss, input })
}

/// A site of the same name in both models whose features a loss compares without a connector.
pub(crate) fn as_it_is(site: &str) -> SitePair {
    SitePair { connector: Some(ConnectorKind::AsIs), ..SitePair::new(site, site) }
}

/// The features at a site that has the same name in both models, as they are.
pub(crate) fn pair<const D: usize>(
    view: &View<'_>,
    loss: &'static str,
    site: &str,
    expected: &'static str,
) -> Result<Both<D>, Error>
where
    Tensor<D>: TryFrom<Feature>,
{
    let (student, teacher) = view.pair_as_it_is(loss, &as_it_is(site))?;
    let student = ranked(loss, "student.SITE", expected, student)?;
    Ok((student, ranked(loss, "teacher.SITE", expected, teacher)?))
}

/// The hidden states at a site of both models, the student's after their connector.
pub(crate) fn joined(view: &View<'_>, loss: &'static str, site: &str) -> Result<Both<3>, Error> {
    let expected = "[B, L, D], hidden states";
    let (student, teacher) = pair::<3>(view, loss, site, expected)?;
    let [batch, length, _] = student.dims();
    let student = Tokens::new(loss, view.mask, [batch, length])?.fill(student, 1, 0.0);
    let student = connected(view, loss, &SitePair::new(site, site), student.into())?;
    Ok((ranked(loss, "student.SITE", expected, student)?, teacher))
}

/// What the connector of a pair makes of `student`, in which ignored tokens are overwritten: the connector's weights
/// would take a NaN of theirs into their gradient.
pub(crate) fn connected(
    view: &View<'_>,
    loss: &'static str,
    pair: &SitePair,
    student: Feature,
) -> Result<Feature, Error> {
    let features = [(pair.student.as_str(), student)].into_iter().collect();
    let student = Observed { logits: None, features };
    Ok(View { student: &student, ..*view }.pair(loss, pair)?.0)
}

/// Whether either model has the site.
pub(crate) fn present(view: &View<'_>, loss: &'static str, site: &str) -> Result<bool, Error> {
    let teacher = view.teacher(loss)?;
    Ok(teacher.features.get(site).is_some() || view.student.features.get(site).is_some())
}

/// The logits of both models, none where neither has any.
pub(crate) fn logits(view: &View<'_>, loss: &'static str) -> Result<Option<Both<2>>, Error> {
    if view.student.logits.is_none() && view.teacher(loss)?.logits.is_none() {
        return Ok(None);
    }
    Ok(Some((view.student_logits(loss)?, view.teacher_logits(loss)?)))
}

/// What the mask says about itself.
pub(crate) const MASK: crate::Input =
    crate::Input::optional("mask", &["B", "L"], "1 counted, 0 ignored; all counted if left out");
