//! Which plain numbers of a model follow a cut by themselves.
//!
//! A depthwise convolution has as many groups as channels, and a recording cannot tell whether the model reads that
//! number off a weight's shape or keeps it in a field that no cut reaches; nor that a layer refuses inputs of another
//! width than its field says. So it is tried: the network without one unit of the axis is recorded again, and either
//! computes what was predicted or does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use kd_graph::{Axis, Graph, Member};

use crate::{Cut, cut_of, predict};

/// `axes` of `graph`, none of which has [numbers](Axis::numbers) any more: they follow, or the axis is pinned.
///
/// Axes of which none follows alone may do so together. A model that takes a tensor in halves reads where from its
/// size, so that both halves have to lose as many units; such axes become one, whose units are one from each, or as many
/// more from the larger ones.
///
/// `recorded` is the graph of the network without what a cut removes, or why that network has none: its
/// forward pass fails, as it does when a number no longer fits the weights.
pub fn settle_numbers<E: Display>(
    graph: &Graph,
    mut axes: Vec<Axis>,
    recorded: impl Fn(&Cut) -> Result<Graph, E>,
) -> Vec<Axis> {
    let open = |axis: &Axis| axis.pinned.is_none() && axis.size > 1;
    // Most axes have no number, and a layer that refuses another width is rare: they are tried all at once.
    let plain = axes.iter().filter(|axis| open(axis) && axis.numbers.is_empty());
    let plain_follow = tried(graph, plain.map(|axis| (axis, 1)), &recorded).is_ok();
    let mut stubborn = Vec::new();
    for (at, axis) in axes.iter_mut().enumerate() {
        let tries = open(axis) && !(axis.numbers.is_empty() && plain_follow);
        match if tries { follows(graph, axis, &recorded) } else { Ok(()) } {
            Ok(()) => axis.numbers.clear(),
            Err(reason) => stubborn.push((at, reason)),
        }
    }
    let mut gone = BTreeSet::<usize>::new();
    for set in sharing(&axes, &stubborn) {
        let joined = join(graph, set.iter().map(|&at| &axes[at]));
        if let Some(mut joined) = joined.filter(|joined| follows(graph, joined, &recorded).is_ok()) {
            joined.numbers.clear();
            axes[set[0]] = joined;
            gone.extend(&set[1..]);
            stubborn.retain(|(at, _)| !set.contains(at));
        }
    }
    for (at, reason) in stubborn {
        let numbers = std::mem::take(&mut axes[at].numbers);
        axes[at].pinned = Some(match numbers.is_empty() {
            true => format!("the module does not follow a cut: {reason}"),
            false => format!("plain numbers of the module do not follow a cut: {}", numbers.join(", ")),
        });
    }
    let kept = axes.into_iter().enumerate().filter(|(at, _)| !gone.contains(at));
    kept.map(|(_, axis)| axis).collect()
}

/// Sets of at least two of these axes that share numbers, directly or through others of the set.
fn sharing(axes: &[Axis], stubborn: &[(usize, String)]) -> Vec<Vec<usize>> {
    let mut sets: Vec<(BTreeSet<&str>, Vec<usize>)> = Vec::new();
    for &(at, _) in stubborn {
        let mut set: (BTreeSet<&str>, Vec<usize>) =
            (axes[at].numbers.iter().map(String::as_str).collect(), vec![at]);
        let (with, without): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|(numbers, _)| !numbers.is_disjoint(&set.0));
        for (numbers, more) in with {
            set.0.extend(numbers);
            set.1.extend(more);
        }
        sets = without;
        sets.push(set);
    }
    let mut sets: Vec<Vec<usize>> = sets.into_iter().map(|(_, set)| set).collect();
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets.retain(|set| set.len() > 1);
    sets
}

/// One axis of several: its unit `u` is every unit of each that is `u` modulo the smallest size. `None` where a size is
/// no multiple of that.
fn join<'a>(graph: &Graph, axes: impl Iterator<Item = &'a Axis> + Clone) -> Option<Axis> {
    let size = axes.clone().map(|axis| axis.size).min()?;
    let mut members: BTreeMap<(String, usize), Vec<BTreeSet<usize>>> = BTreeMap::new();
    let (mut across, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for axis in axes.clone() {
        if !axis.size.is_multiple_of(size) {
            return None;
        }
        across.extend(axis.across.iter().cloned());
        numbers.extend(axis.numbers.iter().cloned());
        for member in &axis.members {
            let place = (member.path.clone(), member.dim);
            let index = members.entry(place).or_insert_with(|| vec![BTreeSet::new(); size]);
            for (unit, of_unit) in member.index.iter().enumerate() {
                index[unit % size].extend(of_unit);
            }
        }
    }
    let at = |path: &str| graph.params.iter().position(|param| param.path == path);
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|((path, dim), _)| (at(path), *dim));
    let members = members.into_iter().map(|((path, dim), index)| Member {
        path,
        dim,
        index: index.into_iter().map(|unit| unit.into_iter().collect()).collect(),
    });
    let kind = axes.clone().next()?.kind;
    Some(Axis {
        kind,
        size,
        members: members.collect(),
        pinned: None,
        numbers: numbers.into_iter().collect(),
        across: across.into_iter().collect(),
    })
}

/// Whether the network without some units of `axis` is what the graph says it would be, or why not: without the first
/// unit, and where plain numbers have to follow also without the first half and without all but the last, since a number
/// that is rounded may fit once.
fn follows<E: Display>(
    graph: &Graph,
    axis: &Axis,
    recorded: impl Fn(&Cut) -> Result<Graph, E>,
) -> Result<(), String> {
    let mut firsts = vec![1];
    if !axis.numbers.is_empty() {
        firsts.extend([axis.size.div_ceil(2), axis.size - 1]);
    }
    firsts.dedup();
    let size = axis.size;
    firsts.into_iter().try_for_each(|first| {
        tried(graph, [(axis, first)], &recorded)
            .map_err(|reason| format!("without {first} of {size} units, {reason}"))
    })
}

/// Whether the network without so many first units of these axes is what the graph says it would be, or why not.
fn tried<'a, E: Display>(
    graph: &Graph,
    axes: impl IntoIterator<Item = (&'a Axis, usize)>,
    recorded: impl Fn(&Cut) -> Result<Graph, E>,
) -> Result<(), String> {
    let keeps = axes.into_iter().map(|(axis, first)| (axis, (first..axis.size).collect()));
    let keeps: Vec<(&Axis, Vec<usize>)> = keeps.collect();
    let planned = cut_of(graph, keeps.iter().map(|(axis, keep)| (*axis, keep.as_slice())))
        .and_then(|cut| Ok((predict(graph, &cut)?.graph, cut)));
    let (planned, cut) = planned.map_err(|error| error.to_string())?;
    // What a network says may go over several lines.
    let line = |error: E| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match recorded(&cut).map_err(line)? == planned {
        true => Ok(()),
        false => Err("its operations or their sizes are others than predicted".into()),
    }
}
