//! Where quantizers of activations belong.
//!
//! An integer engine wants the data of every convolution, linear layer and matrix product on a grid. Max pooling,
//! relu, reshape, permute and slice commute with rounding to a grid that holds zero: they pick elements, or
//! replace them by zero. So a quantizer may sit before them, at a value that the model names and that training
//! observes, and the operations between keep its scale.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Graph, Op, Origin, Unary, ValueId};

/// The name of the place of a model input that the forward pass did not mark itself.
pub const INPUT_SITE: &str = "input";

/// A value to quantize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its name.
    pub site: String,
    /// The value.
    pub value: ValueId,
    /// Indices in [`Graph::nodes`] of the operations whose data comes from it, in execution order.
    pub consumers: Vec<usize>,
}

/// The values to quantize, in execution order. Matrix products of two activations take both sides' data.
///
/// # Errors
///
/// [`Error::NoSite`] for an operation whose data passes no named value and no model input.
pub fn placements(graph: &Graph) -> Result<Vec<Placement>, Error> {
    let mut found: BTreeMap<(usize, ValueId), Placement> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let data = match node.op {
            Op::Conv { .. } | Op::Linear => &node.inputs[..1],
            Op::Matmul => &node.inputs[..2],
            _ => continue,
        };
        for &id in data.iter().filter(|&&id| graph.param(id).is_none()) {
            let (site, value) = source(graph, id)
                .ok_or_else(|| Error::NoSite { operation: graph.describe(node), sites: site_names(graph) })?;
            let order = graph.nodes.iter().position(|node| node.output == value).map_or(0, |index| index + 1);
            let placement =
                found.entry((order, value)).or_insert(Placement { site, value, consumers: Vec::new() });
            if placement.consumers.last() != Some(&at) {
                placement.consumers.push(at);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The nearest named value on the way back over operations that commute with rounding.
fn source(graph: &Graph, mut id: ValueId) -> Option<(String, ValueId)> {
    loop {
        if let Some((site, _)) = graph.sites.iter().find(|(_, value)| *value == id) {
            return Some((site.clone(), id));
        }
        if matches!(graph.value(id).origin, Origin::Input(_)) {
            return Some((INPUT_SITE.into(), id));
        }
        let node = graph.producer(id)?;
        match node.op {
            Op::MaxPool { .. } | Op::Reshape | Op::Permute(_) | Op::Slice(_) | Op::Unary(Unary::Relu) => {
                id = node.inputs[0];
            }
            _ => return None,
        }
    }
}

fn site_names(graph: &Graph) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &graph.sites {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
