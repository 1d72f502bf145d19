//! What parameters do to units: the difference between the weights that write a channel and those that read it.

use kd_graph::{Dim, Graph, Node, Op, Param, ValueId};

use crate::predict::groups;

/// What the slices of a parameter along one dimension do for the unit that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// They compute it, as products with something else: the outputs of a weight.
    Weight,
    /// They are what it is multiplied by, or divided by: the inputs of a weight, a variance.
    Reads,
    /// They scale it: γ of a batch norm.
    BatchScale,
    /// They scale it: γ of a layer norm.
    LayerScale,
    /// They move it: biases, a normalization's shift and mean.
    Shift,
}

/// A dimension of a parameter, as an operation uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) path: String,
    pub(crate) dim: usize,
    pub(crate) role: Role,
}

/// All uses of parameters by operations that know what they do with them.
///
/// A parameter may be read in another shape: what an operation does along a dimension, it does along all dimensions of
/// the parameter that were merged into it.
pub(crate) fn uses(graph: &Graph) -> Vec<Use> {
    use Role::{BatchScale, LayerScale, Reads, Shift, Weight};
    let mut uses = Vec::new();
    for node in &graph.nodes {
        // Pairs of input and dimension.
        let roles: &[(usize, usize, Role)] = match node.op {
            Op::Conv { .. } => &[(1, 0, Weight), (1, 1, Reads), (2, 0, Shift)],
            Op::ConvTranspose { .. } => &[(1, 1, Weight), (1, 0, Reads), (2, 0, Shift)],
            Op::Linear => &[(1, 1, Weight), (1, 0, Reads), (2, 0, Shift)],
            Op::Matmul => {
                uses.extend(product(graph, node));
                continue;
            }
            Op::BatchNorm { .. } => &[(1, 0, BatchScale), (2, 0, Shift), (3, 0, Shift), (4, 0, Reads)],
            Op::LayerNorm { .. } => &[(1, 0, LayerScale), (2, 0, Shift)],
            Op::Embedding => &[(0, 1, Weight)],
            _ => continue,
        };
        for &(input, dim, role) in roles {
            uses.extend(node.inputs.get(input).into_iter().flat_map(|&value| along(graph, value, dim, role)));
        }
    }
    uses
}

/// `[.., m, k]·[.., k, n]`: a weight on the left has its outputs first. Several weights side by side have a unit each.
fn product(graph: &Graph, node: &Node) -> Vec<Use> {
    use Role::{Reads, Weight};
    let mut uses = Vec::new();
    for (input, roles) in [(0, [Weight, Reads]), (1, [Reads, Weight])] {
        let value = node.inputs[input];
        let rank = graph.value(value).shape.len();
        for dim in 0..rank {
            let role = match rank - dim {
                1 => roles[1],
                2 => roles[0],
                _ => Weight,
            };
            uses.extend(along(graph, value, dim, role));
        }
    }
    uses
}

/// The dimensions of the parameter behind a value that run along one of the value's.
fn along(graph: &Graph, value: ValueId, dim: usize, role: Role) -> Vec<Use> {
    let dims = parameter_dims(graph, value, dim).into_iter();
    dims.map(|(path, dim)| Use { path, dim, role }).collect()
}

/// The same as path and dimension; none where the value is no parameter.
pub(crate) fn parameter_dims(graph: &Graph, value: ValueId, dim: usize) -> Vec<(String, usize)> {
    let Some((param, dims)) = param_behind(graph, value) else { return Vec::new() };
    dims.get(dim).into_iter().flatten().map(|&dim| (param.path.clone(), dim)).collect()
}

/// The parameter that a value is in another shape, and for each dimension of the value those of the parameter that it
/// consists of; `None` where the value is none, or a dimension only a part of one.
fn param_behind(graph: &Graph, value: ValueId) -> Option<(&Param, Vec<Vec<usize>>)> {
    if let Some(param) = graph.param(value) {
        return Some((param, (0..param.shape.len()).map(|dim| vec![dim]).collect()));
    }
    let node = graph.producer(value)?;
    let input = *node.inputs.first()?;
    match &node.op {
        Op::Permute(order) => {
            let (param, dims) = param_behind(graph, input)?;
            Some((param, order.iter().map(|&dim| dims[dim].clone()).collect()))
        }
        Op::Reshape => {
            let (param, dims) = param_behind(graph, input)?;
            let (from, to) = (&graph.value(input).shape, &graph.value(value).shape);
            let mut merged = vec![Vec::new(); to.len()];
            for group in groups(from, to)? {
                // Dimensions of size one come and go.
                let wide: Vec<usize> = group.to.clone().filter(|&dim| to[dim] != Dim::Fixed(1)).collect();
                match wide.as_slice() {
                    [] => {}
                    &[only] => merged[only] = group.from.flat_map(|dim| dims[dim].clone()).collect(),
                    _ => return None,
                }
            }
            Some((param, merged))
        }
        _ => None,
    }
}
