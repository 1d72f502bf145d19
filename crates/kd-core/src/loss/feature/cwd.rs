//! Channel-wise distillation: each channel of a map is a distribution over positions, compared with the teacher's.

use burn::tensor::Tensor;

use crate::loss::feature::common::joined_maps;
use crate::loss::math::{check_same, log_p, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, Temperature, View};

/// KL divergence of softened channels, `p = softmax over the H·W positions of F_c / T`:
///
/// ```text
/// L = T² · (1/(B·C)) Σ_bc Σ_hw p_t·(log p_t − log p_s)
/// ```
///
/// Both are `[B, C, H, W]`, the result is `[1]`. The teacher's map is a constant. Finite at any finite maps; a channel
/// of zeros is a uniform distribution.
///
/// # Errors
///
/// [`Error::FeatureShapes`] and [`Error::Empty`].
pub fn cwd(student: Tensor<4>, teacher: Tensor<4>, temperature: Temperature) -> Result<Tensor<1>, Error> {
    let [batch, channels, height, width] = check_same(&student, &teacher)?;
    let (t, rows) = (temperature.get(), batch * channels);
    let log_p = |x: Tensor<4>| log_p(x.reshape([rows, height * width]), t);
    let (log_s, log_t) = (log_p(student), log_p(teacher.without_autodiff()));
    Ok(sum_rows(log_t.clone().exp() * (log_t - log_s)).mul_scalar(t * t / rows as f64))
}

paired! {
    /// The loss `cwd` of a recipe: [`cwd`] of the maps at two sites, the student's after its connector.
    Cwd {
        /// What both maps are divided by.
        temperature: Temperature = Temperature::ONE,
    }
}

impl DistillLoss for Cwd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = joined_maps(NAME.name, view, &self.pair())?;
        cwd(student, teacher, self.temperature)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cwd",
    line: "KL divergence of each channel's distribution over positions",
    formula: "T²·(1/(B·C)) sum_bc sum_hw p_t·(log p_t - log p_s),  p = softmax over H·W of F_c / T",
    paper: "Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021, arXiv 2011.13256",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/cwd.py 90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7",
    when: "For dense prediction, where a channel marks places: on maps of class scores or of features of the same size. \
           On the small maps at the end of a classifier it has little to say, and nothing on one position.",
    inputs: &[
        Input::new("student.SITE", &["B", "C", "H", "W"], "map of the student"),
        Input::new(
            "teacher.SITE",
            &["B", "C", "H", "W"],
            "map of the teacher, of the same shape after the connector",
        ),
    ],
    example: "{ temperature = 4.0 }",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::CONNECTOR,
        Knob::or("temperature", "1.0", "divides both maps, above 0; 1 to 5 are usual"),
    ],
};
