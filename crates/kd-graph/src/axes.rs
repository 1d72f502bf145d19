//! The channel axes of a graph: what has to go together when a channel goes.
//!
//! Every dimension of every value carries labels (see `labels.rs`), every operation says which dimensions of its
//! operands are the same thing, and what remains distinct in the end are the axes. No layer is annotated and
//! none is special: a residual connection couples because addition does, a depthwise convolution because its
//! groups are its channels, batch norm because its statistics have one entry a channel, a linear layer behind a
//! flatten because the reshape makes blocks of rows.
//!
//! Never cut are the model's inputs and outputs, constants of the forward pass, positions, embedding rows and
//! whatever meets an operation that the graph cannot describe; each says so.
//! The idea of merging symbols instead of tracing gradients is ModelOpt's; couplings are those of DepGraph
//! (Fang et al., 2023, arXiv:2301.12900).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::attention::{Attention, attentions};
use crate::blocks::blocks;
use crate::graph::{Dim, Graph, Node, Op, Origin, ValueId};
use crate::kind::{Kind, Trait, kind};
use crate::labels::{Extent, Label, Labels, Pin};

/// A set of units, such as the channels of a block, that exist in several tensors and can only go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What the units are.
    pub kind: Kind,
    /// Number of units.
    pub size: usize,
    /// Where the units are, ordered by parameter and dimension. Parameters and running statistics alike.
    pub members: Vec<Member>,
    /// Why no unit can be removed, if none can.
    pub pinned: Option<String>,
    /// Plain numbers of the model, such as a convolution's groups or a shape written in the forward pass, that
    /// have to follow a cut of this axis. Where there are any, cutting the parameters alone is not enough.
    pub numbers: Vec<String>,
    /// Operations that combine the units other than by a weight: layer norm, softmax, mean, sum over the axis.
    /// Across a mean or a norm, removing a unit is not the same as setting it to zero.
    pub across: Vec<String>,
}

/// A dimension of a parameter, as a part of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Path of the parameter or buffer.
    pub path: String,
    /// Dimension.
    pub dim: usize,
    /// For each unit of the axis, the indices along the dimension that go with it, ascending.
    pub index: Vec<Vec<usize>>,
}

/// All axes that parameters of the graph have, in the order of their first member.
///
/// Kernel positions of convolutions have no axis. Positions that only accompany channels, as rows and columns do
/// behind a flatten, have none either; where a dimension holds nothing but positions they are listed as pinned.
/// A dimension whose units the model takes one by one is listed as pinned: a network without one of them is another
/// program. Parameters that the forward pass does not use have no axis.
pub fn axes(graph: &Graph) -> Vec<Axis> {
    let mut solver = Solver::new(graph);
    graph.nodes.iter().for_each(|node| solver.node(node));
    solver.pin_outputs();
    solver.note_streams();
    solver.note_attention();
    solver.collect()
}

/// For each parameter and dimension, the indices that belong to each unit of a label.
type Places = BTreeMap<(usize, usize), Vec<BTreeSet<usize>>>;

/// A batch size that no size of a model is a multiple of: a prime.
const BATCH: usize = 1_000_003;

struct Solver<'a> {
    graph: &'a Graph,
    labels: Labels,
    batch: Extent,
    dims: Vec<Option<Vec<Extent>>>,
}

impl<'a> Solver<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut labels = Labels::default();
        let batch = labels.fresh(BATCH, Some(Pin::Position));
        Self { graph, labels, batch, dims: vec![None; graph.values.len()] }
    }

    /// What runs along the dimensions of a value; sources get labels when they are first read.
    fn get(&mut self, id: ValueId) -> Vec<Extent> {
        if let Some(dims) = &self.dims[id.0] {
            return dims.clone();
        }
        let value = self.graph.value(id);
        let kernel = self.kernel_dims(id);
        let mut dims = Vec::new();
        for (d, &dim) in value.shape.iter().enumerate() {
            let pin = match &value.origin {
                Origin::Input(_) => Some(Pin::Because(format!("dimension {d} of the model's input"))),
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

    fn kernel_dims(&self, id: ValueId) -> std::ops::Range<usize> {
        let weight = |node: &Node| {
            matches!(node.op, Op::Conv { .. } | Op::ConvTranspose { .. }) && node.inputs.get(1) == Some(&id)
        };
        match self.graph.consumers(id).any(weight) {
            true => 2..self.graph.value(id).shape.len(),
            false => 0..0,
        }
    }

    /// New labels for a dimension.
    fn open(&mut self, dim: Dim, pin: Option<Pin>) -> Extent {
        match dim {
            Dim::Fixed(size) => self.labels.fresh(size, pin),
            Dim::Batch(factor) => {
                let inner = self.labels.fresh(factor, Some(Pin::Position));
                let product = self.labels.product(&self.batch, &inner);
                product.unwrap_or_else(|| self.batch.clone())
            }
        }
    }

    fn node(&mut self, node: &Node) {
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

    fn conv(&mut self, node: &Node, x: Vec<Extent>, groups: usize) -> Vec<Extent> {
        let weight = self.get(node.inputs[1]);
        self.pin_positions(&x, node);
        let inputs = if groups == 1 {
            Some(weight[1].clone())
        } else {
            // Output channels are (group, member) and so are input channels: a group keeps as many of each.
            let group = self.labels.fresh(groups, None);
            let member = self.labels.fresh(self.labels.size(&weight[0]) / groups, None);
            if let Some(outputs) = self.labels.product(&group, &member) {
                self.labels.unify(&weight[0], &outputs);
            }
            let path = self.graph.param(node.inputs[1]).map_or("a convolution", |param| &param.path);
            self.labels.note_number(&group, &format!("groups of the convolution with `{path}`"));
            self.labels.product(&group, &weight[1])
        };
        match inputs {
            Some(inputs) => self.labels.unify(&x[1], &inputs),
            None => {
                let why =
                    Pin::Because(format!("{} has groups across a concatenation", self.graph.describe(node)));
                [&x[1], &weight[0], &weight[1]].into_iter().for_each(|dim| self.labels.pin(dim, &why));
            }
        }
        self.labels.note_trait(&x[1], Trait::ConvIn);
        self.labels.note_trait(&weight[0], Trait::ConvOut);
        self.per_unit(&weight[0], &node.inputs[2..]);
        let mut dims = vec![x[0].clone(), weight[0].clone()];
        let positions = self.graph.value(node.output).shape[2..].iter();
        dims.extend(positions.map(|&dim| self.open(dim, Some(Pin::Position))).collect::<Vec<_>>());
        dims
    }

    fn conv_transpose(&mut self, node: &Node, x: Vec<Extent>, groups: usize) -> Vec<Extent> {
        let weight = self.get(node.inputs[1]);
        self.pin_positions(&x, node);
        self.labels.unify(&x[1], &weight[0]);
        let outputs = if groups == 1 {
            weight[1].clone()
        } else {
            // Input channels are (group, member), and each group writes as many outputs.
            let group = self.labels.fresh(groups, None);
            let member = self.labels.fresh(self.labels.size(&weight[0]) / groups, None);
            if let Some(inputs) = self.labels.product(&group, &member) {
                self.labels.unify(&weight[0], &inputs);
            }
            let path = self.graph.param(node.inputs[1]).map_or("a convolution", |param| &param.path);
            self.labels.note_number(&group, &format!("groups of the convolution with `{path}`"));
            match self.labels.product(&group, &weight[1]) {
                Some(outputs) => outputs,
                None => {
                    let describe = self.graph.describe(node);
                    let why = Pin::Because(format!("{describe} has groups across a concatenation"));
                    [&weight[0], &weight[1]].into_iter().for_each(|dim| self.labels.pin(dim, &why));
                    let size = groups * self.labels.size(&weight[1]);
                    self.labels.fresh(size, Some(why))
                }
            }
        };
        self.labels.note_trait(&x[1], Trait::ConvIn);
        self.labels.note_trait(&outputs, Trait::ConvOut);
        self.per_unit(&outputs, &node.inputs[2..]);
        let mut dims = vec![x[0].clone(), outputs];
        let positions = self.graph.value(node.output).shape[2..].iter();
        dims.extend(positions.map(|&dim| self.open(dim, Some(Pin::Position))).collect::<Vec<_>>());
        dims
    }

    fn matmul(&mut self, node: &Node, x: Vec<Extent>) -> Vec<Extent> {
        let y = self.get(node.inputs[1]);
        let rank = x.len();
        self.labels.unify(&x[rank - 1], &y[rank - 2]);
        for (id, dims) in [(node.inputs[0], &x), (node.inputs[1], &y)] {
            if self.is_weight(id) {
                dims[..dims.len() - 2].iter().for_each(|dim| self.labels.note_trait(dim, Trait::Expert));
            }
        }
        let mut dims = self.broadcast(&x[..rank - 2], &y[..rank - 2]);
        dims.extend([x[rank - 2].clone(), y[rank - 1].clone()]);
        dims
    }

    /// Whether a value is a parameter, or one in another shape.
    fn is_weight(&self, id: ValueId) -> bool {
        match self.graph.producer(id) {
            Some(Node { op: Op::Reshape | Op::Permute(_), inputs, .. }) => self.is_weight(inputs[0]),
            Some(_) => false,
            None => self.graph.param(id).is_some(),
        }
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
                    let repeated = self.open(dim, None);
                    self.labels.note_number(&repeated, &shape_name("an expansion", out));
                    self.labels.note_trait(&repeated, Trait::Repeated);
                    repeated
                }
            });
        }
        dims
    }

    /// Dimensions of an elementwise result: aligned at the right, where sizes of one are repeated.
    fn broadcast(&mut self, x: &[Extent], y: &[Extent]) -> Vec<Extent> {
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
    fn per_unit(&mut self, units: &Extent, vectors: &[ValueId]) {
        for &id in vectors {
            let vector = self.get(id);
            self.labels.unify(units, &vector[0]);
        }
    }

    /// Dimensions over which a window slides.
    fn pin_positions(&mut self, x: &[Extent], node: &Node) {
        let why = Pin::Because(format!("{} slides over it", self.graph.describe(node)));
        x[2..].iter().for_each(|dim| self.labels.pin(dim, &why));
    }

    fn pin_outputs(&mut self) {
        for &id in &self.graph.outputs {
            for (d, dim) in self.get(id).iter().enumerate() {
                self.labels.pin(dim, &Pin::Because(format!("dimension {d} of the model's output")));
            }
        }
    }

    fn note_streams(&mut self) {
        for block in blocks(self.graph) {
            let dims = self.get(block.stream);
            dims.iter().for_each(|dim| self.labels.note_trait(dim, Trait::Stream));
        }
    }

    fn note_attention(&mut self) {
        for Attention { query, key, value } in attentions(self.graph) {
            let [query, key, value] = [query, key, value].map(|id| self.get(id));
            let (inner, outer) = (query.len() - 2, query.len() - 1);
            self.labels.note_trait(&query[outer], Trait::QueryKey);
            self.labels.note_trait(&value[value.len() - 1], Trait::Value);
            self.labels.note_trait(&query[inner], Trait::Place);
            self.labels.note_trait(&key[key.len() - 1], Trait::Place);
            let heads = |labels: &Labels, dims: &[Extent]| -> BTreeSet<Label> {
                let leaves = dims.iter().flat_map(|dim| labels.leaves(dim));
                leaves.filter(|&label| labels.facts(label).pin != Some(Pin::Position)).collect()
            };
            let (own, met) =
                (heads(&self.labels, &query[..inner]), heads(&self.labels, &key[..key.len() - 2]));
            let repeated = |label: &Label| self.labels.facts(*label).traits.contains(&Trait::Repeated);
            let (shared, queries): (Vec<Label>, Vec<Label>) =
                own.into_iter().partition(|label| met.contains(label) && !repeated(label));
            for &label in &shared {
                self.labels.note_label(label, if queries.is_empty() { Trait::Head } else { Trait::Shared });
            }
            queries.into_iter().for_each(|label| self.labels.note_label(label, Trait::Query));
        }
    }

    fn collect(&self) -> Vec<Axis> {
        let mut members: BTreeMap<Label, Places> = BTreeMap::new();
        let mut shown: BTreeSet<Label> = BTreeSet::new();
        for (at, value) in self.graph.values.iter().enumerate() {
            let (Origin::Param(param), Some(dims)) = (&value.origin, &self.dims[at]) else { continue };
            let kernel = self.kernel_dims(ValueId(at));
            for (d, dim) in dims.iter().enumerate().filter(|(d, _)| !kernel.contains(d)) {
                if let Some(label) = self.labels.scattered(dim) {
                    let units = (0..self.labels.facts(label).size).map(|unit| BTreeSet::from([unit]));
                    members.entry(label).or_default().insert((*param, d), units.collect());
                    shown.insert(label);
                    continue;
                }
                let leaves = self.labels.leaves(dim);
                let position = |label: &Label| {
                    let facts = self.labels.facts(*label);
                    facts.pin == Some(Pin::Position) || facts.traits.contains(&Trait::Place)
                };
                let only_positions = leaves.iter().all(position);
                shown.extend(leaves.iter().filter(|label| only_positions || !position(label)));
                for (index, units) in self.labels.units(dim).into_iter().enumerate() {
                    for (label, unit) in units {
                        let size = self.labels.facts(label).size;
                        let places = members.entry(label).or_default().entry((*param, d));
                        places.or_insert_with(|| vec![BTreeSet::new(); size])[unit].insert(index);
                    }
                }
            }
        }
        let mut axes: Vec<_> = members.into_iter().filter(|(label, _)| shown.contains(label)).collect();
        axes.sort_by_key(|(label, places)| (places.keys().next().copied(), *label));
        axes.into_iter().map(|(label, places)| self.axis(label, places)).collect()
    }

    fn axis(&self, label: Label, places: Places) -> Axis {
        let facts = self.labels.facts(label);
        let apart = self.labels.is_scattered(label);
        let pinned = match &facts.pin {
            Some(Pin::Position) => Some("positions in space, time or batch".to_owned()),
            Some(Pin::Constant) => Some("a constant of the forward pass has this size".into()),
            Some(Pin::Because(why)) => Some(why.clone()),
            None => apart.then(|| "each of its units is taken by itself".into()),
        };
        let member = |((param, dim), index): ((usize, usize), Vec<BTreeSet<usize>>)| Member {
            path: self.graph.params[param].path.clone(),
            dim,
            index: index.into_iter().map(|units| units.into_iter().collect()).collect(),
        };
        Axis {
            kind: kind(&facts.traits, facts.pin == Some(Pin::Position)),
            size: facts.size,
            members: places.into_iter().map(member).collect(),
            numbers: facts.numbers.iter().filter(|_| pinned.is_none()).cloned().collect(),
            pinned,
            across: facts.across.iter().cloned().collect(),
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
