//! From the captured graph to an ONNX model.
//!
//! Values are walked in execution order. Each gets a tensor name; layers with weights stand in
//! `layers.rs`, all other operations in `operators.rs`, quantizers of activations in `quantizers.rs`.
//! The model uses the lowest operator set that has what it needs, 13 for most.

use std::collections::{BTreeMap, BTreeSet};

use kd_graph::{Dim, Fold, Graph, Node, Op, Origin, ValueId};

use super::builder::{BATCH, Builder, Extent};
use super::integers::row_numbers;
use super::quantizers::Quantized;
use crate::fold::foldings;
use crate::{Error, QuantPlan, Weights};

/// Name of the model's input.
pub const INPUT: &str = "input";
/// Name of the model's output.
pub const OUTPUT: &str = "logits";

/// The bytes of an ONNX model that computes what the graph computes; equal arguments, equal bytes.
///
/// The input is named `input` and the output `logits` (further ones `input_1`, `output_1`, …), all `float32`, with
/// the symbolic batch axis `batch`. Batch norms fold into the layer before them where they can
/// ([`foldings`](crate::foldings) says which); linear layers become `Gemm` on matrices (weight `[out, in]`) and
/// `MatMul` and `Add` on more axes.
///
/// With a plan, every `Conv`, `Gemm` and `MatMul` reads 8-bit integers through `DequantizeLinear` on all operands,
/// and a 32-bit bias with scale `input scale · weight scale`, zero point 0. Activations are quantized at each
/// site that the plan names and, with the same scale, around operations that commute with it. Signed ones are
/// `int8`, but `uint8` with zero points larger by 128 in a model where a quantized value has several readers, since
/// ONNX Runtime would leave the layers there in floats.
///
/// Weights under a scheme that no engine runs on integers are stored as floats, with their rounded values, and the
/// biases of their layers stay as they are. With [`WeightsContainer::Packed`](crate::WeightsContainer) codes are stored
/// in the narrowest type that ONNX has for them, and those weights too. Without sites the activations stay float, with scales found at run time they
/// are rounded by arithmetic in floats; weights are then integers behind `DequantizeLinear`, biases float.
///
/// # Errors
/// When an operation has no ONNX counterpart, a weight is missing or of another shape, a quantizer cannot be placed,
/// or the plan lacks an entry or has one that 8 bits cannot express.
pub fn lower(graph: &Graph, weights: &Weights, quantization: Option<&QuantPlan>) -> Result<Vec<u8>, Error> {
    let folds = foldings(graph, quantization)?;
    let quantized = match quantization {
        Some(plan) => Some(Quantized::new(graph, weights, plan, &folds)?),
        None => None,
    };
    Lowering::new(graph, weights, folds, quantized).run()
}

/// The state of a walk through the graph.
pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) weights: &'a Weights,
    pub(super) folds: Vec<Fold>,
    pub(super) quantized: Option<Quantized<'a>>,
    pub(super) builder: Builder,
    pub(super) opset: i64,
    /// The tensor that readers of a value read.
    pub(super) names: BTreeMap<ValueId, String>,
    /// The tensor to read for a quantized value beside a weight that stays float.
    pub(super) beside_floats: BTreeMap<ValueId, String>,
    /// Initializers of scale and zero point of a site.
    pub(super) scales: BTreeMap<String, (String, String)>,
    /// The tensors to read for a weight, by path and whether it is stored transposed.
    pub(super) weights_written: BTreeMap<(String, bool), String>,
    /// Parameters that have an initializer under their own name.
    named: BTreeSet<String>,
    /// The tensor that holds the batch size, if something needed it.
    pub(super) batch: Option<String>,
}

impl<'a> Lowering<'a> {
    fn new(
        graph: &'a Graph,
        weights: &'a Weights,
        folds: Vec<Fold>,
        quantized: Option<Quantized<'a>>,
    ) -> Self {
        let opset = opset(graph).max(quantized.as_ref().map_or(13, Quantized::opset));
        let params = graph.params.iter().map(|param| param.path.as_str());
        Self {
            graph,
            weights,
            folds,
            quantized,
            builder: Builder::reserving(params.chain([INPUT, OUTPUT])),
            opset,
            names: BTreeMap::new(),
            beside_floats: BTreeMap::new(),
            scales: BTreeMap::new(),
            weights_written: BTreeMap::new(),
            named: BTreeSet::new(),
            batch: None,
        }
    }

    fn run(mut self) -> Result<Vec<u8>, Error> {
        for (index, &value) in self.graph.inputs.iter().enumerate() {
            let name = match index {
                0 => INPUT.to_owned(),
                _ => self.builder.name(&format!("input_{index}")),
            };
            let extents = self.extents(value);
            self.builder.input(&name, extents);
            self.define(value, name);
        }
        let live = live(self.graph);
        let absorbed: BTreeSet<_> = self.folds.iter().map(|fold| fold.norm).collect();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if absorbed.contains(&index) || !live.contains(&node.output) {
                continue;
            }
            // A layer that absorbs its batch norm computes the batch norm's result.
            let fold = self.folds.iter().find(|fold| fold.layer == index);
            let output = fold.map_or(node.output, |fold| self.graph.nodes[fold.norm].output);
            self.node(index, node, output)?;
        }
        for (index, &value) in self.graph.outputs.iter().enumerate() {
            let name = self.output_name(value, index)?;
            let extents = self.extents(value);
            self.builder.output(&name, extents);
        }
        Ok(self.builder.finish(self.opset))
    }

    fn node(&mut self, index: usize, node: &Node, output: ValueId) -> Result<(), Error> {
        let name = self.result_name(node, output);
        match node.op {
            Op::Conv { .. } | Op::Linear | Op::Matmul => self.layer(index, node, &name)?,
            _ => self.operator(index, node, output, &name)?,
        }
        self.define(output, name);
        Ok(())
    }

    /// The tensor to read for a value; parameters and constants become initializers at their first use.
    pub(super) fn read(&mut self, value: ValueId) -> Result<String, Error> {
        if let Some(name) = self.names.get(&value) {
            return Ok(name.clone());
        }
        let name = match &self.graph.value(value).origin {
            Origin::Param(index) => {
                let param = &self.graph.params[*index];
                let array = crate::safetensors::weight(self.weights, &param.path, &param.shape)?;
                self.initializer(&param.path, array.shape(), array.data())
            }
            Origin::Constant(data) => {
                let shape = self.fixed_shape(value)?;
                let name = self.builder.counted("constant");
                self.builder.floats(&name, &shape, data);
                name
            }
            Origin::Input(_) | Origin::Node(_) => {
                return Err(Error::Graph {
                    place: format!("value {}", value.0),
                    reason: "it is read before it is computed".to_owned(),
                });
            }
        };
        self.names.insert(value, name.clone());
        Ok(name)
    }

    /// An initializer named after a parameter; the name itself is reserved, a second layout gets a number.
    pub(super) fn initializer(&mut self, path: &str, shape: &[usize], data: &[f32]) -> String {
        let name = match self.named.insert(path.to_owned()) {
            true => path.to_owned(),
            false => self.builder.name(path),
        };
        self.builder.floats(&name, shape, data);
        name
    }

    /// The shape of a value without a batch dimension.
    fn fixed_shape(&self, value: ValueId) -> Result<Vec<usize>, Error> {
        let fixed = |dim: &Dim| match dim {
            Dim::Fixed(size) => Ok(*size),
            Dim::Batch(_) => Err(Error::Unsupported {
                operation: "a constant".to_owned(),
                place: format!("value {}", value.0),
                reason: "its shape depends on the batch size".to_owned(),
            }),
        };
        self.graph.value(value).shape.iter().map(fixed).collect()
    }

    fn extents(&self, value: ValueId) -> Vec<Extent> {
        let extent = |dim: &Dim| match dim {
            Dim::Fixed(size) => Extent::Fixed(*size),
            Dim::Batch(1) => Extent::Symbol(BATCH.to_owned()),
            Dim::Batch(factor) => Extent::Symbol(format!("{factor}*{BATCH}")),
        };
        self.graph.value(value).shape.iter().map(extent).collect()
    }

    /// A name for the result of a node: the model's output, the site seen there, the layer, or a number.
    fn result_name(&mut self, node: &Node, output: ValueId) -> String {
        if self.graph.outputs.first() == Some(&output) {
            return match self.is_rounded(output) {
                false => OUTPUT.to_owned(),
                true => self.builder.name(&format!("{OUTPUT}_float")),
            };
        }
        if let Some((site, _)) = self.graph.sites.iter().find(|(_, value)| *value == output) {
            return self.builder.name(site);
        }
        let mut params = node.inputs.iter().filter_map(|&id| self.graph.param(id));
        match params.next().and_then(|param| param.path.rsplit_once('.')) {
            Some((layer, _)) => self.builder.name(layer),
            None => self.builder.counted(node.op.name()),
        }
    }

    /// The name of an output of the model, which an `Identity` provides where no node does.
    fn output_name(&mut self, value: ValueId, index: usize) -> Result<String, Error> {
        let found = self.read(value)?;
        if index == 0 && found == OUTPUT {
            return Ok(found);
        }
        let name = match index {
            0 => OUTPUT.to_owned(),
            _ => self.builder.name(&format!("output_{index}")),
        };
        self.builder.node("Identity", &[&found], &name, []);
        Ok(name)
    }
}

/// The values that the outputs depend on. A graph also holds what leads to a site only, and no engine needs that.
fn live(graph: &Graph) -> BTreeSet<ValueId> {
    let mut live: BTreeSet<ValueId> = graph.outputs.iter().copied().collect();
    for node in graph.nodes.iter().rev() {
        if live.contains(&node.output) {
            match node.op {
                Op::Embedding => live.extend([node.inputs[0], row_numbers(graph, node)]),
                _ => live.extend(&node.inputs),
            }
        }
    }
    live
}

/// The lowest operator set that has everything the graph needs: 13 for `QuantizeLinear` with an axis and most
/// others, 17 for `LayerNormalization`, 19 for dilated `AveragePool`.
fn opset(graph: &Graph) -> i64 {
    let needed = |node: &Node| match &node.op {
        Op::LayerNorm { .. } => 17,
        Op::AvgPool { window, .. } if window.dilation.iter().any(|&d| d != 1) => 19,
        _ => 13,
    };
    graph.nodes.iter().map(needed).max().unwrap_or(13)
}
