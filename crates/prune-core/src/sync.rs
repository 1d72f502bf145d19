//! Numbers beside the weights after a cut: who follows, and who was seen not to.

use burn::module::Module;
use kd_graph::{Axis, Graph};
use kd_nn::{ShapeCut, SyncShape};

use crate::{Cut, Error, apply, cut_of, predict};

/// [`apply`], after which the module's own numbers follow by its [`SyncShape`].
///
/// # Errors
///
/// As [`apply`].
pub fn apply_synced<M: Module + SyncShape>(module: M, cut: &Cut) -> Result<M, Error> {
    let mut module = apply(module, cut)?;
    module.sync_shape(&ShapeCut::new(&|path, dim| cut.kept(path, dim)));
    Ok(module)
}

/// The channel axes of `graph`; those whose plain numbers were seen to follow a cut have none left.
///
/// A depthwise convolution has as many groups as channels, and a recording cannot tell whether the model reads that
/// number off a weight's shape, sets it by [`SyncShape`], or keeps it in a field that no cut reaches. So it is tried: the
/// network without one unit of the axis is captured again, and either computes what was predicted or does not.
/// `recapture` cuts the module and captures it, `None` where that fails:
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::conv::{Conv2d, Conv2dConfig};
/// # use burn::tensor::{Device, Tensor};
/// use kd_graph::{Sites, capture};
/// use kd_nn::SyncShape;
/// use prune_core::{apply_synced, follow};
///
/// #[derive(Module, Debug, SyncShape)]
/// struct Depthwise {
///     stem: Conv2d,
///     depthwise: Conv2d,
///     head: Conv2d,
/// }
///
/// fn forward(net: &Depthwise, x: Tensor<4>, _: &mut Sites) -> Tensor<2> {
///     net.head.forward(net.depthwise.forward(net.stem.forward(x))).flatten(1, 3)
/// }
///
/// # fn main() -> Result<(), kd_graph::Error> {
/// let device = Device::default();
/// let net = Depthwise {
///     stem: Conv2dConfig::new([1, 8], [1, 1]).init(&device),
///     depthwise: Conv2dConfig::new([8, 8], [3, 3]).with_groups(8).init(&device),
///     head: Conv2dConfig::new([8, 2], [1, 1]).init(&device),
/// };
/// let graph = capture(&net, [1, 1, 5, 5], forward)?;
/// let axes = kd_graph::axes(&graph);
/// assert!(!axes[0].numbers.is_empty(), "the groups of Burn's convolution are a number");
/// let axes = follow(&graph, axes, |cut| {
///     let net = apply_synced(net.clone(), cut).ok()?;
///     capture(&net, [1, 1, 5, 5], forward).ok()
/// });
/// assert!(axes[0].numbers.is_empty(), "and it follows");
/// # Ok(())
/// # }
/// ```
pub fn follow(graph: &Graph, mut axes: Vec<Axis>, recapture: impl Fn(&Cut) -> Option<Graph>) -> Vec<Axis> {
    let as_planned = |axis: &Axis| {
        let keep: Vec<usize> = (1..axis.size).collect();
        let cut = cut_of(graph, [(axis, keep.as_slice())]).ok()?;
        let planned = predict(graph, &cut).ok()?;
        Some(recapture(&cut)? == planned.graph)
    };
    for axis in &mut axes {
        let open = axis.pinned.is_none() && axis.size > 1 && !axis.numbers.is_empty();
        if open && as_planned(axis) == Some(true) {
            axis.numbers.clear();
        }
    }
    axes
}

/// Pins the axes of which any parameter's path `matches`: no unit of them goes, whatever the plan. `pattern` is what the
/// request said, for messages.
///
/// # Errors
///
/// [`Error::PinsNothing`] when no axis has such a parameter: a name was misspelt, most likely.
pub fn pin(axes: &mut [Axis], pattern: &str, matches: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut found = false;
    for axis in axes.iter_mut() {
        let Some(member) = axis.members.iter().find(|member| matches(&member.path)) else { continue };
        found = true;
        axis.pinned.get_or_insert_with(|| format!("`{}` is pinned by `{pattern}`", member.path));
    }
    if found {
        return Ok(());
    }
    let mut paths: Vec<String> =
        axes.iter().flat_map(|axis| &axis.members).map(|member| member.path.clone()).collect();
    paths.sort();
    paths.dedup();
    Err(Error::PinsNothing { pattern: pattern.to_owned(), paths })
}
