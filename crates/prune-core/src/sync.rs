//! A cut with all that goes with it: numbers beside the weights follow, and what a user pins stays.

use burn::module::Module;
use kd_graph::Axis;
use kd_nn::{ShapeCut, SyncShape};

use crate::{Cut, Error, apply};

/// [`apply`], after which the module's own numbers follow by its [`SyncShape`].
///
/// [`settle_numbers`](crate::settle_numbers) tells who follows:
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::conv::{Conv2d, Conv2dConfig};
/// # use burn::tensor::{Device, Tensor};
/// use kd_graph::{Sites, capture};
/// use kd_nn::SyncShape;
/// use prune_core::{apply_synced, settle_numbers};
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
/// let axes = settle_numbers(&graph, axes, |cut| -> Result<_, Box<dyn std::error::Error>> {
///     Ok(capture(&apply_synced(net.clone(), cut)?, [1, 1, 5, 5], forward)?)
/// });
/// assert_eq!(axes[0].pinned, None, "and it follows");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`apply`].
pub fn apply_synced<M: Module + SyncShape>(module: M, cut: &Cut) -> Result<M, Error> {
    let mut module = apply(module, cut)?;
    module.sync_shape(&ShapeCut::new(&|path, dim| cut.kept(path, dim)));
    Ok(module)
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
