//! The flow of solution procedure: how a block turns its input into its output, as the Gram matrix of both maps.
//!
//! The matrix is an average over positions, so that teacher and student need the same channels but not the same size.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::feature::common::{joined_maps, meet, planes};
use crate::loss::math::{check_same, divide, mean_all};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

/// Squared difference of two FSP matrices:
///
/// ```text
/// G[b, i, j] = (1/(H·W)) Σ_hw F1[b, i, h, w]·F2[b, j, h, w]
/// mean     L = (1/(B·C1·C2)) Σ (G_s − G_t)²
/// paper    L = (1/B)         Σ (G_s − G_t)²
/// ```
///
/// Each pair is (first, second), `[B, C1, H1, W1]` and `[B, C2, H2, W2]`; within a pair the larger height and width are
/// averaged to the smaller. The result is `[1]`; the teacher's maps are constants; at zeros all is finite.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] where batches or channels differ.
pub fn fsp(
    student: (Tensor<4>, Tensor<4>),
    teacher: (Tensor<4>, Tensor<4>),
    variant: FspVariant,
) -> Result<Tensor<1>, Error> {
    let student = flow(student.0, student.1)?;
    let teacher = flow(teacher.0.without_autodiff(), teacher.1.without_autodiff())?;
    let [_, first, second] = check_same(&student, &teacher)?;
    let mean = mean_all((student - teacher).square());
    Ok(match variant {
        FspVariant::Mean => mean,
        FspVariant::Paper => mean.mul_scalar((first * second) as f64),
    })
}

/// `[B, C1, C2]`
fn flow(first: Tensor<4>, second: Tensor<4>) -> Result<Tensor<3>, Error> {
    let (first, second) = meet(first, second)?;
    let (first, second) = (planes(first), planes(second));
    let [_, _, positions] = first.dims();
    Ok(divide(first.matmul(second.swap_dims(1, 2)), positions as f64))
}

/// What the sum of squares is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FspVariant {
    /// By B·C1·C2.
    #[default]
    Mean,
    /// By B.
    Paper,
}

/// The loss `fsp` of a recipe: [`fsp`] of the maps at two sites, which have the same names in both models; the
/// student's after connectors where channels differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Fsp {
    /// The site where the block begins.
    pub first: String,
    /// The site where it ends.
    pub second: String,
    /// What the sum of squares is divided by.
    pub variant: FspVariant,
}

impl Default for Fsp {
    fn default() -> Self {
        Fsp { first: "first".into(), second: "second".into(), variant: FspVariant::Mean }
    }
}

impl Fsp {
    fn pairs(&self) -> [SitePair; 2] {
        [&self.first, &self.second].map(|site| SitePair::new(site, site))
    }
}

impl DistillLoss for Fsp {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        self.pairs().into()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let [first, second] = self.pairs();
        let (student_first, teacher_first) = joined_maps(NAME.name, view, &first)?;
        let (student_second, teacher_second) = joined_maps(NAME.name, view, &second)?;
        fsp((student_first, student_second), (teacher_first, teacher_second), self.variant)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "fsp",
    line: "squared difference of the Gram matrices between the maps at the beginning and the end of a block",
    formula: "mean: (1/(B·C1·C2)) sum (G_s - G_t)²,  G[b,i,j] = (1/HW) sum_hw F1[b,i,h,w]·F2[b,j,h,w]; \
              paper: (1/B) sum (G_s - G_t)²; the larger of first and second average-pooled",
    paper: "Yim, Joo, Bae and Kim, A Gift from Knowledge Distillation, CVPR 2017",
    reference: "HobbitLong/RepDistiller distiller_zoo/FSP.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "As a first stage, alone, before the student learns its task; beside the task it helps less than `at`. It \
           grows with the fourth power of the activations: choose its weight after looking at its value.",
    inputs: &[
        Input::new("student.first", &["B", "C1", "H1", "W1"], "map of the student where a block begins"),
        Input::new("student.second", &["B", "C2", "H2", "W2"], "map of the student where it ends"),
        Input::new("teacher.first", &["B", "C1", "H3", "W3"], "map of the teacher where a block begins"),
        Input::new("teacher.second", &["B", "C2", "H4", "W4"], "map of the teacher where it ends"),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        Knob::or("first", "\"first\"", "the site where the block begins, the same name in both models"),
        Knob::or("second", "\"second\"", "the site where it ends, the same name in both models"),
        Knob::or("variant", "\"mean\"", "mean (sum of squares / (B·C1·C2)) or paper (/ B)"),
    ],
};
