//! Walking a module: what it holds, reading its weights to the host, and putting weights back.
//!
//! Everything that looks at a Burn module by path goes through here, so that the traversal's habits are known
//! in one place: a reparameterized parameter is visited as its stored base, followed by the state of the
//! reparameterization under `<path>.compressed`; running statistics are visited like parameters.

use std::collections::BTreeMap;

use crate::compress::{MASK, SCALE, START};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};
use kd_deploy::{Array, Weights};

/// A parameter or buffer of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Dotted path: `blocks.0.conv.weight`.
    pub path: String,
    /// Type of the layer that holds it: `Conv2d`, `Linear`, `BatchNorm`.
    pub layer: String,
    /// Shape as Burn stores it.
    pub shape: Vec<usize>,
    /// Identity for the optimizer.
    pub id: ParamId,
}

impl Entry {
    /// Whether no gradient ever reaches it: running statistics.
    pub fn is_buffer(&self) -> bool {
        self.path.ends_with(".running_mean") || self.path.ends_with(".running_var")
    }

    /// Axis of the output units, if it is the weight of a convolution or a linear layer.
    ///
    /// Convolutions store `[out, in, …]`, linear layers `[in, out]`.
    pub fn output_axis(&self) -> Option<usize> {
        if !self.path.ends_with(".weight") && self.path != "weight" {
            return None;
        }
        match self.layer.as_str() {
            "Conv1d" | "Conv2d" => Some(0),
            "Linear" => Some(1),
            _ => None,
        }
    }
}

/// All parameters and buffers, in visiting order; the state of reparameterizations is left out.
pub fn survey<M: Module>(module: &M) -> Vec<Entry> {
    let mut visitor = Survey::default();
    module.visit(&mut visitor);
    visitor.entries
}

/// All values by path, as stored (bases of reparameterized parameters), with the scales that reparameterizations train
/// and without the rest of their state.
pub fn read<M: Module>(module: &M) -> Weights {
    let mut visitor = Read::default();
    module.visit(&mut visitor);
    visitor.weights
}

/// The scales that reparameterizations train.
pub fn scales<M: Module>(module: &M) -> Vec<Entry> {
    let mut visitor = Survey { state: Some(SCALE), ..Survey::default() };
    module.visit(&mut visitor);
    visitor.entries
}

/// The masks of reparameterizations, by their own paths.
pub fn masks<M: Module>(module: &M) -> Vec<Entry> {
    let mut visitor = Survey { state: Some(MASK), ..Survey::default() };
    module.visit(&mut visitor);
    visitor.entries
}

/// `module` with the values of `weights` put in where a path agrees; shapes may differ, as after a cut.
pub fn write<M: Module>(module: M, weights: &Weights) -> M {
    module.map(&mut Write { place: Place::default(), weights })
}

/// `module` with tensors in the place of parameters by path, each with as many numbers in the parameter's order. They may
/// be results that gradients flow through, which a parameter's own value never is; the module is good for one forward
/// and backward pass.
pub fn lend<M: Module>(module: M, tensors: &BTreeMap<String, Tensor<1>>) -> M {
    module.map(&mut Lend { place: Place::default(), tensors })
}

/// `module` whose parameters need gradients or not, as `trains` says by path.
pub fn require_grad<M: Module>(module: M, trains: impl Fn(&str) -> bool) -> M {
    module.map(&mut RequireGrad { place: Place::default(), trains })
}

/// Where in a module a traversal stands.
#[derive(Default)]
pub(crate) struct Place {
    names: Vec<String>,
    layers: Vec<String>,
}

impl Place {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.layers.push(container.into());
    }

    pub(crate) fn exit(&mut self) {
        self.names.pop();
        self.layers.pop();
    }

    pub(crate) fn path(&self) -> String {
        self.names.join(".")
    }

    /// The innermost struct around here, without Burn's prefix.
    pub(crate) fn layer(&self) -> String {
        let name = self.layers.iter().rev().find_map(|layer| layer.strip_prefix("Struct:"));
        name.unwrap_or_default().to_owned()
    }

    fn in_reparameterization(&self) -> bool {
        self.layers.iter().any(|layer| layer == "Reparameterization")
    }
}

#[derive(Default)]
struct Survey {
    place: Place,
    /// The state of reparameterizations whose paths end so, instead of everything else.
    state: Option<&'static str>,
    entries: Vec<Entry>,
}

impl ModuleVisitor for Survey {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.place.path();
        let wanted = match self.place.in_reparameterization() {
            true => self.state.is_some_and(|end| path.ends_with(end)),
            false => self.state.is_none(),
        };
        if wanted {
            self.entries.push(Entry {
                path,
                layer: self.place.layer(),
                shape: param.lazy_shape().to_vec(),
                id: param.id,
            });
        }
    }
}

#[derive(Default)]
struct Read {
    place: Place,
    weights: Weights,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.place.path();
        let kept = !self.place.in_reparameterization() || path.ends_with(SCALE) || path.ends_with(START);
        if kept {
            self.weights.insert(path, to_array(param.base()));
        }
    }
}

struct Write<'a> {
    place: Place,
    weights: &'a Weights,
}

impl ModuleMapper for Write<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.get(&self.place.path()) {
            Some(array) => param.map(|old| like(array, &old)),
            None => param,
        }
    }
}

struct Lend<'a> {
    place: Place,
    tensors: &'a BTreeMap<String, Tensor<1>>,
}

impl ModuleMapper for Lend<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.tensors.get(&self.place.path()) {
            Some(tensor) => param.map(|old| tensor.clone().reshape(old.dims())),
            None => param,
        }
    }
}

struct RequireGrad<F> {
    place: Place,
    trains: F,
}

impl<F: Fn(&str) -> bool> ModuleMapper for RequireGrad<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        if self.place.in_reparameterization() || path.contains(".running_") {
            return param;
        }
        param.set_require_grad((self.trains)(&path))
    }
}

/// The gradient of a parameter on the host, if there is one.
pub(crate) fn gradient(gradients: &GradientsParams, entry: &Entry) -> Option<Array> {
    match entry.shape.len() {
        1 => gradients.get::<1>(entry.id).map(to_array),
        2 => gradients.get::<2>(entry.id).map(to_array),
        3 => gradients.get::<3>(entry.id).map(to_array),
        4 => gradients.get::<4>(entry.id).map(to_array),
        _ => None,
    }
}

/// A tensor's values on the host, as 32-bit floats.
pub(crate) fn to_array<const D: usize>(tensor: Tensor<D>) -> Array {
    let shape = tensor.dims().to_vec();
    let data = tensor.into_data().convert_dtype(DType::F32).try_to_vec::<f32>().expect("converted to f32");
    Array::new(shape, data).expect("a tensor has as many values as its shape says")
}

/// `array` as a leaf on the device of `old`, needing gradients as `old` did.
pub(crate) fn like<const D: usize>(array: &Array, old: &Tensor<D>) -> Tensor<D> {
    let data = TensorData::new(array.data().to_vec(), array.shape().to_vec());
    Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
}
