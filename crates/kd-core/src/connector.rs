//! What makes a student's feature comparable with a teacher's: small layers that are trained with the student and
//! thrown away with the teacher.
//!
//! A loss holds numbers and never parameters, so the regressors of FitNets and their kind live here, in one module
//! that a trainer optimizes beside the student and never exports. Which layer a pair of sites needs is read off the
//! two shapes of a dry forward pass.

mod kind;
mod layer;

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

pub use kind::ConnectorKind;
pub use layer::Connector;

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

    /// The student's sites: one, or those that a mixture joins, which `+` parts.
    pub fn student_sites(&self) -> impl Iterator<Item = &str> {
        self.student.split('+').map(str::trim)
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
            let from: Result<Vec<_>, _> =
                pair.student_sites().map(|site| Ok(student.require(Side::Student, site)?.dims())).collect();
            let from = from?;
            let to = teacher.require(Side::Teacher, &pair.teacher)?.dims();
            joints.push(Joint {
                pair: pair.clone(),
                connector: Connector::create_of(pair, &from, &to, device)?,
            });
        }
        Ok(Connectors { joints, ..Connectors::none() })
    }

    /// The student's features at `pair`, one for each of its sites, through the connector of that pair.
    ///
    /// # Errors
    ///
    /// [`Error::NoConnector`] for a pair that was not among those given to [`create`](Connectors::create),
    /// [`Error::Rank`] where the feature's rank has changed since.
    pub fn apply(&self, pair: &SitePair, features: Vec<Feature>) -> Result<Feature, Error> {
        let connector = self.get(pair).ok_or_else(|| Error::NoConnector {
            student: pair.student.clone(),
            teacher: pair.teacher.clone(),
        })?;
        let given = |name: &str| self.given.iter().find(|(given, _)| given == name).map(|(_, x)| x.clone());
        match given("weight") {
            Some(weight) => project(features, weight, given("bias")),
            None => connector.forward_of(features),
        }
    }

    /// The connector of `pair`.
    pub fn get(&self, pair: &SitePair) -> Option<&Connector> {
        self.joints.iter().find(|joint| joint.pair == *pair).map(|joint| &joint.connector)
    }

    /// Identities for `pairs`: for features that agree as they are.
    pub fn identity(pairs: &[SitePair]) -> Self {
        let joint = |pair: &SitePair| Joint { pair: pair.clone(), connector: Connector::identity() };
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

/// A linear layer (weight `[out, in]`) or a convolution (`[out, in, height, width]`, padded to keep the size) with the
/// caller's weights, as PyTorch lays them out.
fn project(mut features: Vec<Feature>, weight: Feature, bias: Option<Feature>) -> Result<Feature, Error> {
    let bias = bias.map(Tensor::<1>::try_from).transpose()?;
    match (features.swap_remove(0), weight) {
        (Feature::D4(x), Feature::D4(weight)) => {
            let [_, _, height, width] = weight.dims();
            let options = ConvOptions::new([1, 1], [height / 2, width / 2], [1, 1], 1);
            Ok(conv2d(x, weight, bias, options).into())
        }
        (x, weight) => {
            let weight = Tensor::<2>::try_from(weight)?.transpose();
            let wide = |x: Tensor<2>| match &bias {
                Some(bias) => x.matmul(weight.clone()) + bias.clone().unsqueeze_dim(0),
                None => x.matmul(weight.clone()),
            };
            Ok(match x {
                Feature::D3(x) => {
                    let ([batch, length, from], [_, to]) = (x.dims(), weight.dims());
                    wide(x.reshape([batch * length, from])).reshape([batch, length, to]).into()
                }
                x => wide(x.try_into()?).into(),
            })
        }
    }
}
