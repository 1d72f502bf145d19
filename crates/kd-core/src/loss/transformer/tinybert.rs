//! TinyBERT: embeddings, hidden states, attention scores and answers of a teacher, in one sum.
//!
//! One loss compares one layer with one layer; a recipe maps several layers with several terms. The original trains on
//! everything but the answers first and on the answers alone afterwards: set the weights of the others to 0.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, divide, log_p};
use crate::loss::transformer::common::{
    Both, MASK, TermWeight, Tokens, as_it_is, check_attention, hidden_mse, joined, logits, of_samples, pair,
    present, total,
};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, Temperature, View};

/// What TinyBERT compares, the student's tensor before the teacher's; what is absent adds nothing.
#[derive(Debug, Clone, Default)]
pub struct TinyBertInputs {
    /// Output of the embedding layer, `[B, L, D]`.
    pub embedding: Option<(Tensor<3>, Tensor<3>)>,
    /// Hidden states, `[B, L, D]`, the student's in the teacher's width.
    pub hidden: Option<(Tensor<3>, Tensor<3>)>,
    /// Attention scores before the softmax, `[B, h, L, L]`, as many heads in both.
    pub attention: Option<(Tensor<4>, Tensor<4>)>,
    /// Logits, `[B, C]`, or `[B·L, C]` of tokens.
    pub logits: Option<(Tensor<2>, Tensor<2>)>,
}

/// The weighted sum of the terms whose tensors are given:
///
/// ```text
/// embedding, hidden   (1/B) Σ_b (1/(n_b·D)) Σ_{i counted} ‖s_i − t_i‖²
/// attention           (1/B) Σ_b (1/(h·n_b²)) Σ_{h, i, j counted} (a_s − a_t)²,   entries of at most −100 are 0
/// prediction          −(1/N) Σ softmax(z_t / T)·log softmax(z_s / T),   N the rows of logits that count
///                     with `mean-over-classes`, as in the original, divided by C as well
/// ```
///
/// `mask` is `[B, L]`, n_b the counted tokens of sample b; without one all L count, and the first two are plain means
/// of squares, as in the original. Ignored tokens leave rows and columns, whatever stands there; logits `[B, C]` of
/// whole sequences are not masked. Where nothing counts the result is 0. The teacher's tensors are constants.
///
/// # Errors
///
/// [`Error::Missing`] where no term is left, [`Error::FeatureShapes`], [`Error::LogitShapes`], [`Error::Empty`],
/// [`Error::Shape`] for an attention that is not square or a mask that does not fit.
pub fn tinybert(
    inputs: TinyBertInputs,
    mask: Option<&Tensor<2>>,
    knobs: &TinyBert,
) -> Result<Tensor<1>, Error> {
    let mut terms = Vec::new();
    for (weight, states) in [(knobs.embedding_weight, inputs.embedding), (knobs.hidden_weight, inputs.hidden)]
    {
        if let Some(states) = states.filter(|_| weight.counts()) {
            terms.push((weight, hidden_mse(NAME.name, states, mask)?));
        }
    }
    if let Some(scores) = inputs.attention.filter(|_| knobs.attention_weight.counts()) {
        terms.push((knobs.attention_weight, score_mse(scores, mask)?));
    }
    if let Some(logits) = inputs.logits.filter(|_| knobs.prediction_weight.counts()) {
        terms.push((knobs.prediction_weight, soft_cross_entropy(logits, mask, knobs)?));
    }
    total(NAME.name, "student.hidden", terms)
}

fn score_mse((student, teacher): Both<4>, mask: Option<&Tensor<2>>) -> Result<Tensor<1>, Error> {
    let shape = check_attention(NAME.name, &student, &teacher)?;
    let (heads, tokens) = (student.dims()[1], Tokens::new(NAME.name, mask, shape)?);
    let scores = |x: Tensor<4>| {
        let x = tokens.fill(tokens.fill(x, 3, 0.0), 2, 0.0);
        // What the models' own masks pushed down, by −10000 in the original.
        let below = x.clone().lower_equal_elem(-100.0);
        x.mask_fill(below, 0.0)
    };
    let gap = scores(student) - scores(teacher.without_autodiff());
    Ok(divide(tokens.mean(of_samples(gap.square()), 2), heads as f64))
}

fn soft_cross_entropy(
    (student, teacher): Both<2>,
    mask: Option<&Tensor<2>>,
    knobs: &TinyBert,
) -> Result<Tensor<1>, Error> {
    let [rows, classes] = check_pair(&student, &teacher)?;
    let tokens = Tokens::of_rows_or_sequences(NAME.name, mask, rows)?;
    let t = knobs.temperature.get();
    let log_s = log_p(tokens.clear_rows(student), t);
    let p = log_p(tokens.clear_rows(teacher.without_autodiff()), t).exp();
    let each = tokens.clear_rows((p * log_s).sum_dim(1).neg());
    let classes = if knobs.mean_over_classes { classes as f64 } else { 1.0 };
    Ok(divide(tokens.token_mean(each), classes))
}

/// The loss `tinybert` of a recipe: the sites of one layer and the weights of the terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TinyBert {
    /// Site of the embeddings in both models.
    pub embedding: String,
    /// Site of the hidden states in both models.
    pub hidden: String,
    /// Site of the attention scores in both models.
    pub attention: String,
    /// Weight of the embeddings.
    pub embedding_weight: TermWeight,
    /// Weight of the hidden states.
    pub hidden_weight: TermWeight,
    /// Weight of the attention scores.
    pub attention_weight: TermWeight,
    /// Weight of the logits.
    pub prediction_weight: TermWeight,
    /// What both logits are divided by.
    pub temperature: Temperature,
    /// Whether the logits' term is a mean over the classes, as in the original.
    pub mean_over_classes: bool,
}

impl Default for TinyBert {
    fn default() -> Self {
        TinyBert {
            embedding: "embedding".into(),
            hidden: "hidden".into(),
            attention: "attention".into(),
            embedding_weight: TermWeight::ONE,
            hidden_weight: TermWeight::ONE,
            attention_weight: TermWeight::ONE,
            prediction_weight: TermWeight::ONE,
            temperature: Temperature::ONE,
            mean_over_classes: false,
        }
    }
}

impl TinyBert {
    fn features(&self) -> [(&str, TermWeight); 3] {
        [
            (&self.embedding, self.embedding_weight),
            (&self.hidden, self.hidden_weight),
            (&self.attention, self.attention_weight),
        ]
    }
}

impl DistillLoss for TinyBert {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        let [embedding, hidden, attention] = self.features();
        let states = [embedding, hidden].map(|(site, weight)| (SitePair::new(site, site), weight));
        let all = states.into_iter().chain([(as_it_is(attention.0), attention.1)]);
        all.filter(|(_, weight)| weight.counts()).map(|(pair, _)| pair).collect()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let mut there = [false; 3];
        for (there, (site, weight)) in there.iter_mut().zip(self.features()) {
            *there = weight.counts() && present(view, NAME.name, site)?;
        }
        let [embedding, hidden, attention] = there;
        let states = |there: bool, site| there.then(|| joined(view, NAME.name, site)).transpose();
        let scores = || pair(view, NAME.name, &self.attention, "[B, h, L, L], attention scores");
        let inputs = TinyBertInputs {
            embedding: states(embedding, &self.embedding)?,
            hidden: states(hidden, &self.hidden)?,
            attention: attention.then(scores).transpose()?,
            logits: if self.prediction_weight.counts() { logits(view, NAME.name)? } else { None },
        };
        tinybert(inputs, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "tinybert",
    line: "squared differences of embeddings, hidden states and attention scores, and soft cross entropy of the \
           logits",
    formula: "sum of those that are there: (1/(B·L·D)) sum (e_s - e_t)²,  (1/(B·L·D)) sum (h_s - h_t)²,  \
              (1/(B·h·L²)) sum (a_s - a_t)² with entries <= -100 as 0,  -(1/B) sum p_t·log p_s;  under a mask L \
              is each sample's number of counted tokens",
    paper: "Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP 2020, \
            arXiv 1909.10351",
    reference: "huawei-noah/Pretrained-Language-Model TinyBERT/task_distill.py \
                0598f02d7fc4eaa7b4cbc1e9d7ab18bc875c24f9 without a mask and with `mean-over-classes`; \
                airaria/TextBrewer src/textbrewer/losses.py 2c105fa664bbc10669cd2888bd846d2c9b8afca8 `hid_mse_loss`, \
                `att_mse_loss` and `kd_ce_loss`, where all samples are of one length",
    when: "Helps a shallow student most when every layer of it has a layer of the teacher and there is much \
           unlabelled text; the attention term needs as many heads in both models.",
    inputs: &[
        Input::optional("student.embedding", &["B", "L", "D"], "output of the embedding layer"),
        Input::optional("teacher.embedding", &["B", "L", "D"], "as the student's"),
        Input::optional("student.hidden", &["B", "L", "D"], "hidden states, after a connector if narrower"),
        Input::optional("teacher.hidden", &["B", "L", "D"], "as the student's"),
        Input::optional("student.attention", &["B", "h", "L", "L"], "attention scores before the softmax"),
        Input::optional("teacher.attention", &["B", "h", "L", "L"], "as the student's"),
        Input::optional("student.logits", &["B", "C"], "logits; [B, L, C] of tokens"),
        Input::optional("teacher.logits", &["B", "C"], "as the student's"),
        MASK,
    ],
    example: "{ prediction-weight = 0.0 }",
    lacks: None,
    knobs: &[
        Knob::or("embedding", "\"embedding\"", "site of the embeddings in both models"),
        Knob::or("hidden", "\"hidden\"", "site of the hidden states in both models"),
        Knob::or("attention", "\"attention\"", "site of the attention scores in both models"),
        Knob::or(
            "embedding-weight",
            "1.0",
            "weight of the embeddings, at least 0; at 0 their site is not read",
        ),
        Knob::or(
            "hidden-weight",
            "1.0",
            "weight of the hidden states, at least 0; at 0 their site is not read",
        ),
        Knob::or(
            "attention-weight",
            "1.0",
            "weight of the attention scores, at least 0; at 0 their site is not read",
        ),
        Knob::or("prediction-weight", "1.0", "weight of the logits' term, at least 0"),
        Knob::or("temperature", "1.0", "divides both logits, above 0; there is no factor T²"),
        Knob::or(
            "mean-over-classes",
            "false",
            "whether the logits' term is divided by C, as in the original",
        ),
    ],
};
