//! Inter-channel correlation: which channels of a map are active at the same places.

use burn::tensor::Tensor;

use crate::loss::math::{divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{check_batch, maps, unit};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, SitePair, View};

/// Squared difference of the channels' correlation matrices, example by example:
///
/// ```text
/// G_b = F_b F_bᵀ, F_b the map as [C, H·W];    Ĝ_bc = G_bc / max(‖G_bc‖₂, 1e-12)    row by row
/// L   = (1/(B·C)) Σ_b ‖Ĝ^s_b − Ĝ^t_b‖²_F
/// ```
///
/// Both maps are `[B, C, H, W]` with the same C; heights and widths may differ. The result is `[1]`. A channel of
/// zeros correlates with nothing, and its row passes no gradient. With one channel the result is 0, unless it is zero
/// on one side.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Shape`] for different numbers of examples, [`Error::FeatureShapes`] for different numbers
/// of channels.
pub fn ickd(student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let channels = student.dims()[1];
    if teacher.dims()[1] != channels {
        return Err(Error::FeatureShapes {
            student: student.dims().to_vec(),
            teacher: teacher.dims().to_vec(),
        });
    }
    let difference = correlations(student) - correlations(teacher.without_autodiff());
    let squares = difference.square().reshape([batch * channels, channels]);
    Ok(divide(sum_rows(squares), (batch * channels) as f64))
}

fn correlations(x: Tensor<4>) -> Tensor<3> {
    let channels: Tensor<3> = x.flatten(2, 3);
    unit(channels.clone().matmul(channels.swap_dims(1, 2)))
}

paired! {
    /// The loss `ickd` of a recipe: [`ickd`] of the maps at two sites, the student's after its connector.
    Ickd {}
}

impl DistillLoss for Ickd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = maps(NAME.name, view.pair(NAME.name, &self.pair())?)?;
        ickd(student, teacher)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ickd",
    line: "squared difference of the correlations between channels, each row normalised",
    formula: "(1/(B·C)) sum_b |N(F_s F_sᵀ) - N(F_t F_tᵀ)|²_F,  F the map as [C, H·W] after a connector, N divides each \
              row by max(its Euclidean norm, 1e-12)",
    paper: "Liu et al., Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation, ICCV 2021",
    reference: "yoshitomo-matsubara/torchdistill torchdistill/losses/mid_level.py ChSimLoss \
                3e4373c45214c5c56eebac481d5bfe8b8735aa05, times B: it divides by B twice, the authors' CIFAR code once",
    when: "Last maps of convolutional pairs. torchdistill's own run on ImageNet ended below the student without a \
           teacher, so compare with sp first.",
    inputs: &[
        Input::new("student.SITE", &["B", "C", "H", "W"], "map of the student, after the connector"),
        Input::new("teacher.SITE", &["B", "C", "I", "J"], "map of the teacher; height and width may differ"),
    ],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::CONNECTOR],
};
