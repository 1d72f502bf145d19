//! Masked generative distillation: part of the student's map is hidden, and a small network must draw the teacher's
//! whole map from what is left, so that every position learns what its neighbours say about it.

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::layers::{conv, pair_beside};
use crate::loss::math::{check_same, divide, ranked, sum_rows};
use crate::loss::number::number;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, Observed, Parameter, Progress, Side, SitePair, View};

number! {
    /// The share of positions that is hidden, from 0 to 1.
    MgdMaskedShare: "masked", 0.65, "from 0 to 1", |x| (0.0..=1.0).contains(&x)
}

/// The network that draws the teacher's map: two 3×3 convolutions with a ReLU between them.
#[derive(Debug, Clone)]
pub struct MgdGeneration {
    /// `[C, C, 3, 3]`
    pub first: Tensor<4>,
    /// `[C]`
    pub first_bias: Tensor<1>,
    /// `[C, C, 3, 3]`
    pub second: Tensor<4>,
    /// `[C]`
    pub second_bias: Tensor<1>,
}

/// Squared difference of what is generated from the masked student and the teacher:
///
/// ```text
/// L = (1/B) Σ (conv(relu(conv(s ⊙ m))) − t)²
/// ```
///
/// Both maps are `[B, C, H, W]`; each dimension of the mask is theirs or 1, and it is 1 where the student is seen and 0
/// where it is hidden. The result is `[1]`: a sum over channels and positions, which MMRazor gives a weight of 2e-5
/// for detectors. Finite wherever its inputs are. Teacher and mask are constants.
///
/// # Errors
///
/// [`Error::FeatureShapes`], [`Error::Empty`], and [`Error::Shape`] for a mask of another size.
///
/// # Panics
///
/// Where `generation` does not have the shapes above.
pub fn mgd(
    student: Tensor<4>,
    teacher: Tensor<4>,
    mask: Tensor<4>,
    generation: &MgdGeneration,
) -> Result<Tensor<1>, Error> {
    let shape = check_same(&student, &teacher)?;
    let found = mask.dims();
    if found.iter().zip(&shape).any(|(have, want)| have != want && *have != 1) {
        let (input, expected) = ("teacher.mask", "[B, C, H, W], each that of the features or 1");
        return Err(Error::Shape { loss: NAME.name, input, expected, found: found.to_vec() });
    }
    let seen = student * mask.without_autodiff();
    let MgdGeneration { first, first_bias, second, second_bias } = generation.clone();
    let drawn = conv(relu(conv(seen, first, Some(first_bias))), second, Some(second_bias));
    let squares = (drawn - teacher.without_autodiff()).square();
    let [batch, channels, height, width] = shape;
    Ok(divide(sum_rows(squares.reshape([batch, channels * height * width])), batch as f64))
}

/// What is hidden together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MgdMaskOver {
    /// All channels of a position.
    #[default]
    Positions,
    /// All positions of a channel.
    Channels,
}

paired! {
    /// The loss `mgd` of a recipe: [`mgd`] of the maps at two sites, the student's after its connector.
    ///
    /// The mask is the site `mask` of the teacher's side where there is one. Else it is drawn anew at each step, and is
    /// a function of `seed` and the progress of the stage alone: the same run hides the same positions.
    Mgd {
        /// The share that is hidden.
        masked: MgdMaskedShare = MgdMaskedShare::default(),
        /// What is hidden together.
        over: MgdMaskOver = MgdMaskOver::Positions,
        /// What the mask is drawn from.
        seed: u64 = 0,
    }
}

impl Mgd {
    fn parameters(&self, channels: usize) -> [Parameter; 4] {
        let owner = format!("{} {} {}", NAME.name, self.student, self.teacher);
        let kernel = [channels, channels, 3, 3];
        let weight = |name| Parameter::weight(&owner, name, &kernel, channels * 9);
        let bias = |name| Parameter::weight(&owner, name, &[channels], channels * 9);
        [weight("first"), bias("first-bias"), weight("second"), bias("second-bias")]
    }

    /// A mask for maps of this shape, 0 where a number drawn uniformly from 0 to 1 is above 1 − `masked`.
    fn draw(&self, like: &Tensor<4>, progress: Progress) -> Tensor<4> {
        let [batch, channels, height, width] = like.dims();
        let shape = match self.over {
            MgdMaskOver::Positions => [batch, 1, height, width],
            MgdMaskOver::Channels => [batch, channels, 1, 1],
        };
        let key = mix(self.seed ^ mix(progress.get().to_bits()));
        let seen = |index: usize| {
            let bits = mix(key.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let uniform = (bits >> 11) as f64 / (1_u64 << 53) as f64;
            if uniform > 1.0 - self.masked.get() { 0.0 } else { 1.0 }
        };
        let numbers: Vec<f64> = (0..shape.iter().product()).map(seen).collect();
        Tensor::from_data(TensorData::new(numbers, shape), (&like.device(), like.dtype()))
    }
}

/// The finalizer of SplitMix64: neighbouring numbers to unrelated ones, on every machine the same.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl DistillLoss for Mgd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn parameters(&self, _student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let shape = teacher.features.require(Side::Teacher, &self.teacher)?.dims();
        match shape[..] {
            [_, channels, _, _] => Ok(Mgd::parameters(self, channels).to_vec()),
            _ => Err(Error::Shape {
                loss: NAME.name,
                input: "teacher.SITE",
                expected: "[B, C, H, W]",
                found: shape,
            }),
        }
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let pair = self.pair();
        let (student, teacher) = pair_beside(view, NAME.name, &pair, "mask")?;
        let student = view.connectors.apply(&pair, vec![student])?;
        let map = |input, x| ranked::<4>(NAME.name, input, "[B, C, H, W]", x);
        let (student, teacher) = (map("student.SITE", student)?, map("teacher.SITE", teacher)?);
        let mask = match view.teacher(NAME.name)?.features.get("mask") {
            Some(mask) => map("teacher.mask", mask.clone())?,
            None => self.draw(&teacher, view.progress),
        };
        let [first, first_bias, second, second_bias] = Mgd::parameters(self, teacher.dims()[1]);
        let generation = MgdGeneration {
            first: view.parameter(NAME.name, &first)?,
            first_bias: view.parameter(NAME.name, &first_bias)?,
            second: view.parameter(NAME.name, &second)?,
            second_bias: view.parameter(NAME.name, &second_bias)?,
        };
        mgd(student, teacher, mask, &generation)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "mgd",
    line: "squared difference of a teacher's map and one generated from the student's, part of which is hidden",
    formula: "(1/B) sum (conv(relu(conv(s·m))) - t)²,  3×3 convolutions with bias, m the mask, 1 seen and 0 hidden",
    paper: "Yang et al., Masked Generative Distillation, ECCV 2022, arXiv 2205.01529",
    reference: "open-mmlab/mmrazor mmrazor/models/losses/mgd_loss.py and \
                mmrazor/models/architectures/connectors/mgd_connector.py 90c7af1fdf35a606a2fceaaeb4b6be2f0dac4eb7, \
                without its weight alpha_mgd",
    when: "For maps of detectors, segmenters and wide classifiers, with a weight of the order of 1e-5, since it is a \
           sum over positions; it costs two convolutions of the teacher's width.",
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::CONNECTOR,
        Knob::or("masked", "0.65", "the share that is hidden, from 0 to 1"),
        Knob::or(
            "over",
            "\"positions\"",
            "what is hidden together: all channels of positions, or of channels all positions",
        ),
        Knob::or("seed", "0", "what the mask is drawn from, with the progress of the stage"),
    ],
    inputs: &[
        Input::new(
            "student.SITE",
            &["B", "C", "H", "W"],
            "map of the student, of the teacher's shape after the connector",
        ),
        Input::new("teacher.SITE", &["B", "C", "H", "W"], "map of the teacher"),
        Input::optional(
            "teacher.mask",
            &["B", "1", "H", "W"],
            "1 seen, 0 hidden, each dimension the map's or 1; drawn from `seed` if left out",
        ),
        Input::new("connector.first", &["C", "C", "3", "3"], "first convolution"),
        Input::new("connector.first-bias", &["C"], "its bias"),
        Input::new("connector.second", &["C", "C", "3", "3"], "second convolution"),
        Input::new("connector.second-bias", &["C"], "its bias"),
    ],
    example: "{ masked = 0.65 }",
    lacks: None,
};
