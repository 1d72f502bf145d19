//! Semantic calibration: which of the teacher's layers a layer of the student learns from is not chosen but learnt, for
//! each example anew, from how alike the examples of the batch are at each layer.

use std::num::NonZeroUsize;

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, relu};
use serde::{Deserialize, Serialize};

use super::layers::{batch_norm, conv};
use super::resize::average;
use super::stages::{largest_first, lasting, maps, owner, pairs};
use crate::loss::math::{TINY, divide, sum_rows, unit_rows};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Features, Input, Knob, Observed, Parameter, Side, SitePair, View};

/// What makes a query or a key of a layer: two linear layers over the similarities to the examples of the batch, of
/// which there are at most N, to K numbers.
#[derive(Debug, Clone)]
pub struct SemCkdEmbedding {
    /// `[N, 2K]`
    pub first: Tensor<2>,
    /// `[2K]`
    pub first_bias: Tensor<1>,
    /// `[2K, K]`
    pub second: Tensor<2>,
    /// `[K]`
    pub second_bias: Tensor<1>,
}

/// What makes a student's map, C channels, comparable with a teacher's, T channels: three convolutions without bias,
/// 1×1, 3×3 and 1×1, batch normalization and a ReLU behind the first two.
#[derive(Debug, Clone)]
pub struct SemCkdRegressor {
    /// `[2T, C, 1, 1]`
    pub first: Tensor<4>,
    /// Scale and shift of its batch normalization, `[2T]` each.
    pub first_norm: [Tensor<1>; 2],
    /// `[2T, 2T, 3, 3]`
    pub second: Tensor<4>,
    /// Scale and shift of its batch normalization, `[2T]` each.
    pub second_norm: [Tensor<1>; 2],
    /// `[T, 2T, 1, 1]`
    pub third: Tensor<4>,
}

/// All that [`sem_ckd`] trains.
#[derive(Debug, Clone)]
pub struct SemCkdCalibration {
    /// One for each layer of the student.
    pub queries: Vec<SemCkdEmbedding>,
    /// One for each layer of the teacher.
    pub keys: Vec<SemCkdEmbedding>,
    /// For each layer of the student one for each of the teacher.
    pub regressors: Vec<Vec<SemCkdRegressor>>,
}

/// Squared differences of all pairs of layers, weighted by a learnt attention:
///
/// ```text
/// q_i = unit(mlp_i(F_i·F_iᵀ)) for the student's layers, k_j likewise for the teacher's, F a row for each example
/// α_ij[b] = softmax_j(q_i[b]·k_j[b])
/// L = (1/(B·S)) Σ_b Σ_i Σ_j α_ij[b] · mean((r_ij(s_i) − t_j)²[b]),    S the number of the student's layers
/// ```
///
/// The maps are `[B, C, H, W]`, each of its own sizes; of a pair, the larger is averaged to the smaller height and the
/// smaller width. The result is `[1]`. A batch may be smaller than the N examples that the embeddings were made for: the
/// rest of their first layer is not used. A layer of zeros, and a batch of one, have finite values and gradients. The
/// teacher is a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where batches differ, [`Error::Shape`] for a batch of more than N, [`Error::Empty`] where a
/// side has no layers.
///
/// # Panics
///
/// Where a list in `with` has another length or a parameter does not have the shape above.
pub fn sem_ckd(
    student: &[Tensor<4>],
    teacher: &[Tensor<4>],
    with: &SemCkdCalibration,
) -> Result<Tensor<1>, Error> {
    let (Some(s), Some(t)) = (student.first(), teacher.first()) else {
        return Err(Error::Empty { shape: vec![0] });
    };
    let batch = s.dims()[0];
    if t.dims()[0] != batch {
        return Err(Error::FeatureShapes { student: s.dims().to_vec(), teacher: t.dims().to_vec() });
    }
    let made_for = with.queries.iter().chain(&with.keys).map(|e| e.first.dims()[0]).min().unwrap_or(0);
    if made_for < batch {
        let expected = "a batch of at most the `batch` that the projections were made for";
        let found = s.dims().to_vec();
        return Err(Error::Shape { loss: NAME.name, input: "student.SITE", expected, found });
    }
    let teacher: Vec<_> = teacher.iter().cloned().map(Tensor::without_autodiff).collect();
    let embed = |maps: &[Tensor<4>], all: &[SemCkdEmbedding]| -> Vec<Tensor<2>> {
        assert_eq!(maps.len(), all.len(), "one embedding for each layer");
        maps.iter().zip(all).map(|(map, embedding)| embedded(similarity(map.clone()), embedding)).collect()
    };
    let (queries, keys) = (embed(student, &with.queries), embed(&teacher, &with.keys));
    let mut total: Option<Tensor<1>> = None;
    for ((s, query), regressors) in student.iter().zip(queries).zip(&with.regressors) {
        let energy = keys.iter().map(|key| (query.clone() * key.clone()).sum_dim(1)).collect();
        let attention = log_softmax(Tensor::cat(energy, 1), 1).exp();
        let gaps = teacher.iter().zip(regressors).map(|(t, r)| gap(s.clone(), t.clone(), r)).collect();
        let weighted = sum_rows(attention * Tensor::cat(gaps, 1));
        total = Some(match total {
            Some(sum) => sum + weighted,
            None => weighted,
        });
    }
    let total = total.ok_or(Error::Empty { shape: vec![0] })?;
    Ok(divide(total, (batch * student.len()) as f64))
}

/// Products of all pairs of examples, `[B, B]`.
fn similarity(map: Tensor<4>) -> Tensor<2> {
    let rows: Tensor<2> = map.flatten(1, 3);
    rows.clone().matmul(rows.transpose())
}

fn embedded(similarity: Tensor<2>, with: &SemCkdEmbedding) -> Tensor<2> {
    let [batch, _] = similarity.dims();
    let SemCkdEmbedding { first, first_bias, second, second_bias } = with.clone();
    let hidden = relu(similarity.matmul(first.narrow(0, 0, batch)) + first_bias.unsqueeze());
    unit_rows(hidden.matmul(second) + second_bias.unsqueeze(), TINY)
}

/// Mean squared difference of each example, `[B, 1]`.
fn gap(student: Tensor<4>, teacher: Tensor<4>, with: &SemCkdRegressor) -> Tensor<2> {
    let ([_, _, h, w], [_, _, height, width]) = (student.dims(), teacher.dims());
    let size = [h.min(height), w.min(width)];
    let SemCkdRegressor { first, first_norm: [scale, shift], second, .. } = with.clone();
    let x = relu(batch_norm(conv(average(student, size), first, None), scale, shift));
    let [scale, shift] = with.second_norm.clone();
    let x = relu(batch_norm(conv(x, second, None), scale, shift));
    let squares = (conv(x, with.third.clone(), None) - average(teacher, size)).square();
    let [batch, channels, height, width] = squares.dims();
    let each = channels * height * width;
    divide(squares.reshape([batch, each]).sum_dim(1), each as f64)
}

/// The loss `sem-ckd` of a recipe: [`sem_ckd`] of all pairs of the sites.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SemCkd {
    /// The student's sites; none: all, the largest map first.
    pub student: Vec<String>,
    /// The teacher's sites; none: all, the largest map first.
    pub teacher: Vec<String>,
    /// The most examples in a batch, which sizes the projections; none: those of this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<NonZeroUsize>,
}

impl SemCkd {
    /// The loss of these sites, for batches of at most `batch`.
    pub fn new(student: Vec<String>, teacher: Vec<String>, batch: NonZeroUsize) -> Self {
        SemCkd { student, teacher, batch: Some(batch) }
    }

    /// The maps of both sides, and the parameters.
    fn layers(&self, student: &Features, teacher: &Features) -> Result<Layers, Error> {
        let side = |side, features: &Features, sites: &[String]| match sites {
            [] => maps(NAME.name, side, features, &largest_first(features)),
            sites => maps(NAME.name, side, features, sites),
        };
        let student = side(Side::Student, student, &self.student)?;
        let teacher = side(Side::Teacher, teacher, &self.teacher)?;
        let owner = owner(NAME.name, &self.student, &self.teacher);
        let batch = self.batch.map_or(student[0].dims()[0], NonZeroUsize::get);
        let channels = |map: &Tensor<4>| map.dims()[1];
        let embeddings = |kind: &str, count| -> Vec<_> {
            (0..count).map(|i| embedding(&owner, &format!("{kind}.{i}"), batch)).collect()
        };
        let row = |(i, s): (usize, &Tensor<4>)| {
            let pair = |(j, t): (usize, &Tensor<4>)| {
                regressor(&owner, &format!("regressor.{i}.{j}"), channels(s), channels(t))
            };
            teacher.iter().enumerate().map(pair).collect()
        };
        Ok(Layers {
            queries: embeddings("query", student.len()),
            keys: embeddings("key", teacher.len()),
            regressors: student.iter().enumerate().map(row).collect(),
            student,
            teacher,
        })
    }
}

struct Layers {
    student: Vec<Tensor<4>>,
    teacher: Vec<Tensor<4>>,
    queries: Vec<[Parameter; 4]>,
    keys: Vec<[Parameter; 4]>,
    regressors: Vec<Vec<[Parameter; 7]>>,
}

fn embedding(owner: &str, at: &str, batch: usize) -> [Parameter; 4] {
    // A quarter of the batch, as the authors have it.
    let width = (batch / 4).max(1);
    let weight = |part: &str, shape: &[usize], inputs| {
        Parameter::weight(owner, lasting(format!("{at}.{part}")), shape, inputs)
    };
    [
        weight("first", &[batch, 2 * width], batch),
        weight("first-bias", &[2 * width], batch),
        weight("second", &[2 * width, width], 2 * width),
        weight("second-bias", &[width], 2 * width),
    ]
}

fn regressor(owner: &str, at: &str, from: usize, to: usize) -> [Parameter; 7] {
    let middle = 2 * to;
    let name = |part: &str| lasting(format!("{at}.{part}"));
    let constant = |part, value| Parameter::constant(owner, name(part), &[middle], value);
    [
        Parameter::weight(owner, name("first"), &[middle, from, 1, 1], from),
        constant("first-scale", 1.0),
        constant("first-shift", 0.0),
        Parameter::weight(owner, name("second"), &[middle, middle, 3, 3], middle * 9),
        constant("second-scale", 1.0),
        constant("second-shift", 0.0),
        Parameter::weight(owner, name("third"), &[to, middle, 1, 1], middle),
    ]
}

impl DistillLoss for SemCkd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        pairs(&self.student, &self.teacher)
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        // A dry forward pass does not show how many examples a batch has.
        if self.batch.is_none() {
            return Err(Error::Missing { loss: NAME.name, input: "batch" });
        }
        let Layers { queries, keys, regressors, .. } = self.layers(&student.features, &teacher.features)?;
        let mut all: Vec<Parameter> = queries.into_iter().chain(keys).flatten().collect();
        all.extend(regressors.into_iter().flatten().flatten());
        Ok(all)
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let teacher = view.teacher(NAME.name)?;
        let layers = self.layers(&view.student.features, &teacher.features)?;
        let row = |spec: &Parameter| view.parameter::<1>(NAME.name, spec);
        let matrix = |spec: &Parameter| view.parameter::<2>(NAME.name, spec);
        let kernel = |spec: &Parameter| view.parameter::<4>(NAME.name, spec);
        let embed = |all: &[[Parameter; 4]]| -> Result<Vec<SemCkdEmbedding>, Error> {
            let read = |[first, first_bias, second, second_bias]: &[Parameter; 4]| {
                Ok(SemCkdEmbedding {
                    first: matrix(first)?,
                    first_bias: row(first_bias)?,
                    second: matrix(second)?,
                    second_bias: row(second_bias)?,
                })
            };
            all.iter().map(read).collect()
        };
        let regress = |[first, scale, shift, second, scale2, shift2, third]: &[Parameter; 7]| {
            Ok::<_, Error>(SemCkdRegressor {
                first: kernel(first)?,
                first_norm: [row(scale)?, row(shift)?],
                second: kernel(second)?,
                second_norm: [row(scale2)?, row(shift2)?],
                third: kernel(third)?,
            })
        };
        let calibration = SemCkdCalibration {
            queries: embed(&layers.queries)?,
            keys: embed(&layers.keys)?,
            regressors: layers
                .regressors
                .iter()
                .map(|row| row.iter().map(regress).collect())
                .collect::<Result<_, _>>()?,
        };
        sem_ckd(&layers.student, &layers.teacher, &calibration)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "sem-ckd",
    line: "squared differences of all pairs of layers, weighted for each example by a learnt attention",
    formula: "(1/(B·S)) sum_b sum_i sum_j a_ij·mean((r_ij(s_i) - t_j)²),  a_ij = softmax_j(q_i·k_j), q and k unit outputs \
              of two linear layers over the similarities F·F^T, r three convolutions",
    paper: "Chen et al., Cross-Layer Distillation with Semantic SemCkdCalibration, AAAI 2021, arXiv 2012.03236",
    reference: "DefangChen/SemCKD distiller_zoo/SemCKD.py and models/util.py SelfA \
                ebe5db190d87f3e493a5fdf04a808ef3179486dc",
    when: "Where it is unknown which layers correspond; it trains a regressor for each pair of layers, and its attention \
           wants batches of one size.",
    knobs: &[
        Knob::or("student", "[]", "sites of the student; none: all, the largest map first"),
        Knob::or(
            "teacher",
            "[]",
            "sites of the teacher, as many as wanted; none: all, the largest map first",
        ),
        Knob::optional(
            "batch",
            "the most examples in a batch, which a recipe must say; when left out, those of this batch",
        ),
    ],
    inputs: &[
        Input::new(
            "student.SITE",
            &["B", "C", "h", "w"],
            "map of a layer, one for each site, or [B, C]; I counts them from 0, the largest map first",
        ),
        Input::new(
            "teacher.SITE",
            &["B", "T", "H", "W"],
            "map of a layer, one for each site, or [B, T]; J counts them likewise",
        ),
        Input::new(
            "connector.query.I.first",
            &["N", "Q"],
            "first linear layer of the query; N is `batch` or B, K = max(N/4, 1), P = 2·K",
        ),
        Input::new("connector.query.I.first-bias", &["Q"], "its bias"),
        Input::new("connector.query.I.second", &["Q", "K"], "second linear layer"),
        Input::new("connector.query.I.second-bias", &["K"], "its bias"),
        Input::new("connector.key.J.first", &["N", "Q"], "the same four of the key"),
        Input::new("connector.key.J.first-bias", &["Q"], "its bias"),
        Input::new("connector.key.J.second", &["Q", "K"], "second linear layer"),
        Input::new("connector.key.J.second-bias", &["K"], "its bias"),
        Input::new("connector.regressor.I.J.first", &["2·T", "C", "1", "1"], "1×1 convolution"),
        Input::new("connector.regressor.I.J.first-scale", &["2·T"], "scale of its batch normalization"),
        Input::new("connector.regressor.I.J.first-shift", &["2·T"], "shift of its batch normalization"),
        Input::new("connector.regressor.I.J.second", &["2·T", "2·T", "3", "3"], "3×3 convolution"),
        Input::new("connector.regressor.I.J.second-scale", &["2·T"], "scale of its batch normalization"),
        Input::new("connector.regressor.I.J.second-shift", &["2·T"], "shift of its batch normalization"),
        Input::new("connector.regressor.I.J.third", &["T", "2·T", "1", "1"], "1×1 convolution"),
    ],
    example: "{ batch = 16 }",
    lacks: None,
};
