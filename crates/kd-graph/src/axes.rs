//! The channel axes of a graph: what has to go together when a channel goes.
//!
//! Every dimension of every value carries labels (see `labels.rs`), every operation says which dimensions of its
//! operands are the same thing, and what remains distinct in the end are the axes. No layer is annotated and
//! none is special: a residual connection couples because addition does, a depthwise convolution because its
//! groups are its channels, batch norm because its statistics have one entry a channel, a linear layer behind a
//! flatten because the reshape makes blocks of rows.
//!
//! Never cut are the model's inputs and outputs, constants of the forward pass, positions, embedding rows and
//! whatever meets an operation that the graph cannot describe; each says so.
//! The idea of merging symbols instead of tracing gradients is ModelOpt's; couplings are those of DepGraph
//! (Fang et al., 2023, arXiv:2301.12900).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Origin, ValueId};
use crate::kind::{Kind, Trait, kind};
use crate::labels::{Label, Pin};
use crate::solver::Solver;

/// Why an axis is pinned whose units the model takes one by one, as it does with the scores of a router whose experts are
/// modules of their own.
pub const TAKEN_ONE_BY_ONE: &str = "each of its units is taken by itself";

/// A set of units, such as the channels of a block, that exist in several tensors and can only go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What the units are.
    pub kind: Kind,
    /// Number of units.
    pub size: usize,
    /// Where the units are, ordered by parameter and dimension. Parameters and running statistics alike.
    pub members: Vec<Member>,
    /// Why no unit can be removed, if none can.
    pub pinned: Option<String>,
    /// Plain numbers of the model, such as a convolution's groups or a shape written in the forward pass, that
    /// have to follow a cut of this axis. Where there are any, cutting the parameters alone is not enough.
    pub numbers: Vec<String>,
    /// Operations that combine the units other than by a weight: layer norm, softmax, mean, sum over the axis.
    /// Across a mean or a norm, removing a unit is not the same as setting it to zero.
    pub across: Vec<String>,
}

/// A dimension of a parameter, as a part of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Path of the parameter or buffer.
    pub path: String,
    /// Dimension.
    pub dim: usize,
    /// For each unit of the axis, the indices along the dimension that go with it, ascending.
    pub index: Vec<Vec<usize>>,
}

/// All axes that parameters of the graph have, in the order of their first member.
///
/// Kernel positions of convolutions have no axis. Positions that only accompany channels, as rows and columns do
/// behind a flatten, have none either; where a dimension holds nothing but positions they are listed as pinned.
/// A dimension whose units the model takes one by one is listed as pinned: a network without one of them is another
/// program. Parameters that the forward pass does not use have no axis.
pub fn axes(graph: &Graph) -> Vec<Axis> {
    let mut solver = Solver::new(graph);
    graph.nodes.iter().for_each(|node| solver.node(node));
    solver.pin_outputs();
    solver.note_streams();
    solver.note_attention();
    solver.collect()
}

/// For each parameter and dimension, the indices that belong to each unit of a label.
type Places = BTreeMap<(usize, usize), Vec<BTreeSet<usize>>>;

impl Solver<'_> {
    fn collect(&self) -> Vec<Axis> {
        let mut members: BTreeMap<Label, Places> = BTreeMap::new();
        let mut shown: BTreeSet<Label> = BTreeSet::new();
        for (at, value) in self.graph.values.iter().enumerate() {
            let (Origin::Param(param), Some(dims)) = (&value.origin, &self.dims[at]) else { continue };
            let kernel = self.kernel_dims(ValueId(at));
            for (d, dim) in dims.iter().enumerate().filter(|(d, _)| !kernel.contains(d)) {
                if let Some(label) = self.labels.scattered(dim) {
                    let units = (0..self.labels.facts(label).size).map(|unit| BTreeSet::from([unit]));
                    members.entry(label).or_default().insert((*param, d), units.collect());
                    shown.insert(label);
                    continue;
                }
                let leaves = self.labels.leaves(dim);
                let position = |label: &Label| {
                    let facts = self.labels.facts(*label);
                    facts.pin == Some(Pin::Position) || facts.traits.contains(&Trait::Place)
                };
                let only_positions = leaves.iter().all(position);
                shown.extend(leaves.iter().filter(|label| only_positions || !position(label)));
                for (index, units) in self.labels.units(dim).into_iter().enumerate() {
                    for (label, unit) in units {
                        let size = self.labels.facts(label).size;
                        let places = members.entry(label).or_default().entry((*param, d));
                        places.or_insert_with(|| vec![BTreeSet::new(); size])[unit].insert(index);
                    }
                }
            }
        }
        let mut axes: Vec<_> = members.into_iter().filter(|(label, _)| shown.contains(label)).collect();
        axes.sort_by_key(|(label, places)| (places.keys().next().copied(), *label));
        axes.into_iter().map(|(label, places)| self.axis(label, places)).collect()
    }

    fn axis(&self, label: Label, places: Places) -> Axis {
        let facts = self.labels.facts(label);
        let apart = self.labels.is_scattered(label);
        let pinned = match &facts.pin {
            Some(Pin::Position) => Some("positions in space, time or batch".to_owned()),
            Some(Pin::Constant) => Some("a constant of the forward pass has this size".into()),
            Some(Pin::Because(why)) => Some(why.clone()),
            None => apart.then(|| TAKEN_ONE_BY_ONE.into()),
        };
        let member = |((param, dim), index): ((usize, usize), Vec<BTreeSet<usize>>)| Member {
            path: self.graph.params[param].path.clone(),
            dim,
            index: index.into_iter().map(|units| units.into_iter().collect()).collect(),
        };
        Axis {
            kind: kind(&facts.traits, facts.pin == Some(Pin::Position)),
            size: facts.size,
            members: places.into_iter().map(member).collect(),
            numbers: facts.numbers.iter().filter(|_| pinned.is_none()).cloned().collect(),
            pinned,
            across: facts.across.iter().cloned().collect(),
        }
    }
}
