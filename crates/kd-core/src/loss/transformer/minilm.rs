//! MiniLM: the last layer's self-attention and how its values relate to each other, for a student of any depth and
//! width with as many heads.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::transformer::common::{
    AttentionInput, MASK, Tokens, as_it_is, attention_kl, check_attention, pair, relation,
};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

/// The self-attention of one model's last layer.
#[derive(Debug, Clone)]
pub struct MiniLmLayer {
    /// `[B, h, L, L]`, as many heads in both models.
    pub attention: Tensor<4>,
    /// `[B, h, L, d]`; d may differ between the models.
    pub value: Tensor<4>,
}

/// KL of the attention and of the value relation, one to one:
///
/// ```text
/// L = (1/B) Σ_b (1/(h·n_b)) Σ_{h, i counted} [ KL(a_t,i ‖ a_s,i) + KL(r_t,i ‖ r_s,i) ],   r = softmax(V Vᵀ / √d)
/// ```
///
/// `mask` is `[B, L]`, n_b the counted tokens of sample b; ignored tokens leave rows and columns, whatever stands
/// there, and a batch of them gives 0. `input` says what `attention` holds: −∞ is allowed in scores; probabilities
/// are taken as they are, and one of 0 in the student's counts as 10⁻³⁰ without a gradient. The teacher's tensors are
/// constants.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where heads or tokens differ, [`Error::Empty`], [`Error::Shape`] for an attention that is
/// not square, values of other heads or tokens, or a mask that does not fit.
pub fn minilm(
    student: MiniLmLayer,
    teacher: MiniLmLayer,
    mask: Option<&Tensor<2>>,
    input: AttentionInput,
) -> Result<Tensor<1>, Error> {
    let shape = check_attention(NAME.name, &student.attention, &teacher.attention)?;
    let tokens = Tokens::new(NAME.name, mask, shape)?;
    for (input, value) in [("student.value", &student.value), ("teacher.value", &teacher.value)] {
        let (found, expected) = (value.dims(), "[B, h, L, d], as the attention [B, h, L, L]");
        if found[..3] != student.attention.dims()[..3] || found[3] == 0 {
            return Err(Error::Shape { loss: NAME.name, input, expected, found: found.to_vec() });
        }
    }
    let relations = (relation(student.value, &tokens), relation(teacher.value.without_autodiff(), &tokens));
    let attention = attention_kl((student.attention, teacher.attention), input, &tokens);
    Ok(attention + attention_kl(relations, AttentionInput::Scores, &tokens))
}

/// The loss `minilm` of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MiniLm {
    /// Site of the last layer's attention in both models.
    pub attention: String,
    /// Site of the last layer's values in both models.
    pub value: String,
    /// What stands at the site of the attention.
    pub attention_input: AttentionInput,
}

impl Default for MiniLm {
    fn default() -> Self {
        MiniLm {
            attention: "attention".into(),
            value: "value".into(),
            attention_input: AttentionInput::Scores,
        }
    }
}

impl DistillLoss for MiniLm {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        [&self.attention, &self.value].map(|site| as_it_is(site)).to_vec()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let attention = pair(view, NAME.name, &self.attention, "[B, h, L, L], attention")?;
        let value = pair(view, NAME.name, &self.value, "[B, h, L, d], values")?;
        let student = MiniLmLayer { attention: attention.0, value: value.0 };
        let teacher = MiniLmLayer { attention: attention.1, value: value.1 };
        minilm(student, teacher, view.mask, self.attention_input)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "minilm",
    line: "KL of the last layer's attention and of its value relation softmax(V Vᵀ / √d)",
    formula: "(1/(B·h·L)) sum [ KL(a_t ‖ a_s) + KL(softmax(V_t V_tᵀ/√d_t) ‖ softmax(V_s V_sᵀ/√d_s)) ] over \
              rows; under a mask L is each sample's number of counted tokens",
    paper: "Wang et al., MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained \
            Transformers, NeurIPS 2020, arXiv 2002.10957",
    reference: "none public (microsoft/unilm has models only): from the paper's equations 4 to 8; each divergence is \
                `att_ce_loss` of airaria/TextBrewer src/textbrewer/losses.py \
                2c105fa664bbc10669cd2888bd846d2c9b8afca8 less the teacher's entropy, where all tokens count",
    when: "For a student of another depth and width, without a map of layers; it needs as many heads in both models, \
           which `minilm-v2` does not.",
    inputs: &[
        Input::new("student.attention", &["B", "h", "L", "L"], "last attention, as `attention-input` says"),
        Input::new("teacher.attention", &["B", "h", "L", "L"], "as the student's"),
        Input::new("student.value", &["B", "h", "L", "d"], "values of the last layer, head by head"),
        Input::new(
            "teacher.value",
            &["B", "h", "L", "D"],
            "as the student's; the width of a head may differ",
        ),
        MASK,
    ],
    example: "{ attention-input = \"scores\" }",
    lacks: None,
    knobs: &[
        Knob::or("attention", "\"attention\"", "site of the last layer's attention in both models"),
        Knob::or("value", "\"value\"", "site of the last layer's values in both models"),
        Knob::or("attention-input", "\"scores\"", "scores (scaled, before the softmax) or probabilities"),
    ],
};
