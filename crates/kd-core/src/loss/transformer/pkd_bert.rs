//! Patient knowledge distillation: the normalised hidden state of the first token, `[CLS]`, in several layers.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{TINY, check_same, divide, sum_rows, unit_rows};
use crate::loss::transformer::common::connected;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, SitePair, View};

/// Squared distance of unit vectors, layer by layer:
///
/// ```text
/// paper     Σ_layers (1/B) Σ_b ‖s_b / ‖s_b‖ − t_b / ‖t_b‖‖²     from 0 to 4 for each layer
/// author    the same, divided by the width D and the number of layers: a mean of squares
/// ```
///
/// Each layer is a pair `[B, D]` of student and teacher, the result is `[1]`. A vector of zeros stays zeros, with a
/// finite gradient. The teacher's vectors are constants.
///
/// # Errors
///
/// [`Error::Missing`] without layers, [`Error::FeatureShapes`], [`Error::Empty`].
pub fn pkd_bert(layers: Vec<(Tensor<2>, Tensor<2>)>, variant: PkdVariant) -> Result<Tensor<1>, Error> {
    let count = layers.len();
    let mut sum: Option<Tensor<1>> = None;
    for (student, teacher) in layers {
        let [batch, width] = check_same(&student, &teacher)?;
        let gap = unit_rows(student, TINY) - unit_rows(teacher.without_autodiff(), TINY);
        let divisor = match variant {
            PkdVariant::Paper => batch,
            PkdVariant::Author => batch * width * count,
        };
        let layer = divide(sum_rows(gap.square()), divisor as f64);
        sum = Some(match sum {
            Some(sum) => sum + layer,
            None => layer,
        });
    }
    sum.ok_or(Error::Missing { loss: NAME.name, input: "student.SITE" })
}

/// Which published definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PkdVariant {
    /// Squared distances, summed over the layers, a mean over the batch.
    #[default]
    Paper,
    /// The author's code: a mean over batch, layers and width.
    Author,
}

/// The loss `pkd-bert` of a recipe. Its sites hold `[B, L, D]`, of which it looks at the first token, or `[B, D]`.
/// Where the mask ignores the first token of a sample, that sample adds 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PkdBert {
    /// Sites of the layers, of the same names in both models; none is the only site.
    pub layers: Vec<String>,
    /// Which published definition.
    pub variant: PkdVariant,
}

impl PkdBert {
    fn pairs(&self) -> Vec<SitePair> {
        match self.layers.as_slice() {
            [] => vec![SitePair::new("", "")],
            layers => layers.iter().map(|site| SitePair::new(site, site)).collect(),
        }
    }
}

impl DistillLoss for PkdBert {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        self.pairs()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let mut layers = Vec::new();
        for pair in self.pairs() {
            let (student, teacher) = view.pair_as_it_is(NAME.name, &pair)?;
            let student = first_token("student.SITE", student, view.mask)?;
            let teacher = first_token("teacher.SITE", teacher, view.mask)?;
            let student = match connected(view, NAME.name, &pair, student.into())? {
                Feature::D2(student) => clear(student, view.mask)?,
                student => return Err(Error::Rank { expected: 2, found: student.rank() }),
            };
            layers.push((student, teacher));
        }
        pkd_bert(layers, self.variant)
    }
}

/// The first token of each sample, `[B, D]`; zeros where the mask ignores it.
fn first_token(input: &'static str, x: Feature, mask: Option<&Tensor<2>>) -> Result<Tensor<2>, Error> {
    let found = x.dims();
    if found.contains(&0) {
        return Err(Error::Empty { shape: found });
    }
    let first = match x {
        Feature::D2(x) => x,
        Feature::D3(x) => {
            let [batch, _, width] = x.dims();
            x.slice([0..batch, 0..1, 0..width]).reshape([batch, width])
        }
        _ => {
            let expected = "[B, L, D] or [B, D], hidden states";
            return Err(Error::Shape { loss: NAME.name, input, expected, found });
        }
    };
    clear(first, mask)
}

fn clear(x: Tensor<2>, mask: Option<&Tensor<2>>) -> Result<Tensor<2>, Error> {
    let Some(mask) = mask else { return Ok(x) };
    let ([batch, width], [samples, length]) = (x.dims(), mask.dims());
    if samples != batch || length == 0 {
        let expected = "[B, L], as the hidden states";
        return Err(Error::Shape { loss: NAME.name, input: "mask", expected, found: vec![samples, length] });
    }
    let ignored = mask.clone().without_autodiff().slice([0..batch, 0..1]).equal_elem(0.0);
    Ok(x.mask_fill(ignored.expand([batch, width]), 0.0))
}

pub(crate) const NAME: LossName = LossName {
    name: "pkd-bert",
    line: "squared distance of the normalised first token, [CLS], in chosen layers",
    formula: "sum over layers of (1/B) sum_b ‖s_b/‖s_b‖ - t_b/‖t_b‖‖²; `author` divides by the width and the \
              layers too",
    paper: "Sun et al., Patient Knowledge Distillation for BERT Model Compression, EMNLP 2019, arXiv 1908.09355",
    reference: "airaria/TextBrewer src/textbrewer/losses.py 2c105fa664bbc10669cd2888bd846d2c9b8afca8 `pkd_loss`; \
                `author`: intersun/PKD-for-BERT-Model-Compression src/KD_loss.py \
                9e9e860997ad4815f6ac655d1beb26a85ddd70bb `patience_loss(normalized_patience=True)`",
    when: "For classifiers that read [CLS], beside the logits' loss; every second layer of the teacher works as \
           well as its last ones or better. It says nothing to models that pool all tokens.",
    inputs: &[
        Input::new(
            "student.SITE",
            &["B", "L", "D"],
            "hidden states of a layer, of any name; or [B, D] of [CLS]",
        ),
        Input::new("teacher.SITE", &["B", "L", "D"], "as the student's, in its width after a connector"),
        Input::optional(
            "mask",
            &["B", "L"],
            "a sample whose first token is 0 adds nothing; all counted if left out",
        ),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        Knob::or(
            "layers",
            "[]",
            "sites of the layers, of the same names in both models; none is the only site",
        ),
        Knob::or(
            "variant",
            "\"paper\"",
            "paper (sum over layers, mean over the batch) or author (mean over layers and width as well)",
        ),
    ],
};
