//! What makes a student's feature comparable with a teacher's: small layers that are trained with the student and
//! thrown away with the teacher.
//!
//! A loss holds numbers and never parameters, so the regressors of FitNets and their kind live here, in one module
//! that a trainer optimizes beside the student and never exports. Which layer a pair of sites needs is read off the
//! two shapes of a dry forward pass.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Obstacle;
use crate::{Error, Feature, Features, Parameter, Side};

/// A site of the student and the site of the teacher that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SitePair {
    /// The student's site.
    pub student: String,
    /// The teacher's site.
    pub teacher: String,
    /// How to join them; none leaves it to the shapes.
    pub connector: Option<ConnectorKind>,
}

impl SitePair {
    /// A pair whose connector follows from the shapes.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        SitePair { student: student.into(), teacher: teacher.into(), connector: None }
    }
}

/// The layer between a student's feature and a teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectorKind {
    /// Nothing; the shapes must agree.
    Identity,
    /// A linear layer with bias over the last dimension, rank 2 or 3.
    Linear,
    /// A 1×1 convolution with bias over the channels, rank 4.
    Conv,
    /// A 1×1 convolution without bias, then batch normalization, rank 4.
    ConvBatchNorm,
}

impl ConnectorKind {
    /// Every kind.
    pub const ALL: [ConnectorKind; 4] =
        [ConnectorKind::Identity, ConnectorKind::Linear, ConnectorKind::Conv, ConnectorKind::ConvBatchNorm];

    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            ConnectorKind::Identity => "identity",
            ConnectorKind::Linear => "linear",
            ConnectorKind::Conv => "conv",
            ConnectorKind::ConvBatchNorm => "conv-batch-norm",
        }
    }

    /// The ranks it joins, in words.
    pub(crate) fn ranks(self) -> &'static str {
        match self {
            ConnectorKind::Identity => "1 to 4",
            ConnectorKind::Linear => "2 or 3",
            ConnectorKind::Conv | ConnectorKind::ConvBatchNorm => "4",
        }
    }
}

impl fmt::Display for ConnectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One connector: the layer for one pair of sites.
#[derive(Module, Debug)]
pub struct Connector {
    /// Absent where the features agree as they are.
    projection: Option<Projection>,
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
}

#[derive(Module, Debug)]
struct ConvBatchNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Connector {
    /// The connector that turns a feature of shape `student` into one of shape `teacher`, batch first in both.
    ///
    /// Where the pair asks for no kind, equal shapes get the identity, rank 2 and 3 a linear layer, rank 4 a 1×1
    /// convolution. New parameters follow Burn's defaults, uniform in ±1/√(inputs), and are drawn at once, from the
    /// random state of `device`.
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
        let kind = choose(pair.connector, student, teacher).map_err(|reason| Error::Unjoinable {
            student: pair.student.clone(),
            student_shape: student.to_vec(),
            teacher: pair.teacher.clone(),
            teacher_shape: teacher.to_vec(),
            reason,
        })?;
        Ok(Connector { projection: Projection::new(kind, student, teacher, device) })
    }

    /// What it is.
    pub fn kind(&self) -> ConnectorKind {
        match &self.projection {
            None => ConnectorKind::Identity,
            Some(Projection::Linear(_)) => ConnectorKind::Linear,
            Some(Projection::Conv(_)) => ConnectorKind::Conv,
            Some(Projection::ConvBatchNorm(_)) => ConnectorKind::ConvBatchNorm,
        }
    }

    /// The student's feature in the teacher's shape.
    ///
    /// # Errors
    ///
    /// [`Error::Rank`] for a feature of another rank than the connector was created for.
    pub fn forward(&self, x: Feature) -> Result<Feature, Error> {
        Ok(match (&self.projection, x) {
            (None, x) => x,
            (Some(Projection::Linear(linear)), Feature::D3(x)) => linear.forward(x).into(),
            (Some(Projection::Linear(linear)), x) => linear.forward(Tensor::<2>::try_from(x)?).into(),
            (Some(Projection::Conv(conv)), x) => conv.forward(x.try_into()?).into(),
            (Some(Projection::ConvBatchNorm(ConvBatchNorm { conv, norm })), x) => {
                norm.forward(conv.forward(x.try_into()?)).into()
            }
        })
    }
}

impl Projection {
    fn new(kind: ConnectorKind, student: &[usize], teacher: &[usize], device: &Device) -> Option<Self> {
        let projection = match kind {
            ConnectorKind::Identity => return None,
            ConnectorKind::Linear => {
                let last = student.len() - 1;
                Projection::Linear(LinearConfig::new(student[last], teacher[last]).init(device))
            }
            ConnectorKind::Conv => {
                Projection::Conv(Conv2dConfig::new([student[1], teacher[1]], [1, 1]).init(device))
            }
            ConnectorKind::ConvBatchNorm => Projection::ConvBatchNorm(ConvBatchNorm {
                conv: Conv2dConfig::new([student[1], teacher[1]], [1, 1]).with_bias(false).init(device),
                norm: BatchNormConfig::new(teacher[1]).init(device),
            }),
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

/// The kind for two shapes, or what stands in its way.
fn choose(
    kind: Option<ConnectorKind>,
    student: &[usize],
    teacher: &[usize],
) -> Result<ConnectorKind, Obstacle> {
    if student.len() != teacher.len() {
        return Err(Obstacle::Ranks);
    }
    if student.first() != teacher.first() {
        return Err(Obstacle::Batch);
    }
    let rank = student.len();
    let kind = match (kind, rank) {
        (Some(kind), _) => kind,
        (None, _) if student == teacher => ConnectorKind::Identity,
        (None, 2 | 3) => ConnectorKind::Linear,
        (None, 4) => ConnectorKind::Conv,
        (None, _) => return Err(Obstacle::NoChannels),
    };
    // The dimension that the connector may change; all others must agree.
    let channels = match (kind, rank) {
        (ConnectorKind::Identity, _) if student == teacher => return Ok(kind),
        (ConnectorKind::Identity, _) => return Err(Obstacle::NotIdentical),
        (ConnectorKind::Linear, 2 | 3) => rank - 1,
        (ConnectorKind::Conv | ConnectorKind::ConvBatchNorm, 4) => 1,
        _ => return Err(Obstacle::Kind { kind }),
    };
    if (0..rank).all(|dim| dim == channels || student[dim] == teacher[dim]) {
        Ok(kind)
    } else {
        Err(Obstacle::Positions)
    }
}

/// The connectors of an objective, one for each pair of sites that its losses compare.
///
/// A module: optimize it beside the student, save it with the state of a run, take `valid()` of it for evaluation,
/// and leave it out of what is exported. Two losses that compare the same pair in the same way share one connector.
#[derive(Module, Debug)]
pub struct Connectors {
    joints: Vec<Joint>,
    trained: Vec<Trained>,
    #[module(skip)]
    given: Vec<(String, Feature)>,
}

/// A parameter of a loss.
#[derive(Module, Debug)]
struct Trained {
    #[module(skip)]
    key: String,
    value: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Joint {
    #[module(skip)]
    pair: SitePair,
    connector: Connector,
}

impl Connectors {
    /// For an objective that compares no features.
    pub fn none() -> Self {
        Connectors::identity(&[])
    }

    /// Connectors for `pairs`, from the features that a dry forward pass of each model gave on the same examples.
    ///
    /// The shapes of the student's features change when channels are removed from it: create new ones then.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSite`] where a model has no such site, [`Error::Unjoinable`] where two features do not fit.
    pub fn create(
        pairs: &[SitePair],
        student: &Features,
        teacher: &Features,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut joints: Vec<Joint> = Vec::new();
        for pair in pairs {
            if joints.iter().any(|joint| joint.pair == *pair) {
                continue;
            }
            let from = student.require(Side::Student, &pair.student)?.dims();
            let to = teacher.require(Side::Teacher, &pair.teacher)?.dims();
            joints
                .push(Joint { pair: pair.clone(), connector: Connector::create(pair, &from, &to, device)? });
        }
        Ok(Connectors { joints, ..Connectors::none() })
    }

    /// The student's feature at `pair`, through the connector of that pair.
    ///
    /// # Errors
    ///
    /// [`Error::NoConnector`] for a pair that was not among those given to [`create`](Connectors::create),
    /// [`Error::Rank`] where the feature's rank has changed since.
    pub fn apply(&self, pair: &SitePair, x: Feature) -> Result<Feature, Error> {
        self.get(pair)
            .ok_or_else(|| Error::NoConnector {
                student: pair.student.clone(),
                teacher: pair.teacher.clone(),
            })?
            .forward(x)
    }

    /// The connector of `pair`.
    pub fn get(&self, pair: &SitePair) -> Option<&Connector> {
        self.joints.iter().find(|joint| joint.pair == *pair).map(|joint| &joint.connector)
    }

    /// Identities for `pairs`: for features that agree as they are.
    pub fn identity(pairs: &[SitePair]) -> Self {
        let joint = |pair: &SitePair| Joint { pair: pair.clone(), connector: Connector { projection: None } };
        Connectors { joints: pairs.iter().map(joint).collect(), trained: Vec::new(), given: Vec::new() }
    }

    /// The same with new parameters of losses, drawn at once, from the random state of `device`.
    #[must_use]
    pub fn with_parameters(mut self, parameters: Vec<Parameter>, device: &Device) -> Self {
        for parameter in parameters {
            if self.trained.iter().all(|trained| trained.key != parameter.key()) {
                self.trained.push(Trained { key: parameter.key(), value: parameter.draw(device) });
            }
        }
        self
    }

    /// The same with values of the caller's, by their names without `connector.`, in front of those that it trains.
    pub(crate) fn with_values(mut self, values: Vec<(String, Feature)>) -> Self {
        self.given = values;
        self
    }

    /// A loss's parameter, all its numbers in a row; none if there is no such parameter.
    pub(crate) fn parameter(&self, parameter: &Parameter) -> Option<Tensor<1>> {
        let given = self.given.iter().find(|(name, _)| name == parameter.name);
        let trained = || self.trained.iter().find(|trained| trained.key == parameter.key());
        match given {
            Some((_, value)) => Some(value.clone().flat()),
            None => trained().map(|trained| trained.value.val()),
        }
    }

    /// Pairs and connectors, in the order of creation.
    pub fn iter(&self) -> impl Iterator<Item = (&SitePair, &Connector)> {
        self.joints.iter().map(|joint| (&joint.pair, &joint.connector))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.joints.len()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.joints.is_empty() && self.trained.is_empty()
    }
}

impl Default for Connectors {
    fn default() -> Self {
        Connectors::none()
    }
}
