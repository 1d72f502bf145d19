//! Activation boundaries: a student's hidden neurons are on where the teacher's are, whatever their strength.
//!
//! Both features are taken before their activation; a margin makes the step differentiable.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::loss::math::{check_same, sum_rows};
use crate::loss::number::number;
use crate::loss::paired;
use crate::loss::{DistillLoss, LossName};
use crate::{ConnectorKind, Error, Feature, Input, Knob, SitePair, View};

/// Squared distance of a student's pre-activations from the right side of the boundary, with a margin μ:
///
/// ```text
/// L = 0.003 · (1/B) Σ { (s + μ)²  where t ≤ 0 and s > −μ
///                     { (s − μ)²  where t > 0 and s ≤ μ
///                     { 0         elsewhere
/// ```
///
/// Both are of the same shape `[B, ...]` of any rank from 1 to 4; the result is `[1]`. The sum runs over all elements;
/// 0.003 is the authors' factor. The teacher's feature is a constant. All is finite at zeros.
///
/// # Errors
///
/// [`Error::FeatureShapes`] and [`Error::Empty`].
pub fn ab<const D: usize>(
    student: Tensor<D>,
    teacher: Tensor<D>,
    margin: Margin,
) -> Result<Tensor<1>, Error> {
    let shape = check_same(&student, &teacher)?;
    let batch = shape[0];
    let elements: usize = shape.iter().product();
    let on = teacher.without_autodiff().greater_elem(0.0);
    // The conditions on s, as a rectifier: it is continuous, and so is its square's derivative.
    let too_high = relu(student.clone().add_scalar(margin.get()));
    let too_low = relu(student.neg().add_scalar(margin.get()));
    let each = too_high.mask_where(on, too_low).square();
    Ok(sum_rows(each.reshape([batch, elements / batch])).mul_scalar(FACTOR / batch as f64))
}

/// `3 / 1000` in the authors' code.
const FACTOR: f64 = 0.003;

number! {
    /// How far beyond the boundary a pre-activation should be, at least 0.
    Margin: "margin", 1.0, "finite and at least 0", |margin| margin >= 0.0
}

/// The loss `ab` of a recipe: [`ab`] of the features at two sites, the student's after its connector; or of several
/// layers, the last with weight 1 and each before it with half the weight of the next.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Written")]
pub struct Ab {
    /// The student's site; empty for the only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub student: String,
    /// The teacher's site; empty for the only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub teacher: String,
    /// How to join them; none leaves it to the shapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorKind>,
    /// How far beyond the boundary a pre-activation should be.
    pub margin: Margin,
    /// Sites of the same name in both models, from the first to the last; where there are any, `student` and `teacher`
    /// are not looked at, and a recipe may not name them.
    pub layers: Vec<String>,
}

impl Ab {
    /// The loss of two sites, every other knob at its default.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        Ab { student: student.into(), teacher: teacher.into(), ..Ab::default() }
    }
}

/// The knobs as they are written.
#[derive(Default, Deserialize)]
#[serde(rename = "Ab", rename_all = "kebab-case", deny_unknown_fields, default)]
struct Written {
    student: String,
    teacher: String,
    connector: Option<ConnectorKind>,
    margin: Margin,
    layers: Vec<String>,
}

impl TryFrom<Written> for Ab {
    type Error = &'static str;

    fn try_from(knobs: Written) -> Result<Self, &'static str> {
        let Written { student, teacher, connector, margin, layers } = knobs;
        let named = !student.is_empty() || !teacher.is_empty();
        if named && !layers.is_empty() {
            return Err("`ab` takes either `layers` or `student` and `teacher`");
        }
        Ok(Ab { student, teacher, connector, margin, layers })
    }
}

impl DistillLoss for Ab {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        let pair = |student: &String, teacher: &String| SitePair {
            student: student.clone(),
            teacher: teacher.clone(),
            connector: self.connector,
        };
        match self.layers.is_empty() {
            true => vec![pair(&self.student, &self.teacher)],
            false => self.layers.iter().map(|site| pair(site, site)).collect(),
        }
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let one = |pair: &SitePair| match view.pair(NAME.name, pair)? {
            (Feature::D1(s), Feature::D1(t)) => ab(s, t, self.margin),
            (Feature::D2(s), Feature::D2(t)) => ab(s, t, self.margin),
            (Feature::D3(s), Feature::D3(t)) => ab(s, t, self.margin),
            (Feature::D4(s), Feature::D4(t)) => ab(s, t, self.margin),
            (s, t) => Err(Error::FeatureShapes { student: s.dims(), teacher: t.dims() }),
        };
        let pairs = self.sites();
        let mut sum = one(&pairs[0])?;
        // Halved once for each layer that follows: the weights 2^(i − n + 1).
        for pair in &pairs[1..] {
            sum = sum.mul_scalar(0.5) + one(pair)?;
        }
        Ok(sum)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "ab",
    line: "squared distance of pre-activations from the side of zero on which the teacher's are",
    formula: "0.003·(1/B) sum { (s+m)² if t <= 0 and s > -m; (s-m)² if t > 0 and s <= m; else 0 }; \
              of n layers: sum_i 2^(i-n+1)·L_i, i = 0 ... n-1",
    paper: "Heo, Lee, Yun and Choi, Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden \
            Neurons, AAAI 2019, arXiv 1811.03233",
    reference: "HobbitLong/RepDistiller distiller_zoo/AB.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "As a first stage, alone, to start a student from the teacher's boundaries, most of all with few data; \
           features must be taken before the activation. Beside the task it hinders late in training.",
    inputs: &[
        Input::new(
            "student.SITE",
            &["B", "C", "H", "W"],
            "pre-activations of the student, any rank from 1 to 4",
        ),
        Input::new(
            "teacher.SITE",
            &["B", "C", "H", "W"],
            "pre-activations of the teacher, of the same shape after the connector; with `layers` a pair for each",
        ),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::CONNECTOR,
        Knob::or("margin", "1.0", "how far beyond zero a pre-activation should be, at least 0"),
        Knob::or(
            "layers",
            "[]",
            "sites of the same name in both models, first to last, instead of `student` and `teacher`",
        ),
    ],
};
