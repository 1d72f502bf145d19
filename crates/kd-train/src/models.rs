//! The models that recipes can name without a line of Rust.

mod convnet;
mod ds_cnn;
mod mlp;
mod resnet;
mod transformer;

pub use convnet::{ConvNet, ConvNetConfig};
pub use ds_cnn::{DsCnn, DsCnnConfig};
pub use mlp::{Mlp, MlpConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use transformer::{Transformer, TransformerConfig};
