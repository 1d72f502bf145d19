//! Parameters as a recording sees them: by the ids of their tensors.

use burn::backend::ir::TensorId;
use burn::module::{ModuleVisitor, Param as BurnParam};
use burn::tensor::Tensor;

use super::id;
use crate::graph::Param;

/// Parameters and running statistics in visiting order, with the ids of their tensors.
#[derive(Default)]
pub(super) struct Params {
    names: Vec<String>,
    layers: Vec<String>,
    pub(super) params: Vec<Param>,
    pub(super) ids: Vec<Option<TensorId>>,
}

impl ModuleVisitor for Params {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.layers.push(container.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.pop();
        self.layers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &BurnParam<Tensor<D>>) {
        let value = param.val();
        let layer = self.layers.iter().rev().find_map(|layer| layer.strip_prefix("Struct:"));
        // Running statistics are visited like parameters; only their field tells them apart.
        let buffer = self.names.last().is_some_and(|name| name == "running_mean" || name == "running_var");
        self.params.push(Param {
            path: self.names.join("."),
            layer: layer.unwrap_or_default().to_owned(),
            shape: value.dims().to_vec(),
            buffer,
        });
        self.ids.push(id(&value));
    }
}
