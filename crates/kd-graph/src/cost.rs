//! Exact costs: multiply-accumulates and parameters.
//!
//! Multiply-accumulates are those of convolutions and matrix products at batch 1, with padding taps counted and
//! nothing else: the definition that a hand count of a layer uses. With O output channels, I input channels,
//! g groups, kernel k₁×k₂ and output H×W, a convolution has O·H·W·(I/g)·k₁·k₂, and a transposed one the same with
//! the height and width of its input; a product of [m, k] and [k, n] has m·k·n. Biases, normalization and activations do not count. Checked against hand counts in the tests.

use crate::graph::{Graph, Node, Op, Param, ValueId};

/// Multiply-accumulates of one forward pass at batch 1.
pub fn macs(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|node| node_macs(graph, node)).sum()
}

/// Multiply-accumulates of one operation at batch 1; 0 for all but convolutions and matrix products.
pub fn node_macs(graph: &Graph, node: &Node) -> u64 {
    match weight(graph, node) {
        Some((positions, weight)) => positions * elements(&graph.shape(weight, 1)),
        None => product_macs(graph, node),
    }
}

/// Multiply-accumulates at batch 1 if parameters had the shapes that `shape` gives them, as after a cut.
///
/// A layer's count is its number of output positions times its weight's number of elements, so that the weights'
/// shapes are all it takes. Matrix products of two activations, which no weight describes, count as captured:
/// capture the cut module where it has some.
pub fn macs_with(graph: &Graph, shape: impl Fn(&Param) -> Vec<usize>) -> u64 {
    let cost = |node: &Node| match weight(graph, node) {
        Some((positions, weight)) => {
            let shape = graph.param(weight).map_or_else(|| graph.shape(weight, 1), &shape);
            positions * elements(&shape)
        }
        None => product_macs(graph, node),
    };
    graph.nodes.iter().map(cost).sum()
}

/// Trainable elements that the operation at `index` of [`Graph::nodes`] is the first to read, so that the operations' counts
/// add up to those of all parameters in use.
pub fn node_params(graph: &Graph, index: usize) -> u64 {
    let before = |id: ValueId| graph.nodes[..index].iter().any(|node| node.inputs.contains(&id));
    let inputs: std::collections::BTreeSet<ValueId> = graph.nodes[index].inputs.iter().copied().collect();
    let own = inputs.into_iter().filter(|&id| !before(id)).filter_map(|id| graph.param(id));
    own.filter(|param| !param.buffer).map(|param| elements(&param.shape)).sum()
}

/// Bytes of the operation's result at batch 1, in 32-bit numbers.
pub fn activation_bytes(graph: &Graph, node: &Node) -> u64 {
    4 * elements(&graph.shape(node.output, 1))
}

/// Trainable elements of the module: all parameters, used or not, without running statistics.
pub fn params(graph: &Graph) -> u64 {
    graph.params.iter().filter(|param| !param.buffer).map(|param| elements(&param.shape)).sum()
}

/// The weight of a layer, and how many times each of its elements is used at batch 1.
fn weight(graph: &Graph, node: &Node) -> Option<(u64, ValueId)> {
    let out = graph.shape(node.output, 1);
    let rank = out.len();
    match &node.op {
        // The weight's elements meet every output position, each in its own channel.
        Op::Conv { .. } => Some((elements(&out) / out[1].max(1) as u64, node.inputs[1])),
        // Here every input position, in its own channel.
        Op::ConvTranspose { .. } => {
            let x = graph.shape(node.inputs[0], 1);
            Some((elements(&x) / x[1].max(1) as u64, node.inputs[1]))
        }
        Op::Linear => Some((elements(&out) / out[rank - 1].max(1) as u64, node.inputs[1])),
        Op::Matmul => {
            let plain = |id: ValueId| {
                let shape = graph.shape(id, 1);
                graph.param(id).is_some() && elements(&shape[..rank - 2]) == 1
            };
            let (lhs, rhs) = (node.inputs[0], node.inputs[1]);
            match () {
                () if plain(rhs) => Some((elements(&out) / out[rank - 1].max(1) as u64, rhs)),
                () if plain(lhs) => Some((elements(&out) / out[rank - 2].max(1) as u64, lhs)),
                () => None,
            }
        }
        _ => None,
    }
}

fn product_macs(graph: &Graph, node: &Node) -> u64 {
    match node.op {
        Op::Matmul => {
            let depth = graph.shape(node.inputs[0], 1).last().copied().unwrap_or(1);
            elements(&graph.shape(node.output, 1)) * depth as u64
        }
        _ => 0,
    }
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|&size| size as u64).product()
}
