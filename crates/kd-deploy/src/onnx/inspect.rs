//! Looking into an ONNX file: which operators it has, and the integers that it stores.
//!
//! For checks on what was exported, and on what an engine made of it.

use std::collections::BTreeMap;

use prost::Message;

use super::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType};
use crate::Error;

/// An integer tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegerTensor {
    /// Its shape, in ONNX's layout.
    pub shape: Vec<usize>,
    /// Its elements, the last axis fastest.
    pub data: Vec<i32>,
}

/// The operator set that a model needs.
///
/// # Errors
/// When the bytes are no ONNX model.
pub fn opset(model: &[u8]) -> Result<i64, Error> {
    let model = ModelProto::decode(model).map_err(Error::Decode)?;
    Ok(model.opset_import.iter().map(|set| set.version.unwrap_or(0)).max().unwrap_or(0))
}

/// How often each operator occurs.
///
/// # Errors
/// When the bytes are no ONNX model.
pub fn operators(model: &[u8]) -> Result<BTreeMap<String, usize>, Error> {
    let mut counts = BTreeMap::new();
    for node in graph(model)?.node {
        *counts.entry(node.op_type.unwrap_or_default()).or_default() += 1;
    }
    Ok(counts)
}

/// Whether every `Conv`, `Gemm` and `MatMul` reads integers of at most 8 bits through `DequantizeLinear` on both operands, and
/// 32-bit integers as its bias if it has one. That is how a quantized model is written; an engine may still compute
/// in floats.
///
/// # Errors
/// When the bytes are no ONNX model.
pub fn layers_read_integers(model: &[u8]) -> Result<bool, Error> {
    let graph = graph(model)?;
    let stored = |name: &str| graph.initializer.iter().find(|t| t.name() == name);
    // The type of the zero point is the type of the integers.
    let integer = |name: &String| {
        let mut nodes = graph.node.iter();
        let node = nodes.find(|n| n.op_type() == "DequantizeLinear" && n.output.contains(name))?;
        stored(node.input.get(2)?).map(TensorProto::data_type)
    };
    let is = |found: Option<i32>, kinds: &[DataType]| kinds.iter().any(|k| found == Some(*k as i32));
    let bytes =
        [DataType::Int8, DataType::Uint8, DataType::Int4, DataType::Uint4, DataType::Int2, DataType::Uint2];
    let layers = graph.node.iter().filter(|n| matches!(n.op_type(), "Conv" | "Gemm" | "MatMul"));
    let mut layers = layers.map(|node| {
        let (operands, bias) = node.input.split_at(node.input.len().min(2));
        operands.iter().all(|name| is(integer(name), &bytes))
            && bias.iter().all(|name| is(integer(name), &[DataType::Int32]))
    });
    Ok(layers.all(|integers| integers))
}

/// The integer tensors that `DequantizeLinear` reads from the file, by the name of the tensor: weights of 2 to 8 bits and
/// 32-bit biases.
///
/// # Errors
/// When the bytes are no ONNX model.
pub fn quantized_weights(model: &[u8]) -> Result<BTreeMap<String, IntegerTensor>, Error> {
    let graph = graph(model)?;
    let read = graph.node.iter().filter(|node| node.op_type() == "DequantizeLinear");
    let names: Vec<&String> = read.filter_map(|node| node.input.first()).collect();
    let stored = graph.initializer.iter().filter(|t| names.iter().any(|n| n.as_str() == t.name()));
    Ok(stored.filter_map(|t| Some((t.name().to_owned(), integers(t)?))).collect())
}

/// The float tensors that the file stores, by name, in ONNX's layout, the last axis fastest.
///
/// # Errors
/// When the bytes are no ONNX model.
pub fn floats(model: &[u8]) -> Result<BTreeMap<String, Vec<f32>>, Error> {
    let kind = DataType::Float as i32;
    let stored = graph(model)?.initializer.into_iter().filter(|tensor| tensor.data_type() == kind);
    let values = |tensor: &TensorProto| {
        tensor.raw_data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    Ok(stored.map(|tensor| (tensor.name().to_owned(), values(&tensor))).collect())
}

fn graph(model: &[u8]) -> Result<GraphProto, Error> {
    Ok(ModelProto::decode(model).map_err(Error::Decode)?.graph.unwrap_or_default())
}

fn integers(tensor: &TensorProto) -> Option<IntegerTensor> {
    let bytes = tensor.raw_data();
    let shape: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    let narrow = [
        (DataType::Int4, 4, true),
        (DataType::Uint4, 4, false),
        (DataType::Int2, 2, true),
        (DataType::Uint2, 2, false),
    ];
    if let Some(&(_, bits, signed)) = narrow.iter().find(|(kind, ..)| *kind as i32 == tensor.data_type()) {
        let count: usize = shape.iter().product();
        let field = |at: usize| i32::from(bytes[at * bits / 8] >> (at * bits % 8)) & ((1 << bits) - 1);
        let value = |field: i32| if signed { (field << (32 - bits)) >> (32 - bits) } else { field };
        let whole = bytes.len() * 8 >= count * bits;
        return whole.then(|| IntegerTensor { shape, data: (0..count).map(field).map(value).collect() });
    }
    let data = match tensor.data_type() {
        t if t == DataType::Int8 as i32 => bytes.iter().map(|&b| i32::from(b.cast_signed())).collect(),
        t if t == DataType::Uint8 as i32 => bytes.iter().map(|&b| i32::from(b)).collect(),
        t if t == DataType::Int32 as i32 => {
            bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
        }
        _ => return None,
    };
    Some(IntegerTensor { shape, data })
}
