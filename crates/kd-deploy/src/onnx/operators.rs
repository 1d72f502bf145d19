//! Operations without weights to quantize; those of whole numbers and truth values stand in `integers.rs`.
//!
//! Where a newer operator set has one operator for what an older one composes (`Gelu`), the composition is
//! written: engines recognize it, and older ones run it.

use kd_graph::{Binary, Dim, Node, Op, Unary, ValueId};

use super::builder::{Attribute, to_i64};
use super::layers::window_attributes;
use super::lower::Lowering;
use crate::Error;

impl Lowering<'_> {
    /// Adds an operation whose result, the value `value`, is named `output`.
    pub(super) fn operator(
        &mut self,
        index: usize,
        node: &Node,
        value: ValueId,
        output: &str,
    ) -> Result<(), Error> {
        let int = |n: usize| Attribute::Int(to_i64(n));
        match &node.op {
            Op::BatchNorm { epsilon } => {
                self.simple("BatchNormalization", node, output, vec![("epsilon", float(*epsilon))])
            }
            Op::LayerNorm { epsilon } => {
                let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", float(*epsilon))];
                self.simple("LayerNormalization", node, output, attributes)
            }
            Op::MaxPool { window, ceil } => {
                let mut attributes = window_attributes(window);
                attributes.push(("ceil_mode", int(usize::from(*ceil))));
                self.simple("MaxPool", node, output, attributes)
            }
            Op::AvgPool { window, count_pad, ceil } => {
                let mut attributes = window_attributes(window);
                attributes.push(("ceil_mode", int(usize::from(*ceil))));
                attributes.push(("count_include_pad", int(usize::from(*count_pad))));
                if self.opset < 19 {
                    attributes.retain(|(name, _)| *name != "dilations");
                }
                self.simple("AveragePool", node, output, attributes)
            }
            Op::AdaptiveAvgPool { output: size } => self.adaptive_pool(node, size, output),
            Op::Binary(op) | Op::Scalar(op, _) if compares(*op) => self.compare(*op, node, output),
            Op::Binary(op) => self.simple(binary(*op), node, output, vec![]),
            Op::Scalar(op, number) => {
                let x = self.read(node.inputs[0])?;
                let number = self.number(output, *number);
                self.builder.node(binary(*op), &[&x, &number], output, []);
                Ok(())
            }
            Op::Where => self.choose(node, output),
            Op::Unary(Unary::Gelu) => self.gelu(node, output),
            Op::Unary(Unary::Truncate) => self.truncate(node, output),
            Op::Unary(op) => self.simple(unary(*op), node, output, vec![]),
            Op::Clamp { min, max } => self.clamp(node, *min, *max, output),
            Op::Reshape => self.reshape(node, value, output),
            Op::Permute(axes) => {
                let perm = Attribute::Ints(axes.iter().map(|&a| to_i64(a)).collect());
                self.simple("Transpose", node, output, vec![("perm", perm)])
            }
            Op::Expand => self.expand(node, value, output),
            Op::Softmax(axis) => self.simple("Softmax", node, output, vec![("axis", int(*axis))]),
            Op::LogSoftmax(axis) => self.simple("LogSoftmax", node, output, vec![("axis", int(*axis))]),
            Op::MeanDim(axis) => self.reduce_by("ReduceMean", node, *axis, output),
            Op::TopK(axis) if self.graph.value(value).shape[*axis] == Dim::Fixed(1) => {
                self.reduce_by("ReduceMax", node, *axis, output)
            }
            Op::SumDim(axis) => self.reduce("ReduceSum", node, *axis, output),
            Op::Concat(axis) => self.simple("Concat", node, output, vec![("axis", int(*axis))]),
            Op::Slice(ranges) => self.slice(node, ranges, output),
            Op::Embedding => self.embedding(node, output),
            Op::TopK(_)
            | Op::ConvTranspose { .. }
            | Op::Resize { .. }
            | Op::Opaque(_)
            | Op::Conv { .. }
            | Op::Linear
            | Op::Matmul => Err(self.unsupported(index, node, "ONNX has nothing that is known to equal it")),
        }
    }

    /// A reduction whose axes are an input from operator set 18 on, as those of `ReduceSum` are from 13 on.
    fn reduce_by(
        &mut self,
        operator: &'static str,
        node: &Node,
        axis: usize,
        output: &str,
    ) -> Result<(), Error> {
        if self.opset >= 18 {
            return self.reduce(operator, node, axis, output);
        }
        let attributes = vec![("axes", Attribute::Ints(vec![to_i64(axis)])), ("keepdims", Attribute::Int(1))];
        self.simple(operator, node, output, attributes)
    }

    /// An operator that reads the node's inputs as they stand.
    fn simple(
        &mut self,
        operator: &'static str,
        node: &Node,
        output: &str,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Result<(), Error> {
        let inputs = node.inputs.iter().map(|&id| self.read(id));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.builder.node(operator, &inputs, output, attributes);
        Ok(())
    }

    /// `Clip`, with a bound left out where there is none.
    fn clamp(&mut self, node: &Node, min: f64, max: f64, output: &str) -> Result<(), Error> {
        let x = self.read(node.inputs[0])?;
        let mut inputs = vec![x];
        if min.is_finite() || max.is_finite() {
            inputs.push(if min.is_finite() { self.bound(output, "min", min) } else { String::new() });
        }
        if max.is_finite() {
            inputs.push(self.bound(output, "max", max));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.builder.node("Clip", &inputs, output, []);
        Ok(())
    }

    fn bound(&mut self, output: &str, which: &str, number: f64) -> String {
        let name = self.builder.name(&format!("{output}_{which}"));
        self.builder.floats(&name, &[], &[number as f32]);
        name
    }

    /// A scalar of this value.
    pub(super) fn number(&mut self, output: &str, number: f64) -> String {
        let name = self.builder.name(&format!("{output}_constant"));
        self.builder.floats(&name, &[], &[number as f32]);
        name
    }

    /// `0.5 · x · (1 + erf(x / √2))`
    fn gelu(&mut self, node: &Node, output: &str) -> Result<(), Error> {
        let x = self.read(node.inputs[0])?;
        let steps: [(&'static str, Option<f64>); 5] = [
            ("Div", Some(std::f64::consts::SQRT_2)),
            ("Erf", None),
            ("Add", Some(1.0)),
            ("Mul", None),
            ("Mul", Some(0.5)),
        ];
        let mut current = x.clone();
        for (index, (operator, number)) in steps.into_iter().enumerate() {
            let next = match index {
                4 => output.to_owned(),
                _ => self.builder.name(&format!("{output}_part_{index}")),
            };
            let operand = match (operator, number) {
                (_, Some(number)) => Some(self.number(output, number)),
                ("Mul", None) => Some(x.clone()),
                _ => None,
            };
            let inputs: Vec<&str> = [current.as_str()].into_iter().chain(operand.as_deref()).collect();
            self.builder.node(operator, &inputs, &next, []);
            current = next;
        }
        Ok(())
    }

    /// The batch dimension stays open: `-1` once, and `0`, "as in the input", for any other.
    fn reshape(&mut self, node: &Node, value: ValueId, output: &str) -> Result<(), Error> {
        let graph = self.graph;
        let before = &graph.value(node.inputs[0]).shape;
        let mut inferred = false;
        let mut shape = Vec::new();
        for (axis, dim) in graph.value(value).shape.iter().enumerate() {
            shape.push(match dim {
                Dim::Fixed(size) => to_i64(*size),
                Dim::Batch(_) if !inferred => {
                    inferred = true;
                    -1
                }
                Dim::Batch(_) if before.get(axis) == Some(dim) => 0,
                Dim::Batch(_) => {
                    let place = output.to_owned();
                    let reason = "more than one dimension depends on the batch size".to_owned();
                    return Err(Error::Unsupported { operation: "`reshape`".into(), place, reason });
                }
            });
        }
        let x = self.read(node.inputs[0])?;
        let target = self.builder.name(&format!("{output}_shape"));
        self.builder.int64s(&target, &[shape.len()], &shape);
        self.builder.node("Reshape", &[&x, &target], output, []);
        Ok(())
    }

    fn expand(&mut self, node: &Node, value: ValueId, output: &str) -> Result<(), Error> {
        let graph = self.graph;
        let x = self.read(node.inputs[0])?;
        let before = &graph.value(node.inputs[0]).shape;
        let after = &graph.value(value).shape;
        // Dimensions align at their ends; a dimension that is open already takes part with size one.
        let lead = after.len().saturating_sub(before.len());
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => Dim::Fixed(*size),
            open if axis >= lead && before[axis - lead] == *open => Dim::Fixed(1),
            open => *open,
        };
        let sizes: Vec<Dim> = after.iter().enumerate().map(size).collect();
        let target = self.builder.name(&format!("{output}_shape"));
        if sizes.iter().all(|size| matches!(size, Dim::Fixed(_))) {
            let sizes: Vec<i64> = sizes.iter().map(|size| to_i64(size.at(1))).collect();
            self.builder.int64s(&target, &[sizes.len()], &sizes);
        } else {
            let mut parts = Vec::new();
            for size in sizes {
                let part = self.size_tensor(output, size)?;
                parts.push(part);
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let axis = [("axis", Attribute::Int(0))];
            self.builder.node("Concat", &parts, &target, axis);
        }
        self.builder.node("Expand", &[&x, &target], output, []);
        Ok(())
    }

    /// A tensor of one `int64` that holds a size, open or not.
    fn size_tensor(&mut self, output: &str, size: Dim) -> Result<String, Error> {
        let (Dim::Fixed(number) | Dim::Batch(number)) = size;
        let constant = |lowering: &mut Self| {
            let name = lowering.builder.name(&format!("{output}_size"));
            lowering.builder.int64s(&name, &[1], &[to_i64(number)]);
            name
        };
        match size {
            Dim::Fixed(_) => Ok(constant(self)),
            Dim::Batch(1) => self.batch_size(),
            Dim::Batch(_) => {
                let (batch, factor) = (self.batch_size()?, constant(self));
                let name = self.builder.name(&format!("{output}_size"));
                self.builder.node("Mul", &[&batch, &factor], &name, []);
                Ok(name)
            }
        }
    }

    /// A tensor of one `int64`: the batch size of the input.
    fn batch_size(&mut self) -> Result<String, Error> {
        if let Some(name) = &self.batch {
            return Ok(name.clone());
        }
        let opened = |id: &ValueId| self.graph.value(*id).shape.first() == Some(&Dim::Batch(1));
        let input = self.graph.inputs.iter().find(|id| opened(id)).copied();
        let input = input.ok_or_else(|| Error::Graph {
            place: "the inputs".to_owned(),
            reason: "none has the batch size as its first dimension".to_owned(),
        })?;
        let input = self.read(input)?;
        let names = ["batch_shape", "batch_index", "batch_size"];
        let [shape, index, size] = names.map(|name| self.builder.name(name));
        self.builder.node("Shape", &[&input], &shape, []);
        self.builder.int64s(&index, &[1], &[0]);
        let axis = [("axis", Attribute::Int(0))];
        self.builder.node("Gather", &[&shape, &index], &size, axis);
        self.batch = Some(size.clone());
        Ok(size)
    }

    fn reduce(
        &mut self,
        operator: &'static str,
        node: &Node,
        axis: usize,
        output: &str,
    ) -> Result<(), Error> {
        let x = self.read(node.inputs[0])?;
        let axes = self.builder.name(&format!("{output}_axes"));
        self.builder.int64s(&axes, &[1], &[to_i64(axis)]);
        let keep = [("keepdims", Attribute::Int(1))];
        self.builder.node(operator, &[&x, &axes], output, keep);
        Ok(())
    }

    fn slice(&mut self, node: &Node, ranges: &[(usize, usize)], output: &str) -> Result<(), Error> {
        let before = &self.graph.value(node.inputs[0]).shape;
        let cut = ranges.iter().zip(before).enumerate().filter(|(_, (range, dim))| match dim {
            Dim::Fixed(size) => **range != (0, *size),
            Dim::Batch(_) => **range != (0, usize::MAX),
        });
        let cut: Vec<_> = cut.map(|(axis, (range, _))| (axis, *range)).collect();
        if cut.is_empty() {
            return self.simple("Identity", node, output, vec![]);
        }
        let x = self.read(node.inputs[0])?;
        let columns: [(&str, Vec<i64>); 3] = [
            ("starts", cut.iter().map(|(_, range)| to_i64(range.0)).collect()),
            ("ends", cut.iter().map(|(_, range)| i64::try_from(range.1).unwrap_or(i64::MAX)).collect()),
            ("axes", cut.iter().map(|(axis, _)| to_i64(*axis)).collect()),
        ];
        let [starts, ends, axes] = columns.map(|(word, numbers)| {
            let name = self.builder.name(&format!("{output}_{word}"));
            self.builder.int64s(&name, &[numbers.len()], &numbers);
            name
        });
        let inputs = [x.as_str(), &starts, &ends, &axes];
        self.builder.node("Slice", &inputs, output, []);
        Ok(())
    }

    /// To one element it is `GlobalAveragePool`, to a divisor of the input's size an `AveragePool` without overlap.
    fn adaptive_pool(&mut self, node: &Node, size: &[usize], output: &str) -> Result<(), Error> {
        if size.iter().all(|&n| n == 1) {
            return self.simple("GlobalAveragePool", node, output, vec![]);
        }
        let dims = self.graph.value(node.inputs[0]).shape.iter().skip(2);
        let whole = |(dim, &n): (&Dim, &usize)| match dim {
            Dim::Fixed(d) if n > 0 && d % n == 0 => Some(to_i64(d / n)),
            _ => None,
        };
        let kernel: Option<Vec<i64>> = dims.zip(size).map(whole).collect();
        let kernel = kernel.ok_or_else(|| Error::Unsupported {
            operation: "`adaptive_avg_pool`".to_owned(),
            place: output.to_owned(),
            reason: format!("the input's size is no multiple of the output's, {size:?}"),
        })?;
        let attributes =
            vec![("kernel_shape", Attribute::Ints(kernel.clone())), ("strides", Attribute::Ints(kernel))];
        self.simple("AveragePool", node, output, attributes)
    }

    fn unsupported(&self, index: usize, node: &Node, reason: &str) -> Error {
        Error::Unsupported {
            operation: self.graph.describe(node),
            place: format!("operation {index}"),
            reason: reason.to_owned(),
        }
    }
}

fn float(x: f64) -> Attribute {
    Attribute::Float(x as f32)
}

fn compares(op: Binary) -> bool {
    !matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div)
}

pub(super) fn binary(op: Binary) -> &'static str {
    match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Equal => "Equal",
        Binary::Greater => "Greater",
        Binary::GreaterEqual => "GreaterOrEqual",
        Binary::Lower => "Less",
        Binary::LowerEqual => "LessOrEqual",
    }
}

fn unary(op: Unary) -> &'static str {
    match op {
        Unary::Relu => "Relu",
        Unary::Gelu => "Gelu",
        Unary::Sigmoid => "Sigmoid",
        Unary::Tanh => "Tanh",
        Unary::Exp => "Exp",
        Unary::Log => "Log",
        Unary::Sqrt => "Sqrt",
        Unary::Abs => "Abs",
        Unary::Neg => "Neg",
        Unary::Erf => "Erf",
        Unary::Truncate => "Cast",
    }
}
