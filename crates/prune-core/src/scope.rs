//! Which units of a network are ranked against each other when channels go.

use std::collections::BTreeMap;

use kd_graph::{Axis, Graph, Kind};
use serde::{Deserialize, Serialize};

use crate::select;

/// Which axes are ranked together; each set of them loses the same share of its units.
///
/// Ranking together takes more from where units matter less, and needs scores that compare: those of
/// [`score_group`](crate::score_group()) are relative to their group's mean unless told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranked {
    /// Each axis by itself: all lose the same share.
    #[default]
    Local,
    /// All axes.
    Global,
    /// Axes of equal structure: the same kind of units in the same parameters of the same layers. Fang et al.,
    /// "Isomorphic Pruning for Vision Models", arXiv:2407.04616.
    Isomorphic,
}

/// Units of some axes in the order in which they go.
pub(crate) struct Ranking {
    /// Number of the axis of each unit, the first to go first.
    order: Vec<usize>,
}

impl Ranked {
    /// The rankings of `axes`, whose units have `scores`. Of equal scores the lower axis's stays, and in it the lower
    /// index.
    pub(crate) fn rankings(
        self,
        graph: &Graph,
        axes: &[&Axis],
        scores: &[Vec<f64>],
    ) -> Result<Vec<Ranking>, crate::Error> {
        let mut sets: Vec<(Option<Structure>, Vec<usize>)> = Vec::new();
        for (number, axis) in axes.iter().enumerate() {
            let structure = (self == Ranked::Isomorphic).then(|| Structure::of(graph, axis));
            match sets.iter_mut().find(|(other, _)| self != Ranked::Local && *other == structure) {
                Some((_, set)) => set.push(number),
                None => sets.push((structure, vec![number])),
            }
        }
        let ranking = |(_, set): (_, Vec<usize>)| {
            let owners: Vec<usize> =
                set.iter().flat_map(|&number| vec![number; scores[number].len()]).collect();
            let all: Vec<f64> = set.iter().flat_map(|&number| scores[number].iter().copied()).collect();
            let order = select::order(&all)?.into_iter().map(|unit| owners[unit]).collect();
            Ok(Ranking { order })
        };
        sets.into_iter().map(ranking).collect()
    }
}

impl Ranking {
    /// Units that are ranked.
    pub(crate) fn units(&self) -> usize {
        self.order.len()
    }

    /// How many units go of each axis at a share, by number of the axis.
    pub(crate) fn removed(&self, share: f64) -> BTreeMap<usize, usize> {
        let mut counts: BTreeMap<usize, usize> = self.order.iter().map(|&number| (number, 0)).collect();
        for number in &self.order[..select::removed_of(share, self.units())] {
            *counts.entry(*number).or_default() += 1;
        }
        counts
    }
}

/// What an axis goes through: the kind of its units, and for each of its members the layer, the parameter's own name and
/// the dimension.
#[derive(PartialEq)]
struct Structure(Kind, Vec<(String, String, usize)>);

impl Structure {
    fn of(graph: &Graph, axis: &Axis) -> Self {
        let member = |member: &kd_graph::Member| {
            let param = graph.params.iter().find(|param| param.path == member.path);
            let layer = param.map(|param| param.layer.clone()).unwrap_or_default();
            let name = member.path.rsplit('.').next().unwrap_or_default();
            (layer, name.to_owned(), member.dim)
        };
        let mut members: Vec<_> = axis.members.iter().map(member).collect();
        members.sort();
        Self(axis.kind, members)
    }
}
