//! The layers of connectors.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::softmax;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor};

use super::kind::choose;
use super::{ConnectorKind, SitePair};
use crate::{Error, Feature};

/// One connector: the layer for one pair of sites.
#[derive(Module, Debug)]
pub struct Connector {
    /// Absent where the features agree as they are.
    projection: Option<Projection>,
    #[module(skip)]
    kind: Kind,
}

/// What a connector does around its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    kind: ConnectorKind,
    /// Height and width of the teacher's map, where there is one.
    map: [usize; 2],
}

#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each pair of sites, and modules cannot be boxed"
)]
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
    ConvBatchNorm(ConvBatchNorm),
    Mixture(Mixture),
}

#[derive(Module, Debug)]
struct ConvBatchNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

/// Layers for several sites, and the logarithms of their shares up to a constant.
#[derive(Module, Debug)]
struct Mixture {
    linear: Vec<Linear>,
    conv: Vec<Conv2d>,
    shares: Param<Tensor<1>>,
}

impl Connector {
    /// The connector that turns a feature of shape `student` into one of shape `teacher`, batch first in both.
    ///
    /// Where the pair asks for no kind, equal shapes get the identity, rank 2 and 3 a linear layer, rank 4 a 1×1
    /// convolution, tokens and a map of as many pixels the layer between them. New parameters follow Burn's defaults,
    /// uniform in ±1/√(inputs), and are drawn at once, from the random state of `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Unjoinable`], which names both sites and shapes and says why.
    pub fn create(
        pair: &SitePair,
        student: &[usize],
        teacher: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        Self::create_of(pair, &[student.to_vec()], teacher, device)
    }

    /// [`create`](Self::create) from the shapes of several sites, which only a mixture joins.
    pub(super) fn create_of(
        pair: &SitePair,
        students: &[Vec<usize>],
        teacher: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let asked = if students.len() > 1 { Some(ConnectorKind::Mixture) } else { pair.connector };
        let mut kind = ConnectorKind::Identity;
        for student in students {
            kind = choose(asked, student, teacher).map_err(|reason| Error::Unjoinable {
                student: pair.student.clone(),
                student_shape: student.clone(),
                teacher: pair.teacher.clone(),
                teacher_shape: teacher.to_vec(),
                reason,
            })?;
        }
        let map = if let [_, _, height, width] = *teacher { [height, width] } else { [1; 2] };
        let projection = Projection::new(kind, students, teacher, device);
        Ok(Connector { projection, kind: Kind { kind, map } })
    }

    /// The one that changes nothing.
    pub(super) fn identity() -> Self {
        Connector { projection: None, kind: Kind { kind: ConnectorKind::Identity, map: [1; 2] } }
    }

    /// What it is.
    pub fn kind(&self) -> ConnectorKind {
        self.kind.kind
    }

    /// The student's feature in the teacher's shape.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`] for a feature of another rank than the connector was created for.
    pub fn forward(&self, x: Feature) -> Result<Feature, Error> {
        self.forward_of(vec![x])
    }

    /// [`forward`](Self::forward) of several sites.
    pub(super) fn forward_of(&self, mut all: Vec<Feature>) -> Result<Feature, Error> {
        if let Some(Projection::Mixture(mixture)) = &self.projection {
            return mixture.forward(all);
        }
        let x = all.swap_remove(0);
        let [height, width] = self.kind.map;
        Ok(match (&self.projection, self.kind.kind, x) {
            (None, _, x) => x,
            (Some(Projection::Linear(linear)), ConnectorKind::TokensToMap, x) => {
                let x = linear.forward(Tensor::<3>::try_from(x)?);
                let [batch, _, channels] = x.dims();
                x.swap_dims(1, 2).reshape([batch, channels, height, width]).into()
            }
            (Some(Projection::Linear(linear)), ConnectorKind::MapToTokens, x) => {
                linear.forward(Tensor::<4>::try_from(x)?.flatten::<3>(2, 3).swap_dims(1, 2)).into()
            }
            (Some(Projection::Linear(linear)), _, Feature::D3(x)) => linear.forward(x).into(),
            (Some(Projection::Linear(linear)), _, x) => linear.forward(Tensor::<2>::try_from(x)?).into(),
            (Some(Projection::Conv(conv)), ConnectorKind::Upsample, x) => {
                let options =
                    InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([height, width]);
                interpolate(conv.forward(x.try_into()?), options).into()
            }
            (Some(Projection::Conv(conv)), _, x) => conv.forward(x.try_into()?).into(),
            (Some(Projection::ConvBatchNorm(ConvBatchNorm { conv, norm })), _, x) => {
                norm.forward(conv.forward(x.try_into()?)).into()
            }
            (Some(Projection::Mixture(_)), _, _) => unreachable!("returned above"),
        })
    }
}

impl Mixture {
    fn forward(&self, all: Vec<Feature>) -> Result<Feature, Error> {
        let shares = softmax(self.shares.val(), 0);
        let mut sum: Option<Feature> = None;
        for (i, x) in all.into_iter().enumerate() {
            let share = shares.clone().narrow(0, i, 1);
            let made: Feature = match x {
                Feature::D3(x) => (self.linear[i].forward(x) * share.reshape([1, 1, 1])).into(),
                Feature::D4(x) => (self.conv[i].forward(x) * share.reshape([1, 1, 1, 1])).into(),
                x => (self.linear[i].forward(Tensor::<2>::try_from(x)?) * share.reshape([1, 1])).into(),
            };
            sum = Some(match (sum, made) {
                (Some(Feature::D2(a)), Feature::D2(b)) => (a + b).into(),
                (Some(Feature::D3(a)), Feature::D3(b)) => (a + b).into(),
                (Some(Feature::D4(a)), Feature::D4(b)) => (a + b).into(),
                (_, made) => made,
            });
        }
        sum.ok_or(Error::Empty { shape: Vec::new() })
    }
}

impl Projection {
    fn new(kind: ConnectorKind, students: &[Vec<usize>], teacher: &[usize], device: &Device) -> Option<Self> {
        let student = &students[0];
        let last = teacher.len() - 1;
        let linear = |from: &[usize], to: usize| LinearConfig::new(from[from.len() - 1], to).init(device);
        let conv = |from: &[usize], side: usize, bias: bool| {
            Conv2dConfig::new([from[1], teacher[1]], [side; 2])
                .with_padding(PaddingConfig2d::Explicit(side / 2, side / 2, side / 2, side / 2))
                .with_bias(bias)
                .init(device)
        };
        let normed = |side| {
            let (conv, norm) = (conv(student, side, false), BatchNormConfig::new(teacher[1]).init(device));
            Projection::ConvBatchNorm(ConvBatchNorm { conv, norm })
        };
        let projection = match kind {
            ConnectorKind::Identity | ConnectorKind::AsIs => return None,
            ConnectorKind::Linear => Projection::Linear(linear(student, teacher[last])),
            ConnectorKind::TokensToMap => Projection::Linear(linear(student, teacher[1])),
            ConnectorKind::MapToTokens => Projection::Linear(linear(&student[..2], teacher[last])),
            ConnectorKind::Conv | ConnectorKind::Upsample => Projection::Conv(conv(student, 1, true)),
            ConnectorKind::Conv3 => Projection::Conv(conv(student, 3, true)),
            ConnectorKind::ConvBatchNorm => normed(1),
            ConnectorKind::Conv3BatchNorm => normed(3),
            ConnectorKind::Mixture => {
                let maps = teacher.len() == 4;
                let shares = Param::from_tensor(Tensor::zeros([students.len()], device));
                let (linear, conv) = match maps {
                    true => (Vec::new(), students.iter().map(|from| conv(from, 1, true)).collect()),
                    false => (students.iter().map(|from| linear(from, teacher[last])).collect(), Vec::new()),
                };
                Projection::Mixture(Mixture { linear, conv, shares })
            }
        };
        projection.visit(&mut Draw);
        Some(projection)
    }
}

/// Draws every parameter now.
///
/// Burn draws a parameter when it is first read. Reading all of them at creation keeps the order of the draws, and with
/// it every number of a seeded run, independent of which loss happens to be evaluated first.
struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        param.val();
    }
}
