//! Pearson correlation of features, for teachers and students of different families: each channel is standardised over
//! the batch first, so that only the pattern counts and not how large either network writes it.

use burn::tensor::Tensor;

use super::layers::{channel_rows, deviations};
use super::resize::bilinear;
use crate::loss::math::{divide, mean_all, ranked, safe_sqrt};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, SitePair, View};

/// What is added to the standard deviation.
const EPSILON: f64 = 1e-6;
/// A variance that counts as zero: its root is far below [`EPSILON`], in f32 too.
const ZERO: f64 = 1e-36;

/// Half the mean squared difference of two maps whose channels are standardised:
///
/// ```text
/// n(x) = (x − mean) / (std + 1e-6),   each channel over N = B·H·W positions, std = √(Σ (x − mean)² / (N − 1))
/// L = ½ · (1/(C·N)) Σ (n(s') − n(t))²,   s' = s resized to the teacher's H×W, bilinear, corners not aligned
/// ```
///
/// The student is `[B, C, h, w]`, the teacher `[B, C, H, W]`, the result is `[1]`: nearly `1 − r` of Pearson's r,
/// averaged over the channels. A channel that is constant, and so every channel of one position in a batch of one, is
/// all zeros after this, with a finite gradient of the size of 1e6. The teacher is a constant.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::FeatureShapes`] where batches or channels differ.
pub fn pkd(student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, Error> {
    let (s, t) = (student.dims(), teacher.dims());
    if s[..2] != t[..2] {
        return Err(Error::FeatureShapes { student: s.to_vec(), teacher: t.to_vec() });
    }
    if let Some(shape) = [s, t].into_iter().find(|shape| shape.contains(&0)) {
        return Err(Error::Empty { shape: shape.to_vec() });
    }
    let student = bilinear(student, [t[2], t[3]]);
    let difference = standardised(student) - standardised(teacher.without_autodiff());
    Ok(mean_all(difference.square()).mul_scalar(0.5))
}

/// Channels as rows, each with mean 0 and standard deviation 1.
fn standardised(x: Tensor<4>) -> Tensor<2> {
    let (centered, squares) = deviations(channel_rows(x));
    let freedom = (centered.dims()[1] - 1).max(1);
    centered / safe_sqrt(divide(squares, freedom as f64), ZERO).add_scalar(EPSILON)
}

paired! {
    /// The loss `pkd` of a recipe: [`pkd`] of the maps at two sites, the student's after its connector.
    Pkd {}
}

impl DistillLoss for Pkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = view.pair(NAME.name, &self.pair_as_it_is())?;
        let map = |input, x| ranked::<4>(NAME.name, input, "[B, C, H, W]", x);
        pkd(map("student.SITE", student)?, map("teacher.SITE", teacher)?)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "pkd",
    line: "squared difference of two maps whose channels are standardised over the batch: Pearson correlation",
    formula: "1/2·(1/(B·C·H·W)) sum (n(s') - n(t))²,  n(x) = (x - mean)/(std + 1e-6) of each channel over B·H·W, std \
              with N - 1, s' the student resized bilinearly",
    paper: "Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient, \
            NeurIPS 2022, arXiv 2207.02039",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/pkd_loss.py 90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "For maps of detectors and segmenters, and where teacher and student differ in the scale of their features; \
           the scale itself, which a classifier after it may need, is not taught.",
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
    inputs: &[
        Input::new("student.SITE", &["B", "C", "h", "w"], "map of the student, of any height and width"),
        Input::new("teacher.SITE", &["B", "C", "H", "W"], "map of the teacher"),
    ],
    example: "{}",
    lacks: None,
};
