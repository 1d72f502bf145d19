//! Artifacts that other engines run: ONNX and safetensors out of Burn, parity and latency measured.
//!
//! A [`Graph`](kd_graph::Graph) and plain [`Weights`] go in; no tensor of Burn is touched. Out come
//!
//! - [`onnx::lower`]: an ONNX model, float, or quantized with a [`QuantPlan`] so that engines compute every layer in
//!   8-bit integers; weights of other schemes stay float, rounded;
//! - [`safetensors`]: weights with PyTorch's names and layout, equal bytes for equal weights;
//! - [`kdz`]: pruned weights with shared values, entropy coded;
//! - [`quantization`]: the scales that lead from those weights to the integers of the ONNX file;
//! - [`engine`]: tract (built in) and ONNX Runtime (a library that the caller names), which run the model;
//! - [`parity`]: whether an engine computes what the trained model does, and an error if not;
//! - [`latency`]: how long it takes there.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use kd_deploy::{Array, Engine, Tract, Weights, onnx, write_atomically};
//!
//! let layer: Linear = LinearConfig::new(2, 1).with_bias(false).init(&Device::flex());
//! let graph = kd_graph::capture(&layer, [1, 2], |layer, x: Tensor<2>, _| layer.forward(x))?;
//! let weights = Weights::from([("weight".to_owned(), Array::new([2, 1], [3.0, -1.0])?)]);
//!
//! let path = std::env::temp_dir().join(format!("kd-deploy-{}.onnx", std::process::id()));
//! write_atomically(&path, &onnx::lower(&graph, &weights, None)?)?;
//! let mut session = Tract.load(&path, 1)?;
//! assert_eq!(session.run(&[1.0, 1.0, 0.0, 2.0], &[2, 2])?, [2.0, -2.0]);
//! # std::fs::remove_file(path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Files are written under a temporary name and renamed. No environment variable is read and nothing is printed.

mod array;
mod biases;
pub mod engine;
mod error;
mod fold;
pub mod kdz;
pub mod latency;
pub mod onnx;
pub mod parity;
mod plan;
pub mod quantization;
pub mod safetensors;
mod write;

pub use array::{Array, Weights};
pub use biases::rounded_biases;
pub use engine::{Engine, OnnxRuntime, Session, Tract};
pub use error::Error;
pub use fold::{fold_batch_norm, foldings};
pub use plan::{ActivationPlan, QuantPlan, RoundedWeight, WeightPlan, WeightsContainer};
pub use write::write_atomically;
