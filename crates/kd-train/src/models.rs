//! The models that recipes can name without a line of Rust.

mod convnet;
mod mlp;

pub use convnet::{ConvNet, ConvNetConfig};
pub use mlp::{Mlp, MlpConfig};
