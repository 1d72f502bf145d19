//! MiniLMv2: relations among queries, among keys and among values, cut into heads of the loss's own, so that student
//! and teacher may have any number of heads.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::check_same;
use crate::loss::transformer::common::{AttentionInput, MASK, Tokens, as_it_is, attention_kl, relation};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, SitePair, View};

/// Queries, keys and values of one model's layer, all heads side by side: `[B, L, D]` each.
#[derive(Debug, Clone)]
pub struct MiniLmV2Layer {
    /// Queries.
    pub query: Tensor<3>,
    /// Keys.
    pub key: Tensor<3>,
    /// Values.
    pub value: Tensor<3>,
}

/// KL of the three relations, one to one:
///
/// ```text
/// L = Σ_{x in query, key, value} (1/B) Σ_b (1/(r·n_b)) Σ_{r, i counted} KL(softmax(X_t X_tᵀ / √d_t)_i ‖ …_s)
/// ```
///
/// where the width D of each model is cut into r heads of d = D / r. B and L are the same in both models, D may
/// differ. `mask` is `[B, L]`, n_b the counted tokens of sample b; ignored tokens leave rows and columns, whatever
/// stands there, and a batch of them gives 0. The teacher's tensors are constants.
///
/// # Errors
///
/// [`Error::Shape`] where r does not divide a width or the mask does not fit, [`Error::FeatureShapes`] where batch or
/// length differ, [`Error::Empty`].
pub fn minilm_v2(
    student: MiniLmV2Layer,
    teacher: MiniLmV2Layer,
    mask: Option<&Tensor<2>>,
    heads: RelationHeads,
) -> Result<Tensor<1>, Error> {
    let [batch, length, _] = student.query.dims();
    let tokens = Tokens::new(NAME.name, mask, [batch, length])?;
    let [query, key, value] = [
        ("student.query", student.query, "teacher.query", teacher.query),
        ("student.key", student.key, "teacher.key", teacher.key),
        ("student.value", student.value, "teacher.value", teacher.value),
    ]
    .map(|(student, s, teacher, t)| {
        let s = heads.of(student, s, [batch, length])?;
        let t = heads.of(teacher, t.without_autodiff(), [batch, length])?;
        let relations = (relation(s, &tokens), relation(t, &tokens));
        check_same(&relations.0, &relations.1)?;
        Ok::<_, Error>(attention_kl(relations, AttentionInput::Scores, &tokens))
    });
    Ok(query? + key? + value?)
}

/// Into how many heads the loss cuts the width of both models: at least 1, a divisor of both widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct RelationHeads(usize);

impl RelationHeads {
    /// A number of heads.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for 0.
    pub fn new(heads: usize) -> Result<Self, Error> {
        let wrong = Error::OutOfRange { name: "relation-heads", expected: "at least 1", found: heads as f64 };
        if heads > 0 { Ok(RelationHeads(heads)) } else { Err(wrong) }
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }

    /// `[B, L, D]` as `[B, r, L, D / r]`.
    fn of(self, input: &'static str, x: Tensor<3>, expected: [usize; 2]) -> Result<Tensor<4>, Error> {
        let found = x.dims();
        let [batch, length, width] = found;
        if found.contains(&0) {
            return Err(Error::Empty { shape: found.to_vec() });
        }
        if [batch, length] != expected || width % self.0 != 0 {
            let expected = "[B, L, D] with the same B and L everywhere and D a multiple of `relation-heads`";
            return Err(Error::Shape { loss: NAME.name, input, expected, found: found.to_vec() });
        }
        Ok(x.reshape([batch, length, self.0, width / self.0]).swap_dims(1, 2))
    }
}

impl TryFrom<usize> for RelationHeads {
    type Error = Error;

    fn try_from(heads: usize) -> Result<Self, Error> {
        RelationHeads::new(heads)
    }
}

impl From<RelationHeads> for usize {
    fn from(heads: RelationHeads) -> usize {
        heads.0
    }
}

/// The loss `minilm-v2` of a recipe. Its sites hold `[B, L, D]`, or heads apart, `[B, h, L, d]`, which are put side by
/// side first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MiniLmV2 {
    /// Into how many heads the widths are cut; none takes the teacher's where its heads are apart, and 1 elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation_heads: Option<RelationHeads>,
    /// Site of the queries in both models.
    pub query: String,
    /// Site of the keys in both models.
    pub key: String,
    /// Site of the values in both models.
    pub value: String,
}

impl Default for MiniLmV2 {
    fn default() -> Self {
        MiniLmV2 { relation_heads: None, query: "query".into(), key: "key".into(), value: "value".into() }
    }
}

impl MiniLmV2 {
    fn pairs(&self) -> [SitePair; 3] {
        [&self.query, &self.key, &self.value].map(|site| as_it_is(site))
    }
}

impl DistillLoss for MiniLmV2 {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        self.pairs().to_vec()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let mut heads = 1;
        let [query, key, value] = self.pairs().map(|pair| {
            let (student, teacher) = view.pair_as_it_is(NAME.name, &pair)?;
            if let Feature::D4(teacher) = &teacher {
                heads = teacher.dims()[1];
            }
            Ok::<_, Error>((side_by_side("student.SITE", student)?, side_by_side("teacher.SITE", teacher)?))
        });
        let (query, key, value) = (query?, key?, value?);
        let heads = self.relation_heads.map_or_else(|| RelationHeads::new(heads), Ok)?;
        let student = MiniLmV2Layer { query: query.0, key: key.0, value: value.0 };
        let teacher = MiniLmV2Layer { query: query.1, key: key.1, value: value.1 };
        minilm_v2(student, teacher, view.mask, heads)
    }
}

/// `[B, h, L, d]` as `[B, L, h·d]`.
fn side_by_side(input: &'static str, x: Feature) -> Result<Tensor<3>, Error> {
    match x {
        Feature::D3(x) => Ok(x),
        Feature::D4(x) => Ok(x.swap_dims(1, 2).flatten(2, 3)),
        x => {
            let expected = "[B, L, D], or [B, h, L, d] with the heads apart";
            Err(Error::Shape { loss: NAME.name, input, expected, found: x.dims() })
        }
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "minilm-v2",
    line: "KL of the relations among queries, among keys and among values, in heads of the loss's own",
    formula: "sum over x = query, key, value of (1/(B·r·L)) sum KL(softmax(X_t X_tᵀ/√d_t) ‖ softmax(X_s \
              X_sᵀ/√d_s)) over rows, d = D / r; under a mask L is each sample's number of counted tokens",
    paper: "Wang et al., MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained \
            Transformers, Findings of ACL 2021, arXiv 2012.15828",
    reference: "none public (microsoft/unilm has models only): from the paper's section 3; each divergence is \
                `att_ce_loss` of airaria/TextBrewer src/textbrewer/losses.py \
                2c105fa664bbc10669cd2888bd846d2c9b8afca8 less the teacher's entropy, where all tokens count",
    when: "For a transformer of any depth, width and number of heads; of large teachers take an upper middle \
           layer, of small ones the last. More relation heads carry more and cost more memory: r·L² numbers a sample.",
    inputs: &[
        Input::new("student.query", &["B", "L", "D"], "queries; or heads apart, [B, h, L, d]"),
        Input::new("student.key", &["B", "L", "D"], "keys, likewise"),
        Input::new("student.value", &["B", "L", "D"], "values, likewise"),
        Input::new("teacher.query", &["B", "L", "E"], "as the student's; width and heads may differ"),
        Input::new("teacher.key", &["B", "L", "E"], "likewise"),
        Input::new("teacher.value", &["B", "L", "E"], "likewise"),
        MASK,
    ],
    example: "{ relation-heads = 12 }",
    lacks: None,
    knobs: &[
        Knob::optional(
            "relation-heads",
            "heads into which both widths are cut, a divisor of both; when left out, the teacher's heads if they are \
             apart, else 1; the paper takes 48 or 64",
        ),
        Knob::or("query", "\"query\"", "site of the queries in both models"),
        Knob::or("key", "\"key\"", "site of the keys in both models"),
        Knob::or("value", "\"value\"", "site of the values in both models"),
    ],
};
