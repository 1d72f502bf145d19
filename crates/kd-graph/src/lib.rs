//! The graph of any Burn module, captured from its own forward pass, and what follows from it.
//!
//! Burn's capture device records the operations of a forward pass without running a kernel. [`capture`] records
//! a module at two batch sizes and at other sizes of its input, which tells the data's dimensions from the model's, and
//! returns a [`Graph`]: plain data without a Burn type. From it come
//!
//! - [`macs`], [`params`], and [`node_macs`], [`node_params`], [`activation_bytes`] of an operation: exact costs;
//! - [`dot`] and [`svg`]: pictures;
//! - [`axes`]: the axes that structural pruning may cut, with everything that is coupled to them;
//! - [`blocks`]: residual blocks that can go;
//! - [`batch_norm_folds`]: batch norms that a convolution or linear layer can absorb;
//! - [`placements`]: the values that an integer engine has to quantize.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//!
//! let layer = LinearConfig::new(4, 3).init(&Device::flex());
//! let graph = kd_graph::capture(&layer, [1, 4], |layer: &Linear, x: Tensor<2>, sites| {
//!     sites.mark("input", &x);
//!     layer.forward(x)
//! })?;
//! assert_eq!(kd_graph::macs(&graph), 12);
//! assert_eq!(kd_graph::params(&graph), 15);
//! # Ok::<(), kd_graph::Error>(())
//! ```
//!
//! This crate does no I/O and reads no clock. Only the module `capture` touches Burn's capture device and
//! its intermediate representation.

mod attention;
mod axes;
mod blocks;
mod capture;
mod cost;
mod display;
mod draft;
mod draw;
mod error;
mod fold;
mod fuse;
mod graph;
mod kind;
mod labels;
mod placement;
mod sizes;
mod solver;

pub use axes::{Axis, Member, TAKEN_ONE_BY_ONE, axes};
pub use blocks::{Block, blocks};
pub use capture::{Sites, capture};
pub use cost::{activation_bytes, macs, macs_with, node_macs, node_params, params};
pub use draw::{dot, svg};
pub use error::Error;
pub use fold::{Fold, batch_norm_folds};
pub use graph::{Binary, Dim, Graph, Node, Op, Origin, Param, Unary, Value, ValueId, Window};
pub use kind::Kind;
pub use placement::{INPUT_SITE, Placement, placements};
pub use sizes::{InputDim, Refusal};
