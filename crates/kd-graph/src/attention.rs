//! Where a graph attends: `softmax(q·kᵀ)·v`, whatever stands between.
//!
//! Attention is no operation of its own in a recording, and what is coupled follows without it. It is looked for because
//! people call its dimensions by name (see `kind.rs`).

use crate::graph::{Graph, Node, Op, ValueId};

/// The operands of an attention, as the two products read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attention {
    /// `[.., queries, dims]`
    pub(crate) query: ValueId,
    /// `[.., dims, keys]`
    pub(crate) key: ValueId,
    /// `[.., keys, dims]`
    pub(crate) value: ValueId,
}

/// All attentions of a graph, in the order of their softmax.
pub(crate) fn attentions(graph: &Graph) -> Vec<Attention> {
    let last = |id: ValueId| graph.value(id).shape.len() - 1;
    let softmax = |node: &&Node| matches!(node.op, Op::Softmax(axis) if axis == last(node.output));
    let found = graph.nodes.iter().filter(softmax).filter_map(|node| {
        let scores = before(graph, node.inputs[0])?;
        let context = behind(graph, node.output)?;
        Some(Attention { query: scores.inputs[0], key: scores.inputs[1], value: context.inputs[1] })
    });
    found.collect()
}

/// Whether an operation leaves scores what they are: scaling, masks, biases, and shapes that windows need.
fn passes(op: &Op) -> bool {
    matches!(op, Op::Scalar(..) | Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Reshape)
}

/// The product that a value was made from.
fn before(graph: &Graph, id: ValueId) -> Option<&Node> {
    let node = graph.producer(id)?;
    match &node.op {
        Op::Matmul => node.inputs.iter().all(|&id| graph.producer(id).is_some()).then_some(node),
        op if passes(op) => node.inputs.iter().find_map(|&id| before(graph, id)),
        _ => None,
    }
}

/// The product that reads a value on its left.
fn behind(graph: &Graph, id: ValueId) -> Option<&Node> {
    graph.consumers(id).find_map(|node| match &node.op {
        Op::Matmul => (node.inputs[0] == id).then_some(node),
        op if passes(op) => behind(graph, node.output),
        _ => None,
    })
}
