//! Pruning for any [Burn](https://burn.dev) module: scores, patterns, and cuts that really remove channels.
//!
//! There are two things to do with a weight that does not matter, and they are kept apart here.
//!
//! **Masking** leaves the shape and puts zeros into it. A [`Criterion`] scores a weight seen as a [`Matrix`], a
//! [`Pattern`] says where zeros may stand, and [`mask()`] returns who stays. It is worth storage, and time only with
//! a kernel that knows the pattern.
//!
//! ```
//! use prune_core::{Criterion, Inputs, Magnitude, Matrix, NM, Pattern, Unit, mask};
//!
//! # fn main() -> Result<(), prune_core::Error> {
//! let weight = Matrix::new("fc.weight", 1, 4, &[0.1_f32, -0.7, 0.3, 0.2])?;
//! let scores = Magnitude::default().scores(&Inputs::new(&weight), Unit::Element)?;
//! let kept = mask(&Pattern::NM(NM::new(2, 4)?), &scores, 1, 4)?;
//! assert_eq!(kept, [false, true, true, false]);
//! # Ok(())
//! # }
//! ```
//!
//! [`prune()`] does all of it for the layers of a network: criteria that rank across layers, that decide without a
//! pattern, or that update the weights that stay ([`SparseGpt`], [`Obs`]) go through it, and [`Named`] is the same on
//! tensors by name.
//!
//! **Removing** takes units out of every tensor that they are coupled to. `kd-graph` finds the coupled axes of a
//! captured module, [`plan_channels`] scores their units ([`score_group`] also from gradients and activations), chooses how many of each go and counts the cost of what is
//! left, and [`apply`] cuts the module. The [`Cut`] is a receipt in JSON that turns a freshly built network into the
//! pruned one's shape again. [`mask_equals_remove`] and [`verify_cut`] prove it, and [`absent_equals_removed`] where a norm
//! or a mean runs over the units.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig, Relu};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use kd_graph::capture;
//! use prune_core::{Channels, Limits, Magnitude, Share, Weights, apply, mask_equals_remove, plan_channels};
//!
//! #[derive(Module, Debug)]
//! struct Mlp {
//!     first: Linear,
//!     second: Linear,
//! }
//!
//! impl Mlp {
//!     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
//!         self.second.forward(Relu::new().forward(self.first.forward(x)))
//!     }
//! }
//!
//! # fn main() -> Result<(), prune_core::Error> {
//! let device = Device::flex();
//! let mlp = Mlp {
//!     first: LinearConfig::new(4, 8).init(&device),
//!     second: LinearConfig::new(8, 3).init(&device),
//! };
//!
//! let graph = capture(&mlp, [1, 4], |mlp: &Mlp, x, _| mlp.forward(x))?;
//! let weights = Weights::read(&mlp);
//! let half = Channels::Macs(Share::new(0.5)?);
//! let plan = plan_channels(&graph, &weights, &Magnitude::default(), half, Limits::default())?;
//! assert_eq!((plan.before.macs, plan.after.macs), (56, 28));
//!
//! let x = Tensor::random([16, 4], Distribution::Default, &device);
//! mask_equals_remove(&mlp, &graph, &plan.cut, |mlp| mlp.forward(x.clone()))?.check()?;
//! let small = apply(mlp, &plan.cut)?;
//! assert_eq!(small.first.weight.dims(), [4, 4]);
//! # Ok(())
//! # }
//! ```
//!
//! A whole module goes too, where it is an element of a list: [`plan_elements`] finds residual blocks and experts that the
//! network can do without, [`remove_elements`] drops them, [`verify_elements`] proves it.
//!
//! The crate reads no file, clock or environment variable. When to prune, and masks that survive training, belong to
//! the training loop.

mod criterion;
mod inputs;
mod matrix;
mod needs;
mod pattern;
mod spelling;
mod sums;

mod mask;
mod named;
mod prune;
pub mod select;

mod absent;
mod channel;
mod evidence;
mod follow;
mod group;
mod plan;
mod predict;
mod roles;
mod scope;

mod cut;
mod elements;
mod heads;
mod optimizer;
mod receipt;
mod sync;
mod verify;
mod weights;

mod error;
mod linear;
mod walk;

pub use absent::{run_without, uncovered};
pub use channel::{score_axis, score_group};
pub use criterion::{
    ActivationNorm, Bits, BnScale, Builtin, Criterion, Entry, Form, Fpgm, GroupFisher, Input, Knob, Lamp,
    Magnitude, Movement, NonNegative, Norm, Obd, Obs, Owl, Random, Ranking, Removes, Snip, SparseGpt, TABLE,
    Taylor, Threshold, Unit, Update, Wanda, hessian,
};
pub use cut::{Across, Cut, Slice, apply};
pub use elements::{
    Element, ElementCut, ElementKind, ElementPlan, WholeElement, plan_elements, remove_elements,
    score_element, verify_elements,
};
pub use error::Error;
pub use evidence::{Activations, Evidence};
pub use follow::settle_numbers;
pub use group::{Counts, Group, Members, Normalization, Reduction};
pub use heads::only_heads;
pub use inputs::{Inputs, Samples};
pub use mask::mask;
pub use matrix::Matrix;
pub use named::{Array, Named, Output, Outputs};
pub use needs::{Gathers, Needs};
pub use optimizer::{Ids, cut_optimizer};
pub use pattern::{
    Block, Blocks, Channels, Connections, Lines, NM, Pattern, Removal, Scope, Share, Sparsity, Unstructured,
};
pub use plan::{
    Limits, Plan, PlannedAxis, WholeAxis, cut_of, plan_axes, plan_channels, plan_scoped, plan_units,
};
pub use predict::{Carrier, Cost, Prediction, carriers, predict, sites_of};
pub use prune::{Pruned, prune};
pub use scope::Ranked;
pub use sums::InputSums;
pub use sync::{apply_synced, pin};
pub use verify::{
    Comparison, TOLERANCE, absent_equals_removed, as_planned, mask_equals_remove, mask_equals_removed,
    verify_cut,
};
pub use weights::{Weight, Weights};
