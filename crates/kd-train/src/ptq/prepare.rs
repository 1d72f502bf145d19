//! A network ready to be rounded: the same function with batch norm folded, and where each layer's bias is.
//!
//! Folding first means that what is rounded is what an engine multiplies, and that every layer that had a batch norm
//! has a place for a corrected bias: the shift that the batch norm keeps.

use std::collections::BTreeMap;

use kd_deploy::{Weights, safetensors};
use kd_graph::{Graph, Op, Unary, ValueId};
use quant_core::ptq::{Activation, activation_mean};

use super::layers::{Layer, layers};
use crate::error::Error;
use crate::fold::fold;
use crate::network::Network;
use crate::weights::params;

/// A float network that is about to be rounded.
pub struct Prepared {
    /// The network, batch norm folded, masks and earlier rounding folded in, in inference.
    pub network: Box<dyn Network>,
    /// Its graph.
    pub graph: Graph,
    /// Its layers, in the order of the forward pass.
    pub layers: Vec<Layer>,
    /// Path of the parameter that is added to each layer's outputs, if there is one.
    pub biases: Vec<Option<String>>,
    /// Masks by the weight's path, in the weight's own layout: what they do not keep is 0 now and after rounding.
    masks: BTreeMap<String, Vec<bool>>,
    /// E\[x\] of each input channel of a layer, from the batch norm that the inputs come from.
    pub(super) means: Vec<Option<Vec<f64>>>,
}

impl Prepared {
    /// Folds what can be folded and lists the layers.
    ///
    /// # Errors
    ///
    /// A forward pass that cannot be captured.
    pub fn new(network: &dyn Network) -> Result<Self, Error> {
        let masks = network.compression().masks.clone();
        let plain = network.materialized();
        let before = plain.graph()?;
        let folds = kd_graph::batch_norm_folds(&before);
        let stored = plain.weights();
        let folded = fold(plain.as_ref())?;
        let network = folded.network;
        let graph = network.graph()?;
        let layers = layers(&graph);
        let bias = |layer: &Layer| {
            let fold = folds.iter().find(|fold| fold.weight == layer.path);
            fold.map(|fold| fold.beta.clone()).or_else(|| layer.bias.clone())
        };
        let biases = layers.iter().map(bias).collect();
        let means = layers.iter().map(|layer| mean_of_inputs(&before, &stored, layer));
        let means = means.collect::<Result<_, _>>()?;
        Ok(Self { network, graph, layers, biases, masks, means })
    }

    /// Which elements of a layer's weight `[rows, columns]` stay; none where it has no mask.
    pub(super) fn keep(&self, layer: &Layer) -> Option<Vec<bool>> {
        let keep = self.masks.get(&layer.path)?;
        Some(layer.in_rows(keep))
    }

    /// A parameter's name in PyTorch's spelling.
    pub fn torch_name(&self, path: &str) -> String {
        let all = params(&self.network.entries());
        all.iter().find(|param| param.path == path).map_or_else(|| path.to_owned(), safetensors::torch_name)
    }

    /// The network with other weights in some places.
    pub(super) fn with(&self, changed: &Weights) -> Box<dyn Network> {
        let mut network = self.network.inference();
        network.set_weights(changed);
        network
    }
}

/// The mean that batch norm promises, where nothing but ReLU stands between it and a layer.
fn mean_of_inputs(graph: &Graph, weights: &Weights, layer: &Layer) -> Result<Option<Vec<f64>>, Error> {
    let Ok(route) = &layer.route else { return Ok(None) };
    let producer = |id: ValueId| graph.producer(id);
    let (node, activation) = match producer(route.data) {
        Some(node) if node.op == Op::Unary(Unary::Relu) => (producer(node.inputs[0]), Activation::Relu),
        node => (node, Activation::Identity),
    };
    let Some(node) = node.filter(|node| matches!(node.op, Op::BatchNorm { .. })) else { return Ok(None) };
    let channel = |at: usize| -> Option<Vec<f64>> {
        let values = weights.get(&graph.param(node.inputs[at])?.path)?;
        Some(values.data().iter().map(|&x| f64::from(x)).collect())
    };
    let (Some(gamma), Some(beta)) = (channel(1), channel(2)) else { return Ok(None) };
    Ok(Some(activation_mean(&beta, &gamma, activation)?))
}

/// Values by path, with the changes so far.
pub(super) struct State {
    values: Weights,
    changed: BTreeMap<String, ()>,
}

impl State {
    pub(super) fn new(network: &dyn Network) -> Self {
        Self { values: network.weights(), changed: BTreeMap::new() }
    }

    pub(super) fn get(&self, path: &str) -> &kd_deploy::Array {
        &self.values[path]
    }

    pub(super) fn set(&mut self, path: &str, array: kd_deploy::Array) {
        self.values.insert(path.to_owned(), array);
        self.changed.insert(path.to_owned(), ());
    }

    /// Changes every number of a parameter.
    pub(super) fn map(&mut self, path: &str, f: impl Fn(usize, f32) -> f32) {
        let old = self.get(path);
        let values: Vec<f32> = old.data().iter().enumerate().map(|(at, &x)| f(at, x)).collect();
        let array = kd_deploy::Array::new(old.shape(), values).expect("the shape is the same");
        self.set(path, array);
    }

    /// What differs from the network that it began with.
    pub(super) fn changes(&self) -> Weights {
        self.changed.keys().map(|path| (path.clone(), self.values[path].clone())).collect()
    }
}
