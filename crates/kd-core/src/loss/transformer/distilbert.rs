//! DistilBERT's triple loss: the teacher's softened answers, the masked words themselves, the direction of the hidden
//! states.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_pair, check_same, column};
use crate::loss::response::Divergence;
use crate::loss::transformer::common::{
    Both, MASK, TermWeight, Tokens, connected, label_cross_entropy, logits, present, total,
};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, SitePair, Temperature, View};

/// What DistilBERT compares; what is absent adds nothing.
#[derive(Debug, Clone, Default)]
pub struct DistilBertInputs<'a> {
    /// Logits of student and teacher, `[B·L, C]`, or `[B, C]` of whole sequences.
    pub logits: Option<(Tensor<2>, Tensor<2>)>,
    /// Labels of the student's logits, `[B·L]`; one below 0, such as −100, is none.
    pub targets: Option<&'a Tensor<1, Int>>,
    /// Last hidden states of student and teacher, `[B·L, D]`, or `[B, D]` of whole sequences.
    pub hidden: Option<(Tensor<2>, Tensor<2>)>,
}

/// The weighted sum of the terms whose tensors are given:
///
/// ```text
/// alpha-ce    T²·(1/N) Σ KL(softmax(z_t / T) ‖ softmax(z_s / T))
/// alpha-mlm   −(1/M) Σ log softmax(z_s)[y]
/// alpha-cos   (1/N) Σ (1 − s·t / √((‖s‖² + ε)(‖t‖² + ε))),   ε = 10⁻¹²
///
/// N = counted tokens,  M = those among them with a label
/// ```
///
/// `mask` is `[B, L]`; what stands at an ignored token, NaN included, has no influence, and where none counts the
/// result is 0. A mask of tokens says nothing about logits or hidden states of whole sequences. A hidden state of
/// zeros has cosine 0 with everything and a finite gradient. The teacher's tensors are constants.
///
/// # Errors
///
/// [`Error::Missing`] where no term is left, [`Error::LogitShapes`], [`Error::FeatureShapes`], [`Error::Labels`],
/// [`Error::Empty`], [`Error::Shape`] for a mask that does not fit.
pub fn distilbert(
    inputs: DistilBertInputs<'_>,
    mask: Option<&Tensor<2>>,
    knobs: &DistilBert,
) -> Result<Tensor<1>, Error> {
    let mut terms = Vec::new();
    if let Some((student, teacher)) = inputs.logits {
        let [rows, _] = check_pair(&student, &teacher)?;
        let tokens = Tokens::of_rows_or_sequences(NAME.name, mask, rows)?;
        if knobs.alpha_ce.counts() {
            let t = knobs.temperature.get();
            let (s, p) = (tokens.clear_rows(student.clone()), tokens.clear_rows(teacher.without_autodiff()));
            let each = Divergence::Forward.of_rows(s, p, t, 0.5);
            terms.push((knobs.alpha_ce, tokens.token_mean(each).mul_scalar(t * t)));
        }
        if let Some(targets) = inputs.targets.filter(|_| knobs.alpha_mlm.counts()) {
            terms.push((knobs.alpha_mlm, label_cross_entropy(student, column(targets, rows)?, &tokens)));
        }
    }
    if let Some(hidden) = inputs.hidden.filter(|_| knobs.alpha_cos.counts()) {
        terms.push((knobs.alpha_cos, cosine(hidden, mask)?));
    }
    total(NAME.name, "student.logits", terms)
}

/// As PyTorch's `cosine_embedding_loss`: ε is added to both squared norms.
fn cosine((student, teacher): Both<2>, mask: Option<&Tensor<2>>) -> Result<Tensor<1>, Error> {
    const EPSILON: f64 = 1e-12;
    let [rows, _] = check_same(&student, &teacher)?;
    let tokens = Tokens::of_rows_or_sequences(NAME.name, mask, rows)?;
    let (s, t) = (tokens.clear_rows(student), tokens.clear_rows(teacher.without_autodiff()));
    let square = |x: &Tensor<2>| x.clone().square().sum_dim(1).add_scalar(EPSILON);
    let norms = (square(&s) * square(&t)).sqrt();
    let each = ((s * t).sum_dim(1) / norms).neg().add_scalar(1.0);
    Ok(tokens.token_mean(tokens.clear_rows(each)))
}

/// The loss `distilbert` of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DistilBert {
    /// Weight of the teacher's answers.
    pub alpha_ce: TermWeight,
    /// Weight of the labels.
    pub alpha_mlm: TermWeight,
    /// Weight of the hidden states.
    pub alpha_cos: TermWeight,
    /// What both logits are divided by for the teacher's answers.
    pub temperature: Temperature,
    /// Site of the last hidden states in both models.
    pub hidden: String,
}

impl Default for DistilBert {
    fn default() -> Self {
        DistilBert {
            alpha_ce: TermWeight::of(5.0),
            alpha_mlm: TermWeight::of(2.0),
            alpha_cos: TermWeight::ONE,
            temperature: Temperature::new(2.0).unwrap_or(Temperature::ONE),
            hidden: "hidden".into(),
        }
    }
}

impl DistillLoss for DistilBert {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        let wanted = self.alpha_cos.counts();
        wanted.then(|| SitePair::new(&self.hidden, &self.hidden)).into_iter().collect()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let there = self.alpha_cos.counts() && present(view, NAME.name, &self.hidden)?;
        let hidden = there.then(|| self.hidden_rows(view)).transpose()?;
        let inputs = DistilBertInputs { logits: logits(view, NAME.name)?, targets: view.targets, hidden };
        distilbert(inputs, view.mask, self)
    }
}

impl DistilBert {
    fn hidden_rows(&self, view: &View<'_>) -> Result<Both<2>, Error> {
        let pair = SitePair::new(&self.hidden, &self.hidden);
        let (student, teacher) = view.pair_as_it_is(NAME.name, &pair)?;
        let student = tokens_as_rows(student)?;
        let tokens = Tokens::of_rows_or_sequences(NAME.name, view.mask, student.dims()[0])?;
        let student = connected(view, NAME.name, &pair, tokens.clear_rows(student).into())?;
        Ok((tokens_as_rows(student)?, tokens_as_rows(teacher)?))
    }
}

/// `[B, L, D]` as `[B·L, D]`.
fn tokens_as_rows(x: Feature) -> Result<Tensor<2>, Error> {
    match x {
        Feature::D2(x) => Ok(x),
        Feature::D3(x) => Ok(x.flatten(0, 1)),
        x => {
            let expected = "[B, L, D] or [B, D], hidden states";
            Err(Error::Shape { loss: NAME.name, input: "student.hidden", expected, found: x.dims() })
        }
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "distilbert",
    line: "softened KL, cross entropy of the masked words, and cosine of the hidden states, 5 : 2 : 1",
    formula: "alpha-ce·T²·(1/N) sum KL(p_t ‖ p_s) - alpha-mlm·(1/M) sum log p_s[y] + alpha-cos·(1/N) sum (1 - \
              cos(s, t)), N counted tokens, M those with a label; terms whose tensors are there",
    paper: "Sanh et al., DistilBERT, a distilled version of BERT, NeurIPS 2019 workshop, arXiv 1910.01108",
    reference: "huggingface/transformers-research-projects distillation/distiller.py \
                fccd0cdab03c1407bb7def05e1b48528fc817078; the cosine also airaria/TextBrewer \
                src/textbrewer/losses.py 2c105fa664bbc10669cd2888bd846d2c9b8afca8 `cos_loss`",
    when: "For pre-training a student that was cut out of its teacher (every other layer), on much text; a \
           student that starts at random gains little from the cosine.",
    inputs: &[
        Input::new("student.logits", &["B", "L", "C"], "logits of the tokens; [B, C] of whole sequences"),
        Input::new("teacher.logits", &["B", "L", "C"], "as the student's"),
        Input::optional(
            "targets",
            &["B·L"],
            "the words, token by token, 64-bit integers; below 0 is no label",
        ),
        Input::optional("student.hidden", &["B", "L", "D"], "the last hidden states; or [B, D]"),
        Input::optional("teacher.hidden", &["B", "L", "D"], "as the student's"),
        MASK,
    ],
    example: "{ temperature = 2.0 }",
    lacks: None,
    knobs: &[
        Knob::or("alpha-ce", "5.0", "weight of the softened KL, at least 0"),
        Knob::or("alpha-mlm", "2.0", "weight of the cross entropy with the labels, at least 0"),
        Knob::or("alpha-cos", "1.0", "weight of the cosine, at least 0; at 0 the hidden states are not read"),
        Knob::or("temperature", "2.0", "divides both logits in the KL, above 0"),
        Knob::or("hidden", "\"hidden\"", "site of the last hidden states in both models"),
    ],
};
