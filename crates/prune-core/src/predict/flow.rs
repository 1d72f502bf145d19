//! What each operation does with kept indices, and with the zeros of a silenced unit: the way through a graph. The rules
//! stand in `layers.rs`, `elements.rs` and `shapes.rs`.

use std::collections::BTreeSet;

use kd_graph::{Dim, Graph, Node, Op, Origin, ValueId};

use super::elements::{scalar, unary_of_zero};
use super::layers::{batch_norm, embedding};
use super::shapes::slice;
use super::units::{Obstacle, Rule, Units, map_loud, pool, wished, without};
use super::wish::Wishes;
use super::{place, reshape, silenced};
use crate::roles::parameter_dims;
use crate::{Cut, Error};

/// What is known of every value of a graph under a cut.
pub(super) struct Flow<'a> {
    pub(super) graph: &'a Graph,
    pub(super) values: Vec<Vec<Units>>,
    incomparable: Vec<String>,
    pub(super) wishes: Wishes,
    cut: &'a Cut,
    /// Dimensions of parameters whose removed slices are zero in the silenced network.
    silenced: BTreeSet<(String, usize)>,
    /// More of these that would help.
    readers: BTreeSet<(String, usize)>,
}

impl<'a> Flow<'a> {
    /// Values that repeat along a dimension can have any size there. What they are to have shows where they meet
    /// others, which is behind them: then all starts again, with this wish granted. In the same way, weights that read what
    /// is not zero are found to need zeros of their own.
    pub(super) fn run(graph: &'a Graph, cut: &'a Cut) -> Result<Self, Error> {
        let mut wishes = Wishes::default();
        let mut zero = silenced(graph, cut);
        loop {
            let mut flow = Self::start(graph, cut, wishes, zero);
            match flow.pass() {
                Ok(()) if flow.readers.is_empty() => return flow.finish(),
                Ok(()) => {
                    (wishes, zero) = (flow.wishes, flow.silenced);
                    zero.extend(flow.readers);
                }
                Err((index, obstacle)) => {
                    let mut wishes_here = obstacle.wishes.into_iter();
                    let granted = wishes_here.find_map(|(value, dim, keep)| flow.grant(value, dim, &keep));
                    let Some(granted) = granted else {
                        return Err(Error::Misfit { place: place(graph, index), reason: obstacle.reason });
                    };
                    (wishes, zero) = (flow.wishes, flow.silenced);
                    wishes.extend(granted);
                }
            }
        }
    }

    fn start(graph: &'a Graph, cut: &'a Cut, wishes: Wishes, silenced: BTreeSet<(String, usize)>) -> Self {
        let values = graph.values.iter().enumerate().map(|(at, value)| match &value.origin {
            Origin::Constant(values) => {
                let zero = values.iter().all(|&value| value == 0.0);
                let units = |dim| wished(&wishes, ValueId(at), dim, zero);
                (0..value.shape.len()).map(units).collect()
            }
            Origin::Param(index) => {
                let path = &graph.params[*index].path;
                let units = |dim| {
                    let keep = cut.keep(path, dim).map(<[usize]>::to_vec);
                    let zero = keep.is_none() || silenced.contains(&(path.clone(), dim));
                    Units { keep, loud: (!zero).then(|| format!("`{path}` is not silenced").into()) }
                };
                (0..value.shape.len()).map(units).collect()
            }
            _ => vec![Units::default(); value.shape.len()],
        });
        let values = values.collect();
        let (incomparable, readers) = (Vec::new(), BTreeSet::new());
        Self { graph, values, incomparable, wishes, cut, silenced, readers }
    }

    fn pass(&mut self) -> Result<(), (usize, Obstacle)> {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            self.values[node.output.0] = self.step(index, node).map_err(|obstacle| (index, obstacle))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Self, Error> {
        match self.graph.outputs.iter().any(|output| self.values[output.0].iter().any(Units::cut)) {
            true => {
                let reason = "units of the model's output would be removed".to_owned();
                Err(Error::Misfit { place: "the output".into(), reason })
            }
            false => Ok(self),
        }
    }

    /// Writes the shapes that are left into a copy of the graph, and returns why the cut cannot be compared, and what is
    /// silenced.
    pub(super) fn write(self, graph: &mut Graph) -> (Vec<String>, BTreeSet<(String, usize)>) {
        for (value, units) in graph.values.iter_mut().zip(&self.values) {
            if let Origin::Constant(values) = &mut value.origin {
                let sizes: Vec<usize> = value.shape.iter().map(|dim| dim.at(1)).collect();
                let keeps: Vec<_> = units.iter().map(|units| units.keep.clone()).collect();
                *values = reshape::flatten(&sizes, &keeps).into_iter().map(|at| values[at]).collect();
            }
            for (dim, units) in value.shape.iter_mut().zip(units) {
                if let Some(keep) = &units.keep {
                    *dim = Dim::Fixed(keep.len());
                }
            }
        }
        for (node, old) in graph.nodes.iter_mut().zip(&self.graph.nodes) {
            match &mut node.op {
                Op::Slice(ranges) => {
                    for (range, units) in ranges.iter_mut().zip(&self.values[old.inputs[0].0]) {
                        if let Some(keep) = &units.keep {
                            let before = |end: usize| keep.partition_point(|&unit| unit < end);
                            *range = (before(range.0), before(range.1));
                        }
                    }
                }
                Op::Conv { groups, .. } => {
                    let left = |value: ValueId| match &self.values[value.0][1].keep {
                        Some(keep) => keep.len(),
                        None => self.size(value, 1),
                    };
                    *groups = left(old.inputs[0]) / left(old.inputs[1]);
                }
                _ => {}
            }
        }
        (self.incomparable, self.silenced)
    }

    fn step(&mut self, index: usize, node: &Node) -> Rule<Vec<Units>> {
        let inputs: Vec<Vec<Units>> = node.inputs.iter().map(|&input| self.values[input.0].clone()).collect();
        let wished = self.wishes.range((node.output, 0)..=(node.output, usize::MAX)).next().is_some();
        if !wished && !inputs.iter().flatten().any(Units::cut) {
            return Ok(vec![Units::default(); self.graph.value(node.output).shape.len()]);
        }
        match &node.op {
            Op::Conv { groups, .. } => self.conv(index, *groups, &inputs),
            Op::ConvTranspose { groups, .. } => self.conv_transpose(index, *groups, &inputs),
            Op::Linear => self.linear(index, &inputs),
            Op::Matmul => self.matmul(index, &inputs),
            Op::BatchNorm { .. } => batch_norm(&inputs),
            Op::LayerNorm { .. } => self.layer_norm(index, &inputs),
            Op::MaxPool { .. } | Op::AvgPool { .. } | Op::AdaptiveAvgPool { .. } | Op::Resize { .. } => {
                pool(&inputs[0])
            }
            Op::Binary(binary) => self.binary(*binary, node, &inputs),
            Op::Where => self.choose(node, &inputs),
            Op::Scalar(binary, value) => Ok(scalar(*binary, *value, inputs[0].clone())),
            Op::Unary(unary) => Ok(map_loud(inputs[0].clone(), unary_of_zero(*unary))),
            Op::Clamp { min, max } => {
                let reason = format!("a clamp to {min} ..= {max} makes something else of zero");
                let zero = *min <= 0.0 && *max >= 0.0;
                Ok(map_loud(inputs[0].clone(), (!zero).then_some(reason.into())))
            }
            Op::Reshape => self.reshape(node, &inputs[0]),
            Op::Permute(perm) => Ok(perm.iter().map(|&dim| inputs[0][dim].clone()).collect()),
            Op::Expand => self.expand(node, &inputs[0]),
            Op::Softmax(axis) | Op::LogSoftmax(axis) => {
                self.note(&inputs[0][*axis], index, "normalizes over the removed units");
                Ok(map_loud(inputs[0].clone(), Some("softmax of zeros is not zero".into())))
            }
            Op::MeanDim(axis) => {
                self.note(&inputs[0][*axis], index, "divides by the number of units");
                Ok(without(inputs[0].clone(), *axis))
            }
            Op::SumDim(axis) => {
                self.read(&inputs[0][*axis], index);
                Ok(without(inputs[0].clone(), *axis))
            }
            Op::TopK(axis) => {
                let left = inputs[0][*axis].keep.as_ref().map_or(usize::MAX, Vec::len);
                let ranks = self.size(node.output, *axis);
                if left < ranks {
                    return Err(format!("the largest {ranks} of {left} units would be taken").into());
                }
                self.note(&inputs[0][*axis], index, "chooses among the removed units");
                Ok(without(inputs[0].clone(), *axis))
            }
            Op::Concat(axis) => self.concat(*axis, node, &inputs),
            Op::Slice(ranges) => slice(ranges, &inputs[0]),
            Op::Embedding => embedding(&inputs),
            Op::Opaque(_) => Err("what it does to the removed units is not known".into()),
        }
    }

    /// Size of a dimension that is not the batch.
    pub(super) fn size(&self, value: ValueId, dim: usize) -> usize {
        self.graph.value(value).shape[dim].at(1)
    }

    /// Removed units are summed over: their zeros add nothing, anything else does.
    fn read(&mut self, units: &Units, index: usize) {
        if let Some(loud) = &units.loud {
            let place = place(self.graph, index);
            self.incomparable.push(format!(
                "{place} reads removed units that are not zero when silenced: {}",
                loud.reason
            ));
        }
    }

    /// Removed units are multiplied with each other and summed over: a zero on either side is enough. Where neither
    /// is, a weight among them can have zeros there too.
    pub(super) fn contract(
        &mut self,
        index: usize,
        a: (ValueId, usize, &Units),
        b: (ValueId, usize, &Units),
    ) {
        let loud = match (&a.2.loud, &b.2.loud) {
            (Some(loud), other) | (other, Some(loud)) if !loud.finite || other.is_some() => loud,
            _ => return,
        };
        let finite = [a, b].iter().all(|side| side.2.loud.as_ref().is_none_or(|loud| loud.finite));
        let cut = |(path, dim): &(String, usize)| self.cut.keep(path, *dim).is_some();
        let weight = [b, a].into_iter().find_map(|(value, dim, _)| {
            let dims: BTreeSet<_> = parameter_dims(self.graph, value, dim).into_iter().filter(cut).collect();
            (!dims.is_empty() && dims.is_disjoint(&self.silenced)).then_some(dims)
        });
        match weight {
            Some(weight) if finite => self.readers.extend(weight),
            _ => {
                let place = place(self.graph, index);
                let reason = &loud.reason;
                let text = format!("{place} reads removed units that are not zero when silenced: {reason}");
                self.incomparable.push(text);
            }
        }
    }

    /// Removed units change the result even as zeros.
    pub(super) fn note(&mut self, units: &Units, index: usize, what: &str) {
        if units.cut() {
            self.incomparable.push(format!("{} {what}", place(self.graph, index)));
        }
    }
}
