//! The hint of FitNets: a student's feature is drawn to a teacher's, through a connector where their shapes differ.

use burn::tensor::Tensor;

use crate::loss::math::{check_same, mean_all};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, SitePair, View};

/// Mean squared difference of two features of the same shape, over all elements and without ½:
///
/// ```text
/// L = (1/N) Σ_i (s_i − t_i)²,    N = number of elements
/// ```
///
/// Any rank from 1 to 4, the result is `[1]`. The teacher's feature is a constant: no gradient reaches it.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where the shapes differ, [`Error::Empty`] where there are no elements.
pub fn hint<const D: usize>(student: Tensor<D>, teacher: Tensor<D>) -> Result<Tensor<1>, Error> {
    check_same(&student, &teacher)?;
    Ok(mean_all((student - teacher.without_autodiff()).square()))
}

paired! {
    /// The loss `hint` of a recipe: [`hint`] of the features at two sites, the student's after its connector.
    ///
    /// The paper trains the lower part of the student with it first; as one term among others, as here, it needs a
    /// weight that brings it to the size of the rest (RepDistiller uses 100).
    Hint {}
}

impl DistillLoss for Hint {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = view.pair(NAME.name, &self.pair())?;
        match (student, teacher) {
            (Feature::D1(s), Feature::D1(t)) => hint(s, t),
            (Feature::D2(s), Feature::D2(t)) => hint(s, t),
            (Feature::D3(s), Feature::D3(t)) => hint(s, t),
            (Feature::D4(s), Feature::D4(t)) => hint(s, t),
            (s, t) => Err(Error::FeatureShapes { student: s.dims(), teacher: t.dims() }),
        }
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "hint",
    line: "mean squared difference of a student's feature, after a connector, and a teacher's",
    formula: "(1/N) sum_i (r(s)_i - t_i)²,  r the connector, N the number of elements",
    paper: "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550",
    reference: "HobbitLong/RepDistiller distiller_zoo/FitNet.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Helps deep and thin students to start; late in training it holds a small student to features that it cannot \
           have: let its weight fall.",
    inputs: &[
        Input::new("student.SITE", &["B", "D"], "feature of the student, any rank from 1 to 4"),
        Input::new(
            "teacher.SITE",
            &["B", "D"],
            "feature of the teacher, of the same shape after the connector",
        ),
    ],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::CONNECTOR],
};
