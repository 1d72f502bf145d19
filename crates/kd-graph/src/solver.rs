//! What each operation says of its operands' dimensions.
//!
//! One rule an operation; those with weights stand in `solver/weights.rs`, and what dimensions are called is noted in
//! `solver/names.rs`.

mod names;
mod weights;

use crate::graph::{Dim, Graph, Node, Op, Origin, ValueId};
use crate::kind::Trait;
use crate::labels::{Extent, Labels, Pin};

/// A batch size that no size of a model is a multiple of: a prime.
const BATCH: usize = 1_000_003;

/// Labels of the dimensions of all values.
pub(crate) struct Solver<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) labels: Labels,
    batch: Extent,
    pub(crate) dims: Vec<Option<Vec<Extent>>>,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(graph: &'a Graph) -> Self {
        let mut labels = Labels::default();
        let batch = labels.fresh(BATCH, Some(Pin::Position));
        Self { graph, labels, batch, dims: vec![None; graph.values.len()] }
    }

    /// What runs along the dimensions of a value; sources get labels when they are first read.
    pub(crate) fn get(&mut self, id: ValueId) -> Vec<Extent> {
        if let Some(dims) = &self.dims[id.0] {
            return dims.clone();
        }
        let value = self.graph.value(id);
        let kernel = self.kernel_dims(id);
        let mut dims = Vec::new();
        for (d, &dim) in value.shape.iter().enumerate() {
            let pin = match &value.origin {
                Origin::Input(_) => Some(Pin::Because(format!("dimension {d} of the model's input"))),
                Origin::Constant(_) if self.graph.of_data(id, d) => Some(Pin::Position),
                Origin::Constant(values) if !repeats(values, &value.shape, d) => Some(Pin::Constant),
                Origin::Param(_) if kernel.contains(&d) => Some(Pin::Position),
                Origin::Param(_) | Origin::Node(_) | Origin::Constant(_) => None,
            };
            dims.push(self.open(dim, pin));
            if matches!(value.origin, Origin::Constant(_)) {
                let number = format!("the size {} of a constant", dim.at(BATCH));
                self.labels.note_number(&dims[d], &number);
            }
        }
        self.dims[id.0] = Some(dims.clone());
        dims
    }

    pub(crate) fn kernel_dims(&self, id: ValueId) -> std::ops::Range<usize> {
        let weight = |node: &Node| {
            matches!(node.op, Op::Conv { .. } | Op::ConvTranspose { .. }) && node.inputs.get(1) == Some(&id)
        };
        match self.graph.consumers(id).any(weight) {
            true => 2..self.graph.value(id).shape.len(),
            false => 0..0,
        }
    }

    /// New labels for a dimension.
    pub(crate) fn open(&mut self, dim: Dim, pin: Option<Pin>) -> Extent {
        match dim {
            Dim::Fixed(size) => self.labels.fresh(size, pin),
            Dim::Batch(factor) => {
                let inner = self.labels.fresh(factor, Some(Pin::Position));
                let product = self.labels.product(&self.batch, &inner);
                product.unwrap_or_else(|| self.batch.clone())
            }
        }
    }

    pub(crate) fn node(&mut self, node: &Node) {
        let graph = self.graph;
        let out = &graph.value(node.output).shape;
        let mut x = match node.inputs.first() {
            Some(&id) => self.get(id),
            None => Vec::new(),
        };
        let dims = match &node.op {
            Op::Conv { groups, .. } => self.conv(node, x, *groups),
            Op::ConvTranspose { groups, .. } => self.conv_transpose(node, x, *groups),
            Op::Linear => {
                let weight = self.get(node.inputs[1]);
                let last = x.len() - 1;
                self.labels.unify(&x[last], &weight[0]);
                x[last] = weight[1].clone();
                self.labels.note_trait(&x[last], Trait::LinearOut);
                self.per_unit(&x[last], &node.inputs[2..]);
                x
            }
            Op::Matmul => self.matmul(node, x),
            Op::BatchNorm { .. } => {
                self.per_unit(&x[1], &node.inputs[1..]);
                x
            }
            Op::LayerNorm { .. } => {
                let last = x.len() - 1;
                self.per_unit(&x[last], &node.inputs[1..]);
                self.labels.note_across(&x[last], &graph.describe(node));
                x
            }
            Op::MaxPool { .. } | Op::AvgPool { .. } | Op::AdaptiveAvgPool { .. } | Op::Resize { .. } => {
                self.pin_positions(&x, node);
                let positions =
                    out[2..].iter().map(|&dim| self.open(dim, Some(Pin::Position))).collect::<Vec<_>>();
                x.truncate(2);
                x.extend(positions);
                x
            }
            Op::Binary(_) => {
                let y = self.get(node.inputs[1]);
                self.broadcast(&x, &y)
            }
            Op::Where => {
                let (yes, no) = (self.get(node.inputs[1]), self.get(node.inputs[2]));
                let chosen = self.broadcast(&yes, &no);
                self.broadcast(&x, &chosen)
            }
            Op::Scalar(..) | Op::Unary(_) | Op::Clamp { .. } => x,
            Op::Reshape => {
                let sizes: Vec<usize> = out.iter().map(|dim| dim.at(BATCH)).collect();
                self.labels.reshape(&x, &sizes, &shape_name("a reshape", out))
            }
            Op::Permute(order) => order.iter().map(|&d| x[d].clone()).collect(),
            Op::Expand => self.expand(node, &x),
            Op::Softmax(axis) | Op::LogSoftmax(axis) => {
                self.labels.note_across(&x[*axis], &graph.describe(node));
                x
            }
            Op::MeanDim(axis) | Op::SumDim(axis) => {
                self.labels.note_across(&x[*axis], &graph.describe(node));
                x[*axis] = Extent::unit();
                x
            }
            Op::TopK(axis) => {
                self.labels.note_across(&x[*axis], &graph.describe(node));
                x[*axis] = self.open(out[*axis], Some(Pin::Because("ranks of a top-k".into())));
                x
            }
            Op::Concat(axis) => self.concat(node, x, *axis),
            Op::Slice(ranges) => {
                for (dim, &(start, end)) in x.iter_mut().zip(ranges) {
                    let size = self.labels.size(dim);
                    if (start, end.min(size)) != (0, size) {
                        let number = format!("{} from {start} to {end}", graph.locate(node));
                        self.labels.note_number(dim, &number);
                        *dim = self.labels.slice(dim, start, end.min(size));
                    }
                }
                x
            }
            Op::Embedding => {
                let why = Pin::Because("rows of an embedding".into());
                self.labels.pin(&x[0], &why);
                self.labels.note_trait(&x[0], Trait::Row);
                self.labels.note_trait(&x[1], Trait::Table);
                let mut dims = self.get(node.inputs[1]);
                dims.iter().for_each(|dim| self.labels.note_trait(dim, Trait::Place));
                dims.push(x[1].clone());
                dims
            }
            Op::Opaque(_) => {
                let why = Pin::Because(format!("it meets {}, which is not understood", graph.locate(node)));
                for &id in &node.inputs {
                    self.get(id).iter().for_each(|dim| self.labels.pin(dim, &why));
                }
                out.iter().map(|&dim| self.open(dim, Some(why.clone()))).collect()
            }
        };
        self.dims[node.output.0] = Some(dims);
    }

    fn concat(&mut self, node: &Node, first: Vec<Extent>, axis: usize) -> Vec<Extent> {
        let mut dims = first;
        for &id in &node.inputs[1..] {
            let next = self.get(id);
            for (d, (dim, next)) in dims.iter_mut().zip(next).enumerate() {
                match d == axis {
                    true => *dim = Extent::concat([dim.clone(), next]),
                    false => self.labels.unify(dim, &next),
                }
            }
        }
        dims
    }

    fn expand(&mut self, node: &Node, x: &[Extent]) -> Vec<Extent> {
        let out = &self.graph.value(node.output).shape;
        let missing = out.len() - x.len();
        let mut dims = Vec::new();
        for (d, &dim) in out.iter().enumerate() {
            dims.push(match d.checked_sub(missing).map(|d| &x[d]) {
                Some(same) if self.labels.size(same) == dim.at(BATCH) => same.clone(),
                // All along it is the same, so that any number of them is right: the one that the model wants.
                _ => {
                    let pin = self.graph.of_data(node.output, d).then_some(Pin::Position);
                    let repeated = self.open(dim, pin);
                    self.labels.note_number(&repeated, &shape_name("an expansion", out));
                    self.labels.note_trait(&repeated, Trait::Repeated);
                    repeated
                }
            });
        }
        dims
    }

    /// Dimensions of an elementwise result: aligned at the right, where sizes of one are repeated.
    pub(crate) fn broadcast(&mut self, x: &[Extent], y: &[Extent]) -> Vec<Extent> {
        let rank = x.len().max(y.len());
        let at = |dims: &[Extent], d: usize| match (d + dims.len()).checked_sub(rank) {
            Some(d) => dims[d].clone(),
            None => Extent::unit(),
        };
        let mut dims = Vec::new();
        for d in 0..rank {
            let (a, b) = (at(x, d), at(y, d));
            match (self.labels.size(&a), self.labels.size(&b)) {
                (_, 1) => dims.push(a),
                (1, _) => dims.push(b),
                _ => {
                    self.labels.unify(&a, &b);
                    dims.push(a);
                }
            }
        }
        dims
    }

    /// Vectors with an entry for each unit: biases, scales, statistics.
    pub(crate) fn per_unit(&mut self, units: &Extent, vectors: &[ValueId]) {
        for &id in vectors {
            let vector = self.get(id);
            self.labels.unify(units, &vector[0]);
        }
    }

    /// Dimensions over which a window slides.
    pub(crate) fn pin_positions(&mut self, x: &[Extent], node: &Node) {
        let why = Pin::Because(format!("{} slides over it", self.graph.describe(node)));
        x[2..].iter().for_each(|dim| self.labels.pin(dim, &why));
    }

    pub(crate) fn pin_outputs(&mut self) {
        for &id in &self.graph.outputs {
            for (d, dim) in self.get(id).iter().enumerate() {
                self.labels.pin(dim, &Pin::Because(format!("dimension {d} of the model's output")));
            }
        }
    }
}

/// Whether a constant of this shape has the same values all along a dimension.
fn repeats(values: &[f32], shape: &[Dim], d: usize) -> bool {
    let inner: usize = shape[d + 1..].iter().map(|dim| dim.at(1)).product();
    let size = shape[d].at(1);
    let first = |i: usize| i / (inner * size) * inner * size + i % inner;
    values.iter().enumerate().all(|(i, value)| value.to_bits() == values[first(i)].to_bits())
}

fn shape_name(what: &str, shape: &[Dim]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Batch(1) => "batch".into(),
            Dim::Batch(factor) => format!("{factor}·batch"),
        })
        .collect();
    format!("{what} to [{}]", sizes.join(", "))
}
