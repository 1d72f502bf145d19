//! A module's weights on the host, for criteria.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};

use crate::walk::Place;

/// Values by path, in Burn's layout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights(BTreeMap<String, Weight>);

/// The values of a parameter or buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Shape as Burn stores it.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

impl Weights {
    /// The effective values of `module`: what its forward pass in inference computes with, reparameterizations
    /// folded in and pending updates of running statistics settled.
    pub fn read<M: Module>(module: &M) -> Self {
        let mut read = Read::default();
        module.valid().materialize().visit(&mut read);
        Self(read.weights)
    }

    /// Weights that are on the host already: path, shape as Burn stores it, row-major values.
    ///
    /// A length that does not agree with its shape is found where the weight is scored.
    pub fn from_arrays<T: Into<f64>>(arrays: impl IntoIterator<Item = (String, Vec<usize>, Vec<T>)>) -> Self {
        let weight =
            |shape, values: Vec<T>| Weight { shape, values: values.into_iter().map(T::into).collect() };
        Self(arrays.into_iter().map(|(path, shape, values)| (path, weight(shape, values))).collect())
    }

    /// The weight at `path`.
    pub fn get(&self, path: &str) -> Option<&Weight> {
        self.0.get(path)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.0.iter().map(|(path, weight)| (path.as_str(), weight))
    }
}

#[derive(Default)]
struct Read {
    place: Place,
    weights: BTreeMap<String, Weight>,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.dims().to_vec();
        let values = value.into_data().convert_dtype(DType::F64).try_to_vec();
        let values = values.expect("data that was converted to f64 reads as f64");
        self.weights.insert(self.place.path(), Weight { shape, values });
    }
}
