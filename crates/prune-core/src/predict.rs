//! What a cut does to a graph, before any weight is touched.
//!
//! The indices that stay are followed through every operation, from the parameters to the outputs. Three things
//! come out. First, whether the cut is one at all: two tensors that meet must have lost the same units. Plain numbers
//! (groups, the bounds of a slice, how often a value is repeated) are taken to follow; whether a module's do, a
//! recording of the cut module shows. Second, the graph as it will be, with its exact cost. Third, whether removing the
//! units is the same as silencing them: it is, unless some operation computes from all units something that others read,
//! as a norm does.
//!
//! `kd-graph` finds which indices belong together without looking at a particular cut; this file checks a particular
//! cut without looking at how it was found. Neither trusts the other.

mod carried;
mod elements;
mod flow;
mod layers;
mod reshape;
mod shapes;
mod units;
mod wish;

use std::collections::BTreeSet;

use kd_graph::Graph;
use serde::{Deserialize, Serialize};

pub use self::carried::{Carrier, carriers, sites_of};
use self::flow::Flow;
pub(crate) use self::reshape::groups;
use crate::roles::{Role, uses};
use crate::{Cut, Error};

/// What a cut leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The graph with the shapes that are left.
    pub graph: Graph,
    /// Its cost.
    pub cost: Cost,
    /// Why silencing the removed units is not the same as removing them; empty where it is.
    pub incomparable: Vec<String>,
    /// Dimensions of parameters whose removed slices are zero in the network that keeps its shape.
    pub(crate) silenced: BTreeSet<(String, usize)>,
}

/// What a network costs, counted from its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Multiply-accumulates of convolutions and matrix products for one example, padding counted.
    pub macs: u64,
    /// Trainable elements.
    pub params: u64,
}

impl Cost {
    /// The cost of a graph.
    pub fn of(graph: &Graph) -> Self {
        Self { macs: kd_graph::macs(graph), params: kd_graph::params(graph) }
    }
}

/// Follows `cut` through `graph`.
///
/// # Errors
///
/// [`Error::UnknownPath`], [`Error::Dimension`], [`Error::Size`] where the cut does not fit the parameters, and
/// [`Error::Misfit`] where it does not go through an operation.
pub fn predict(graph: &Graph, cut: &Cut) -> Result<Prediction, Error> {
    let mut cut_graph = graph.clone();
    for slice in cut.slices() {
        let param = cut_graph.params.iter_mut().find(|param| param.path == slice.path);
        let Some(param) = param else {
            return Err(Error::UnknownPath { path: slice.path });
        };
        let rank = param.shape.len();
        let Some(size) = param.shape.get_mut(slice.dim) else {
            return Err(Error::Dimension { path: slice.path, dim: slice.dim, rank });
        };
        if *size != slice.size {
            let (expected, found) = (slice.size, *size);
            return Err(Error::Size { path: slice.path, dim: slice.dim, expected, found });
        }
        *size = slice.keep.len();
    }
    let flow = Flow::run(graph, cut)?;
    let (incomparable, silenced) = flow.write(&mut cut_graph);
    let cost = Cost::of(&cut_graph);
    Ok(Prediction { graph: cut_graph, cost, incomparable, silenced })
}

/// The dimensions of `cut` whose removed slices are to be zero in the network that keeps its shape, so that the
/// removed units are: everything but what only reads them. A variance among these, because zero would divide by
/// (nearly) nothing, and gamma silences the unit already.
///
/// Weights that only read stay as they are, so that a unit that is read at the wrong place shows. Where an operation
/// between makes something else of zero, the flow adds those that read it: a unit is then silent where it is read.
fn silenced(graph: &Graph, cut: &Cut) -> BTreeSet<(String, usize)> {
    let uses = uses(graph);
    let used = |path: &str, dim, reads| {
        uses.iter().any(|it| it.path == path && it.dim == dim && (it.role == Role::Reads) == reads)
    };
    let dims = cut.slices().map(|slice| (slice.path, slice.dim));
    dims.filter(|(path, dim)| used(path, *dim, false) || !used(path, *dim, true)).collect()
}

/// An operation in words, for messages.
fn place(graph: &Graph, index: usize) -> String {
    graph.locate(&graph.nodes[index])
}
