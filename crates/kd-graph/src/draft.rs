//! One recording of a forward pass at a concrete batch size, and how two of them become a graph.
//!
//! A number that is the same in both recordings belongs to the model. A size that is in proportion to the batch
//! size belongs to the data. Anything else means that the forward pass treats batches of different sizes
//! differently, and a graph of it would be wrong for some batch: an error that names the place.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::fuse::fuse_linear;
use crate::graph::{Dim, Graph, Node, Op, Origin, Param, Value, ValueId};
use crate::sizes::InputDim;

/// What was recorded at one batch size. Values are numbered in the order of the recording.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) batch: usize,
    pub(crate) params: Vec<Param>,
    pub(crate) values: Vec<DraftValue>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) input: ValueId,
    pub(crate) output: ValueId,
    pub(crate) sites: Vec<(String, ValueId)>,
}

#[derive(Debug, Clone)]
pub(crate) struct DraftValue {
    pub(crate) shape: Vec<usize>,
    pub(crate) origin: DraftOrigin,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DraftOrigin {
    Input,
    Param(usize),
    Constant(Contents),
    Node,
}

/// Values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Contents {
    Uniform(f32),
    Data(Vec<f32>),
}

impl Draft {
    /// Leaves out what neither the output nor a site depends on, after putting linear layers back together.
    /// How Burn computes a linear layer can depend on the batch size, so this comes before any comparison.
    pub(crate) fn simplified(mut self) -> Self {
        fuse_linear(&mut self);
        let live = self.live();
        let mut ids = vec![ValueId(0); self.values.len()];
        let mut kept = Vec::new();
        for (at, value) in self.values.iter().enumerate().filter(|(at, _)| live[*at]) {
            ids[at] = ValueId(kept.len());
            kept.push(value.clone());
        }
        let map = |id: &mut ValueId| *id = ids[id.0];
        self.values = kept;
        self.nodes.retain(|node| live[node.output.0]);
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(map);
            map(&mut node.output);
        }
        map(&mut self.input);
        map(&mut self.output);
        self.sites.iter_mut().for_each(|(_, id)| map(id));
        self
    }

    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.values.len()];
        live[self.input.0] = true;
        live[self.output.0] = true;
        self.sites.iter().for_each(|(_, id)| live[id.0] = true);
        for node in self.nodes.iter().rev() {
            if live[node.output.0] {
                node.inputs.iter().for_each(|id| live[id.0] = true);
            }
        }
        live
    }
}

/// One graph for every batch size, from simplified recordings at two; `varies` are the dimensions of values of `first`
/// that follow sizes of the input.
///
/// Operations that neither the output nor a site depends on are left out.
pub(crate) fn merge(
    first: Draft,
    second: Draft,
    varies: Vec<BTreeSet<usize>>,
    input_dims: Vec<InputDim>,
) -> Result<Graph, Error> {
    let merge = Merge { first, second, varies };
    if let Some((what, one, two)) = merge.first.difference(&merge.second) {
        return Err(merge.differs(what, one, two));
    }
    Ok(Graph { input_dims, ..merge.build()? })
}

impl Draft {
    /// The first difference between the operations of two recordings: what differs, and what it is in each.
    pub(crate) fn difference(&self, other: &Draft) -> Option<(String, String, String)> {
        for (i, (one, two)) in self.nodes.iter().zip(&other.nodes).enumerate() {
            if one.op.name() != two.op.name() || one.inputs != two.inputs || one.output != two.output {
                return Some((format!("operation {i}"), self.describe(one), other.describe(two)));
            }
        }
        if self.nodes.len() != other.nodes.len() || self.values.len() != other.values.len() {
            let what = "the number of operations".into();
            return Some((what, self.nodes.len().to_string(), other.nodes.len().to_string()));
        }
        if self.sites != other.sites || self.output != other.output {
            let names =
                |draft: &Draft| format!("{:?}", draft.sites.iter().map(|(name, _)| name).collect::<Vec<_>>());
            return Some(("the list of sites".into(), names(self), names(other)));
        }
        None
    }

    /// The last operation, of a recording that a panic ended.
    pub(crate) fn last(&self) -> Option<String> {
        self.nodes.last().map(|node| self.describe(node))
    }

    /// The operation of `whole` that comes behind those recorded here, which are its first ones; linear layers are one.
    pub(crate) fn next_of(&self, whole: &Draft) -> Option<String> {
        let begins = self.nodes.iter().zip(&whole.nodes).all(|(one, two)| one.op.name() == two.op.name());
        let mut fused = begins.then(|| whole.clone())?;
        fuse_linear(&mut fused);
        let live = fused.live();
        let next = fused.nodes.iter().skip(self.nodes.len()).find(|node| live[node.output.0])?;
        Some(fused.describe(next))
    }

    fn describe(&self, node: &Node) -> String {
        let param = node.inputs.iter().find_map(|id| match self.values[id.0].origin {
            DraftOrigin::Param(index) => Some(&self.params[index].path),
            _ => None,
        });
        match param {
            Some(path) => format!("`{}` of `{path}`", node.op.name()),
            None => format!("`{}`", node.op.name()),
        }
    }
}

struct Merge {
    first: Draft,
    second: Draft,
    varies: Vec<BTreeSet<usize>>,
}

impl Merge {
    fn build(self) -> Result<Graph, Error> {
        let mut graph = Graph {
            values: Vec::new(),
            nodes: Vec::new(),
            params: self.first.params.clone(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            sites: Vec::new(),
            input_dims: Vec::new(),
        };
        // Constants that grow with the batch become operations, so numbers change once more.
        let mut ids = vec![ValueId(0); self.first.values.len()];
        for (at, value) in self.first.values.iter().enumerate() {
            ids[at] = match &value.origin {
                DraftOrigin::Node => continue,
                DraftOrigin::Input => push(&mut graph, self.shape(at)?, Origin::Input(0)),
                DraftOrigin::Param(index) => push(&mut graph, self.shape(at)?, Origin::Param(*index)),
                DraftOrigin::Constant(contents) => self.constant(&mut graph, at, contents)?,
            };
        }
        for (one, two) in self.first.nodes.iter().zip(&self.second.nodes) {
            let op = self.op(one, two)?;
            let inputs = one.inputs.iter().map(|id| ids[id.0]).collect();
            ids[one.output.0] = push_node(&mut graph, op, inputs, self.shape(one.output.0)?);
        }
        for (at, varies) in self.varies.iter().enumerate() {
            let value = &mut graph.values[ids[at].0];
            let fixed = |d: &usize| matches!(value.shape[*d], Dim::Fixed(_));
            value.varies = varies.iter().copied().filter(fixed).collect();
        }
        graph.inputs = vec![ids[self.first.input.0]];
        graph.outputs = vec![ids[self.first.output.0]];
        graph.sites = self.first.sites.iter().map(|(name, id)| (name.clone(), ids[id.0])).collect();
        Ok(graph)
    }

    fn shape(&self, at: usize) -> Result<Vec<Dim>, Error> {
        let (one, two) = (&self.first.values[at], &self.second.values[at]);
        if one.shape.len() != two.shape.len() {
            let what = format!("the shape of {}", self.value_name(at));
            return Err(self.differs(what, format!("{:?}", one.shape), format!("{:?}", two.shape)));
        }
        let dims = one.shape.iter().zip(&two.shape).enumerate();
        dims.map(|(d, (&a, &b))| {
            let proportional = a * self.second.batch == b * self.first.batch && a % self.first.batch == 0;
            match a {
                _ if a == b => Ok(Dim::Fixed(a)),
                _ if proportional => Ok(Dim::Batch(a / self.first.batch)),
                _ => {
                    let what = format!("dimension {d} of {}", self.value_name(at));
                    Err(self.differs(what, a.to_string(), b.to_string()))
                }
            }
        })
        .collect()
    }

    fn op(&self, one: &Node, two: &Node) -> Result<Op, Error> {
        if let (Op::Slice(a), Op::Slice(b)) = (&one.op, &two.op) {
            let (sizes_a, sizes_b) =
                (&self.first.values[one.inputs[0].0].shape, &self.second.values[one.inputs[0].0].shape);
            let merged = (0..a.len()).map(|d| match () {
                () if sizes_a[d] != sizes_b[d] && a[d] == (0, sizes_a[d]) && b[d] == (0, sizes_b[d]) => {
                    Some((0, usize::MAX))
                }
                () if a[d] == b[d] => Some(a[d]),
                () => None,
            });
            if let Some(ranges) = merged.collect() {
                return Ok(Op::Slice(ranges));
            }
        } else if one.op == two.op {
            return Ok(one.op.clone());
        }
        let what = self.first.describe(one);
        Err(self.differs(what, format!("{:?}", one.op), format!("{:?}", two.op)))
    }

    fn constant(&self, graph: &mut Graph, at: usize, contents: &Contents) -> Result<ValueId, Error> {
        let shape = self.shape(at)?;
        let same = self.second.values[at].origin == self.first.values[at].origin;
        let open = shape.iter().any(|dim| matches!(dim, Dim::Batch(_)));
        let elements = self.first.values[at].shape.iter().product();
        match contents {
            Contents::Uniform(value) if open && same => {
                let one = vec![Dim::Fixed(1); shape.len()];
                let input = push(graph, one, Origin::Constant(vec![*value]));
                Ok(push_node(graph, Op::Expand, vec![input], shape))
            }
            Contents::Uniform(value) if same => {
                Ok(push(graph, shape, Origin::Constant(vec![*value; elements])))
            }
            Contents::Data(values) if same => Ok(push(graph, shape, Origin::Constant(values.clone()))),
            _ => {
                let what = format!("a constant of shape {:?}", self.first.values[at].shape);
                Err(self.differs(what, "one set of numbers".into(), "another".into()))
            }
        }
    }

    fn differs(&self, what: String, first: String, second: String) -> Error {
        Error::BatchDependent {
            what,
            first_batch: self.first.batch,
            first,
            second_batch: self.second.batch,
            second,
        }
    }

    fn value_name(&self, at: usize) -> String {
        let value = &self.first.values[at];
        match (&value.origin, self.first.nodes.iter().find(|node| node.output.0 == at)) {
            (_, Some(node)) => format!("the result of {}", self.first.describe(node)),
            (DraftOrigin::Param(index), _) => format!("`{}`", self.first.params[*index].path),
            (DraftOrigin::Constant(_), _) => "a constant".into(),
            _ => "the input".into(),
        }
    }
}

fn push(graph: &mut Graph, shape: Vec<Dim>, origin: Origin) -> ValueId {
    graph.values.push(Value { shape, origin, varies: Vec::new() });
    ValueId(graph.values.len() - 1)
}

fn push_node(graph: &mut Graph, op: Op, inputs: Vec<ValueId>, shape: Vec<Dim>) -> ValueId {
    let output = push(graph, shape, Origin::Node(graph.nodes.len()));
    graph.nodes.push(Node { op, inputs, output });
    output
}
