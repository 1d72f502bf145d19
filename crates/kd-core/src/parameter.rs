//! Numbers that a loss trains beside the student, such as VID's variances: named here, kept in
//! [`Connectors`](crate::Connectors), since a loss holds knobs and never parameters.

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};

use crate::{Error, View};

/// A parameter of a loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The loss and the sites that it compares, so that two terms of an objective do not share it.
    pub owner: String,
    /// Its name within the loss: `variance`; `kd loss eval` reads it as `connector.variance`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its first values.
    pub start: Start,
}

/// First values of a [`Parameter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// All the same.
    Constant(f64),
    /// Uniform between −bound and bound.
    Uniform(f64),
}

impl Parameter {
    /// A weight that Burn would draw uniformly in ±1/√(inputs).
    pub fn weight(owner: &str, name: &'static str, shape: &[usize], inputs: usize) -> Self {
        let start = Start::Uniform(1.0 / (inputs.max(1) as f64).sqrt());
        Parameter { owner: owner.into(), name, shape: shape.to_vec(), start }
    }

    /// One that begins with the same number everywhere.
    pub fn constant(owner: &str, name: &'static str, shape: &[usize], value: f64) -> Self {
        Parameter { owner: owner.into(), name, shape: shape.to_vec(), start: Start::Constant(value) }
    }

    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.owner, self.name)
    }

    pub(crate) fn draw(&self, device: &Device) -> Param<Tensor<1>> {
        let len: usize = self.shape.iter().product();
        Param::from_tensor(match self.start {
            Start::Constant(value) => Tensor::full([len], value, device),
            Start::Uniform(bound) => Tensor::random([len], Distribution::Uniform(-bound, bound), device),
        })
    }
}

impl View<'_> {
    /// The values of a parameter, in its shape.
    ///
    /// # Errors
    ///
    /// [`Error::NoParameter`] where it was not created or has another number of elements.
    pub fn parameter<const D: usize>(
        &self,
        loss: &'static str,
        parameter: &Parameter,
    ) -> Result<Tensor<D>, Error> {
        let missing =
            |found| Error::NoParameter { loss, name: parameter.name, shape: parameter.shape.clone(), found };
        let value = self.connectors.parameter(parameter).ok_or_else(|| missing(None))?;
        let shape: [usize; D] = parameter.shape.clone().try_into().map_err(|_| missing(None))?;
        let [len] = value.dims();
        if len != shape.iter().product::<usize>() {
            return Err(missing(Some(len)));
        }
        Ok(value.reshape(shape))
    }
}
