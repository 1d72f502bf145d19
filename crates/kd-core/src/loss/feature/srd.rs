//! The simple recipe for distillation: a linear projector, both sides standardised over the batch, and a logarithm of
//! a sum of high powers, which draws the large differences in without letting them take over.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::layers::{channels, position_rows, standard};
use crate::loss::math::{divide, sum_rows};
use crate::loss::number::number;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, Observed, Parameter, Side, SitePair, View};

/// What is added to the variance, as in the authors' recipe.
const EPSILON: f64 = 1e-4;
/// The smallest sum that a logarithm is taken of.
const FLOOR: f64 = 1e-12;

number! {
    /// The power of a difference: finite and at least 1.
    SrdExponent: "exponent", 4.0, "finite and at least 1", |x| x.is_finite() && x >= 1.0
}

/// Logarithm of the sum of powers of the differences of two standardised features:
///
/// ```text
/// n(x) = (x − mean) / √(variance + 1e-4),   each column over the N rows, variance = Σ (x − mean)² / N
/// L = ln max(Σ |n(s·P) − n(t)|^exponent, 1e-12)
/// ```
///
/// The student is `[N, Ds]`, the teacher `[N, Dt]`, the projector `[Ds, Dt]`; the result is `[1]`, and it may be
/// negative: its least value, at equal features and in a batch of one, is ln 1e-12 = −27.6 with a gradient of 0. A bias
/// of the projector would be taken away by the standardisation. The teacher is a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where the numbers of rows differ, [`Error::Empty`].
///
/// # Panics
///
/// Where the projector does not have the shape above.
pub fn srd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    projector: Tensor<2>,
    exponent: SrdExponent,
) -> Result<Tensor<1>, Error> {
    let ([rows, from], [others, to]) = (student.dims(), teacher.dims());
    if rows != others {
        return Err(Error::FeatureShapes { student: vec![rows, from], teacher: vec![others, to] });
    }
    if rows * from * to == 0 {
        return Err(Error::Empty { shape: vec![rows, from.min(to)] });
    }
    let columns = |x: Tensor<2>| standard(x.transpose(), EPSILON);
    let difference = columns(student.matmul(projector)) - columns(teacher.without_autodiff());
    let powers = match exponent.get() {
        2.0 => difference.square(),
        4.0 => difference.square().square(),
        1.0 => difference.abs(),
        other => difference.abs().powf_scalar(other),
    };
    let sum = sum_rows(powers);
    let small = sum.clone().lower_equal_elem(FLOOR);
    Ok(sum.mask_fill(small, FLOOR).log())
}

/// What becomes of a feature's positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SrdPositions {
    /// Their mean: one row for each example, as published.
    #[default]
    Pool,
    /// Each is a row of its own: the projector is a 1×1 convolution.
    Keep,
}

paired! {
    /// The loss `srd` of a recipe: [`srd`] of the features at two sites. It brings its own projector; `connector` is
    /// not used.
    Srd {
        /// The power of a difference.
        exponent: SrdExponent = SrdExponent::default(),
        /// Whether positions are averaged first.
        positions: SrdPositions = SrdPositions::Pool,
    }
}

impl Srd {
    fn projector(&self, student: &[usize], teacher: &[usize]) -> Parameter {
        let owner = format!("{} {} {}", NAME.name, self.student, self.teacher);
        let (from, to) = (channels(student), channels(teacher));
        Parameter::weight(&owner, "projector", &[from, to], from)
    }

    fn rows(&self, input: &'static str, x: Feature) -> Result<Tensor<2>, Error> {
        let (batch, channels) = (x.dims()[0], channels(&x.dims()));
        let rows = position_rows(NAME.name, input, x)?;
        let positions = rows.dims()[0] / batch;
        if self.positions == SrdPositions::Keep || positions == 1 {
            return Ok(rows);
        }
        let sums = rows.reshape([batch, positions, channels]).sum_dim(1).reshape([batch, channels]);
        Ok(divide(sums, positions as f64))
    }
}

impl DistillLoss for Srd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let student = student.features.require(Side::Student, &self.student)?.dims();
        let teacher = teacher.features.require(Side::Teacher, &self.teacher)?.dims();
        Ok(vec![self.projector(&student, &teacher)])
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = view.pair_as_it_is(NAME.name, &self.pair())?;
        let projector = self.projector(&student.dims(), &teacher.dims());
        let student = self.rows("student.SITE", student)?;
        let teacher = self.rows("teacher.SITE", teacher)?;
        srd(student, teacher, view.parameter(NAME.name, &projector)?, self.exponent)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "srd",
    line: "logarithm of the summed powers of the differences of two features, projected and standardised",
    formula: "ln max(sum |n(s·P) - n(t)|^exponent, 1e-12),  n(x) = (x - mean)/sqrt(variance + 1e-4) of each column over \
              the rows, positions averaged first",
    paper: "Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge Distillation, AAAI 2024, arXiv \
            2303.11098",
    reference: "yoshitomo-matsubara/torchdistill torchdistill/losses/mid_level.py SRDLoss \
                3e4373c45214c5c56eebac481d5bfe8b8735aa05: half of its feature term, which it doubles; its default \
                exponent is 1, the paper's 4",
    when: "For the feature before the classifier, with large batches; with few examples in a batch the statistics are \
           noise, and with one they say nothing.",
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::or("exponent", "4.0", "the power of a difference, at least 1"),
        Knob::or(
            "positions",
            "\"pool\"",
            "pool (their mean, as published) or keep (each is a row of its own)",
        ),
    ],
    inputs: &[
        Input::new("student.SITE", &["B", "D"], "feature of the student: [B, D], [B, L, D] or [B, C, H, W]"),
        Input::new("teacher.SITE", &["B", "E"], "feature of the teacher: [B, E], [B, L, E] or [B, E, H, W]"),
        Input::new(
            "connector.projector",
            &["D", "E"],
            "linear projector of the student's channels, without bias",
        ),
    ],
    example: "{ exponent = 4.0 }",
    lacks: None,
};
