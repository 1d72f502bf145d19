//! Which heads, hidden units and channels masks have left empty, so that they can be taken out.
//!
//! A mask changes no shape; what makes a network faster are units that nothing writes or nothing reads any more. The rule
//! is that of block movement pruning's authors (nn_pruning, `inference_model_patcher.py`, at 0cef2b2), with what reads a
//! unit beside what writes it.

use kd_deploy::{Array, Weights};
use kd_graph::{Axis, Kind, Member};

use crate::survey::Entry;

/// For each unit of an axis whether it is empty: all weights that write it are zero there, or all that read it.
///
/// A head is empty as soon as its queries, keys or values are: without queries or keys it averages the values evenly.
/// A unit that nothing writes still gives its bias, the same for every input.
pub(crate) fn units(axis: &Axis, entries: &[Entry], weights: &Weights) -> Vec<bool> {
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for member in &axis.members {
        let Some(entry) = entries.iter().find(|entry| entry.path == member.path) else { continue };
        let (Some(out), Some(weight)) = (entry.output_axis(), weights.get(&member.path)) else { continue };
        let zero = zero(member, weight);
        if member.dim == out { writers.push(zero) } else { readers.push(zero) }
    }
    let all = |of: &[Vec<bool>], unit: usize| !of.is_empty() && of.iter().all(|zero| zero[unit]);
    let any = |of: &[Vec<bool>], unit: usize| of.iter().any(|zero| zero[unit]);
    let heads = matches!(axis.kind, Kind::Heads | Kind::KvGroups);
    let written = |unit| if heads { any(&writers, unit) } else { all(&writers, unit) };
    (0..axis.size).map(|unit| written(unit) || all(&readers, unit)).collect()
}

/// For each unit whether its slices of a weight hold zeros alone.
fn zero(member: &Member, weight: &Array) -> Vec<bool> {
    let shape = weight.shape();
    let (size, inner) = (shape[member.dim], shape[member.dim + 1..].iter().product::<usize>().max(1));
    let mut there = vec![false; size];
    for (at, value) in weight.data().iter().enumerate() {
        there[at / inner % size] |= *value != 0.0;
    }
    member.index.iter().map(|indices| indices.iter().all(|&at| !there[at])).collect()
}
