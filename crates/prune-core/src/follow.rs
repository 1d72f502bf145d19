//! Which plain numbers of a model follow a cut by themselves.
//!
//! A depthwise convolution has as many groups as channels, and a recording cannot tell whether the model reads that
//! number off a weight's shape or keeps it in a field that no cut reaches; nor that a layer refuses inputs of another
//! width than its field says. So it is tried: the network without one unit of the axis is recorded again, and either
//! computes what was predicted or does not.

use kd_graph::{Axis, Graph};

use crate::{Cut, Error, cut_of, predict};

/// `axes` of `graph`, none of which has [numbers](Axis::numbers) any more: they follow, or the axis is pinned.
///
/// `recorded` is the graph of the network without what a cut removes, or why that network has none: its
/// forward pass fails, as it does when a number no longer fits the weights.
pub fn settle_numbers(
    graph: &Graph,
    mut axes: Vec<Axis>,
    recorded: impl Fn(&Cut) -> Result<Graph, Error>,
) -> Vec<Axis> {
    for axis in &mut axes {
        let numbers = std::mem::take(&mut axis.numbers);
        if axis.pinned.is_some() || axis.size < 2 {
            continue;
        }
        if let Err(reason) = follows(graph, axis, &recorded) {
            axis.pinned = Some(match numbers.is_empty() {
                true => format!("the module does not follow a cut: {reason}"),
                false => format!(
                    "plain numbers of the module do not follow a cut: {} ({reason})",
                    numbers.join(", ")
                ),
            });
        }
    }
    axes
}

/// Whether the network without the first unit of `axis` is what the graph says it would be, or why not.
fn follows(
    graph: &Graph,
    axis: &Axis,
    recorded: impl Fn(&Cut) -> Result<Graph, Error>,
) -> Result<(), String> {
    let keep: Vec<usize> = (1..axis.size).collect();
    let tried = || {
        let cut = cut_of(graph, [(axis, keep.as_slice())])?;
        Ok::<_, Error>((predict(graph, &cut)?.graph, recorded(&cut)?))
    };
    match tried() {
        Ok((planned, found)) if planned == found => Ok(()),
        Ok(_) => Err("its operations or their sizes are others than predicted".into()),
        Err(error) => Err(error.to_string()),
    }
}
