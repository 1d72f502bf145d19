//! From a target to a cut: how many units of each axis go, and which.
//!
//! Every axis loses the same share of its units, or every set of axes that are ranked together does ([`Ranked`]). A
//! target in multiply-accumulates is met by the smallest such
//! share; cost is counted on the predicted graph and not estimated, because a channel is paid for in the layer
//! that writes it and in those that read it, and both shrink.

use std::collections::BTreeMap;

use kd_graph::{Axis, Graph, Kind, axes};
use serde::{Deserialize, Serialize};

use crate::channel::label;
use crate::scope::Ranking;
use crate::{
    Across, Channels, Cost, Criterion, Cut, Error, Prediction, Ranked, Share, Slice, Weights, predict,
    score_axis, select,
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
    /// Share of units that every axis, or every set that is ranked together, loses before rounding to whole units and
    /// limits.
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

/// [`plan_scoped`] with each axis ranked by itself.
///
/// # Errors
///
/// As [`plan_scoped`].
pub fn plan_axes(
    graph: &Graph,
    axes: &[Axis],
    score: impl FnMut(&Axis) -> Result<Vec<f64>, Error>,
    target: Channels,
    limits: Limits,
) -> Result<Plan, Error> {
    plan_scoped(graph, axes, score, target, limits, Ranked::Local)
}

/// Plans to remove channels of the `axes` of `graph`, those with the lowest scores first.
///
/// A set of axes that are ranked together, `n` units in all, loses `⌊share · n + 1e-9⌋`, less where [`Limits`] say so. For [`Channels::Sparsity`] the
/// share is given. For [`Channels::Macs`] it is the smallest one that removes at least `⌈target · macs − 1e-9⌉`
/// multiply-accumulates. Pinned axes, and those that cannot be cut without changing a plain number in the module,
/// stay whole and are listed with the reason, and so do axes on which the criterion finds nothing to score, unless it
/// finds nothing on any. What limits keep of one axis is not taken from another. `score` is asked once for each axis that
/// takes part.
///
/// # Errors
///
/// [`Error::MacsUnreachable`] when the target cannot be met, [`Error::Scores`] and [`Error::ScoreNaN`] for scores
/// that do not rank the axis, [`Error::Limit`], and whatever `score` returns.
pub fn plan_scoped(
    graph: &Graph,
    axes: &[Axis],
    mut score: impl FnMut(&Axis) -> Result<Vec<f64>, Error>,
    target: Channels,
    limits: Limits,
    ranked: Ranked,
) -> Result<Plan, Error> {
    limits.check()?;
    let (mut parts, mut whole, mut unscored) = (Vec::new(), Vec::new(), None);
    for axis in axes {
        let stays = |reason| WholeAxis { path: label(axis), size: axis.size, reason };
        match obstacle(graph, axis).map_or_else(|| Ok(score(axis)), Err) {
            Err(reason) => whole.push(stays(reason)),
            Ok(Err(error @ Error::Unwritten { .. })) => {
                whole.push(stays(error.to_string()));
                unscored = unscored.or(Some(error));
            }
            Ok(scores) => parts.push(Part::new(axis, scores?)?),
        }
    }
    if let Some(error) = unscored.filter(|_| parts.is_empty()) {
        return Err(error);
    }
    let before = Cost::of(graph);
    let rankings = rankings(ranked, graph, &parts)?;
    let shrink = |share| Shrunk::at(share, graph, &parts, &rankings, limits);
    let (share, shrunk) = match target {
        Channels::Sparsity(share) => (share.get(), shrink(share.get())?),
        Channels::Macs(target) => {
            let wanted = (target.get() * before.macs as f64 - 1e-9).ceil() as u64;
            let saves = |shrunk: &Shrunk| before.macs - shrunk.prediction.cost.macs;
            let shares = shares(&rankings);
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
    Ok(Plan::new(shrunk, &parts, share, whole, before))
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
    let (mut parts, mut whole, mut keeps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gone, mut units) = (0, 0);
    for axis in axes {
        if let Some(reason) = obstacle(graph, axis) {
            whole.push(WholeAxis { path: label(axis), size: axis.size, reason });
            continue;
        }
        let scores: Vec<f64> = goes(axis).into_iter().map(|goes| f64::from(u8::from(!goes))).collect();
        let empty = scores.iter().filter(|&&score| score == 0.0).count();
        let part = Part::new(axis, scores)?;
        // The limits may take less.
        let keep = part.keep(empty, limits);
        (gone, units) = (gone + axis.size - keep.len(), units + axis.size);
        keeps.push(keep);
        parts.push(part);
    }
    let before = Cost::of(graph);
    let share = gone as f64 / units.max(1) as f64;
    Ok(Plan::new(Shrunk::to(keeps, graph, &parts)?, &parts, share, whole, before))
}

impl Plan {
    fn new(shrunk: Shrunk, parts: &[Part<'_>], share: f64, whole: Vec<WholeAxis>, before: Cost) -> Self {
        let planned = parts.iter().zip(shrunk.keeps).map(|(part, keep)| PlannedAxis {
            path: label(part.axis),
            kind: part.axis.kind,
            size: part.axis.size,
            keep,
            across: part.axis.across.clone(),
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
/// inside the other); it keeps what none of them removes. Axes over which a norm, a mean or a softmax runs are named in
/// the cut.
///
/// # Errors
///
/// [`Error::UnknownPath`] and [`Error::Dimension`] for axes of another graph, [`Error::KeepsNone`] when a tensor would
/// be left empty.
pub fn cut_of<'a>(
    graph: &Graph,
    keeps: impl IntoIterator<Item = (&'a Axis, &'a [usize])>,
) -> Result<Cut, Error> {
    let mut kept = BTreeMap::<(&str, usize), Vec<bool>>::new();
    let mut named = Vec::new();
    for (axis, keep) in keeps {
        let mut stays = vec![false; axis.size];
        for &unit in keep {
            if unit >= axis.size {
                return Err(Error::Keep { path: label(axis), dim: 0, index: unit, size: axis.size });
            }
            stays[unit] = true;
        }
        if stays.contains(&false) {
            named.extend(across(axis));
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
    let slices = kept.into_iter().map(|((path, dim), kept)| Slice {
        path: path.to_owned(),
        dim,
        size: kept.len(),
        keep: (0..kept.len()).filter(|&index| kept[index]).collect(),
    });
    Ok(Cut::new(slices)?.with_across(named))
}

/// What runs over the units of an axis, but for sums, to which a silent unit and one that is not there add the same.
fn across(axis: &Axis) -> Option<Across> {
    let path = label(axis);
    let dim = axis.members.iter().find(|member| member.path == path)?.dim;
    let counts = |operation: &&String| !operation.starts_with("`sum_dim`");
    let operations: Vec<String> = axis.across.iter().filter(counts).cloned().collect();
    (!operations.is_empty()).then_some(Across { path, dim, operations })
}

/// An axis that takes part, with its units in the order in which they go.
struct Part<'a> {
    axis: &'a Axis,
    scores: Vec<f64>,
    order: Vec<usize>,
}

impl<'a> Part<'a> {
    fn new(axis: &'a Axis, scores: Vec<f64>) -> Result<Self, Error> {
        if scores.len() != axis.size {
            let (expected, found) = (axis.size, scores.len());
            return Err(Error::Scores { path: label(axis), expected, found });
        }
        Ok(Self { axis, order: select::order(&scores)?, scores })
    }

    /// What stays when `removed` units should go.
    fn keep(&self, removed: usize, limits: Limits) -> Vec<usize> {
        let size = self.axis.size;
        let most = limits.max_share.map_or(size, |most| select::removed_of(most.get(), size));
        let kept = (size - removed.min(most)).max(limits.min_units);
        let kept = kept.next_multiple_of(limits.round_to).min(size);
        let mut keep = self.order[size - kept..].to_vec();
        keep.sort_unstable();
        keep
    }
}

fn rankings(ranked: Ranked, graph: &Graph, parts: &[Part<'_>]) -> Result<Vec<Ranking>, Error> {
    let (axes, scores): (Vec<&Axis>, Vec<Vec<f64>>) =
        parts.iter().map(|part| (part.axis, part.scores.clone())).unzip();
    ranked.rankings(graph, &axes, &scores)
}

struct Shrunk {
    keeps: Vec<Vec<usize>>,
    cut: Cut,
    prediction: Prediction,
}

impl Shrunk {
    fn at(
        share: f64,
        graph: &Graph,
        parts: &[Part<'_>],
        rankings: &[Ranking],
        limits: Limits,
    ) -> Result<Self, Error> {
        let removed: BTreeMap<usize, usize> =
            rankings.iter().flat_map(|ranking| ranking.removed(share)).collect();
        let keep = |(number, part): (usize, &Part<'_>)| part.keep(removed[&number], limits);
        let keeps: Vec<_> = parts.iter().enumerate().map(keep).collect();
        Self::to(keeps, graph, parts)
    }

    fn to(keeps: Vec<Vec<usize>>, graph: &Graph, parts: &[Part<'_>]) -> Result<Self, Error> {
        let cut = cut_of(graph, parts.iter().map(|part| part.axis).zip(keeps.iter().map(Vec::as_slice)))?;
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

/// All shares at which one unit more goes of some ranking, ascending, and 0.
fn shares(rankings: &[Ranking]) -> Vec<f64> {
    let sizes = rankings.iter().map(Ranking::units);
    let mut shares: Vec<f64> =
        sizes.flat_map(|size| (1..=size).map(move |removed| removed as f64 / size as f64)).collect();
    shares.push(0.0);
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    shares
}
