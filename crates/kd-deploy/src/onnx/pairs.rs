//! Where the quantizers of activations stand.
//!
//! The plan names sites; engines want more. ONNX Runtime computes a layer in integers only if a
//! `DequantizeLinear` stands directly before each operand and, for a convolution, one `QuantizeLinear` directly
//! after it. Max pooling, reshapes, permutations, slices and relu commute with quantization (they pick, move or
//! clamp at zero, and zero is a code), so that a quantize/dequantize pair with the same scale may stand before
//! or after each of them without changing a single value. From each site pairs are therefore repeated forward up
//! to the layers that read it and backward up to the layer that feeds it.

use std::collections::{BTreeMap, BTreeSet};

use kd_graph::{Fold, Graph, Node, Op, Placement, Unary, ValueId};
use quant_core::Scheme;

use crate::plan::{ActivationPlan, Container};
use crate::{Error, QuantPlan};

/// A quantize/dequantize pair on a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    /// The site whose scale it uses.
    pub(crate) site: String,
    /// What stands before it.
    pub(crate) before: Before,
}

/// What stands between a value and its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing.
    Nothing,
    /// A `Clip` to a range of codes that is narrower than that of the type (-127..=127), which `QuantizeLinear` does not
    /// know. It works on floats: between the two halves of a pair it would keep the layers around it in floats.
    Clip,
    /// Another pair and then a `Clip`: the first pair is for the layer that computes the value.
    PairAndClip,
}

/// The type of the codes of signed activations.
///
/// `Int8` as planned, but `Uint8` as soon as a quantized value has more than one reader. ONNX Runtime on x86 computes
/// with unsigned activations only and rewrites signed pairs, except those whose codes are read twice, and leaves the
/// layers around such a pair in floats. With codes and zero points both larger by 128 every value is the same.
pub(crate) fn signed_container(graph: &Graph, pairs: &BTreeMap<ValueId, Pair>) -> Container {
    match pairs.keys().any(|&value| readers(graph, value) > 1) {
        true => Container::Uint8,
        false => Container::Int8,
    }
}

/// The pair of every value that has one.
pub(crate) fn pairs(
    graph: &Graph,
    plan: &QuantPlan,
    folds: &[Fold],
) -> Result<BTreeMap<ValueId, Pair>, Error> {
    let sites = site_values(graph, plan)?;
    if sites.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut pairs = BTreeMap::new();
    for (value, (site, activation)) in &sites {
        let chain = chain_to_layer(graph, folds, *value);
        let clip = needs_clip(graph, *value, activation);
        let before = match (clip, &chain) {
            (false, _) => Before::Nothing,
            (true, None) => Before::Clip,
            (true, Some(_)) => Before::PairAndClip,
        };
        pairs.insert(*value, Pair { site: site.clone(), before });
        for earlier in backward(graph, chain, activation, &sites) {
            pairs.insert(earlier, Pair { site: site.clone(), before: Before::Nothing });
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        for data in data_inputs(graph, node) {
            forward(graph, &mut pairs, index, data)?;
        }
    }
    Ok(pairs)
}

/// Whether a value may be beyond the codes of a site but within those of their container.
fn needs_clip(graph: &Graph, value: ValueId, activation: &ActivationPlan) -> bool {
    let qparams = &activation.qparams;
    let (low, high) = Container::of(qparams).range();
    qparams.qmax < high || (qparams.qmin > low && !never_negative(graph, value))
}

fn never_negative(graph: &Graph, mut value: ValueId) -> bool {
    while let Some(node) = graph.producer(value) {
        match (&node.op, carried(node)) {
            (Op::Unary(Unary::Relu), _) => return true,
            (_, Some(before)) => value = before,
            (_, None) => return false,
        }
    }
    false
}

/// The values that the plan's sites name.
pub(crate) fn site_values(
    graph: &Graph,
    plan: &QuantPlan,
) -> Result<BTreeMap<ValueId, (String, ActivationPlan)>, Error> {
    if plan.activations.is_empty() {
        return Ok(BTreeMap::new());
    }
    let placements = kd_graph::placements(graph).map_err(Error::Placement)?;
    for placement in &placements {
        plan.activation(&placement.site)?;
    }
    let named = named(graph, &placements);
    let mut values: BTreeMap<ValueId, (String, ActivationPlan)> = BTreeMap::new();
    for site in plan.activations.keys() {
        let activation = plan.activation(site)?;
        let fail = |reason| Err(Error::Plan { entry: site.clone(), reason });
        if !plan.dynamic.is_empty() {
            return fail("a plan with scales found at run time has no others".to_owned());
        }
        let mut found = named.iter().filter(|(name, _)| *name == site).peekable();
        if found.peek().is_none() {
            return Err(no_such_site(site, &named));
        }
        for &(_, value) in found {
            match values.get(&value) {
                None => {
                    values.insert(value, (site.clone(), activation.clone()));
                }
                Some((other, first)) if first.qparams != activation.qparams => {
                    return fail(format!("`{other}` names the same value with other scales"));
                }
                // Two names for one value: one pair does for both.
                Some(_) => {}
            }
        }
    }
    Ok(values)
}

/// The values that the plan rounds with scales found at run time.
pub(crate) fn dynamic_values(graph: &Graph, plan: &QuantPlan) -> Result<BTreeMap<ValueId, Scheme>, Error> {
    if plan.dynamic.is_empty() {
        return Ok(BTreeMap::new());
    }
    let placements = kd_graph::placements(graph).map_err(Error::Placement)?;
    let named = named(graph, &placements);
    let mut values = BTreeMap::new();
    for (site, scheme) in &plan.dynamic {
        let before = values.len();
        values.extend(named.iter().filter(|(name, _)| *name == site).map(|(_, value)| (*value, *scheme)));
        if values.len() == before && !named.iter().any(|(name, _)| *name == site) {
            return Err(no_such_site(site, &named));
        }
    }
    Ok(values)
}

/// A site may name several values, and the placements know the input by a name although it was not marked.
fn named<'a>(graph: &'a Graph, placements: &'a [Placement]) -> BTreeSet<(&'a String, ValueId)> {
    let placed = placements.iter().map(|placement| (&placement.site, placement.value));
    graph.sites.iter().map(|(site, value)| (site, *value)).chain(placed).collect()
}

fn no_such_site(site: &str, named: &BTreeSet<(&String, ValueId)>) -> Error {
    let known: BTreeSet<_> = named.iter().map(|(name, _)| name.as_str()).collect();
    let known: Vec<_> = known.into_iter().collect();
    let reason = format!("the model has no such site; it has: {}", known.join(", "));
    Error::Plan { entry: site.to_owned(), reason }
}

/// The inputs of a layer that are activations.
fn data_inputs<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = ValueId> + 'a {
    let operands = match node.op {
        Op::Matmul => 2,
        Op::Conv { .. } | Op::Linear => 1,
        _ => 0,
    };
    let operands = node.inputs[..operands].iter().copied();
    operands.filter(|&id| graph.param(id).is_none())
}

/// The input that an operation hands on, if quantization commutes with it.
fn carried(node: &Node) -> Option<ValueId> {
    match node.op {
        Op::MaxPool { .. } | Op::Reshape | Op::Permute(_) | Op::Slice(_) | Op::Unary(Unary::Relu) => {
            Some(node.inputs[0])
        }
        _ => None,
    }
}

/// The values from before a site back to the result of the layer that feeds it over operations that quantization
/// commutes with; `None` if it is fed by something else.
fn chain_to_layer(graph: &Graph, folds: &[Fold], site: ValueId) -> Option<Vec<ValueId>> {
    let mut chain = Vec::new();
    let mut current = site;
    loop {
        let node = graph.producer(current)?;
        let folded = folds.iter().any(|fold| graph.nodes[fold.norm].output == current);
        if folded || matches!(node.op, Op::Conv { .. } | Op::Linear | Op::Matmul) {
            return Some(chain);
        }
        current = carried(node)?;
        chain.push(current);
    }
}

/// Values before a site that get its scale as well: those between the site and the layer that feeds it, if
/// nothing else reads them.
///
/// Directly after a layer a relu needs no pair before it if the smallest code is the site's zero: ONNX Runtime then
/// merges it into the layer, whose rounding clamps at zero anyway.
fn backward(
    graph: &Graph,
    chain: Option<Vec<ValueId>>,
    activation: &ActivationPlan,
    sites: &BTreeMap<ValueId, (String, ActivationPlan)>,
) -> Vec<ValueId> {
    let mut chain = chain.unwrap_or_default();
    if !chain.iter().all(|value| readers(graph, *value) == 1 && !sites.contains_key(value)) {
        return Vec::new();
    }
    let qparams = &activation.qparams;
    let clamps_at_zero = qparams.zero_point[0] == Container::of(qparams).range().0;
    let reader = chain.last().and_then(|&layer| graph.consumers(layer).next());
    if clamps_at_zero && reader.is_some_and(|node| matches!(node.op, Op::Unary(Unary::Relu))) {
        chain.pop();
    }
    chain
}

/// How many operations and outputs read a value.
fn readers(graph: &Graph, value: ValueId) -> usize {
    graph.consumers(value).count() + graph.outputs.iter().filter(|output| **output == value).count()
}

/// Repeats the pair of the nearest value before a layer's input up to that input.
fn forward(
    graph: &Graph,
    pairs: &mut BTreeMap<ValueId, Pair>,
    layer: usize,
    data: ValueId,
) -> Result<(), Error> {
    let mut path = Vec::new();
    let mut current = data;
    let site = loop {
        if let Some(pair) = pairs.get(&current) {
            break pair.site.clone();
        }
        path.push(current);
        current = graph.producer(current).and_then(carried).ok_or_else(|| Error::Plan {
            entry: format!("input of node {layer}"),
            reason: "no quantized site stands before this layer".to_owned(),
        })?;
    };
    pairs.extend(path.into_iter().map(|value| (value, Pair { site: site.clone(), before: Before::Nothing })));
    Ok(())
}
