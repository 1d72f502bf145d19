//! A comprehensive overhaul of feature distillation: pre-activations, a margin rectifier, a partial distance.
//!
//! The teacher's negative responses are cut at a margin for each channel, the mean of its negative responses. Where the
//! statistics of the batch normalization in front are given, the margin follows from them in closed form, as in the
//! authors' code; a recipe cannot give them, and then the batch's own mean is taken, as the paper allows.

use std::f64::consts::{PI, SQRT_2};

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::loss::feature::common::{map_or_vector, pool};
use crate::loss::math::{TINY, divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Observed, SitePair, View};

/// Partial squared distance from the teacher's rectified pre-activations, mean over the batch of sums:
///
/// ```text
/// r = max(t, m_c)
/// L = (1/B) Σ (s − r)²·[s > r or t > 0]
/// ```
///
/// `student` is `[B, C, H, W]`; `teacher` is `[B, C, Ht, Wt]`, averaged to the student's height and width; `margin` is
/// `[C]`, each at most 0. The result is `[1]`. Teacher and margin are constants. All is finite at zeros.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] where batch or channels differ; [`Error::Shape`] for another number of
/// margins.
pub fn ofd(student: Tensor<4>, teacher: Tensor<4>, margin: Tensor<1>) -> Result<Tensor<1>, Error> {
    let (shape, found) = (student.dims(), teacher.dims());
    if shape.contains(&0) || found.contains(&0) {
        return Err(Error::Empty { shape: if shape.contains(&0) { shape } else { found }.to_vec() });
    }
    if shape[..2] != found[..2] {
        return Err(Error::FeatureShapes { student: shape.to_vec(), teacher: found.to_vec() });
    }
    let [batch, channels, height, width] = shape;
    check_channels("margin", &margin, channels)?;
    let teacher = pool(teacher.without_autodiff(), [height, width]);
    let margin = margin.without_autodiff().reshape([1, channels, 1, 1]).expand(shape);
    let active = teacher.clone().greater_elem(0.0);
    let difference = student - teacher.max_pair(margin);
    let each = relu(difference.clone()).mask_where(active, difference).square();
    Ok(divide(sum_rows(each.flatten(1, 3)), batch as f64))
}

/// The margin of each channel from the batch normalization in front of the activation, `[C]` each: the mean of a
/// normal variable of mean `mean` (the normalization's bias) and deviation |`std`| (its weight) where it is negative.
///
/// ```text
/// m = mean − |std|·φ(mean/std) / Φ(−mean/|std|),    or −3·|std| where Φ(−mean/|std|) ≤ 0.001
/// ```
pub fn margin_of_batch_norm(mean: Tensor<1>, std: Tensor<1>) -> Tensor<1> {
    let (mean, std) = (mean.without_autodiff(), std.without_autodiff().abs().clamp_min(TINY));
    let ratio = mean.clone() / std.clone();
    let density = ratio.clone().square().mul_scalar(-0.5).exp().mul_scalar(1.0 / (2.0 * PI).sqrt());
    let below = ratio.mul_scalar(-1.0 / SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    let rare = below.clone().lower_equal_elem(0.001);
    (mean - std.clone() * density / below).mask_where(rare, std.mul_scalar(-3.0))
}

/// The margin of each channel from a batch of the teacher's pre-activations, `[B, C, H, W]`: the mean of the negative
/// ones, 0 where there are none.
pub fn margin_of_batch(teacher: Tensor<4>) -> Tensor<1> {
    let [batch, channels, height, width] = teacher.dims();
    let rows = teacher.without_autodiff().swap_dims(0, 1).reshape([channels, batch * height * width]);
    let negative = rows.clone().lower_elem(0.0);
    let count = rows.zeros_like().mask_fill(negative, 1.0).sum_dim(1).clamp_min(1.0);
    (rows.clamp_max(0.0).sum_dim(1) / count).reshape([channels])
}

fn check_channels(input: &'static str, x: &Tensor<1>, channels: usize) -> Result<(), Error> {
    let [found] = x.dims();
    match found == channels {
        true => Ok(()),
        false => Err(Error::Shape { loss: NAME.name, input, expected: "[C]", found: vec![found] }),
    }
}

paired! {
    /// The loss `ofd` of a recipe: [`ofd`] of the pre-activations at two sites, the student's after its connector
    /// (the paper's is `conv-batch-norm`).
    ///
    /// The margin is [`margin_of_batch_norm`] where the teacher also gives `mean` and `std`, else [`margin_of_batch`].
    /// The paper adds several stages, each with half the weight of the next, times 0.001: one term for each.
    Ofd {}
}

impl Ofd {
    /// The teacher's feature. Where sites are not named, `mean` and `std` lie beside the only one.
    fn teacher<'a>(&self, teacher: &'a Observed) -> Result<&'a Feature, Error> {
        let mut others = teacher.features.iter().filter(|(site, _)| !["mean", "std"].contains(site));
        match (self.teacher.as_str(), others.next(), others.next()) {
            ("", Some((_, only)), None) => Ok(only),
            (site, ..) => teacher.features.require(crate::Side::Teacher, site),
        }
    }
}

impl DistillLoss for Ofd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let observed = view.teacher(NAME.name)?;
        let teacher = map_or_vector(NAME.name, "teacher.SITE", self.teacher(observed)?.clone())?;
        let student = view.student.features.require(crate::Side::Student, &self.student)?.clone();
        let student = view.connectors.apply(&self.pair(), vec![student])?;
        let student = map_or_vector(NAME.name, "student.SITE", student)?;
        let statistic = |site, input| -> Result<Option<Tensor<1>>, Error> {
            let Some(x) = observed.features.get(site) else { return Ok(None) };
            let x = x.clone().flat();
            check_channels(input, &x, teacher.dims()[1])?;
            Ok(Some(x))
        };
        let margin = match (statistic("mean", "teacher.mean")?, statistic("std", "teacher.std")?) {
            (Some(mean), Some(std)) => margin_of_batch_norm(mean, std),
            (None, None) => margin_of_batch(teacher.clone()),
            (Some(_), None) => return Err(Error::Missing { loss: NAME.name, input: "teacher.std" }),
            (None, Some(_)) => return Err(Error::Missing { loss: NAME.name, input: "teacher.mean" }),
        };
        ofd(student, teacher, margin)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ofd",
    line: "partial squared distance from the teacher's pre-activations, cut at a margin for each channel",
    formula: "(1/B) sum (s - r)²·[s > r or t > 0],  r = max(t, m_c),  m_c the mean negative response: \
              mean - |std|·phi(mean/std) / Phi(-mean/|std|), or -3·|std| where Phi <= 0.001",
    paper: "Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019, arXiv 1904.01866",
    reference: "megvii-research/mdistiller mdistiller/distillers/OFD.py a08d46f10d6102bd6e3f258ca5ac880b020ea259",
    when: "One of the strongest losses of features between convolutional networks, taken before the activations and \
           after batch normalization; the value is a sum over the map, so weights are near 0.001. Not for features \
           that no rectifier follows.",
    inputs: &[
        Input::new("student.SITE", &["B", "C", "H", "W"], "pre-activations of the student, or [B, C]"),
        Input::new(
            "teacher.SITE",
            &["B", "C", "Ht", "Wt"],
            "pre-activations of the teacher, or [B, C]; the student's channels after the connector",
        ),
        Input::optional(
            "teacher.mean",
            &["C"],
            "bias of the teacher's batch normalization; if left out, margins are the batch's mean negatives",
        ),
        Input::optional(
            "teacher.std",
            &["C"],
            "weight of the teacher's batch normalization; together with teacher.mean",
        ),
    ],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::CONNECTOR],
};
