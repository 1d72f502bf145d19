//! Batch norms that the layer before them can absorb.
//!
//! In inference, batch norm is y = γ·(x − μ)/√(σ² + ε) + β per channel. After a convolution or linear layer
//! x = W·u + b it is the same layer with W′ = W·γ/√(σ² + ε) and b′ = (b − μ)·γ/√(σ² + ε) + β, per output channel.
//! That is exact only where nothing else reads the layer's result, its weight or its bias.

use crate::graph::{Graph, Node, Op, ValueId};

/// A layer and the batch norm behind it, all by parameter path.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Index of the convolution or linear layer in [`Graph::nodes`].
    pub layer: usize,
    /// Index of the batch norm in [`Graph::nodes`].
    pub norm: usize,
    /// The layer's weight.
    pub weight: String,
    /// The layer's bias.
    pub bias: Option<String>,
    /// Scale γ.
    pub gamma: String,
    /// Shift β.
    pub beta: String,
    /// Running mean μ.
    pub mean: String,
    /// Running variance σ².
    pub variance: String,
    /// ε.
    pub epsilon: f64,
    /// The weight's axis of output channels: 0 for convolutions `[out, in, …]`, 1 for linear layers `[in, out]`.
    pub out_axis: usize,
}

/// All batch norms that can be folded, in execution order.
pub fn batch_norm_folds(graph: &Graph) -> Vec<Fold> {
    (0..graph.nodes.len()).filter_map(|norm| fold(graph, norm)).collect()
}

fn fold(graph: &Graph, norm: usize) -> Option<Fold> {
    let node = &graph.nodes[norm];
    let Op::BatchNorm { epsilon } = node.op else { return None };
    let &[x, gamma, beta, mean, variance] = node.inputs.as_slice() else { return None };
    let layer = graph.nodes.iter().position(|node| node.output == x)?;
    let before = &graph.nodes[layer];
    let out_axis = match before.op {
        Op::Conv { .. } => 0,
        // Batch norm works on dimension 1, which is the output channel of matrices only.
        Op::Linear if graph.value(x).shape.len() == 2 => 1,
        _ => return None,
    };
    let sole = |id: ValueId| graph.consumers(id).count() == 1;
    if !sole(x) || graph.outputs.contains(&x) || !before.inputs[1..].iter().all(|&id| sole(id)) {
        return None;
    }
    let path = |id: ValueId| graph.param(id).map(|param| param.path.clone());
    Some(Fold {
        layer,
        norm,
        weight: path(before.inputs[1])?,
        bias: bias(before).map(|id| path(id).ok_or(())).transpose().ok()?,
        gamma: path(gamma)?,
        beta: path(beta)?,
        mean: path(mean)?,
        variance: path(variance)?,
        epsilon,
        out_axis,
    })
}

fn bias(layer: &Node) -> Option<ValueId> {
    layer.inputs.get(2).copied()
}
