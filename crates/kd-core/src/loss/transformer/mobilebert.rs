//! MobileBERT's layer-wise transfer: the attention and the feature map of a block, compared with those of the
//! teacher's block, which is as wide and has as many heads by design.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::transformer::common::{
    AttentionInput, MASK, TermWeight, Tokens, as_it_is, attention_kl, check_attention, hidden_mse, joined,
    pair, total,
};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

/// What MobileBERT compares of one block, the student's tensor before the teacher's; what is absent adds nothing.
#[derive(Debug, Clone, Default)]
pub struct MobileBertInputs {
    /// Attention, `[B, h, L, L]`, as many heads in both.
    pub attention: Option<(Tensor<4>, Tensor<4>)>,
    /// Hidden states, `[B, L, D]`, the student's in the teacher's width.
    pub hidden: Option<(Tensor<3>, Tensor<3>)>,
}

/// Attention transfer and feature map transfer of one block, with their weights:
///
/// ```text
/// attention-weight · (1/B) Σ_b (1/(h·n_b)) Σ_{h, i counted} KL(a_t,i ‖ a_s,i)
/// feature-weight   · (1/B) Σ_b (1/(D·n_b)) Σ_{i counted} ‖h_t,i − h_s,i‖²
/// ```
///
/// `mask` is `[B, L]`, n_b the counted tokens of sample b; ignored tokens leave rows and columns, whatever stands
/// there, and a batch of them gives 0. Of scores the softmax runs over what counts; −∞ is allowed in them.
/// Probabilities are taken as they are, and one of 0 in the student's counts as 10⁻³⁰ without a gradient. The
/// teacher's tensors are constants.
///
/// # Errors
///
/// [`Error::Missing`] where no term is left, [`Error::FeatureShapes`], [`Error::Empty`],
/// [`Error::Shape`] for an attention that is not square or a mask that does not fit.
pub fn mobilebert(
    inputs: MobileBertInputs,
    mask: Option<&Tensor<2>>,
    knobs: &MobileBert,
) -> Result<Tensor<1>, Error> {
    let mut terms = Vec::new();
    if let Some((s, t)) = inputs.attention.filter(|_| knobs.attention_weight.counts()) {
        let tokens = Tokens::new(NAME.name, mask, check_attention(NAME.name, &s, &t)?)?;
        terms.push((knobs.attention_weight, attention_kl((s, t), knobs.attention_input, &tokens)));
    }
    if let Some(states) = inputs.hidden.filter(|_| knobs.feature_weight.counts()) {
        terms.push((knobs.feature_weight, hidden_mse(NAME.name, states, mask)?));
    }
    total(NAME.name, "student.attention", terms)
}

/// The loss `mobilebert` of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MobileBert {
    /// Site of the attention in both models.
    pub attention: String,
    /// Site of the hidden states in both models.
    pub hidden: String,
    /// What stands at the site of the attention.
    pub attention_input: AttentionInput,
    /// Weight of the attention.
    pub attention_weight: TermWeight,
    /// Weight of the hidden states.
    pub feature_weight: TermWeight,
}

impl Default for MobileBert {
    fn default() -> Self {
        MobileBert {
            attention: "attention".into(),
            hidden: "hidden".into(),
            attention_input: AttentionInput::Scores,
            attention_weight: TermWeight::ONE,
            feature_weight: TermWeight::ONE,
        }
    }
}

impl DistillLoss for MobileBert {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        let attention = self.attention_weight.counts().then(|| as_it_is(&self.attention));
        let hidden = self.feature_weight.counts().then(|| SitePair::new(&self.hidden, &self.hidden));
        attention.into_iter().chain(hidden).collect()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let attention = || pair(view, NAME.name, &self.attention, "[B, h, L, L], attention");
        let hidden = || joined(view, NAME.name, &self.hidden);
        let inputs = MobileBertInputs {
            attention: self.attention_weight.counts().then(attention).transpose()?,
            hidden: self.feature_weight.counts().then(hidden).transpose()?,
        };
        mobilebert(inputs, view.mask, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "mobilebert",
    line: "KL of a block's attention and mean squared difference of its hidden states",
    formula: "attention-weight·(1/(B·h·L)) sum KL(a_t ‖ a_s) + feature-weight·(1/(B·L·D)) sum (h_t - h_s)²; \
              under a mask L is each sample's number of counted tokens",
    paper: "Sun et al., MobileBERT: a Compact Task-Agnostic BERT for Resource-Limited Devices, ACL 2020, \
            arXiv 2004.02984",
    reference: "airaria/TextBrewer src/textbrewer/losses.py 2c105fa664bbc10669cd2888bd846d2c9b8afca8: `hid_mse_loss`, \
                and `att_ce_loss` less the teacher's entropy, where all tokens count; masks from the paper's \
                equations",
    when: "Block by block, where student and teacher have as many blocks, heads and, after the bottleneck, the same \
           width; elsewhere use `minilm-v2`.",
    inputs: &[
        Input::new("student.attention", &["B", "h", "L", "L"], "attention, as `attention-input` says"),
        Input::new("teacher.attention", &["B", "h", "L", "L"], "as the student's"),
        Input::new("student.hidden", &["B", "L", "D"], "hidden states, after a connector if narrower"),
        Input::new("teacher.hidden", &["B", "L", "D"], "as the student's"),
        MASK,
    ],
    example: "{ attention-input = \"scores\" }",
    lacks: None,
    knobs: &[
        Knob::or("attention", "\"attention\"", "site of the attention in both models"),
        Knob::or("hidden", "\"hidden\"", "site of the hidden states in both models"),
        Knob::or("attention-input", "\"scores\"", "scores (scaled, before the softmax) or probabilities"),
        Knob::or("attention-weight", "1.0", "weight of the attention, at least 0; at 0 its site is not read"),
        Knob::or(
            "feature-weight",
            "1.0",
            "weight of the hidden states, at least 0; at 0 their site is not read",
        ),
    ],
};
