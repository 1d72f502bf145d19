//! The hint of FitNets: a student's feature is drawn to a teacher's, through a connector where their shapes differ.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{DistillLoss, LossName, divide, sum_rows};
use crate::{ConnectorKind, Error, Feature, Knob, SitePair, View};

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
    let shape = student.dims();
    if shape != teacher.dims() {
        return Err(Error::FeatureShapes { student: shape.to_vec(), teacher: teacher.dims().to_vec() });
    }
    let elements: usize = shape.iter().product();
    if elements == 0 {
        return Err(Error::Empty { shape: shape.to_vec() });
    }
    let rows = shape[0];
    let difference = (student - teacher.without_autodiff()).reshape([rows, elements / rows]);
    Ok(divide(sum_rows(difference.square()), elements as f64))
}

/// The loss `hint` of a recipe: [`hint`] of the features at two sites, the student's after its connector.
///
/// The paper trains the lower part of the student with it first; as one term among others, as here, it needs a weight
/// that brings it to the size of the rest (RepDistiller uses 100).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hint {
    /// The student's site.
    pub student: String,
    /// The teacher's site.
    pub teacher: String,
    /// How to join them; none leaves it to the shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorKind>,
}

impl Hint {
    /// A hint whose connector follows from the shapes.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        Hint { student: student.into(), teacher: teacher.into(), connector: None }
    }

    fn pair(&self) -> SitePair {
        SitePair { student: self.student.clone(), teacher: self.teacher.clone(), connector: self.connector }
    }
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

pub(super) const NAME: LossName = LossName {
    name: "hint",
    line: "mean squared difference of a student's feature, after a connector, and a teacher's",
    paper: "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550",
    reference: "HobbitLong/RepDistiller distiller_zoo/FitNet.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    knobs: &[
        Knob::required("student", "a site of the student"),
        Knob::required("teacher", "a site of the teacher"),
        Knob {
            name: "connector",
            default: None,
            meaning: "identity, linear, conv or conv-batch-norm; when left out, chosen by the two shapes",
        },
    ],
};
