//! The instance relationship graph: examples are vertices, their squared distances edges, and the way each example
//! moves between two layers a transformation.
//!
//! The authors' Caffe layers give the numbers; their backward pass fills one row of each pair only, which is half of
//! the gradient. Here it is whole.

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::loss::math::{check_same, divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{self, check_batch, number, rows, squared_distances};
use crate::loss::{DistillLoss, LossName};
use crate::{ConnectorKind, Error, Input, Knob, SitePair, View};

/// Squared difference of the edges:
///
/// ```text
/// A_ij = ‖x_i − x_j‖² / max over all pairs,    the maximum a constant in the backward pass
/// L    = (1/2B) Σ_ij (A^s_ij − A^t_ij)²
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. Moving, turning or scaling all rows of one side changes
/// no value. Where all rows are equal, or there is one only, A is 0. Time is `B²·(D + E)`, memory in the graph `B²`.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn irg_relations(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let edges = |x| over_largest(squared_distances(x));
    let difference = edges(student) - edges(teacher.without_autodiff());
    Ok(divide(sum_rows(difference.square()), 2.0 * batch as f64))
}

/// Squared difference of the vertices, `(1/2B) Σ_i ‖s_i − t_i‖²`; both are `[B, D]`, the result is `[1]`.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::FeatureShapes`].
pub fn irg_instances(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_same(&student, &teacher)?;
    Ok(divide(sum_rows((student - teacher.without_autodiff()).square()), 2.0 * batch as f64))
}

/// Squared difference of how far examples move between an earlier layer `a` and a later one `b`:
///
/// ```text
/// v_i = ‖b_i − a_i‖² / max over the batch,    the maximum a constant in the backward pass
/// L   = (1/2B) Σ_i (v^s_i − v^t_i)²
/// ```
///
/// Each argument is `[a, b]`, two tensors of one shape `[B, D]`; the teacher's D may be another. Where nothing moves,
/// v is 0. The authors' network counts their vector of B numbers as one example and so has no 1/B.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Shape`] where the two layers of one model differ in shape or the models in examples.
pub fn irg_transformation(student: [Tensor<2>; 2], teacher: [Tensor<2>; 2]) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student[1], &teacher[1])?;
    let moves = |[from, to]: [Tensor<2>; 2], input| {
        if from.dims() != to.dims() {
            let (expected, found) = ("of the same size as the model's feature at SITE", from.dims().to_vec());
            return Err(Error::Shape { loss: NAME.name, input, expected, found });
        }
        Ok(over_largest((to - from).square().sum_dim(1)))
    };
    let teacher = moves(teacher.map(Tensor::without_autodiff), "teacher.EARLIER")?;
    let difference = moves(student, "student.EARLIER")? - teacher;
    Ok(divide(sum_rows(difference.square()), 2.0 * batch as f64))
}

/// Over the largest number, which counts as a constant; zeros stay.
fn over_largest(x: Tensor<2>) -> Tensor<2> {
    let largest = x.clone().without_autodiff().max();
    let none = largest.clone().equal_elem(0.0);
    x / largest.mask_fill(none, 1.0).reshape([1, 1])
}

/// A published form of `irg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IrgVariant {
    /// Of the authors' Caffe layers: everything over its maximum, squared differences over 2B.
    #[default]
    Author,
}

paired! {
    /// The loss `irg` of a recipe, a sum of three terms:
    /// `instance-weight`·[`irg_instances`] + `relation-weight`·[`irg_relations`] +
    /// `transformation-weight`·[`irg_transformation`].
    ///
    /// By default only relations count, as in the authors' single graph, which they weight with 0.005. Instances go
    /// through a connector; relations do not, unless one is named.
    Irg {
        /// Which published form.
        variant: IrgVariant = IrgVariant::Author,
        /// Weight of the vertices, at least 0.
        #[serde(deserialize_with = "instance_weight")]
        instance_weight: f64 = 0.0,
        /// Weight of the edges, at least 0.
        #[serde(deserialize_with = "relation_weight")]
        relation_weight: f64 = 1.0,
        /// Weight of the transformation, at least 0; it needs `earlier`.
        #[serde(deserialize_with = "transformation_weight")]
        transformation_weight: f64 = 1.0,
        /// An earlier site of both models, of the same size as `student` and `teacher`; empty for no transformation.
        #[serde(skip_serializing_if = "String::is_empty")]
        earlier: String = String::new(),
    }
}

impl Irg {
    fn before(&self) -> Option<SitePair> {
        let connector = Some(ConnectorKind::AsIs);
        (!self.earlier.is_empty())
            .then(|| SitePair { connector, ..SitePair::new(&self.earlier, &self.earlier) })
    }
}

impl DistillLoss for Irg {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        let pair = if self.instance_weight > 0.0 { self.pair() } else { self.pair_as_it_is() };
        [Some(pair), self.before()].into_iter().flatten().collect()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = rows(view, NAME.name, &self.pair())?;
        let relations = irg_relations(student.clone(), teacher.clone())?;
        let mut sum = relations.mul_scalar(self.relation_weight);
        if self.instance_weight > 0.0 {
            let (s, t) = view.pair(NAME.name, &self.pair())?;
            sum = sum + irg_instances(s.rows(), t.rows())?.mul_scalar(self.instance_weight);
        }
        if let Some(before) = self.before() {
            let (s, t) = rows(view, NAME.name, &before)?;
            let transformation = irg_transformation([s, student], [t, teacher])?;
            sum = sum + transformation.mul_scalar(self.transformation_weight);
        }
        Ok(sum)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "irg",
    line: "squared differences of a batch's graph: squared distances over their largest; features and moves",
    formula: "w_r·(1/2B) sum_ij (A_s - A_t)² + w_i·(1/2B) sum_i |s_i - t_i|² + w_t·(1/2B) sum_i (v_s - v_t)²,  A_ij = \
              |x_i - x_j|²/max, v_i = |x_i - earlier_i|²/max, each max a constant",
    paper: "Liu et al., Knowledge Distillation via Instance Relationship Graph, CVPR 2019",
    reference: "none public that runs without Caffe: yufanLIU/IRG batch_euclidean_map_layer.cpp and \
                batch_euclidean_vector_layer.cpp 0a6837c923cf3a814a4c15022c11a658905297a5, with the whole gradient",
    when: "Where rkd-distance does; the squared distances and the maximum let a few far examples dominate.",
    inputs: &[
        common::STUDENT,
        common::TEACHER,
        Input::optional(
            "student.EARLIER",
            &["B", "D"],
            "only with `earlier`, which names it: an earlier feature",
        ),
        Input::optional("teacher.EARLIER", &["B", "E"], "only with `earlier`: the teacher's"),
    ],
    example: "{ relation-weight = 1.0 }",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::CONNECTOR,
        Knob::or("variant", "\"author\"", "author: everything over its maximum, squared differences over 2B"),
        Knob::or("instance-weight", "0.0", "weight of the features' squared difference, at least 0"),
        Knob::or("relation-weight", "1.0", "weight of the relations, at least 0"),
        Knob::or("transformation-weight", "1.0", "weight of the moves from `earlier`, at least 0"),
        Knob::optional(
            "earlier",
            "an earlier site of both models, where the feature has the same size; left out, no transformation",
        ),
    ],
};

fn weight<'de, D: Deserializer<'de>>(deserializer: D, name: &'static str) -> Result<f64, D::Error> {
    number(deserializer, name, "finite and at least 0", |weight| weight.is_finite() && weight >= 0.0)
}

fn instance_weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    weight(deserializer, "instance-weight")
}

fn relation_weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    weight(deserializer, "relation-weight")
}

fn transformation_weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    weight(deserializer, "transformation-weight")
}
