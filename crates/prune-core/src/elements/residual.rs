//! Elements that are residual blocks: without them the value that they add to goes on.
//!
//! An element may have several branches one after the other, as a transformer's layer has two. It can go when every
//! parameter of it is read in such branches and nowhere else; a block that changes the shape of what it adds to, by a
//! shortcut with weights, cannot.

use std::collections::BTreeSet;

use kd_graph::{Binary, Graph, Node, Op, Origin, Unary, ValueId, blocks};

use super::{Candidate, Silence, WholeElement, listed};

/// The elements that can go, the smallest ones where lists are inside of each other.
pub(super) fn candidates(graph: &Graph) -> (Vec<Candidate>, Vec<WholeElement>) {
    let (mut found, mut whole) = (Vec::<Candidate>::new(), Vec::new());
    for element in listed(graph) {
        match without(graph, &element.params) {
            Ok((_, silence)) => found.push(Candidate { element, silence, gate: None }),
            Err(reason) => whole.push(WholeElement { path: element.path, reason }),
        }
    }
    let paths: Vec<String> = found.iter().map(|it| format!("{}.", it.element.path)).collect();
    let smallest = |it: &Candidate| {
        let path = format!("{}.", it.element.path);
        !paths.iter().any(|other| *other != path && other.starts_with(&path))
    };
    found.retain(smallest);
    (found, whole)
}

/// The graph without the branches that the parameters `own` are read in, and what silences these branches.
pub(super) fn without(graph: &Graph, own: &[String]) -> Result<(Graph, Vec<Silence>), String> {
    let (mut left, mut silence) = (graph.clone(), BTreeSet::new());
    // A block with others inside comes after those, and takes them along.
    let next = |graph: &Graph| {
        let belongs = |params: &[String]| !params.is_empty() && params.iter().all(|path| own.contains(path));
        blocks(graph).into_iter().rev().find(|block| belongs(&block.params))
    };
    while let Some(block) = next(&left) {
        silence.extend(silent(&left, block.branch, own)?.into_iter().map(Silence::Zero));
        left = block.removed_from(&left);
    }
    let read = left.values.iter().find_map(|value| match value.origin {
        Origin::Param(index) => Some(&left.params[index].path).filter(|path| own.contains(path)),
        _ => None,
    });
    match read {
        Some(path) if silence.is_empty() => Err(format!("`{path}` is read in no residual branch")),
        Some(path) => Err(format!("`{path}` is read outside of a residual branch")),
        None if silence.is_empty() => Err("the forward pass reads none of its parameters".into()),
        None => Ok((left, silence.into_iter().collect())),
    }
}

/// The parameters that make a value zero when they are, among `own`.
fn silent(graph: &Graph, value: ValueId, own: &[String]) -> Result<BTreeSet<String>, String> {
    if let Some(param) = graph.param(value) {
        return match own.contains(&param.path) {
            true => Ok(BTreeSet::from([param.path.clone()])),
            false => Err(format!("`{}`, which others read, is added to the stream", param.path)),
        };
    }
    let loud = || match graph.producer(value) {
        Some(node) => format!("{} gives something else than zero, whatever the weights", graph.locate(node)),
        None => "an input or a constant is added to the stream".to_owned(),
    };
    let Some(node) = graph.producer(value) else { return Err(loud()) };
    let all = |inputs: &[ValueId]| {
        let sets = inputs.iter().map(|&input| silent(graph, input, own));
        Ok(sets.collect::<Result<Vec<_>, String>>()?.into_iter().flatten().collect())
    };
    let any =
        |inputs: &[ValueId]| inputs.iter().find_map(|&input| silent(graph, input, own).ok()).ok_or_else(loud);
    match &node.op {
        Op::Linear | Op::Conv { .. } | Op::ConvTranspose { .. } => all(&node.inputs[1..]),
        Op::BatchNorm { .. } => all(&node.inputs[1..3]),
        Op::LayerNorm { .. } => all(&node.inputs[1..]),
        Op::Matmul | Op::Binary(Binary::Mul) => any(&node.inputs),
        Op::Binary(Binary::Add | Binary::Sub) | Op::Concat(_) => all(&node.inputs),
        _ if keeps_zero(node) => silent(graph, node.inputs[0], own),
        _ => Err(loud()),
    }
}

/// Whether zeros stay zeros.
fn keeps_zero(node: &Node) -> bool {
    match &node.op {
        Op::Reshape | Op::Permute(_) | Op::Expand | Op::Slice(_) | Op::MeanDim(_) | Op::SumDim(_) => true,
        Op::AvgPool { .. } | Op::AdaptiveAvgPool { .. } | Op::Resize { .. } | Op::MaxPool { .. } => true,
        Op::Scalar(Binary::Mul | Binary::Div, _) | Op::Binary(Binary::Div) => true,
        Op::Clamp { min, max } => (*min..=*max).contains(&0.0),
        Op::Unary(unary) => !matches!(unary, Unary::Sigmoid | Unary::Exp | Unary::Log),
        _ => false,
    }
}
