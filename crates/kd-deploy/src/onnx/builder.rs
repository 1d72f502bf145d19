//! Putting an ONNX model together: nodes and initializers with unique, stable names.
//!
//! Names come from parameter paths and sites, and a counter per operator fills in where there is neither, so
//! that equal graphs give equal bytes and a viewer shows the model's own words.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto,
    type_proto,
};

/// Name of the symbolic batch axis.
pub(crate) const BATCH: &str = "batch";

/// An attribute of a node.
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
}

/// A dimension of an input or output.
pub(crate) enum Extent {
    Fixed(usize),
    Symbol(String),
}

/// A model in the making.
#[derive(Default)]
pub(crate) struct Builder {
    graph: GraphProto,
    names: BTreeSet<String>,
    counters: BTreeMap<String, usize>,
}

impl Builder {
    /// A builder in which these names are taken.
    pub(crate) fn reserving<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(str::to_owned).collect();
        Self { names, ..Self::default() }
    }

    /// `wanted`, or the first of `wanted_1`, `wanted_2`, … that is free; it is taken afterwards.
    pub(crate) fn name(&mut self, wanted: &str) -> String {
        let numbered = (1..).map(|i| format!("{wanted}_{i}"));
        let name = std::iter::once(wanted.to_owned())
            .chain(numbered)
            .find(|name| !self.names.contains(name))
            .expect("one of infinitely many names is free");
        self.names.insert(name.clone());
        name
    }

    /// A name for the result of an operation without parameters: `relu_0`, `relu_1`, …
    pub(crate) fn counted(&mut self, operation: &str) -> String {
        let counter = self.counters.entry(operation.to_owned()).or_default();
        let name = format!("{operation}_{counter}");
        *counter += 1;
        self.name(&name)
    }

    /// Adds a node with one output, whose name is taken already and names the node too.
    pub(crate) fn node(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) {
        self.graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(format!("{output}/{operator}")),
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attributes.into_iter().map(attribute).collect(),
            ..NodeProto::default()
        });
    }

    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, DataType::Float, shape, bytes);
    }

    pub(crate) fn int32s(&mut self, name: &str, shape: &[usize], data: &[i32]) {
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, DataType::Int32, shape, bytes);
    }

    pub(crate) fn int64s(&mut self, name: &str, shape: &[usize], data: &[i64]) {
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, DataType::Int64, shape, bytes);
    }

    /// One byte an element, two's complement for `Int8`.
    pub(crate) fn bytes(&mut self, name: &str, kind: DataType, shape: &[usize], data: Vec<u8>) {
        self.initializer(name, kind, shape, data);
    }

    fn initializer(&mut self, name: &str, kind: DataType, shape: &[usize], bytes: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(kind as i32),
            dims: shape.iter().map(|&d| to_i64(d)).collect(),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
    }

    pub(crate) fn input(&mut self, name: &str, shape: Vec<Extent>) {
        self.graph.input.push(value_info(name, shape));
    }

    pub(crate) fn output(&mut self, name: &str, shape: Vec<Extent>) {
        self.graph.output.push(value_info(name, shape));
    }

    /// The bytes of the finished model.
    pub(crate) fn finish(mut self, opset: i64) -> Vec<u8> {
        self.graph.name = Some("main".to_owned());
        let model = ModelProto {
            ir_version: Some(ir_version(opset)),
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

/// A size as ONNX writes it.
pub(crate) fn to_i64(size: usize) -> i64 {
    i64::try_from(size).expect("no tensor is larger than the address space")
}

/// The version of ONNX's file format that came with an operator set (table "Released Versions" of ONNX's
/// `docs/Versioning.md`); runtimes refuse files newer than themselves, so the lowest that fits is written.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

fn attribute((name, value): (&'static str, Attribute)) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(i) => {
            proto.i = Some(i);
            AttributeType::Int
        }
        Attribute::Float(f) => {
            proto.f = Some(f);
            AttributeType::Float
        }
        Attribute::Ints(ints) => {
            proto.ints = ints;
            AttributeType::Ints
        }
    };
    proto.set_type(kind);
    proto
}

fn value_info(name: &str, shape: Vec<Extent>) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |extent| Dimension {
        value: Some(match extent {
            Extent::Fixed(size) => Value::DimValue(to_i64(size)),
            Extent::Symbol(symbol) => Value::DimParam(symbol),
        }),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape.into_iter().map(dimension).collect() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_unique() {
        let mut builder = Builder::reserving(["input"]);
        assert_eq!(builder.name("input"), "input_1");
        assert_eq!(builder.name("input"), "input_2");
        assert_eq!(builder.counted("relu"), "relu_0");
        assert_eq!(builder.name("relu_1"), "relu_1");
        assert_eq!(builder.counted("relu"), "relu_1_1");
        assert_eq!(builder.counted("relu"), "relu_2");
    }
}
