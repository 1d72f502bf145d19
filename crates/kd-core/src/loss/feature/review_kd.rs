//! Knowledge review: each stage of the student, fused with all deeper ones, learns from the teacher's stage of that
//! depth, compared at several resolutions, so that what a deep stage knows reaches the shallow ones.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::layers::{batch_norm, conv};
use super::resize::{average, nearest};
use super::stages::{largest_first, lasting, maps, owner, pairs};
use crate::loss::math::{check_same, divide, mean_all};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Features, Input, Knob, Observed, Parameter, Side, SitePair, Start, View};

/// The most channels of the fused maps.
const WIDEST: usize = 512;

/// The trained numbers of one stage: C channels of the student, M of the fused maps, T of the teacher.
#[derive(Debug, Clone)]
pub struct ReviewFusion {
    /// 1×1 convolution `[M, C, 1, 1]`.
    pub input: Tensor<4>,
    /// Scale and shift of the batch normalization behind it, `[M]` each.
    pub input_norm: [Tensor<1>; 2],
    /// 3×3 convolution `[T, M, 3, 3]`.
    pub output: Tensor<4>,
    /// Scale and shift of the batch normalization behind it, `[T]` each.
    pub output_norm: [Tensor<1>; 2],
    /// 1×1 convolution `[2, 2M, 1, 1]` and its bias `[2]`: how much of this stage and of the deeper ones; none at the
    /// deepest.
    pub attention: Option<(Tensor<4>, Tensor<1>)>,
}

/// Squared difference of the student's stages, fused from the deepest up, and the teacher's:
///
/// ```text
/// x_k = norm(conv1(s_k));   at all but the deepest:  y = nearest(r_{k+1}, size of x_k)
///                           a, b = sigmoid(conv1([x_k, y]) + bias),  x_k ← a·x_k + b·y
/// r_k = nearest(x_k, size of t_k),   o_k = norm(conv3(r_k)),   L = Σ_k hcl(o_k, t_k)
/// ```
///
/// with [`hcl`], and batch normalization by the statistics of the batch. Stages come the shallowest first, `[B, C, h, w]`
/// of the student and `[B, T, H, W]` of the teacher; the result is `[1]`. Finite wherever its inputs are. The teacher is
/// a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where batches differ, [`Error::Empty`] where there are no stages.
///
/// # Panics
///
/// Where the three lists have different lengths or a parameter does not have the shape above.
pub fn review_kd(
    student: &[Tensor<4>],
    teacher: &[Tensor<4>],
    fusions: &[ReviewFusion],
) -> Result<Tensor<1>, Error> {
    assert!(student.len() == teacher.len() && student.len() == fusions.len(), "one fusion for each pair");
    let mut total: Option<Tensor<1>> = None;
    let mut deeper: Option<Tensor<4>> = None;
    for ((s, t), fusion) in student.iter().zip(teacher).zip(fusions).rev() {
        let (from, [batch, _, height, width]) = (s.dims(), t.dims());
        if from[0] != batch {
            return Err(Error::FeatureShapes { student: from.to_vec(), teacher: t.dims().to_vec() });
        }
        let fused = nearest(fuse(s.clone(), deeper.take(), fusion), [height, width]);
        let [scale, shift] = fusion.output_norm.clone();
        let out = batch_norm(conv(fused.clone(), fusion.output.clone(), None), scale, shift);
        let loss = hcl(out, t.clone())?;
        deeper = Some(fused);
        total = Some(match total {
            Some(sum) => loss + sum,
            None => loss,
        });
    }
    total.ok_or(Error::Empty { shape: vec![0] })
}

/// The student's map with what the deeper stages say.
fn fuse(x: Tensor<4>, deeper: Option<Tensor<4>>, fusion: &ReviewFusion) -> Tensor<4> {
    let [scale, shift] = fusion.input_norm.clone();
    let x = batch_norm(conv(x, fusion.input.clone(), None), scale, shift);
    let (Some(deeper), Some((attention, bias))) = (deeper, fusion.attention.clone()) else {
        return x;
    };
    let [_, _, height, width] = x.dims();
    let deeper = nearest(deeper, [height, width]);
    let both = Tensor::cat(vec![x.clone(), deeper.clone()], 1);
    let shares = sigmoid(conv(both, attention, Some(bias)));
    x * shares.clone().narrow(1, 0, 1) + deeper * shares.narrow(1, 1, 1)
}

/// Hierarchical context loss: mean squared difference of two maps `[B, C, H, W]`, and of the same averaged to 4×4, 2×2
/// and 1×1 as far as these are smaller than H and W, with weights 1, ½, ¼, ⅛ in this order, over their sum.
///
/// # Errors
///
/// [`Error::FeatureShapes`] and [`Error::Empty`].
pub fn hcl(student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, Error> {
    let [_, _, height, width] = check_same(&student, &teacher)?;
    // Averages are linear: that of the difference is the difference of theirs.
    let gap = student - teacher.without_autodiff();
    let mut total = mean_all(gap.clone().square());
    let (mut weight, mut weights) = (1.0, 1.0);
    for size in [4, 2, 1] {
        if size < height.min(width) {
            weight /= 2.0;
            weights += weight;
            total = total + mean_all(average(gap.clone(), [size, size]).square()).mul_scalar(weight);
        }
    }
    Ok(divide(total, weights))
}

/// The loss `review-kd` of a recipe: [`review_kd`] of the maps at several sites, the shallowest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Knobs")]
pub struct ReviewKd {
    /// The student's sites; none: all those that the teacher has too, the largest map first.
    pub student: Vec<String>,
    /// The teacher's sites, as many; none: those of the same names.
    pub teacher: Vec<String>,
}

impl ReviewKd {
    /// The loss of these sites, the shallowest first, as many of the teacher as of the student.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] where the numbers differ.
    pub fn new(student: Vec<String>, teacher: Vec<String>) -> Result<Self, Error> {
        Knobs { student, teacher }.try_into()
    }

    fn stages(&self, student: &Features, teacher: &Features) -> Result<Stages, Error> {
        let (mut ours, mut theirs) = (self.student.clone(), self.teacher.clone());
        if ours.is_empty() {
            ours = largest_first(student);
            ours.retain(|site| teacher.get(site).is_some());
            theirs = ours.clone();
        }
        let student = maps(NAME.name, Side::Student, student, &ours)?;
        let teacher = maps(NAME.name, Side::Teacher, teacher, &theirs)?;
        let parameters = self.specs(&student, &teacher);
        Ok(Stages { student, teacher, parameters })
    }

    /// Six or eight parameters for each stage.
    fn specs(&self, student: &[Tensor<4>], teacher: &[Tensor<4>]) -> Vec<Vec<Parameter>> {
        let owner = owner(NAME.name, &self.student, &self.teacher);
        let deepest = student.len() - 1;
        let middle = student[deepest].dims()[1].min(WIDEST);
        let channels = student.iter().zip(teacher).map(|(s, t)| (s.dims()[1], t.dims()[1]));
        let stage = |(k, (from, to)): (usize, (usize, usize))| {
            let name = |name: &str| lasting(format!("{k}.{name}"));
            // Kaiming's bound with a slope of 1, as the authors draw these two.
            let kernel = |part, shape: &[usize], inputs: usize| Parameter {
                owner: owner.clone(),
                name: name(part),
                shape: shape.to_vec(),
                start: Start::Uniform((3.0 / inputs as f64).sqrt()),
            };
            let constant = |part, len, value| Parameter::constant(&owner, name(part), &[len], value);
            let mut all = vec![
                kernel("in", &[middle, from, 1, 1], from),
                constant("in-scale", middle, 1.0),
                constant("in-shift", middle, 0.0),
                kernel("out", &[to, middle, 3, 3], middle * 9),
                constant("out-scale", to, 1.0),
                constant("out-shift", to, 0.0),
            ];
            if k < deepest {
                let inputs = 2 * middle;
                all.push(Parameter::weight(&owner, name("attention"), &[2, inputs, 1, 1], inputs));
                all.push(Parameter::weight(&owner, name("attention-bias"), &[2], inputs));
            }
            all
        };
        channels.enumerate().map(stage).collect()
    }
}

/// The maps of both sides, the shallowest first, and the parameters of each stage.
struct Stages {
    student: Vec<Tensor<4>>,
    teacher: Vec<Tensor<4>>,
    parameters: Vec<Vec<Parameter>>,
}

impl DistillLoss for ReviewKd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        pairs(&self.student, &self.teacher)
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        Ok(self.stages(&student.features, &teacher.features)?.parameters.concat())
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let teacher = view.teacher(NAME.name)?;
        let stages = self.stages(&view.student.features, &teacher.features)?;
        let read = |spec: &Parameter| view.parameter::<4>(NAME.name, spec);
        let numbers = |spec: &Parameter| view.parameter::<1>(NAME.name, spec);
        let mut fusions = Vec::with_capacity(stages.parameters.len());
        for stage in &stages.parameters {
            fusions.push(ReviewFusion {
                input: read(&stage[0])?,
                input_norm: [numbers(&stage[1])?, numbers(&stage[2])?],
                output: read(&stage[3])?,
                output_norm: [numbers(&stage[4])?, numbers(&stage[5])?],
                attention: match stage.get(6..8) {
                    Some([weight, bias]) => Some((read(weight)?, numbers(bias)?)),
                    _ => None,
                },
            });
        }
        review_kd(&stages.student, &stages.teacher, &fusions)
    }
}

/// The knobs as they are written.
#[derive(Default, Deserialize)]
#[serde(rename = "ReviewKd", rename_all = "kebab-case", deny_unknown_fields, default)]
struct Knobs {
    student: Vec<String>,
    teacher: Vec<String>,
}

impl TryFrom<Knobs> for ReviewKd {
    type Error = Error;

    fn try_from(Knobs { student, teacher }: Knobs) -> Result<Self, Error> {
        let teacher = if teacher.is_empty() { student.clone() } else { teacher };
        if student.len() == teacher.len() {
            return Ok(ReviewKd { student, teacher });
        }
        let (name, expected) = ("teacher", "as many sites as `student` has");
        Err(Error::OutOfRange { name, expected, found: teacher.len() as f64 })
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "review-kd",
    line: "squared difference at several resolutions of a teacher's stages and the student's, each fused with deeper ones",
    formula: "sum_k hcl(o_k, t_k),  o_k = norm(conv3(r_k)), r_k = a·norm(conv1(s_k)) + b·r_{k+1} with a, b = \
              sigmoid(conv1(both)), resized to the nearest; hcl the squared difference at full size, 4×4, 2×2, 1×1 with \
              weights 1, 1/2, 1/4, 1/8, over their sum",
    paper: "Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv 2104.09044",
    reference: "megvii-research/mdistiller mdistiller/distillers/ReviewKD.py a08d46f10d6102bd6e3f258ca5ac880b020ea259, \
                without its warm-up; dvlab-research/ReviewKD CIFAR-100/model/reviewkd.py \
                cede6ea6387ae9b6127de0e561507177bf19c11e is the same",
    when: "For convolutional networks of one family with 3 to 5 stages, its weight growing over the first epochs; it \
           trains many parameters beside the student, and says little for networks without stages.",
    knobs: &[
        Knob::or(
            "student",
            "[]",
            "sites of the student, the shallowest first; none: all that the teacher has too",
        ),
        Knob::or("teacher", "[]", "sites of the teacher, one for each; none: those of the same names"),
    ],
    inputs: &[
        Input::new(
            "student.SITE",
            &["B", "C", "h", "w"],
            "map of a stage, one for each site, or [B, C]; K counts them from 0, the shallowest, the largest map",
        ),
        Input::new(
            "teacher.SITE",
            &["B", "T", "H", "W"],
            "map of the teacher's stage, each with sizes of its own",
        ),
        Input::new(
            "connector.K.in",
            &["M", "C", "1", "1"],
            "1×1 convolution; M is the smaller of 512 and the channels of the student's deepest stage",
        ),
        Input::new("connector.K.in-scale", &["M"], "scale of its batch normalization"),
        Input::new("connector.K.in-shift", &["M"], "shift of its batch normalization"),
        Input::new("connector.K.out", &["T", "M", "3", "3"], "3×3 convolution"),
        Input::new("connector.K.out-scale", &["T"], "scale of its batch normalization"),
        Input::new("connector.K.out-shift", &["T"], "shift of its batch normalization"),
        Input::new(
            "connector.K.attention",
            &["2", "N", "1", "1"],
            "1×1 convolution of this stage and the deeper ones, N = 2·M; not at the deepest",
        ),
        Input::new("connector.K.attention-bias", &["2"], "its bias; not at the deepest"),
    ],
    example: "{}",
    lacks: None,
};
