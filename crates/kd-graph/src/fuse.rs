//! Linear layers as one operation again.
//!
//! Burn's dispatch does not hand linear layers to a device as such: what is recorded is a matrix product, then
//! an addition, with reshapes around them that depend on rank and size, batch size included. This file finds
//! those patterns in a recording and puts [`Op::Linear`] in their place:
//!
//! - `x·W` with W a parameter of rank 2, or one reshaped to `[1, …, in, out]`;
//! - `+ b` with b a parameter of rank 1, reshaped to `[1, …, out]`;
//! - leading dimensions of `x` merged by a reshape before, and taken apart by a reshape after.
//!
//! Only values that nothing else reads are merged away.

use crate::draft::{Draft, DraftOrigin};
use crate::graph::{Binary, Node, Op, ValueId};

/// Replaces the patterns; the operations that they leave behind are read by nothing.
pub(crate) fn fuse_linear(draft: &mut Draft) {
    let places = Places::new(draft);
    let fused: Vec<(usize, Node)> =
        draft.nodes.iter().filter_map(|node| places.linear(draft, node)).collect();
    for (at, node) in fused {
        draft.nodes[at] = node;
    }
}

/// Who writes and who reads each value.
struct Places {
    producer: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    named: Vec<bool>,
}

impl Places {
    fn new(draft: &Draft) -> Self {
        let len = draft.values.len();
        let mut places =
            Self { producer: vec![None; len], readers: vec![Vec::new(); len], named: vec![false; len] };
        for (at, node) in draft.nodes.iter().enumerate() {
            places.producer[node.output.0] = Some(at);
            node.inputs.iter().for_each(|id| places.readers[id.0].push(at));
        }
        places.named[draft.output.0] = true;
        draft.sites.iter().for_each(|(_, id)| places.named[id.0] = true);
        places
    }

    /// The linear layer that starts with this matrix product, and the index of the node that ends it.
    fn linear(&self, draft: &Draft, node: &Node) -> Option<(usize, Node)> {
        let (Op::Matmul, &[mut x, rhs]) = (&node.op, node.inputs.as_slice()) else { return None };
        let weight = self.parameter(draft, rhs, 2)?;
        let &[inputs, outputs] = shape(draft, weight) else { return None };
        let mut end = node.output;
        let mut operands = vec![weight];
        if let Some((bias, sum)) = self.bias(draft, end, outputs) {
            operands.push(bias);
            end = sum;
        }
        if let Some((unmerged, result)) = self.unmerged(draft, x, end, inputs, outputs) {
            (x, end) = (unmerged, result);
        }
        operands.insert(0, x);
        Some((self.producer[end.0]?, Node { op: Op::Linear, inputs: operands, output: end }))
    }

    /// A parameter of this rank, behind a reshape that only adds leading dimensions of size one or directly.
    fn parameter(&self, draft: &Draft, id: ValueId, rank: usize) -> Option<ValueId> {
        let source = match self.producer[id.0].map(|at| &draft.nodes[at]) {
            Some(Node { op: Op::Reshape, inputs, .. }) => inputs[0],
            Some(_) => return None,
            None => id,
        };
        let (own, outer) = (shape(draft, source), shape(draft, id));
        let added = outer.len().checked_sub(rank)?;
        let is_param = matches!(draft.values[source.0].origin, DraftOrigin::Param(_));
        let same =
            own.len() == rank && outer[added..] == *own && outer[..added].iter().all(|&size| size == 1);
        (is_param && same).then_some(source)
    }

    /// The bias that is added to a product, and the sum.
    fn bias(&self, draft: &Draft, product: ValueId, outputs: usize) -> Option<(ValueId, ValueId)> {
        let add = self.only_reader(draft, product)?;
        let (Op::Binary(Binary::Add), &[a, b]) = (&add.op, add.inputs.as_slice()) else { return None };
        let bias = self.parameter(draft, if a == product { b } else { a }, 1)?;
        (shape(draft, bias) == [outputs]).then_some((bias, add.output))
    }

    /// The input before its leading dimensions were merged, and the result with them apart.
    fn unmerged(
        &self,
        draft: &Draft,
        x: ValueId,
        end: ValueId,
        inputs: usize,
        outputs: usize,
    ) -> Option<(ValueId, ValueId)> {
        let merge = &draft.nodes[self.producer[x.0]?];
        let split = self.only_reader(draft, end)?;
        if merge.op != Op::Reshape || split.op != Op::Reshape {
            return None;
        }
        let source = merge.inputs[0];
        let (last, leading) = shape(draft, source).split_last()?;
        let same = shape(draft, split.output).split_last() == Some((&outputs, leading)) && *last == inputs;
        same.then_some((source, split.output))
    }

    fn only_reader<'d>(&self, draft: &'d Draft, id: ValueId) -> Option<&'d Node> {
        match self.readers[id.0].as_slice() {
            &[reader] if !self.named[id.0] => Some(&draft.nodes[reader]),
            _ => None,
        }
    }
}

fn shape(draft: &Draft, id: ValueId) -> &[usize] {
    &draft.values[id.0].shape
}
