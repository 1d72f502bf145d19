//! Factor transfer: absolute difference of two factors of unit length.
//!
//! In the paper a factor is the whole output of a paraphraser, an autoencoder trained on the teacher beforehand; the
//! toolkit that most tables are made with takes a map's attention instead. Both are here by name.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::feature::common::{joined_maps, maps, meet};
use crate::loss::math::{TINY, check_same, divide, mean_all, unit_rows};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

/// Mean absolute difference of two factors:
///
/// ```text
/// mean     f = mean_c F², flattened      [B, H·W]
/// paper    f = F, flattened              [B, C·H·W]
/// L = mean | f_s / max(‖f_s‖₂, 1e-12) − f_t / max(‖f_t‖₂, 1e-12) |
/// ```
///
/// `student` is `[B, Cs, Hs, Ws]`, `teacher` is `[B, Ct, Ht, Wt]`, the result `[1]`. `mean` averages both to the
/// smaller height and width first; `paper` needs equal shapes. The teacher's map is a constant. Value and gradient are
/// finite at zeros, but in `paper` the gradient there is of size 1e12 / (C·H·W): a factor of all zeros has no direction.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] for different batches, or in `paper` different shapes.
pub fn ft(student: Tensor<4>, teacher: Tensor<4>, variant: FtVariant) -> Result<Tensor<1>, Error> {
    let teacher = teacher.without_autodiff();
    let (student, teacher) = match variant {
        FtVariant::Mean => {
            let (student, teacher) = meet(student, teacher)?;
            (attention(student), attention(teacher))
        }
        FtVariant::Paper => {
            check_same(&student, &teacher)?;
            (student.flatten(1, 3), teacher.flatten(1, 3))
        }
    };
    Ok(mean_all((unit_rows(student, TINY) - unit_rows(teacher, TINY)).abs()))
}

fn attention(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    divide(x.square().sum_dim(1).reshape([batch, height * width]), channels as f64)
}

/// What a factor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FtVariant {
    /// The mean of the squared channels, as in RepDistiller.
    #[default]
    Mean,
    /// The whole feature, as in the paper.
    Paper,
}

paired! {
    /// The loss `ft` of a recipe: [`ft`] of the maps at two sites.
    ///
    /// In `paper` the student's connector is the translator, and the teacher's site should be the paraphraser's output.
    Ft {
        /// What a factor is.
        variant: FtVariant = FtVariant::Mean,
    }
}

impl DistillLoss for Ft {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![match self.variant {
            FtVariant::Mean => self.pair_as_it_is(),
            FtVariant::Paper => self.pair(),
        }]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = match self.variant {
            FtVariant::Mean => maps(NAME.name, view, &self.pair())?,
            FtVariant::Paper => joined_maps(NAME.name, view, &self.pair())?,
        };
        ft(student, teacher, self.variant)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ft",
    line: "mean absolute difference of two factors of unit length",
    formula: "mean |u(f_s) - u(f_t)|,  u(f) = f / max(||f||, 1e-12);  mean: f = mean_c F² flattened, the larger map \
              average-pooled;  paper: f = F flattened",
    paper: "Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS 2018, \
            arXiv 1802.04977",
    reference: "HobbitLong/RepDistiller distiller_zoo/FT.py b84f547c5db6a35318d4671d7d5c4de74c822403; paper: \
                open-mmlab/mmrazor mmrazor/models/losses/factor_transfer_loss.py \
                90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "As `at`, with less pull from the few strongest positions. The paper's gain needs a paraphraser trained on \
           the teacher first; without one expect that of `at`.",
    inputs: &[
        Input::new("student.SITE", &["B", "Cs", "Hs", "Ws"], "map of the student"),
        Input::new(
            "teacher.SITE",
            &["B", "Ct", "Ht", "Wt"],
            "map of the teacher; in `paper` of the student's shape after the connector",
        ),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::CONNECTOR,
        Knob::or(
            "variant",
            "\"mean\"",
            "mean (a factor is the mean of squared channels) or paper (all of the map)",
        ),
    ],
};
