//! Cross-image relations for segmentation: how each pixel of an image resembles the pixels of every image in the batch.
//!
//! This is the part of CIRKD that a batch alone defines; its two memory terms need queues of pixels and regions by
//! class.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use crate::loss::math::{divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{check_batch, features, maps, sum_of_chunks, unit};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, Temperature, View};

/// Divergence of the similarities between the pixels of every two images, P = H·W:
///
/// ```text
/// u     = f / max(‖f‖₂, 1e-12) along the channels of each pixel
/// p_ijk = softmax over the pixels k of image j of u_i[pixel]·u_j[k] / T
/// L     = (1/B²) Σ_ij (1/P) Σ_pixel KL(p^t_ij ‖ p^s_ij)
/// ```
///
/// `student` is `[B, C, H, W]`, `teacher` `[B, D, H, W]`, the result `[1]`. A pixel of zeros resembles all pixels
/// equally and gets no gradient through its direction. An image is compared with itself too, so that one example gives
/// a value; one pixel gives 0.
///
/// Time is `B²·P²·(C + D)`. The `B²·P²` similarities are made, compared and differentiated in chunks of about a million
/// numbers; the graph keeps one gradient of the size of the student's map. The authors average 4×4 patches of maps from
/// 256×256 on, to save memory; this does not: pool such a map before its site.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Shape`] for different numbers of examples, [`Error::FeatureShapes`] for different heights
/// or widths.
pub fn cirkd(student: Tensor<4>, teacher: Tensor<4>, temperature: Temperature) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let [_, _, height, width] = student.dims();
    if teacher.dims()[2..] != [height, width] {
        return Err(Error::FeatureShapes {
            student: student.dims().to_vec(),
            teacher: teacher.dims().to_vec(),
        });
    }
    let (pixels, t) = (height * width, temperature.get());
    let all = batch * pixels;
    let teacher = directions(teacher.without_autodiff());
    let sum = sum_of_chunks(directions(student), all, all, |student, rows| {
        // Each row of similarities is one distribution for each image.
        let log_p = |x: Tensor<2>| {
            let some = x.clone().narrow(0, rows.start, rows.len());
            log_softmax(divide(some.matmul(x.transpose()), t).reshape([rows.len() * batch, pixels]), 1)
        };
        let (log_s, log_t) = (log_p(student), log_p(teacher.clone()));
        sum_rows(log_t.clone().exp() * (log_t - log_s))
    });
    Ok(divide(sum, (batch * batch * pixels) as f64))
}

/// Unit vectors of all pixels, `[B·H·W, C]`.
fn directions(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    unit(x.permute([0, 2, 3, 1]).reshape([batch * height * width, channels]))
}

fn default_temperature() -> Temperature {
    Temperature::new(0.1).unwrap_or(Temperature::ONE)
}

paired! {
    /// The loss `cirkd` of a recipe: [`cirkd`] of the maps at two sites.
    Cirkd {
        /// What similarities are divided by; 0.1 in the authors' scripts.
        temperature: Temperature = default_temperature(),
    }
}

impl DistillLoss for Cirkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = maps(NAME.name, features(view, NAME.name, &self.pair())?)?;
        cirkd(student, teacher, self.temperature)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cirkd",
    line: "divergence of the similarities between the pixels of every two images of a batch (the mini-batch term)",
    formula: "(1/(B²·H·W)) sum_ij sum_pixel KL(softmax(u_i·u_j/T)_t | softmax(u_i·u_j/T)_s),  u a pixel's channels \
              over their norm",
    paper: "Yang et al., Cross-Image Relational Knowledge Distillation for Semantic Segmentation, CVPR 2022, arXiv \
            2204.06986",
    reference: "winycg/CIRKD losses/cirkd_mini_batch.py dab64dbb5e4172141166cf8434a80ce55d9d3aa7, maps below 256×256",
    when: "Segmentation, on small maps: the cost grows with the square of the pixels of a batch. For classification \
           there are cheaper relations.",
    inputs: &[
        Input::new("student.SITE", &["B", "C", "H", "W"], "map of the student"),
        Input::new("teacher.SITE", &["B", "D", "H", "W"], "map of the teacher; its channels may differ"),
    ],
    example: "{ temperature = 0.1 }",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::or("temperature", "0.1", "divides similarities, above 0; 0.1 in the authors' scripts"),
    ],
};
