//! What should stay of a value that repeats.
//!
//! An expanded dimension holds the same thing all along, and so does a constant of equal numbers. Such a value has no
//! units of its own to lose: it is as long as what it meets. Here that wish is carried back from the meeting to the
//! dimension that repeats, through operations that leave the dimension what it is.

use std::collections::BTreeMap;

use kd_graph::{Dim, Node, Op, Origin, ValueId};

use super::flow::Flow;
use super::reshape::{flatten, groups, unflatten};

/// Indices that stay of dimensions along which a value repeats.
pub(super) type Wishes = BTreeMap<(ValueId, usize), Vec<usize>>;

impl Flow<'_> {
    /// The dimensions that have to keep these indices, so that dimension `dim` of `value` does; `None` if one of them
    /// does not repeat.
    pub(super) fn grant(&self, value: ValueId, dim: usize, keep: &[usize]) -> Option<Wishes> {
        let mut wishes = Wishes::new();
        self.trace(value, dim, keep, &mut wishes)?;
        // What is granted already did not help.
        wishes.iter().any(|(place, keep)| self.wishes.get(place) != Some(keep)).then_some(wishes)
    }

    fn trace(&self, value: ValueId, dim: usize, keep: &[usize], wishes: &mut Wishes) -> Option<()> {
        if self.values[value.0].get(dim)?.keep.as_deref() == Some(keep) {
            return Some(());
        }
        if let Origin::Constant(values) = &self.graph.value(value).origin {
            let shape = &self.graph.value(value).shape;
            let inner: usize = shape[dim + 1..].iter().map(|dim| dim.at(1)).product();
            let size = shape[dim].at(1);
            let first = |i: usize| i / (inner * size) * inner * size + i % inner;
            let repeats = values.iter().enumerate().all(|(i, &value)| value == values[first(i)]);
            return repeats.then(|| drop(wishes.insert((value, dim), keep.to_vec())));
        }
        let node = self.graph.producer(value)?;
        let x = node.inputs.first().copied();
        match &node.op {
            Op::Expand => {
                let from = &self.graph.value(x?).shape;
                let missing = self.graph.value(value).shape.len() - from.len();
                match dim.checked_sub(missing) {
                    Some(d) if from[d] != Dim::Fixed(1) => self.trace(x?, d, keep, wishes),
                    _ => {
                        wishes.insert((value, dim), keep.to_vec());
                        Some(())
                    }
                }
            }
            Op::Permute(order) => self.trace(x?, order[dim], keep, wishes),
            Op::Reshape => self.through_reshape(node, dim, keep, wishes),
            Op::Unary(_) | Op::Scalar(..) => self.trace(x?, dim, keep, wishes),
            Op::Softmax(axis) | Op::LogSoftmax(axis) | Op::MeanDim(axis) | Op::SumDim(axis)
                if *axis != dim =>
            {
                self.trace(x?, dim, keep, wishes)
            }
            Op::Slice(ranges) if ranges[dim] == (0, self.size(x?, dim)) => self.trace(x?, dim, keep, wishes),
            Op::Binary(_) | Op::Where => self.through_all(node, dim, keep, wishes),
            Op::Concat(axis) if *axis != dim => self.through_all(node, dim, keep, wishes),
            Op::Matmul => {
                let rank = self.graph.value(value).shape.len();
                match rank - dim {
                    1 => self.trace(node.inputs[1], dim, keep, wishes),
                    2 => self.trace(node.inputs[0], dim, keep, wishes),
                    _ => self.through_all(node, dim, keep, wishes),
                }
            }
            Op::Linear if dim + 1 < self.graph.value(value).shape.len() => self.trace(x?, dim, keep, wishes),
            _ => None,
        }
    }

    /// All operands that have the dimension.
    fn through_all(&self, node: &Node, dim: usize, keep: &[usize], wishes: &mut Wishes) -> Option<()> {
        let rank = self.graph.value(node.output).shape.len();
        for &input in &node.inputs {
            let shape = &self.graph.value(input).shape;
            if shape.len() != rank {
                return None;
            }
            if shape[dim] != Dim::Fixed(1) {
                self.trace(input, dim, keep, wishes)?;
            }
        }
        Some(())
    }

    fn through_reshape(&self, node: &Node, dim: usize, keep: &[usize], wishes: &mut Wishes) -> Option<()> {
        let (from, to) = (&self.graph.value(node.inputs[0]).shape, &self.graph.value(node.output).shape);
        let group = groups(from, to)?.into_iter().find(|group| group.to.contains(&dim))?;
        let sizes = |dims: &[Dim]| -> Option<Vec<usize>> {
            let size = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
            dims.iter().map(size).collect()
        };
        let kept = |at: usize| match at == dim {
            true => Some(keep.to_vec()),
            false => self.values[node.output.0][at].keep.clone(),
        };
        let keeps: Vec<_> = group.to.clone().map(kept).collect();
        let flat = flatten(&sizes(&to[group.to.clone()])?, &keeps);
        let keeps = unflatten(&sizes(&from[group.from.clone()])?, &flat)?;
        for (at, keep) in group.from.zip(keeps) {
            if let Some(keep) = keep {
                self.trace(node.inputs[0], at, &keep, wishes)?;
            }
        }
        Some(())
    }
}
