//! Operations that are the same for floats, integers and booleans: they move elements, compare or choose them.

use burn::backend::ir::{BaseOperationIr, SliceOpIr, TensorIr};

use super::recorder::Recorder;
use crate::draft::{Contents, DraftOrigin};
use crate::graph::{Binary, Op};

impl Recorder<'_> {
    /// Operations that are the same for floats, integers and booleans: they move elements or compare them.
    pub(super) fn base(&mut self, operation: &BaseOperationIr) -> bool {
        match operation {
            BaseOperationIr::Reshape(op) => self.emit(Op::Reshape, [&op.input], &op.out),
            BaseOperationIr::Expand(op) => self.emit(Op::Expand, [&op.input], &op.out),
            BaseOperationIr::Permute(op) => self.emit(Op::Permute(op.axes.clone()), [&op.input], &op.out),
            BaseOperationIr::SwapDims(op) => {
                let mut axes: Vec<usize> = (0..op.out.shape.to_vec().len()).collect();
                axes.swap(op.dim1, op.dim2);
                self.emit(Op::Permute(axes), [&op.input], &op.out);
            }
            BaseOperationIr::Cat(op) => self.emit(Op::Concat(op.dim), &op.tensors, &op.out),
            BaseOperationIr::RepeatDim(op) if op.tensor.shape.to_vec()[op.dim] == 1 => {
                self.emit(Op::Expand, [&op.tensor], &op.out);
            }
            BaseOperationIr::RepeatDim(op) => {
                self.emit(Op::Concat(op.dim), std::iter::repeat_n(&op.tensor, op.times), &op.out);
            }
            BaseOperationIr::Slice(op) => {
                let Some(ranges) = ranges(op) else { return false };
                self.emit(Op::Slice(ranges), [&op.tensor], &op.out);
            }
            BaseOperationIr::Equal(op) => self.binary(Binary::Equal, op),
            BaseOperationIr::EqualElem(op) => self.scalar(Binary::Equal, &op.lhs, op.rhs, &op.out),
            BaseOperationIr::NotEqual(op) => {
                self.unequal(Op::Binary(Binary::Equal), &[&op.lhs, &op.rhs], &op.out)
            }
            BaseOperationIr::NotEqualElem(op) => {
                self.unequal(Op::Scalar(Binary::Equal, op.rhs.elem()), &[&op.lhs], &op.out);
            }
            BaseOperationIr::MaskWhere(op) => {
                self.emit(Op::Where, [&op.mask, &op.value, &op.tensor], &op.out);
            }
            BaseOperationIr::MaskFill(op) => {
                let shape = vec![1; op.out.shape.to_vec().len()];
                let value = self.push(shape, DraftOrigin::Constant(Contents::Uniform(op.value.elem())));
                let inputs = vec![self.leaf(op.mask.id), value, self.leaf(op.tensor.id)];
                let value = self.node(Op::Where, inputs, op.out.shape.to_vec());
                self.known.insert(op.out.id, value);
            }
            // Rows of a matrix are looked up as those of an embedding are.
            BaseOperationIr::Select(op) if op.dim == 0 && op.tensor.shape.to_vec().len() == 2 => {
                self.emit(Op::Embedding, [&op.tensor, &op.indices], &op.out);
            }
            BaseOperationIr::Zeros(op) => self.emit_constant(0.0, &op.out),
            BaseOperationIr::Ones(op) => self.emit_constant(1.0, &op.out),
            _ => return false,
        }
        true
    }

    /// What is not as `equal` says.
    fn unequal(&mut self, equal: Op, inputs: &[&TensorIr], out: &TensorIr) {
        let inputs = inputs.iter().map(|tensor| self.leaf(tensor.id)).collect();
        let shape = out.shape.to_vec();
        let same = self.node(equal, inputs, shape.clone());
        let value = self.node(Op::Scalar(Binary::Equal, 0.0), vec![same], shape);
        self.known.insert(out.id, value);
    }
}

/// A range for every dimension, if all steps are one.
fn ranges(op: &SliceOpIr) -> Option<Vec<(usize, usize)>> {
    let sizes = op.tensor.shape.to_vec();
    let ranges = sizes.iter().enumerate().map(|(d, &size)| match op.ranges.get(d) {
        None => Some((0, size)),
        Some(slice) => (slice.step == 1).then(|| (slice.to_range(size).start, slice.to_range(size).end)),
    });
    ranges.collect()
}
