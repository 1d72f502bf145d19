//! Convolutions and products.

use super::Solver;
use crate::graph::{Node, Op, ValueId};
use crate::kind::Trait;
use crate::labels::{Extent, Pin};

impl Solver<'_> {
    pub(super) fn conv(&mut self, node: &Node, x: Vec<Extent>, groups: usize) -> Vec<Extent> {
        let weight = self.get(node.inputs[1]);
        self.pin_positions(&x, node);
        let inputs = if groups == 1 {
            Some(weight[1].clone())
        } else {
            // Output channels are (group, member) and so are input channels: a group keeps as many of each.
            let group = self.labels.fresh(groups, None);
            let member = self.labels.fresh(self.labels.size(&weight[0]) / groups, None);
            if let Some(outputs) = self.labels.product(&group, &member) {
                self.labels.unify(&weight[0], &outputs);
            }
            let path = self.graph.param(node.inputs[1]).map_or("a convolution", |param| &param.path);
            self.labels.note_number(&group, &format!("groups of the convolution with `{path}`"));
            self.labels.product(&group, &weight[1])
        };
        match inputs {
            Some(inputs) => self.labels.unify(&x[1], &inputs),
            None => {
                let why =
                    Pin::Because(format!("{} has groups across a concatenation", self.graph.describe(node)));
                [&x[1], &weight[0], &weight[1]].into_iter().for_each(|dim| self.labels.pin(dim, &why));
            }
        }
        self.labels.note_trait(&x[1], Trait::ConvIn);
        self.labels.note_trait(&weight[0], Trait::ConvOut);
        self.per_unit(&weight[0], &node.inputs[2..]);
        let mut dims = vec![x[0].clone(), weight[0].clone()];
        let positions = self.graph.value(node.output).shape[2..].iter();
        dims.extend(positions.map(|&dim| self.open(dim, Some(Pin::Position))).collect::<Vec<_>>());
        dims
    }

    pub(super) fn conv_transpose(&mut self, node: &Node, x: Vec<Extent>, groups: usize) -> Vec<Extent> {
        let weight = self.get(node.inputs[1]);
        self.pin_positions(&x, node);
        self.labels.unify(&x[1], &weight[0]);
        let outputs = if groups == 1 {
            weight[1].clone()
        } else {
            // Input channels are (group, member), and each group writes as many outputs.
            let group = self.labels.fresh(groups, None);
            let member = self.labels.fresh(self.labels.size(&weight[0]) / groups, None);
            if let Some(inputs) = self.labels.product(&group, &member) {
                self.labels.unify(&weight[0], &inputs);
            }
            let path = self.graph.param(node.inputs[1]).map_or("a convolution", |param| &param.path);
            self.labels.note_number(&group, &format!("groups of the convolution with `{path}`"));
            match self.labels.product(&group, &weight[1]) {
                Some(outputs) => outputs,
                None => {
                    let describe = self.graph.describe(node);
                    let why = Pin::Because(format!("{describe} has groups across a concatenation"));
                    [&weight[0], &weight[1]].into_iter().for_each(|dim| self.labels.pin(dim, &why));
                    let size = groups * self.labels.size(&weight[1]);
                    self.labels.fresh(size, Some(why))
                }
            }
        };
        self.labels.note_trait(&x[1], Trait::ConvIn);
        self.labels.note_trait(&outputs, Trait::ConvOut);
        self.per_unit(&outputs, &node.inputs[2..]);
        let mut dims = vec![x[0].clone(), outputs];
        let positions = self.graph.value(node.output).shape[2..].iter();
        dims.extend(positions.map(|&dim| self.open(dim, Some(Pin::Position))).collect::<Vec<_>>());
        dims
    }

    pub(super) fn matmul(&mut self, node: &Node, x: Vec<Extent>) -> Vec<Extent> {
        let y = self.get(node.inputs[1]);
        let rank = x.len();
        self.labels.unify(&x[rank - 1], &y[rank - 2]);
        for (id, dims) in [(node.inputs[0], &x), (node.inputs[1], &y)] {
            if self.is_weight(id) {
                dims[..dims.len() - 2].iter().for_each(|dim| self.labels.note_trait(dim, Trait::Expert));
            }
        }
        let mut dims = self.broadcast(&x[..rank - 2], &y[..rank - 2]);
        dims.extend([x[rank - 2].clone(), y[rank - 1].clone()]);
        dims
    }

    /// Whether a value is a parameter, or one in another shape.
    fn is_weight(&self, id: ValueId) -> bool {
        match self.graph.producer(id) {
            Some(Node { op: Op::Reshape | Op::Permute(_), inputs, .. }) => self.is_weight(inputs[0]),
            Some(_) => false,
            None => self.graph.param(id).is_some(),
        }
    }
}
