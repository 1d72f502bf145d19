//! Which axes may be cut by a stage that proves every cut.
//!
//! A cut is checked by silencing the same units and comparing outputs. Where a layer norm averages over the units,
//! as it does over the width of a transformer, removing some changes what is left of the others, and no comparison can
//! tell a right cut from a wrong one. Such axes stay whole.

use kd_graph::{Axis, Graph};

/// `axes` of `graph`, those pinned whose cuts cannot be compared with silencing, each with the first reason.
pub fn pinned(graph: &Graph, mut axes: Vec<Axis>) -> Vec<Axis> {
    for axis in axes.iter_mut().filter(|axis| axis.pinned.is_none() && axis.size > 1) {
        let keep: Vec<usize> = (1..axis.size).collect();
        let tried = prune_core::cut_of(graph, [(&*axis, keep.as_slice())]);
        // A cut that does not fit is the plan's to refuse, in its own words.
        let Ok(tried) = tried.and_then(|cut| prune_core::predict(graph, &cut)) else { continue };
        if let Some(reason) = tried.incomparable.first() {
            axis.pinned = Some(format!("removing its units is not the same as silencing them: {reason}"));
        }
    }
    axes
}
