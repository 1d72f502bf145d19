//! Where a model falls into blocks: between points at which one tensor carries all that is still to come.
//!
//! A residual block has two tensors in flight between its ends, attention three and more; a chain of layers has one
//! everywhere, so that each of its layers is a block with what follows it up to the next. Token ids and masks of padding
//! come from the input through steps and comparisons, are the same however weights are rounded, and do not count. Only a
//! point that the model named can be watched, so a block ends at a site, or with the model.

use std::collections::BTreeMap;

use kd_graph::{Binary, Graph, Op, Origin, Unary, ValueId};

use super::layers::{Kind, Layer, readers};

/// Layers that are reconstructed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The site of its output; none is the model's output.
    pub site: Option<String>,
    /// Which layers, by index, in the order of the forward pass.
    pub layers: Vec<usize>,
}

impl Block {
    /// Its name for people.
    pub fn name(&self) -> &str {
        self.site.as_deref().unwrap_or("output")
    }
}

/// All blocks with a layer, in the order of the forward pass. Every layer is in one.
///
/// A block ends at the last site before the next block's first layer: an activation or pooling behind its layers is part
/// of it.
pub fn blocks(graph: &Graph, layers: &[Layer]) -> Vec<Block> {
    let ends = ends(graph);
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        // Ends before this layer bound the block of the layers so far.
        let block = ends.iter().take_while(|(node, _)| *node < layer.node).count();
        match blocks.last_mut() {
            Some((last, own)) if *last == block => own.layers.push(at),
            last => {
                if let Some((_, own)) = last {
                    own.site = Some(ends[block - 1].1.clone());
                }
                blocks.push((block, Block { site: None, layers: vec![at] }));
            }
        }
    }
    blocks.into_iter().map(|(_, block)| block).collect()
}

/// Why a layer cannot be reconstructed with its block.
pub(super) fn obstacle(graph: &Graph, layer: &Layer) -> Option<String> {
    if readers(graph, &layer.path) > 1 {
        return Some("its weight is read by another operation too".into());
    }
    let shape = graph.params.iter().find(|param| param.path == layer.path).map(|param| &param.shape)?;
    let matrix = !matches!(layer.kind, Kind::Conv(_));
    let stack = matrix && shape.iter().rev().skip(2).any(|&size| size > 1);
    stack.then(|| "its weight is a stack of matrices".into())
}

/// Nodes after which one value alone is in flight, with the site of that value.
fn ends(graph: &Graph) -> Vec<(usize, String)> {
    let mut last_use: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate().filter(|(_, node)| !stepped(&node.op)) {
        node.inputs.iter().for_each(|&id| {
            last_use.insert(id, at);
        });
    }
    graph.outputs.iter().for_each(|&id| {
        last_use.insert(id, usize::MAX);
    });
    let mut depends: Vec<bool> =
        graph.values.iter().map(|value| matches!(value.origin, Origin::Input(_))).collect();
    let mut flying: Vec<ValueId> = graph.inputs.clone();
    let mut ends = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let looked_up = node.op == Op::Embedding;
        if looked_up || !stepped(&node.op) && node.inputs.iter().any(|id| depends[id.0]) {
            depends[node.output.0] = true;
            flying.push(node.output);
        }
        flying.retain(|id| last_use.get(id).is_some_and(|&last| last > at));
        if let [alone] = flying[..]
            && let Some(site) = site(graph, alone)
        {
            ends.push((at, site));
        }
    }
    ends
}

/// Whether an operation's result does not move with its inputs.
fn stepped(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(Unary::Truncate) | Op::Binary(Binary::Equal) | Op::Scalar(Binary::Equal, _) | Op::Embedding
    )
}

/// The name of a value's site, if no other value has it.
fn site(graph: &Graph, id: ValueId) -> Option<String> {
    let mut named = graph.sites.iter().filter(|(_, value)| *value == id).map(|(name, _)| name);
    let single = |name: &&String| graph.sites.iter().all(|(other, value)| other != *name || *value == id);
    named.find(single).cloned()
}
