//! Which layers of a captured model have a weight, and where their inputs can be had.
//!
//! Inputs are seen at sites. Between a site and a layer there may be operations that only pick and move numbers; they
//! are repeated on the host. A layer behind anything else is out of reach, and the reason says what stands there.

use std::collections::BTreeMap;

use kd_deploy::{Array, safetensors};
use kd_graph::{Graph, Node, Op, Unary, ValueId, Window, node_macs};

/// A convolution, a linear layer or a matrix product with a parameter, seen as `[rows, columns]` times its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Path of the weight in the module.
    pub path: String,
    /// Its name in PyTorch's spelling.
    pub name: String,
    /// Index of the operation in [`Graph::nodes`].
    pub node: usize,
    /// What it does with its inputs.
    pub kind: Kind,
    /// Outputs, of all groups.
    pub rows: usize,
    /// Inputs of an output: of a convolution, input channels / groups · elements of the kernel.
    pub columns: usize,
    /// Groups; outputs of a group are neighbors.
    pub groups: usize,
    /// Path of its own bias.
    pub bias: Option<String>,
    /// Multiplications at batch 1.
    pub macs: u64,
    /// Its inputs.
    pub route: Result<Route, String>,
}

/// How inputs meet the weight.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Weight `[in, out]`; the last dimension of the inputs is multiplied.
    Linear,
    /// Weight `[out, in / groups, …]`.
    Conv(Window),
    /// Weight `[.., k, n]` on the right of a product, its leading dimensions of size one.
    Right,
    /// Weight `[.., m, k]` on the left of a product: the columns of the other side are the inputs.
    Left,
}

/// From a site to the value that a layer multiplies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The site.
    pub site: String,
    /// The value there.
    pub seen: ValueId,
    /// Indices in [`Graph::nodes`] of what lies between, from the site on.
    pub steps: Vec<usize>,
    /// The value that the layer multiplies.
    pub data: ValueId,
}

/// All layers with a weight, in the order of the forward pass.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let mut found: Vec<Layer> = (0..graph.nodes.len())
        .flat_map(|at| (0..2).filter_map(move |position| layer(graph, at, position)))
        .collect();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    found.iter().for_each(|layer| *uses.entry(layer.path.clone()).or_default() += 1);
    for layer in &mut found {
        // Two layers with one weight have two sets of inputs, and codes for one of them would serve the other badly.
        if uses[&layer.path] > 1 || readers(graph, &layer.path) > 1 {
            layer.route = Err("its weight is read by another operation too".into());
        }
    }
    found
}

/// Of the layers `wanted`, those that see one value at a site, in the order of the first of them: all layers before that
/// value are done when their turn comes.
pub(crate) fn places(layers: &[Layer], wanted: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut places: Vec<Vec<usize>> = Vec::new();
    let seen = |at: usize| layers[at].route.as_ref().ok().map(|route| route.seen);
    for at in wanted {
        let found = seen(at).and_then(|value| places.iter().position(|place| seen(place[0]) == Some(value)));
        match found {
            Some(place) => places[place].push(at),
            None => places.push(vec![at]),
        }
    }
    places
}

impl Layer {
    /// The weight as `[rows, columns]`, row-major.
    pub fn matrix(&self, weight: &Array) -> Vec<f32> {
        self.in_rows(weight.data())
    }

    /// What belongs to each element of the weight, in the order of [`Layer::matrix`].
    pub(super) fn in_rows<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match self.kind {
            Kind::Conv(_) | Kind::Left => values.to_vec(),
            Kind::Linear | Kind::Right => transposed(values, self.columns, self.rows),
        }
    }

    /// The inverse of [`Layer::matrix`], in the shape of `like`.
    pub fn array(&self, matrix: &[f32], like: &Array) -> Array {
        let values = match self.kind {
            Kind::Conv(_) | Kind::Left => matrix.to_vec(),
            Kind::Linear | Kind::Right => transposed(matrix, self.rows, self.columns),
        };
        Array::new(like.shape(), values).expect("as many values as before")
    }

    /// The dimension of the weight that inputs meet, if it is one by itself.
    pub fn input_dim(&self) -> Option<usize> {
        match self.kind {
            Kind::Linear => Some(0),
            Kind::Conv(_) => Some(1),
            Kind::Right | Kind::Left => None,
        }
    }

    /// Rows of a group.
    pub fn rows_of_group(&self) -> usize {
        self.rows / self.groups
    }

    /// Weights.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether there is no weight, which no model has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
}

/// Operations that read a parameter.
pub(super) fn readers(graph: &Graph, path: &str) -> usize {
    graph.nodes.iter().filter(|node| reads(graph, node, path)).count()
}

fn reads(graph: &Graph, node: &Node, path: &str) -> bool {
    node.inputs.iter().any(|&id| graph.param(id).is_some_and(|param| param.path == path))
}

fn layer(graph: &Graph, at: usize, position: usize) -> Option<Layer> {
    let node = &graph.nodes[at];
    let right = position == 1;
    let kind = match &node.op {
        Op::Conv { window, .. } if right => Kind::Conv(window.clone()),
        Op::Linear if right => Kind::Linear,
        Op::Matmul if right => Kind::Right,
        Op::Matmul => Kind::Left,
        _ => return None,
    };
    let param = graph.param(node.inputs[position])?;
    let data = node.inputs[1 - position];
    let shape = &graph.shape(node.inputs[position], 1);
    let (leading, matrix) = shape.split_at(shape.len().checked_sub(2)?);
    let (groups, rows, columns) = match (&node.op, &kind) {
        (Op::Conv { groups, .. }, _) => (*groups, shape[0], shape[1..].iter().product()),
        (_, Kind::Left) => (1, matrix[0], matrix[1]),
        _ => (1, matrix[1], matrix[0]),
    };
    let plain = matches!(kind, Kind::Conv(_)) || leading.iter().all(|&size| size == 1);
    let route = match (graph.param(data), plain) {
        (Some(_), _) => Err("it multiplies another parameter, not inputs".into()),
        (None, false) => Err("its weight is a stack of matrices".into()),
        (None, true) => route(graph, data),
    };
    Some(Layer {
        path: param.path.clone(),
        name: safetensors::torch_name(param),
        node: at,
        kind,
        // A stack of matrices is out of reach; it counts as one tall matrix.
        rows: if plain { rows } else { rows * leading.iter().product::<usize>() },
        columns,
        groups,
        bias: node.inputs.get(2).and_then(|&id| graph.param(id)).map(|param| param.path.clone()),
        macs: node_macs(graph, node),
        route,
    })
}

/// The way back from `data` to the nearest value that has a name of its own.
fn route(graph: &Graph, data: ValueId) -> Result<Route, String> {
    let (mut id, mut steps) = (data, Vec::new());
    loop {
        if let Some((site, seen)) = graph.sites.iter().find(|(_, value)| *value == id) {
            if graph.sites.iter().any(|(other, value)| other == site && value != seen) {
                return Err(format!(
                    "its inputs pass the site `{site}`, which the model names more than once"
                ));
            }
            steps.reverse();
            return Ok(Route { site: site.clone(), seen: *seen, steps, data });
        }
        let Some(at) = graph.nodes.iter().position(|node| node.output == id) else {
            return Err("its inputs are no activation".into());
        };
        let node = &graph.nodes[at];
        if !repeatable(&node.op) {
            return Err(format!(
                "between it and the nearest site is {}; a site behind that would do",
                graph.describe(node)
            ));
        }
        steps.push(at);
        id = node.inputs[0];
    }
}

/// Operations of one value that `route.rs` can repeat.
fn repeatable(op: &Op) -> bool {
    match op {
        Op::MaxPool { ceil, .. } | Op::AvgPool { ceil, .. } => !ceil,
        Op::AdaptiveAvgPool { output } => output.iter().all(|&size| size == 1),
        Op::Reshape | Op::Permute(_) | Op::Slice(_) | Op::Unary(Unary::Relu) => true,
        _ => false,
    }
}
