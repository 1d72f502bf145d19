//! Contrastive representation distillation: an example's embedding in one model must be told from the embeddings of
//! others in the other model, which a memory keeps.

mod memory;

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Deserializer, Serialize};

pub use memory::{Contrast, Memory};

use crate::loss::math::{divide, ranked, sum_rows};
use crate::loss::relation::common::{number, unit};
use crate::loss::{DistillLoss, LossName, paired};
use crate::{
    ConnectorKind, Error, Feature, Input, Knob, Observed, Parameter, Side, SitePair, Temperature, View,
};

/// Added to the noise in every ratio, as the authors do.
const EPSILON: f64 = 1e-7;

/// Noise-contrastive estimation in both directions, N rows of memory, K negatives for each example:
///
/// ```text
/// P_bk  = exp(u_b·m_(c_bk) / T) / Z,    Z = N·mean of that exponential over the first batch, a constant
/// n     = K / N
/// L_one = −(1/B) Σ_b [ log P_b0/(P_b0 + n + 1e-7) + Σ_{k≥1} log n/(P_bk + n + 1e-7) ]
/// L     = L_one(student's u, teacher's m) + L_one(teacher's u, student's m)
/// ```
///
/// `student` and `teacher` are unit embeddings `[B, W]`, both trained: the teacher's embedding layer is a part of the
/// loss. `contrast` says which rows of the memory stand against each example, its own first. The result is `[1]`.
/// Everything is computed from logarithms of P, so that a low temperature does not overflow. Memory is
/// `2·B·(K + 1)·W`.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::Shape`] where the embeddings, the memory and the contrast do not fit.
pub fn crd(
    student: Tensor<2>,
    teacher: Tensor<2>,
    memory: &Memory,
    contrast: &Contrast,
    temperature: Temperature,
) -> Result<Tensor<1>, Error> {
    let scores = memory.scores(student, teacher, contrast, temperature)?;
    let normalisers = memory.logarithms(&scores);
    let [of_student, of_teacher] = scores;
    let [z_student, z_teacher] = normalisers;
    let rows = memory.len();
    Ok(one_way(of_student, z_student, rows) + one_way(of_teacher, z_teacher, rows))
}

/// One direction, from scores `[B, K + 1]` and the logarithm of Z.
fn one_way(scores: Tensor<2>, log_z: Tensor<1>, rows: usize) -> Tensor<1> {
    let [batch, columns] = scores.dims();
    let noise = (columns - 1) as f64 / rows as f64;
    let floor = (noise + EPSILON).ln();
    // The logarithm of P over the noise.
    let ratio = (scores - log_z.reshape([1, 1])).sub_scalar(floor);
    let own = softplus(ratio.clone().narrow(1, 0, 1).neg());
    let others = softplus(ratio.narrow(1, 1, columns - 1)).add_scalar(floor - noise.ln());
    divide(sum_rows(own) + sum_rows(others), batch as f64)
}

/// `log(1 + eˣ)`.
fn softplus(x: Tensor<2>) -> Tensor<2> {
    relu(x.clone()) + x.abs().neg().exp().log1p()
}

/// The loss `crd` of `kd loss eval`: [`crd`] of two features through linear embeddings and normalisation.
///
/// It trains `student-weight` `[D, W]`, `student-bias` `[W]`, `teacher-weight` `[E, W]` and `teacher-bias` `[W]`. The
/// memory and the indices are features of the teacher, and the batch counts as the first one. A recipe has no memory:
/// a training loop of one's own keeps a [`Memory`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Crd {
    /// The student's site; empty for the only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub student: String,
    /// The teacher's site; empty for the one that is named as the student's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub teacher: String,
    /// Numbers in an embedding, at least 1.
    #[serde(deserialize_with = "width")]
    pub width: usize,
    /// What scores are divided by.
    pub temperature: Temperature,
}

impl Default for Crd {
    fn default() -> Self {
        let temperature = Temperature::new(0.07).unwrap_or(Temperature::ONE);
        Crd { student: String::new(), teacher: String::new(), width: 128, temperature }
    }
}

impl Crd {
    /// The loss of two sites, every other knob at its default.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        Crd { student: student.into(), teacher: teacher.into(), ..Crd::default() }
    }

    /// The two features.
    fn features<'a>(
        &self,
        student: &'a Observed,
        teacher: &'a Observed,
    ) -> Result<(&'a Feature, &'a Feature), Error> {
        let name = match (self.teacher.as_str(), self.student.as_str()) {
            ("", "") => student.features.sites().next().unwrap_or_default(),
            ("", name) | (name, _) => name,
        };
        let s = student.features.require(Side::Student, &self.student)?;
        Ok((s, teacher.features.require(Side::Teacher, name)?))
    }

    /// Weight and bias of the student's embedding, then of the teacher's.
    fn layers(&self, student: &Feature, teacher: &Feature) -> [Parameter; 4] {
        let owner = format!("{} {} {}", NAME.name, self.student, self.teacher);
        let size = |x: &Feature| x.dims().into_iter().skip(1).product::<usize>();
        let (from, to) = ([size(student), size(teacher)], self.width);
        [
            Parameter::weight(&owner, "student-weight", &[from[0], to], from[0]),
            Parameter::weight(&owner, "student-bias", &[to], from[0]),
            Parameter::weight(&owner, "teacher-weight", &[from[1], to], from[1]),
            Parameter::weight(&owner, "teacher-bias", &[to], from[1]),
        ]
    }
}

impl DistillLoss for Crd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![SitePair { connector: Some(ConnectorKind::AsIs), ..SitePair::new(&self.student, &self.teacher) }]
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let (student, teacher) = self.features(student, teacher)?;
        Ok(self.layers(student, teacher).into())
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let loss = NAME.name;
        let known = view.teacher(loss)?;
        let (student, teacher) = self.features(view.student, known)?;
        let layers = self.layers(student, teacher);
        let embed = |x: Feature, weight: &Parameter, bias: &Parameter| {
            let (weight, bias) = (view.parameter::<2>(loss, weight)?, view.parameter::<1>(loss, bias)?);
            Ok::<_, Error>(unit(x.rows().matmul(weight) + bias.reshape([1, self.width])))
        };
        let s = embed(student.clone(), &layers[0], &layers[1])?;
        let t = embed(teacher.clone().without_autodiff(), &layers[2], &layers[3])?;
        let given = |site, input, expected| {
            let x = known.features.get(site).cloned().ok_or(Error::Missing { loss, input })?;
            ranked::<2>(loss, input, expected, x.without_autodiff())
        };
        let memory = Memory::new(
            given("student-memory", "teacher.student-memory", "[N, W]")?,
            given("teacher-memory", "teacher.teacher-memory", "[N, W]")?,
        )?;
        let indices = given("indices", "teacher.indices", "[B, K + 1]")?;
        let [rows, _] = indices.dims();
        let indices: Vec<f64> = indices.into_data().iter::<f64>().collect();
        crd(s, t, &memory, &Contrast::from_numbers(&indices, rows, memory.len())?, self.temperature)
    }
}

fn width<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let fits = |width: f64| width.fract() == 0.0 && (1.0..=65536.0).contains(&width);
    Ok(number(deserializer, "width", "a whole number from 1 to 65536", fits)? as usize)
}

pub(crate) const NAME: LossName = LossName {
    name: "crd",
    line: "each example's embedding against a memory of the other model's embeddings, by noise-contrastive estimation",
    formula: "sum over both directions of -(1/B) sum_b [log P_b0/(P_b0 + n + 1e-7) + sum_{k>=1} log n/(P_bk + n + \
              1e-7)], P = exp(u·m/T)/Z, Z = N·mean(exp(u·m/T)) a constant, n = K/N, u = normalised (x W + b)",
    paper: "Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699",
    reference: "HobbitLong/RepDistiller crd/criterion.py and crd/memory.py b84f547c5db6a35318d4671d7d5c4de74c822403, \
                first batch",
    when: "One of the strongest feature losses on CIFAR-100, also across architectures; needs a memory of the training \
           set, and thousands of negatives.",
    inputs: &[
        Input::new("student.SITE", &["B", "D"], "feature of the student, any rank from 1 to 4"),
        Input::new("teacher.SITE", &["B", "E"], "feature of the teacher, at the site of the same name"),
        Input::new("teacher.student-memory", &["N", "F"], "the student's embeddings of all N examples"),
        Input::new("teacher.teacher-memory", &["N", "F"], "the teacher's embeddings of all N examples"),
        Input::new(
            "teacher.indices",
            &["B", "K + 1"],
            "rows of the memory, whole numbers in the inputs' precision: the example's own first, then K negatives",
        ),
        Input::new("connector.student-weight", &["D", "F"], "embedding of the student's feature"),
        Input::new("connector.student-bias", &["F"], "its bias"),
        Input::new("connector.teacher-weight", &["E", "F"], "embedding of the teacher's feature"),
        Input::new("connector.teacher-bias", &["F"], "its bias"),
    ],
    example: "{ width = 128, temperature = 0.07 }",
    lacks: Some("a memory of the training set's embeddings, and the places of a batch's examples in it"),
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        Knob::or("width", "128", "numbers in an embedding, at least 1"),
        Knob::or("temperature", "0.07", "divides scores, above 0"),
    ],
};
