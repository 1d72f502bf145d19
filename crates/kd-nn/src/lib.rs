//! Burn's layers and optimizers, faster on a CPU: on the `flex` device their work is done by [`kd_kernels`], on every
//! other device, the capture device included, by Burn's own operations.
//!
//! Modules are named as in `burn::nn`, and configurations, parameters, initialisation and records are the same: a
//! record saved from one loads into the other, and a model changes over by one `use`:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use kd_nn::conv::Conv2dConfig; // was: burn::nn::conv::Conv2dConfig
//!
//! let device = Device::default().autodiff();
//! let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
//! let loss = conv.forward(Tensor::<4>::ones([2, 3, 9, 9], &device)).sum();
//! assert!(conv.weight.val().grad(&loss.backward()).is_some());
//! ```
//!
//! What differs: groups and channel counts come from the weights' shapes at each forward pass, so that a layer whose
//! channels were removed goes on working; and [`BatchNorm`] can take a ReLU into its pass over memory.
//!
//! [`SyncShape`] lets numbers that modules keep beside their weights, Burn's groups or your own heads, follow a cut.
//!
//! [`Kernels`] turns all of it off for a scope, which leaves Burn's own operations everywhere.

pub mod activation;
pub mod conv;
mod extension;
mod group_norm;
mod linear;
mod norm;
mod optim;
mod padding;
pub mod pool;
mod switch;
mod sync;

pub use group_norm::{GroupNorm, GroupNormConfig};
pub use linear::{Linear, LinearConfig};
pub use norm::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig};
pub use optim::{Adam, AdamW, Lion, Sgd};
pub use switch::{Guard, Kernels};
#[doc(hidden)]
pub use sync::first_name;
pub use sync::{Kept, ShapeCut, SyncShape};
