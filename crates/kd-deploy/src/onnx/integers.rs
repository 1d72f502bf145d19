//! Whole numbers and truth values.
//!
//! The graph knows floats only: a token id is a float that happens to be whole, a truth value is 0 or 1. ONNX
//! types them, and no two operators agree on which types they take, so each cast stands here, beside the operator
//! that needs it.

use kd_graph::{Binary, Graph, Node, Op, Unary, ValueId};

use super::builder::Attribute;
use super::lower::Lowering;
use super::operators::binary;
use super::proto::tensor_proto::DataType;
use crate::Error;

/// The value that an embedding's rows are looked up by: `Cast` to integers rounds towards zero, so that a truncation
/// before it has nothing left to do.
pub(super) fn row_numbers(graph: &Graph, embedding: &Node) -> ValueId {
    let indices = embedding.inputs[1];
    match graph.producer(indices) {
        Some(node) if node.op == Op::Unary(Unary::Truncate) => node.inputs[0],
        _ => indices,
    }
}

impl Lowering<'_> {
    /// Rows by number; the numbers arrive as `float32` like every input.
    pub(super) fn embedding(&mut self, node: &Node, output: &str) -> Result<(), Error> {
        let (table, numbers) = (self.read(node.inputs[0])?, self.read(row_numbers(self.graph, node))?);
        let whole = self.builder.name(&format!("{output}_indices"));
        self.cast(&numbers, DataType::Int64, &whole);
        let axis = [("axis", Attribute::Int(0))];
        self.builder.node("Gather", &[&table, &whole], output, axis);
        Ok(())
    }

    /// ONNX has no operator for it; a cast to integers and back does it.
    pub(super) fn truncate(&mut self, node: &Node, output: &str) -> Result<(), Error> {
        let x = self.read(node.inputs[0])?;
        let whole = self.builder.name(&format!("{output}_whole"));
        self.cast(&x, DataType::Int64, &whole);
        self.cast(&whole, DataType::Float, output);
        Ok(())
    }

    /// A comparison of two values, or of one and a number; truth becomes one and falsehood zero.
    pub(super) fn compare(&mut self, op: Binary, node: &Node, output: &str) -> Result<(), Error> {
        let lhs = self.read(node.inputs[0])?;
        let rhs = match node.op {
            Op::Scalar(_, number) => self.number(output, number),
            _ => self.read(node.inputs[1])?,
        };
        let truth = self.builder.name(&format!("{output}_truth"));
        self.builder.node(binary(op), &[&lhs, &rhs], &truth, []);
        self.cast(&truth, DataType::Float, output);
        Ok(())
    }

    /// `Where` with a mask that is one or zero.
    pub(super) fn choose(&mut self, node: &Node, output: &str) -> Result<(), Error> {
        let [mask, yes, no] = [0, 1, 2].map(|input| self.read(node.inputs[input]));
        let truth = self.builder.name(&format!("{output}_truth"));
        self.cast(&mask?, DataType::Bool, &truth);
        self.builder.node("Where", &[&truth, &yes?, &no?], output, []);
        Ok(())
    }

    fn cast(&mut self, from: &str, to: DataType, output: &str) {
        self.builder.node("Cast", &[from], output, [("to", Attribute::Int(to as i64))]);
    }
}
