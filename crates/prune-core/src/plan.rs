//! From a target to a cut: how many units of each axis go, and which.
//!
//! Every axis loses the same share of its units (local scope): a global ranking would compare scores of layers that
//! have no common scale, and empties some of them. A target in multiply-accumulates is met by the smallest such
//! share; cost is counted on the predicted graph and not estimated, because a channel is paid for in the layer
//! that writes it and in those that read it, and both shrink.

use kd_graph::{Axis, Graph, Kind, axes};
use serde::{Deserialize, Serialize};

use crate::channel::label;
use crate::{
    Channels, Cost, Criterion, Cut, Error, Prediction, Share, Slice, Weights, predict, score_axis, select,
};

/// Bounds on what a plan may do to one axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Units that stay at least; at least 1.
    pub min_units: usize,
    /// What is kept is rounded up to a multiple of this, as far as there are units; at least 1. Vector units work on
    /// 8 or 16 channels at a time, and a ninth can cost as much as eight.
    pub round_to: usize,
    /// Largest share of an axis's units that may go, if there is such a limit. Units are counted as for a target's
    /// share, `⌊share · n + 1e-9⌋`.
    pub max_share: Option<Share>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_units: 1, round_to: 1, max_share: None }
    }
}

/// A cut and why it is this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The receipt.
    pub cut: Cut,
    /// Share of units that every axis loses, before rounding to whole units and limits; of all axes together where each
    /// loses another.
    pub share: f64,
    /// Axes that take part, in the graph's order.
    pub axes: Vec<PlannedAxis>,
    /// Axes that stay whole, with the reason.
    pub whole: Vec<WholeAxis>,
    /// Cost without the cut.
    pub before: Cost,
    /// Cost with it.
    pub after: Cost,
}

/// What a plan does to an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedAxis {
    /// A weight on the axis, for messages.
    pub path: String,
    /// What the units are.
    pub kind: Kind,
    /// Units before.
    pub size: usize,
    /// Units that stay, ascending.
    pub keep: Vec<usize>,
    /// Norms, means and softmaxes that run over the units. Without the removed ones these compute with what is left, so
    /// that the network without them is not the one in which they are silent.
    pub across: Vec<String>,
}

/// An axis that a plan leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WholeAxis {
    /// A weight on the axis, for messages.
    pub path: String,
    /// Its units.
    pub size: usize,
    /// Why.
    pub reason: String,
}

/// Plans to remove the channels of `graph` whose `weights` matter least to `criterion`.
///
/// [`plan_axes`] over all axes of the graph, scored by [`score_axis`].
///
/// # Errors
///
/// As those two.
pub fn plan_channels(
    graph: &Graph,
    weights: &Weights,
    criterion: &dyn Criterion,
    target: Channels,
    limits: Limits,
) -> Result<Plan, Error> {
    let score = |axis: &Axis| score_axis(criterion, graph, axis, weights);
    plan_axes(graph, &axes(graph), score, target, limits)
}

/// Plans to remove channels of the `axes` of `graph`, those with the lowest scores first.
///
/// An axis of `n` units loses `⌊share · n + 1e-9⌋`, less where [`Limits`] say so. For [`Channels::Sparsity`] the
/// share is given. For [`Channels::Macs`] it is the smallest one that removes at least `⌈target · macs − 1e-9⌉`
/// multiply-accumulates. Pinned axes, and those that cannot be cut without changing a plain number in the module,
/// stay whole and are listed with the reason. `score` is asked once for each axis that takes part.
///
/// # Errors
///
/// [`Error::MacsUnreachable`] when the target cannot be met, [`Error::Scores`] and [`Error::ScoreNaN`] for scores
/// that do not rank the axis, [`Error::Limit`], and whatever `score` returns.
pub fn plan_axes(
    graph: &Graph,
    axes: &[Axis],
    mut score: impl FnMut(&Axis) -> Result<Vec<f64>, Error>,
    target: Channels,
    limits: Limits,
) -> Result<Plan, Error> {
    limits.check()?;
    let (mut ranked, mut whole) = (Vec::new(), Vec::new());
    for axis in axes {
        match obstacle(graph, axis) {
            Some(reason) => whole.push(WholeAxis { path: label(axis), size: axis.size, reason }),
            None => ranked.push(Ranked::new(axis, &score(axis)?)?),
        }
    }
    let before = Cost::of(graph);
    let shrink = |share| Shrunk::at(share, graph, &ranked, limits);
    let (share, shrunk) = match target {
        Channels::Sparsity(share) => (share.get(), shrink(share.get())?),
        Channels::Macs(target) => {
            let wanted = (target.get() * before.macs as f64 - 1e-9).ceil() as u64;
            let saves = |shrunk: &Shrunk| before.macs - shrunk.prediction.cost.macs;
            let shares = shares(&ranked);
            // A larger share keeps a subset of the units, so that cost falls with the share.
            let (mut low, mut high) = (0, shares.len() - 1);
            let most = shrink(shares[high])?;
            if saves(&most) < wanted {
                let (target, most) = (target.get(), saves(&most));
                return Err(Error::MacsUnreachable { target, before: before.macs, most, whole: whole.len() });
            }
            let mut best = most;
            while low < high {
                let middle = low.midpoint(high);
                let candidate = shrink(shares[middle])?;
                if saves(&candidate) >= wanted {
                    (high, best) = (middle, candidate);
                } else {
                    low = middle + 1;
                }
            }
            (shares[high], best)
        }
    };
    Ok(Plan::new(shrunk, &ranked, share, whole, before))
}

/// Plans to remove the units of the `axes` of `graph` that `goes` says of an axis, within [`Limits`]: where fewer than
/// `min-units` would stay or more than `max-share` would go, and to round up, the lowest of them stay.
///
/// # Errors
///
/// As [`plan_axes`]; [`Error::Scores`] where `goes` has not one answer a unit.
pub fn plan_units(
    graph: &Graph,
    axes: &[Axis],
    mut goes: impl FnMut(&Axis) -> Vec<bool>,
    limits: Limits,
) -> Result<Plan, Error> {
    limits.check()?;
    let (mut ranked, mut whole, mut keeps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gone, mut units) = (0, 0);
    for axis in axes {
        if let Some(reason) = obstacle(graph, axis) {
            whole.push(WholeAxis { path: label(axis), size: axis.size, reason });
            continue;
        }
        let scores: Vec<f64> = goes(axis).into_iter().map(|goes| f64::from(u8::from(!goes))).collect();
        let all = Ranked::new(axis, &scores)?;
        // A share that takes exactly these; the limits may take less.
        let empty = scores.iter().filter(|&&score| score == 0.0).count();
        let keep = all.keep(empty as f64 / axis.size as f64, limits);
        (gone, units) = (gone + axis.size - keep.len(), units + axis.size);
        keeps.push(keep);
        ranked.push(all);
    }
    let before = Cost::of(graph);
    let share = gone as f64 / units.max(1) as f64;
    Ok(Plan::new(Shrunk::to(keeps, graph, &ranked)?, &ranked, share, whole, before))
}

impl Plan {
    fn new(shrunk: Shrunk, ranked: &[Ranked<'_>], share: f64, whole: Vec<WholeAxis>, before: Cost) -> Self {
        let planned = ranked.iter().zip(shrunk.keeps).map(|(ranked, keep)| PlannedAxis {
            path: label(ranked.axis),
            kind: ranked.axis.kind,
            size: ranked.axis.size,
            keep,
            across: ranked.axis.across.clone(),
        });
        Self { cut: shrunk.cut, share, axes: planned.collect(), whole, before, after: shrunk.prediction.cost }
    }
}

impl Limits {
    fn check(self) -> Result<(), Error> {
        let zero =
            [("min-units", self.min_units), ("round-to", self.round_to)].into_iter().find(|(_, at)| *at == 0);
        zero.map_or(Ok(()), |(limit, _)| Err(Error::Limit { limit }))
    }
}

/// The cut that keeps these units of these axes.
///
/// A dimension may belong to several axes (a concatenation is one after the other, heads and positions are one
/// inside the other); it keeps what none of them removes.
///
/// # Errors
///
/// [`Error::UnknownPath`] and [`Error::Dimension`] for axes of another graph, [`Error::KeepsNone`] when a tensor would
/// be left empty.
pub fn cut_of<'a>(
    graph: &Graph,
    keeps: impl IntoIterator<Item = (&'a Axis, &'a [usize])>,
) -> Result<Cut, Error> {
    let mut kept = std::collections::BTreeMap::<(&str, usize), Vec<bool>>::new();
    for (axis, keep) in keeps {
        let mut stays = vec![false; axis.size];
        for &unit in keep {
            if unit >= axis.size {
                return Err(Error::Keep { path: label(axis), dim: 0, index: unit, size: axis.size });
            }
            stays[unit] = true;
        }
        for member in &axis.members {
            let (path, dim) = (&member.path, member.dim);
            let param = graph.params.iter().find(|param| param.path == *path);
            let param = param.ok_or_else(|| Error::UnknownPath { path: path.clone() })?;
            let size = *param.shape.get(dim).ok_or_else(|| Error::Dimension {
                path: path.clone(),
                dim,
                rank: param.shape.len(),
            })?;
            let kept = kept.entry((path, dim)).or_insert_with(|| vec![true; size]);
            for (index, _) in member.index.iter().zip(&stays).filter(|&(_, &stays)| !stays) {
                for &index in index {
                    kept[index] = false;
                }
            }
        }
    }
    Cut::new(kept.into_iter().map(|((path, dim), kept)| Slice {
        path: path.to_owned(),
        dim,
        size: kept.len(),
        keep: (0..kept.len()).filter(|&index| kept[index]).collect(),
    }))
}

/// An axis with its units in the order in which they go.
struct Ranked<'a> {
    axis: &'a Axis,
    order: Vec<usize>,
}

impl<'a> Ranked<'a> {
    fn new(axis: &'a Axis, scores: &[f64]) -> Result<Self, Error> {
        if scores.len() != axis.size {
            let (expected, found) = (axis.size, scores.len());
            return Err(Error::Scores { path: label(axis), expected, found });
        }
        Ok(Self { axis, order: select::order(scores)? })
    }

    fn keep(&self, share: f64, limits: Limits) -> Vec<usize> {
        let size = self.axis.size;
        let share = limits.max_share.map_or(share, |most| share.min(most.get()));
        let kept = (size - select::removed_of(share, size)).max(limits.min_units);
        let kept = kept.next_multiple_of(limits.round_to).min(size);
        let mut keep = self.order[size - kept..].to_vec();
        keep.sort_unstable();
        keep
    }
}

struct Shrunk {
    keeps: Vec<Vec<usize>>,
    cut: Cut,
    prediction: Prediction,
}

impl Shrunk {
    fn at(share: f64, graph: &Graph, ranked: &[Ranked<'_>], limits: Limits) -> Result<Self, Error> {
        Self::to(ranked.iter().map(|ranked| ranked.keep(share, limits)).collect(), graph, ranked)
    }

    fn to(keeps: Vec<Vec<usize>>, graph: &Graph, ranked: &[Ranked<'_>]) -> Result<Self, Error> {
        let cut =
            cut_of(graph, ranked.iter().map(|ranked| ranked.axis).zip(keeps.iter().map(Vec::as_slice)))?;
        let prediction = predict(graph, &cut)?;
        Ok(Self { keeps, cut, prediction })
    }
}

/// Why an axis stays whole, if it does.
fn obstacle(graph: &Graph, axis: &Axis) -> Option<String> {
    if let Some(reason) = &axis.pinned {
        return Some(reason.clone());
    }
    if !axis.numbers.is_empty() {
        return Some(format!(
            "plain numbers of the module would have to follow: {}",
            axis.numbers.join(", ")
        ));
    }
    if axis.size < 2 {
        return Some("it has a single unit".into());
    }
    // What stops one unit stops them all.
    let keep: Vec<usize> = (1..axis.size).collect();
    let tried = cut_of(graph, [(axis, keep.as_slice())]).and_then(|cut| predict(graph, &cut));
    tried.err().map(|error| error.to_string())
}

/// All shares at which some axis loses one unit more, ascending, and 0.
fn shares(ranked: &[Ranked<'_>]) -> Vec<f64> {
    let sizes = ranked.iter().map(|ranked| ranked.axis.size);
    let mut shares: Vec<f64> =
        sizes.flat_map(|size| (1..=size).map(move |removed| removed as f64 / size as f64)).collect();
    shares.push(0.0);
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    shares
}
