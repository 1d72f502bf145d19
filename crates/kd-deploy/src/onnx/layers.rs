//! Layers with weights: convolutions, linear layers, matrix products; float and quantized.

use kd_graph::{Node, Op, Window};

use super::builder::{Attribute, to_i64};
use super::lower::Lowering;
use super::packed::{Element, Packed, Stand};
use crate::Error;
use crate::fold::fold_batch_norm;
use crate::plan::{QuantizedBias, QuantizedWeight};
use crate::safetensors::weight;

impl Lowering<'_> {
    /// Adds the layer at `index`; its result, with the folded batch norm if there is one, is named `output`.
    pub(super) fn layer(&mut self, index: usize, node: &Node, output: &str) -> Result<(), Error> {
        match &node.op {
            Op::Conv { window, groups } => {
                let kernel = self.operand(index, node, 1, Layout::AsIs)?;
                let bias = self.bias(index, node)?;
                let x = self.data(node, 0)?;
                let inputs: Vec<&str> = [x.as_str(), &kernel].into_iter().chain(bias.as_deref()).collect();
                let mut attributes = window_attributes(window);
                attributes.push(("group", Attribute::Int(to_i64(*groups))));
                self.builder.node("Conv", &inputs, output, attributes);
            }
            Op::Linear if self.graph.value(node.inputs[0]).shape.len() == 2 => {
                let matrix = self.operand(index, node, 1, Layout::Transposed)?;
                let bias = self.bias(index, node)?;
                let x = self.data(node, 0)?;
                let inputs: Vec<&str> = [x.as_str(), &matrix].into_iter().chain(bias.as_deref()).collect();
                let transposed = [("transB", Attribute::Int(1))];
                self.builder.node("Gemm", &inputs, output, transposed);
            }
            _ => {
                let operands = [0, 1].map(|at| self.operand(index, node, at, Layout::AsIs));
                let [lhs, rhs] = operands;
                let (lhs, rhs) = (lhs?, rhs?);
                let bias = self.bias(index, node)?;
                let product = match bias {
                    Some(_) => self.builder.name(&format!("{output}_product")),
                    None => output.to_owned(),
                };
                self.builder.node("MatMul", &[&lhs, &rhs], &product, []);
                if let Some(bias) = bias {
                    self.builder.node("Add", &[&product, &bias], output, []);
                }
            }
        }
        Ok(())
    }

    /// The tensor to read for an operand: an activation, a float weight or a dequantized one.
    fn operand(
        &mut self,
        index: usize,
        node: &Node,
        position: usize,
        layout: Layout,
    ) -> Result<String, Error> {
        let Some(param) = self.graph.param(node.inputs[position]) else {
            return self.activation(node, position, layout);
        };
        let path = param.path.clone();
        // The same weight in the same layout is stored once.
        let key = (path.clone(), layout == Layout::Transposed);
        if let Some(name) = self.weights_written.get(&key) {
            return Ok(name.clone());
        }
        let codes = self.quantized.as_ref().and_then(|q| q.codes.weights.get(&path)).cloned();
        let name = match codes {
            Some(codes) => self.quantized_weight(&path, &codes, layout),
            None if self.stored_packed(&path, layout).is_some() => {
                let (packed, stand) = self.stored_packed(&path, layout).expect("there is one");
                self.packed_weight(&path, &packed, &stand)
            }
            None => {
                let fold = self.folds.iter().find(|fold| fold.layer == index && position == 1);
                let rounded = self.quantized.as_ref().and_then(|q| q.plan.rounded.get(&path));
                let array = match (rounded, fold) {
                    (Some(rounded), _) => rounded.values.clone(),
                    (None, Some(fold)) => fold_batch_norm(fold, self.weights)?.0,
                    (None, None) => weight(self.weights, &path, &param.shape)?.clone(),
                };
                let array = match layout {
                    Layout::AsIs => array,
                    Layout::Transposed => array.transposed(),
                };
                self.initializer(&path, array.shape(), array.data())
            }
        };
        self.weights_written.insert(key, name.clone());
        Ok(name)
    }

    /// A rounded weight in codes, if that is wanted and can be.
    fn stored_packed(&self, path: &str, layout: Layout) -> Option<(Packed, Stand)> {
        let quantized = self.quantized.as_ref()?;
        let packed = quantized.packed.get(path)?;
        let rounded = quantized.plan.rounded.get(path)?;
        let shape = rounded.values.shape();
        let stand = match (layout, rounded.axis) {
            (Layout::AsIs, 0) => Stand::Upright(shape.to_vec()),
            (Layout::Transposed, 1) if shape.len() == 2 => Stand::Upright(vec![shape[1], shape[0]]),
            (Layout::AsIs, 1) if shape.len() == 2 => Stand::Turned,
            _ => return None,
        };
        Some((packed.clone(), stand))
    }

    /// The tensor to read for an operand that is computed.
    fn data(&mut self, node: &Node, position: usize) -> Result<String, Error> {
        let other = self.graph.param(node.inputs[1 - position]);
        let quantized = self.quantized.as_ref();
        match other.is_some_and(|param| quantized.is_some_and(|q| q.beside_floats(&param.path))) {
            true => self.read_beside_floats(node.inputs[position]),
            false => self.read(node.inputs[position]),
        }
    }

    /// An operand that is computed, transposed where `Gemm` expects it so.
    fn activation(&mut self, node: &Node, position: usize, layout: Layout) -> Result<String, Error> {
        let name = self.data(node, position)?;
        if layout == Layout::AsIs {
            return Ok(name);
        }
        let transposed = self.builder.name(&format!("{name}_transposed"));
        let swap = [("perm", Attribute::Ints(vec![1, 0]))];
        self.builder.node("Transpose", &[&name], &transposed, swap);
        Ok(transposed)
    }

    /// The tensor to read for a layer's bias, if it has one or gets one from its batch norm.
    fn bias(&mut self, index: usize, node: &Node) -> Result<Option<String>, Error> {
        let param = node.inputs.get(2).and_then(|&id| self.graph.param(id));
        let fold = self.folds.iter().find(|fold| fold.layer == index);
        let path = match (fold, param) {
            (Some(fold), _) => fold.bias.clone().unwrap_or_else(|| sibling(&fold.weight, "bias")),
            (None, Some(param)) => param.path.clone(),
            (None, None) => return node.inputs.get(2).map(|&id| self.read(id)).transpose(),
        };
        let codes = self.quantized.as_ref().and_then(|q| q.codes.biases.get(&index)).cloned();
        match (codes, fold, node.inputs.get(2)) {
            (Some(codes), _, _) => Ok(Some(self.quantized_bias(&path, &codes))),
            (None, Some(fold), _) => {
                let bias = fold_batch_norm(fold, self.weights)?.1;
                Ok(Some(self.initializer(&path, bias.shape(), bias.data())))
            }
            (None, None, id) => id.map(|&id| self.read(id)).transpose(),
        }
    }

    /// Codes and their `DequantizeLinear`.
    fn quantized_weight(&mut self, path: &str, weight: &QuantizedWeight, layout: Layout) -> String {
        let (shape, codes, axis) = match layout {
            Layout::AsIs => (weight.shape.clone(), weight.codes.clone(), weight.axis),
            Layout::Transposed => weight.transposed(),
        };
        let wide = Element { kind: weight.container.data_type(), bits: 8 };
        let element = match self.quantized.as_ref().is_some_and(|q| q.packs()) {
            true => Element::narrowest(weight.limits).unwrap_or(wide),
            false => wide,
        };
        let cells: Vec<usize> = axis.map(|axis| shape[axis]).into_iter().collect();
        let names = ["quantized", "scale", "zero_point", "dequantized"];
        let [quantized, scale, zero_point, dequantized] =
            names.map(|word| self.builder.name(&format!("{path}_{word}")));
        self.builder.bytes(&quantized, element.kind, &shape, element.bytes(&codes));
        self.builder.floats(&scale, &cells, &weight.scale);
        self.builder.bytes(&zero_point, element.kind, &cells, element.bytes(&weight.zero_point));
        let inputs = [quantized.as_str(), &scale, &zero_point];
        self.dequantize(&inputs, &dequantized, axis);
        dequantized
    }

    /// 32-bit codes and their `DequantizeLinear`.
    fn quantized_bias(&mut self, path: &str, bias: &QuantizedBias) -> String {
        let axis = (bias.scale.len() > 1).then_some(0);
        let cells: Vec<usize> = axis.map(|_| bias.scale.len()).into_iter().collect();
        let names = ["quantized", "scale", "zero_point", "dequantized"];
        let [quantized, scale, zero_point, dequantized] =
            names.map(|word| self.builder.name(&format!("{path}_{word}")));
        self.builder.int32s(&quantized, &[bias.codes.len()], &bias.codes);
        self.builder.floats(&scale, &cells, &bias.scale);
        self.builder.int32s(&zero_point, &cells, &vec![0; bias.scale.len()]);
        let inputs = [quantized.as_str(), &scale, &zero_point];
        self.dequantize(&inputs, &dequantized, axis);
        dequantized
    }

    fn dequantize(&mut self, inputs: &[&str], output: &str, axis: Option<usize>) {
        let axis = axis.map(|axis| ("axis", Attribute::Int(to_i64(axis))));
        self.builder.node("DequantizeLinear", inputs, output, axis);
    }
}

/// Whether a matrix is stored as Burn has it or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    AsIs,
    Transposed,
}

/// The attributes of a window, all of them: some engines do not know the defaults.
pub(super) fn window_attributes(window: &Window) -> Vec<(&'static str, Attribute)> {
    let ints = |list: &[usize]| Attribute::Ints(list.iter().map(|&n| to_i64(n)).collect());
    let begin = window.padding.iter().map(|pad| pad.0);
    let pads: Vec<usize> = begin.chain(window.padding.iter().map(|pad| pad.1)).collect();
    vec![
        ("dilations", ints(&window.dilation)),
        ("kernel_shape", ints(&window.kernel)),
        ("pads", ints(&pads)),
        ("strides", ints(&window.stride)),
    ]
}

/// The parameter of the same layer with another name.
fn sibling(path: &str, name: &str) -> String {
    match path.rsplit_once('.') {
        Some((layer, _)) => format!("{layer}.{name}"),
        None => name.to_owned(),
    }
}
