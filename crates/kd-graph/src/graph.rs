//! The graph that everything else reads: values, nodes, parameters, and the sites that the model named.
//!
//! It is a plain description without a single Burn type, so that costs, coupled axes, batch-norm folding and
//! the lowering to ONNX do not depend on how Burn records operations. `capture` fills it; nothing else
//! looks at Burn's own intermediate representation.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::sizes::InputDim;

/// Index of a value in [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub usize);

/// One dimension of a value's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dim {
    /// A size that the model fixes.
    Fixed(usize),
    /// `factor` times the batch size: 1 for `[batch, …]`, more where a reshape merged the batch with others.
    Batch(usize),
}

impl Dim {
    /// The size of the dimension for a batch of `batch` examples.
    pub fn at(self, batch: usize) -> usize {
        match self {
            Dim::Fixed(size) => size,
            Dim::Batch(factor) => factor * batch,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// The model's input with this index.
    Input(usize),
    /// The parameter or buffer with this index in [`Graph::params`].
    Param(usize),
    /// A constant that the forward pass creates, row-major. Its shape has no batch dimension: a uniform
    /// constant that grows with the batch is one element with an [`Op::Expand`] behind it.
    Constant(Vec<f32>),
    /// The result of the node with this index in [`Graph::nodes`].
    Node(usize),
}

/// A tensor of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Shape, the batch dimensions marked.
    pub shape: Vec<Dim>,
    /// Producer.
    pub origin: Origin,
    /// Dimensions of fixed size that have another one where the input does: those of the data, and those that a reshape
    /// merged with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub varies: Vec<usize>,
}

/// A parameter (trainable) or a buffer (running statistics) of the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Dotted path in the module, as Burn's visitor spells it: `blocks.0.conv.weight`.
    pub path: String,
    /// Type of the layer that holds it, without Burn's prefix: `Conv2d`, `Linear`, `BatchNorm`.
    pub layer: String,
    /// Shape as Burn stores it (`Linear` weights are `[in, out]`).
    pub shape: Vec<usize>,
    /// Whether it is a buffer that no gradient reaches.
    pub buffer: bool,
}

/// Geometry of a convolution or a pooling window; each list has one entry a spatial dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel size.
    pub kernel: Vec<usize>,
    /// Stride.
    pub stride: Vec<usize>,
    /// Padding before and after.
    pub padding: Vec<(usize, usize)>,
    /// Dilation.
    pub dilation: Vec<usize>,
}

/// An operation. Inputs are listed in the order given here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// `x [N, C, …], weight [O, C/groups, …], bias [O]?`; one or two spatial dimensions.
    Conv {
        /// Kernel geometry.
        window: Window,
        /// Groups.
        groups: usize,
    },
    /// `x [N, C, …], weight [C, O/groups, …], bias [O]?`: the transpose of a convolution from O to C channels.
    ConvTranspose {
        /// Kernel geometry.
        window: Window,
        /// Zeros behind the output, one entry a spatial dimension.
        extra: Vec<usize>,
        /// Groups.
        groups: usize,
    },
    /// `x [.., in], weight [in, out], bias [out]?`
    Linear,
    /// `lhs [.., m, k], rhs [.., k, n]`
    Matmul,
    /// `x [N, C, …], gamma [C], beta [C], mean [C], variance [C]`, in inference.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// `x [.., d], gamma [d], beta [d]?`
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// `x [N, C, …]`
    MaxPool {
        /// Window geometry.
        window: Window,
        /// Whether the output size is rounded up.
        ceil: bool,
    },
    /// `x [N, C, …]`
    AvgPool {
        /// Window geometry.
        window: Window,
        /// Whether padding counts in the mean.
        count_pad: bool,
        /// Whether the output size is rounded up.
        ceil: bool,
    },
    /// `x [N, C, …]`, to a fixed output size.
    AdaptiveAvgPool {
        /// Output size, one entry a spatial dimension.
        output: Vec<usize>,
    },
    /// `x [N, C, …]`, its places resampled to a fixed output size.
    Resize {
        /// Output size, one entry a spatial dimension.
        output: Vec<usize>,
        /// How: `nearest`, `bilinear`, with what else decides it.
        mode: String,
    },
    /// `lhs, rhs`, with broadcasting.
    Binary(Binary),
    /// `mask, yes, no`, with broadcasting: `yes` where the mask is not 0, else `no`.
    Where,
    /// `x` and a number: `x op value`.
    Scalar(Binary, f64),
    /// `x`, element by element.
    Unary(Unary),
    /// `x`, no less than `min` and no more than `max`.
    Clamp {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// `x`, to the shape of the output value.
    Reshape,
    /// `x`; `out[i] = in[perm[i]]`.
    Permute(Vec<usize>),
    /// `x`, repeated along dimensions of size one to the shape of the output value.
    Expand,
    /// `x`, along one axis.
    Softmax(usize),
    /// `x`, along one axis.
    LogSoftmax(usize),
    /// `x`, mean along one axis, which stays with size one.
    MeanDim(usize),
    /// `x`, sum along one axis, which stays with size one.
    SumDim(usize),
    /// `x`, the largest elements along one axis in descending order, as many as the output value has.
    TopK(usize),
    /// Any number of values, along one axis.
    Concat(usize),
    /// `x`; one `(start, end)` a dimension, step one. A batch dimension that is kept whole has
    /// `(0, usize::MAX)`, since its size is open.
    Slice(Vec<(usize, usize)>),
    /// `weights [n, d], indices [..]`; the indices are whole numbers of `0..n`. Rows that a model selects are looked up
    /// as well.
    Embedding,
    /// An operation that the graph cannot describe; its axes are pinned and it cannot be exported.
    Opaque(String),
}

impl Op {
    /// A short name: `conv`, `batch_norm`, or the name that Burn gives an operation that is not understood.
    pub fn name(&self) -> &str {
        match self {
            Op::Conv { .. } => "conv",
            Op::ConvTranspose { .. } => "conv_transpose",
            Op::Linear => "linear",
            Op::Matmul => "matmul",
            Op::BatchNorm { .. } => "batch_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::MaxPool { .. } => "max_pool",
            Op::AvgPool { .. } => "avg_pool",
            Op::AdaptiveAvgPool { .. } => "adaptive_avg_pool",
            Op::Resize { .. } => "resize",
            Op::Binary(binary) | Op::Scalar(binary, _) => binary.name(),
            Op::Unary(unary) => unary.name(),
            Op::Clamp { .. } => "clamp",
            Op::Where => "where",
            Op::Reshape => "reshape",
            Op::Permute(_) => "permute",
            Op::Expand => "expand",
            Op::Softmax(_) => "softmax",
            Op::LogSoftmax(_) => "log_softmax",
            Op::MeanDim(_) => "mean_dim",
            Op::SumDim(_) => "sum_dim",
            Op::TopK(_) => "topk",
            Op::Concat(_) => "concat",
            Op::Slice(_) => "slice",
            Op::Embedding => "embedding",
            Op::Opaque(name) => name,
        }
    }
}

/// Arithmetic of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// 1 where `a = b`, else 0
    Equal,
    /// 1 where `a > b`, else 0
    Greater,
    /// 1 where `a ≥ b`, else 0
    GreaterEqual,
    /// 1 where `a < b`, else 0
    Lower,
    /// 1 where `a ≤ b`, else 0
    LowerEqual,
}

impl Binary {
    fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Equal => "equal",
            Binary::Greater => "greater",
            Binary::GreaterEqual => "greater_equal",
            Binary::Lower => "lower",
            Binary::LowerEqual => "lower_equal",
        }
    }
}

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unary {
    /// `max(x, 0)`
    Relu,
    /// `x · Φ(x)`, exact.
    Gelu,
    /// Logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Absolute value.
    Abs,
    /// Negation.
    Neg,
    /// Error function.
    Erf,
    /// The whole number next to `x` on the side of zero, as a conversion to integers takes it.
    Truncate,
}

impl Unary {
    fn name(self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::Gelu => "gelu",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Abs => "abs",
            Unary::Neg => "neg",
            Unary::Erf => "erf",
            Unary::Truncate => "truncate",
        }
    }
}

/// One operation of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its inputs, in the order that the operation states.
    pub inputs: Vec<ValueId>,
    /// Its result.
    pub output: ValueId,
}

/// A model's forward pass for one input shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// All values.
    pub values: Vec<Value>,
    /// Operations in execution order.
    pub nodes: Vec<Node>,
    /// Parameters and buffers that the module holds, in visiting order, used or not.
    pub params: Vec<Param>,
    /// Model inputs.
    pub inputs: Vec<ValueId>,
    /// Model outputs.
    pub outputs: Vec<ValueId>,
    /// Sites that the forward pass named (`Tap::at`), with the value seen there.
    pub sites: Vec<(String, ValueId)>,
    /// The dimensions of the input without the batch: which the model leaves to the data, and why it fixes the others.
    #[serde(default)]
    pub input_dims: Vec<InputDim>,
}

impl Graph {
    /// The value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The shape of a value for a batch of `batch` examples.
    pub fn shape(&self, id: ValueId, batch: usize) -> Vec<usize> {
        self.value(id).shape.iter().map(|dim| dim.at(batch)).collect()
    }

    /// The node that produces a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        match self.value(id).origin {
            Origin::Node(index) => Some(&self.nodes[index]),
            _ => None,
        }
    }

    /// The parameter behind a value, if it is one.
    pub fn param(&self, id: ValueId) -> Option<&Param> {
        match self.value(id).origin {
            Origin::Param(index) => Some(&self.params[index]),
            _ => None,
        }
    }

    /// An operation in words, for messages: its name and the first parameter that it reads.
    pub fn describe(&self, node: &Node) -> String {
        match node.inputs.iter().find_map(|&id| self.param(id)) {
            Some(param) => format!("`{}` of `{}`", node.op.name(), param.path),
            None => format!("`{}`", node.op.name()),
        }
    }

    /// An operation in words, for messages: as [`Graph::describe`], and one that reads no parameter with the nearest one
    /// before it.
    pub fn locate(&self, node: &Node) -> String {
        let described = self.describe(node);
        match self.nearest_param(node) {
            Some(path) if !node.inputs.iter().any(|&input| self.param(input).is_some()) => {
                format!("{described} behind `{path}`")
            }
            _ => described,
        }
    }

    /// The parameter that is the fewest operations before a node; of several, that of the first operand.
    fn nearest_param(&self, node: &Node) -> Option<&str> {
        let mut seen = BTreeSet::new();
        let mut near: VecDeque<ValueId> = node.inputs.iter().copied().collect();
        while let Some(value) = near.pop_front() {
            if let Some(param) = self.param(value) {
                return Some(&param.path);
            }
            if seen.insert(value) {
                near.extend(self.producer(value).into_iter().flat_map(|node| &node.inputs));
            }
        }
        None
    }

    /// The nodes that read a value.
    pub fn consumers(&self, id: ValueId) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.inputs.contains(&id))
    }
}
