//! ONNX out of a captured graph, written message by message.
//!
//! No exporter that knows Burn writes quantized models, and parity needs control over every node: hence a lowering
//! of our own, over protocol-buffer types that are generated and checked in.

mod builder;
mod dynamic;
mod inspect;
mod integers;
mod layers;
mod lower;
mod operators;
mod packed;
mod pairs;
mod proto;
mod quantizers;

pub use inspect::{IntegerTensor, floats, layers_read_integers, operators, opset, quantized_weights};

pub use lower::{INPUT, OUTPUT, lower};
pub(crate) use pairs::{dynamic_values, site_values};
pub(crate) use quantizers::Quantized;
