//! Arithmetic of numbers, and functions of floats.

use burn::backend::ir::{BinaryOpIr, FloatOperationIr, NumericOperationIr, ScalarIr, TensorIr};

use super::recorder::Recorder;
use crate::draft::{Contents, DraftOrigin};
use crate::graph::{Binary, Op, Unary};

impl Recorder<'_> {
    pub(super) fn numeric(&mut self, operation: &NumericOperationIr) -> bool {
        match operation {
            NumericOperationIr::Add(op) => self.binary(Binary::Add, op),
            NumericOperationIr::Sub(op) => self.binary(Binary::Sub, op),
            NumericOperationIr::Mul(op) => self.binary(Binary::Mul, op),
            NumericOperationIr::Div(op) => self.binary(Binary::Div, op),
            NumericOperationIr::AddScalar(op) => self.scalar(Binary::Add, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::SubScalar(op) => self.scalar(Binary::Sub, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::MulScalar(op) => self.scalar(Binary::Mul, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::DivScalar(op) => self.scalar(Binary::Div, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::Greater(op) => self.binary(Binary::Greater, op),
            NumericOperationIr::GreaterEqual(op) => self.binary(Binary::GreaterEqual, op),
            NumericOperationIr::Lower(op) => self.binary(Binary::Lower, op),
            NumericOperationIr::LowerEqual(op) => self.binary(Binary::LowerEqual, op),
            NumericOperationIr::GreaterElem(op) => self.scalar(Binary::Greater, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::GreaterEqualElem(op) => {
                self.scalar(Binary::GreaterEqual, &op.lhs, op.rhs, &op.out);
            }
            NumericOperationIr::LowerElem(op) => self.scalar(Binary::Lower, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::LowerEqualElem(op) => {
                self.scalar(Binary::LowerEqual, &op.lhs, op.rhs, &op.out);
            }
            NumericOperationIr::TopK(op) | NumericOperationIr::MaxDim(op) => {
                self.emit(Op::TopK(op.axis), [&op.input], &op.out)
            }
            NumericOperationIr::Abs(op) => self.emit(Op::Unary(Unary::Abs), [&op.input], &op.out),
            NumericOperationIr::Neg(op) => self.emit(Op::Unary(Unary::Neg), [&op.input], &op.out),
            NumericOperationIr::Full(op) => self.emit_constant(op.value.elem(), &op.out),
            NumericOperationIr::MeanDim(op) => self.emit(Op::MeanDim(op.axis), [&op.input], &op.out),
            NumericOperationIr::SumDim(op) => self.emit(Op::SumDim(op.axis), [&op.input], &op.out),
            NumericOperationIr::SumDims(op) if !op.axes.is_empty() => {
                let mut value = self.leaf(op.input.id);
                for &axis in &op.axes {
                    let mut shape = self.values[value.0].shape.clone();
                    shape[axis] = 1;
                    value = self.node(Op::SumDim(axis), vec![value], shape);
                }
                self.known.insert(op.out.id, value);
            }
            NumericOperationIr::ClampMin(op) if op.rhs.elem::<f64>() == 0.0 => {
                self.emit(Op::Unary(Unary::Relu), [&op.lhs], &op.out);
            }
            NumericOperationIr::Clamp(op) => {
                self.emit(Op::Clamp { min: op.min.elem(), max: op.max.elem() }, [&op.tensor], &op.out);
            }
            NumericOperationIr::ClampMin(op) => {
                self.emit(Op::Clamp { min: op.rhs.elem(), max: f64::INFINITY }, [&op.lhs], &op.out);
            }
            NumericOperationIr::ClampMax(op) => {
                self.emit(Op::Clamp { min: f64::NEG_INFINITY, max: op.rhs.elem() }, [&op.lhs], &op.out);
            }
            NumericOperationIr::PowiScalar(op) => return self.power(&op.lhs, op.rhs, &op.out),
            _ => return false,
        }
        true
    }

    pub(super) fn float(&mut self, operation: &FloatOperationIr) -> bool {
        match operation {
            FloatOperationIr::Matmul(op) => self.emit(Op::Matmul, [&op.lhs, &op.rhs], &op.out),
            FloatOperationIr::Exp(op) => self.emit(Op::Unary(Unary::Exp), [&op.input], &op.out),
            FloatOperationIr::Log(op) => self.emit(Op::Unary(Unary::Log), [&op.input], &op.out),
            FloatOperationIr::Sqrt(op) => self.emit(Op::Unary(Unary::Sqrt), [&op.input], &op.out),
            FloatOperationIr::Tanh(op) => self.emit(Op::Unary(Unary::Tanh), [&op.input], &op.out),
            FloatOperationIr::Erf(op) => self.emit(Op::Unary(Unary::Erf), [&op.input], &op.out),
            FloatOperationIr::IntoInt(op) => self.emit(Op::Unary(Unary::Truncate), [&op.input], &op.out),
            FloatOperationIr::Recip(op) => {
                let shape = op.out.shape.to_vec();
                let one = self.push(vec![1; shape.len()], DraftOrigin::Constant(Contents::Uniform(1.0)));
                let input = self.leaf(op.input.id);
                let value = self.node(Op::Binary(Binary::Div), vec![one, input], shape);
                self.known.insert(op.out.id, value);
            }
            FloatOperationIr::PowfScalar(op) => return self.power(&op.lhs, op.rhs, &op.out),
            _ => return false,
        }
        true
    }

    pub(super) fn binary(&mut self, binary: Binary, op: &BinaryOpIr) {
        self.emit(Op::Binary(binary), [&op.lhs, &op.rhs], &op.out);
    }

    pub(super) fn scalar(&mut self, binary: Binary, lhs: &TensorIr, rhs: ScalarIr, out: &TensorIr) {
        self.emit(Op::Scalar(binary, rhs.elem()), [lhs], out);
    }

    /// Square and cube as products, square root; other powers are opaque.
    fn power(&mut self, base: &TensorIr, exponent: ScalarIr, out: &TensorIr) -> bool {
        let exponent: f64 = exponent.elem();
        let input = self.leaf(base.id);
        let shape = out.shape.to_vec();
        let mul = Op::Binary(Binary::Mul);
        let value = if exponent == 2.0 {
            self.node(mul, vec![input, input], shape)
        } else if exponent == 3.0 {
            let square = self.node(mul.clone(), vec![input, input], shape.clone());
            self.node(mul, vec![square, input], shape)
        } else if exponent == 0.5 {
            self.node(Op::Unary(Unary::Sqrt), vec![input], shape)
        } else {
            return false;
        };
        self.known.insert(out.id, value);
        true
    }
}

/// Whether an operation of whole numbers is what it is for floats, which hold those of the graph exactly. A division is
/// not.
pub(super) fn same_for_integers(operation: &NumericOperationIr) -> bool {
    use NumericOperationIr as It;
    matches!(
        operation,
        It::Full(_)
            | It::Add(_)
            | It::Sub(_)
            | It::Mul(_)
            | It::Neg(_)
            | It::Abs(_)
            | It::AddScalar(_)
            | It::SubScalar(_)
            | It::MulScalar(_)
            | It::Greater(_)
            | It::GreaterEqual(_)
            | It::Lower(_)
            | It::LowerEqual(_)
            | It::GreaterElem(_)
            | It::GreaterEqualElem(_)
            | It::LowerElem(_)
            | It::LowerEqualElem(_)
    )
}
