//! Feature affine alignment: a scale and a shift for each of the student's channels in front of a linear projector, so
//! that a difference of scale is learnt by few numbers and the projector is left to mix channels.

use burn::tensor::Tensor;

use super::layers::{channels, position_rows};
use crate::loss::math::mean_all;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Observed, Parameter, Side, SitePair, View};

/// The trained numbers of [`affine`].
#[derive(Debug, Clone)]
pub struct AffineAlignment {
    /// Scale of each of the student's channels, `[Ds]`.
    pub gamma: Tensor<1>,
    /// Shift of each of the student's channels, `[Ds]`.
    pub beta: Tensor<1>,
    /// Projector, `[Ds, Dt]`.
    pub weight: Tensor<2>,
    /// Its bias, `[Dt]`.
    pub bias: Tensor<1>,
}

/// Mean squared difference of the aligned student and the teacher:
///
/// ```text
/// L = (1/(N·Dt)) Σ ((γ ⊙ s + β)·W + b − t)²
/// ```
///
/// The student is `[N, Ds]`, the teacher `[N, Dt]`, a row for each position; the result is `[1]`. The mean is over all
/// elements, as in `hint`, so that its size does not depend on the layer. Finite wherever its inputs are. The teacher
/// is a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where the numbers of rows differ, [`Error::Empty`].
///
/// # Panics
///
/// Where `alignment` does not have the shapes above.
pub fn affine(
    student: Tensor<2>,
    teacher: Tensor<2>,
    alignment: &AffineAlignment,
) -> Result<Tensor<1>, Error> {
    let ([rows, from], [others, to]) = (student.dims(), teacher.dims());
    if rows != others {
        return Err(Error::FeatureShapes { student: vec![rows, from], teacher: vec![others, to] });
    }
    if rows * from * to == 0 {
        return Err(Error::Empty { shape: vec![rows, from.min(to)] });
    }
    let AffineAlignment { gamma, beta, weight, bias } = alignment.clone();
    let aligned = student * gamma.reshape([1, from]) + beta.reshape([1, from]);
    let projected = aligned.matmul(weight) + bias.reshape([1, to]);
    Ok(mean_all((projected - teacher.without_autodiff()).square()))
}

paired! {
    /// The loss `affine` of a recipe: [`affine`] of the features at two sites, per channel at each position.
    ///
    /// It brings its own projector; `connector` is for a layer before it and rarely wanted.
    Affine {}
}

impl Affine {
    /// γ, β, W and b for two shapes.
    fn parameters(&self, student: &[usize], teacher: &[usize]) -> [Parameter; 4] {
        let (from, to) = (channels(student), channels(teacher));
        let owner = format!("{} {} {}", NAME.name, self.student, self.teacher);
        [
            Parameter::constant(&owner, "gamma", &[from], 1.0),
            Parameter::constant(&owner, "beta", &[from], 0.0),
            Parameter::weight(&owner, "weight", &[from, to], from),
            Parameter::constant(&owner, "bias", &[to], 0.0),
        ]
    }
}

impl DistillLoss for Affine {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let student = student.features.require(Side::Student, &self.student)?.dims();
        let teacher = teacher.features.require(Side::Teacher, &self.teacher)?.dims();
        Ok(Affine::parameters(self, &student, &teacher).to_vec())
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = view.pair_as_it_is(NAME.name, &self.pair())?;
        let (s, t) = (student.dims(), teacher.dims());
        let [gamma, beta, weight, bias] = Affine::parameters(self, &s, &t);
        let student = position_rows(NAME.name, "student.SITE", student)?;
        let teacher = position_rows(NAME.name, "teacher.SITE", teacher)?;
        // The same number of positions in another order of dimensions would compare what does not belong together.
        let without = |shape: &[usize]| {
            let mut rest = shape.to_vec();
            rest.remove(if shape.len() == 4 { 1 } else { shape.len() - 1 });
            rest
        };
        if without(&s) != without(&t) {
            return Err(Error::FeatureShapes { student: s, teacher: t });
        }
        let alignment = AffineAlignment {
            gamma: view.parameter(NAME.name, &gamma)?,
            beta: view.parameter(NAME.name, &beta)?,
            weight: view.parameter(NAME.name, &weight)?,
            bias: view.parameter(NAME.name, &bias)?,
        };
        affine(student, teacher, &alignment)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "affine",
    line: "mean squared difference of a teacher's feature and a student's after a trained scale, shift and projector",
    formula: "(1/N) sum ((γ·s + β)·W + b - t)²,  γ and β for each channel, N the number of the teacher's elements",
    paper: "none under this name; Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge \
            Distillation, AAAI 2024, arXiv 2303.11098, is the nearest",
    reference: "none public: the formula alone; `hint` after a linear layer (HobbitLong/RepDistiller \
                distiller_zoo/FitNet.py) is its case γ = 1, β = 0",
    when: "Where a student's channels differ from the teacher's in scale and number; with equal, normalised features \
           `hint` does the same with fewer parameters.",
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
    inputs: &[
        Input::new("student.SITE", &["B", "D"], "feature of the student: [B, D], [B, L, D] or [B, C, H, W]"),
        Input::new("teacher.SITE", &["B", "E"], "feature of the teacher, of the same positions"),
        Input::new("connector.gamma", &["D"], "scale of the student's channels, 1 at first"),
        Input::new("connector.beta", &["D"], "shift of the student's channels, 0 at first"),
        Input::new("connector.weight", &["D", "E"], "projector"),
        Input::new("connector.bias", &["E"], "its bias, 0 at first"),
    ],
    example: "{}",
    lacks: None,
};
