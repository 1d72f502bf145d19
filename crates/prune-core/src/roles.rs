//! What parameters do to units: the difference between the weights that write a channel and those that read it.

use kd_graph::{Dim, Graph, Op, Param, ValueId};

/// What the slices of a parameter along one dimension do for the unit that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// They compute it, as products with something else: the outputs of a weight.
    Weight,
    /// They move or scale it: biases, and a normalization's parameters but its variance.
    Shift,
    /// They are what it is multiplied by, or divided by: the inputs of a weight, a variance.
    Reads,
}

/// A dimension of a parameter, as an operation uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) path: String,
    pub(crate) dim: usize,
    pub(crate) role: Role,
}

/// All uses of parameters by operations that know what they do with them.
pub(crate) fn uses(graph: &Graph) -> Vec<Use> {
    use Role::{Reads, Shift, Weight};
    let mut uses = Vec::new();
    for node in &graph.nodes {
        // Pairs of input and dimension.
        let roles: &[(usize, usize, Role)] = match node.op {
            Op::Conv { .. } => &[(1, 0, Weight), (1, 1, Reads), (2, 0, Shift)],
            Op::ConvTranspose { .. } => &[(1, 1, Weight), (1, 0, Reads), (2, 0, Shift)],
            Op::Linear => &[(1, 1, Weight), (1, 0, Reads), (2, 0, Shift)],
            // [m, k]·[k, n]: a weight on the left has its outputs first.
            Op::Matmul => &[(0, 0, Weight), (0, 1, Reads), (1, 0, Reads), (1, 1, Weight)],
            Op::BatchNorm { .. } => &[(1, 0, Shift), (2, 0, Shift), (3, 0, Shift), (4, 0, Reads)],
            Op::LayerNorm { .. } => &[(1, 0, Shift), (2, 0, Shift)],
            Op::Embedding => &[(0, 1, Weight)],
            _ => continue,
        };
        for &(input, dim, role) in roles {
            let param = node.inputs.get(input).and_then(|&value| param_behind(graph, value));
            let fits = |param: &&Param| !matches!(node.op, Op::Matmul) || param.shape.len() == 2;
            if let Some(param) = param.filter(fits) {
                uses.push(Use { path: param.path.clone(), dim, role });
            }
        }
    }
    uses
}

/// The parameter that a value is, or is but for dimensions of size one that a reshape put around it, as Burn does
/// to multiply a batch of matrices by one.
fn param_behind(graph: &Graph, mut value: ValueId) -> Option<&Param> {
    loop {
        if let Some(param) = graph.param(value) {
            return Some(param);
        }
        let node = graph.producer(value).filter(|node| node.op == Op::Reshape)?;
        let sizes = |value: ValueId| -> Vec<Dim> {
            graph.value(value).shape.iter().copied().filter(|&dim| dim != Dim::Fixed(1)).collect()
        };
        if sizes(value) != sizes(node.inputs[0]) {
            return None;
        }
        value = node.inputs[0];
    }
}
