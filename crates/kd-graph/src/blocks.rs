//! Depth: residual blocks that can go.
//!
//! Where a network adds to a value something that is computed from it, `x + f(x)`, it can do without `f`. Such a
//! block is found in the graph and not in the module's tree: a sum of two values of one shape, one of which the other
//! depends on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::graph::{Binary, Graph, Op, Origin, ValueId};

/// A residual block: `sum = stream + branch`, where the branch is computed from the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Index of the addition in [`Graph::nodes`].
    pub node: usize,
    /// What stays in the place of the sum when the block goes.
    pub stream: ValueId,
    /// What is added to it.
    pub branch: ValueId,
    /// Paths of the parameters and buffers that nothing else reads, in the graph's order: those that go with it.
    pub params: Vec<String>,
}

/// The residual blocks of a graph, in the order of their sums. A block with others inside comes after those.
///
/// Branches side by side, `x + f(x) + g(x)`, are a block each.
pub fn blocks(graph: &Graph) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.op != Op::Binary(Binary::Add) || node.inputs[0] == node.inputs[1] {
            continue;
        }
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let (of_a, of_b) = (streams(graph, &found, a), streams(graph, &found, b));
        // Where both have the same stream, the sum doubles it, and neither is what the network could do without.
        if graph.value(a).shape != graph.value(b).shape || of_a.iter().any(|id| of_b.contains(id)) {
            continue;
        }
        let (stream, branch) = match () {
            () if of_a.iter().any(|&from| depends(graph, b, from)) => (a, b),
            () if of_b.iter().any(|&from| depends(graph, a, from)) => (b, a),
            () => continue,
        };
        found.push(Block { node: index, stream, branch, params: exclusive(graph, node.output, stream) });
    }
    found
}

/// A value and those that went on to be it, with branches added on the way.
fn streams(graph: &Graph, found: &[Block], mut value: ValueId) -> Vec<ValueId> {
    let mut streams = vec![value];
    while let Some(block) = found.iter().find(|block| graph.nodes[block.node].output == value) {
        value = block.stream;
        streams.push(value);
    }
    streams
}

impl Block {
    /// `graph` without this block: the stream goes on where the sum did, and what is left unused is gone. Sites that
    /// only the block had are gone too.
    ///
    /// `self` must be a block of `graph`.
    pub fn removed_from(&self, graph: &Graph) -> Graph {
        let sum = graph.nodes[self.node].output;
        let past = |id: ValueId| if id == sum { self.stream } else { id };
        let mut live = vec![false; graph.values.len()];
        let mut open: Vec<ValueId> = graph.inputs.iter().chain(&graph.outputs).copied().map(past).collect();
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut live[id.0], true) {
                let inputs = graph.producer(id).map(|node| node.inputs.as_slice());
                open.extend(inputs.unwrap_or_default().iter().copied().map(past));
            }
        }
        let stays: Vec<usize> = (0..graph.params.len())
            .filter(|&index| !self.params.contains(&graph.params[index].path))
            .collect();
        let mut ids = vec![ValueId(0); graph.values.len()];
        let mut left = Graph { values: Vec::new(), nodes: Vec::new(), ..graph.clone() };
        left.params = stays.iter().map(|&index| graph.params[index].clone()).collect();
        for (at, value) in graph.values.iter().enumerate().filter(|(at, _)| live[*at]) {
            ids[at] = ValueId(left.values.len());
            let mut value = value.clone();
            match &mut value.origin {
                Origin::Param(index) => *index = stays.partition_point(|stays| stays < index),
                Origin::Node(index) => {
                    let mut node = graph.nodes[*index].clone();
                    node.output = ids[at];
                    node.inputs.iter_mut().for_each(|id| *id = ids[past(*id).0]);
                    *index = left.nodes.len();
                    left.nodes.push(node);
                }
                Origin::Input(_) | Origin::Constant(_) => {}
            }
            left.values.push(value);
        }
        left.sites.retain(|(_, id)| live[past(*id).0]);
        let ends = left.inputs.iter_mut().chain(&mut left.outputs);
        ends.chain(left.sites.iter_mut().map(|(_, id)| id)).for_each(|id| *id = ids[past(*id).0]);
        left
    }
}

/// Whether `value` is computed from `from`; not from a parameter or constant, which are no stream.
fn depends(graph: &Graph, value: ValueId, from: ValueId) -> bool {
    if matches!(graph.value(from).origin, Origin::Param(_) | Origin::Constant(_)) {
        return false;
    }
    let mut open = vec![value];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == from {
            return true;
        }
        // Values are numbered in the order of their computation, but for sources.
        if let (true, Some(node)) = (seen.insert(id), graph.producer(id)) {
            open.extend(&node.inputs);
        }
    }
    false
}

/// Parameters that the outputs need, and no longer do when `stream` stands for `sum`.
fn exclusive(graph: &Graph, sum: ValueId, stream: ValueId) -> Vec<String> {
    let needed = |replace: Option<ValueId>| {
        let mut seen = BTreeSet::new();
        let mut open = graph.outputs.clone();
        while let Some(id) = open.pop() {
            let id = if Some(id) == replace { stream } else { id };
            if let (true, Some(node)) = (seen.insert(id), graph.producer(id)) {
                open.extend(&node.inputs);
            }
        }
        let params = seen.into_iter().filter_map(|id| match graph.value(id).origin {
            Origin::Param(index) => Some(index),
            _ => None,
        });
        params.collect::<BTreeSet<usize>>()
    };
    let without = needed(Some(sum));
    let gone = needed(None).into_iter().filter(|index| !without.contains(index));
    gone.map(|index| graph.params[index].path.clone()).collect()
}
