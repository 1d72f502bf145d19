//! The rules: what each operation does with kept indices, and with the zeros of a silenced unit.

use std::collections::BTreeSet;

use kd_graph::{Binary, Dim, Graph, Node, Op, Origin, Unary, ValueId};

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

/// One dimension of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Units {
    /// Indices that stay, if not all.
    pub(super) keep: Option<Vec<usize>>,
    /// Why the removed ones are not exactly zero when they are silenced instead.
    loud: Option<Loud>,
}

/// What silenced units hold instead of zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loud {
    reason: String,
    /// Whether it is a number, which a product with zero makes zero.
    finite: bool,
}

impl<T: Into<String>> From<T> for Loud {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), finite: true }
    }
}

/// Why a cut does not go through an operation; its place is added by the caller.
struct Obstacle {
    reason: String,
    /// What would have to stay of other values to go through, any of these.
    wishes: Vec<(ValueId, usize, Vec<usize>)>,
}

impl<T: Into<String>> From<T> for Obstacle {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), wishes: Vec::new() }
    }
}

type Rule<T> = Result<T, Obstacle>;

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

    fn conv(&mut self, index: usize, groups: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        let node = &self.graph.nodes[index];
        spatial(x)?;
        spatial(weight)?;
        if groups == 1 {
            let (a, b) = ((node.inputs[0], 1, &x[1]), (node.inputs[1], 1, &weight[1]));
            agree("its input", a.2, "its weight's input channels", b.2).map_err(|it| it.wishing(a, b))?;
        } else {
            let (inputs, outputs) = (self.size(node.inputs[1], 1), self.size(node.inputs[1], 0) / groups);
            let members = |units: &Units, size: usize, group: usize| -> Vec<usize> {
                let of_group = group * size..(group + 1) * size;
                let stays = |unit: &usize| units.keep.as_ref().is_none_or(|keep| keep.contains(unit));
                of_group.filter(stays).map(|unit| unit - group * size).collect()
            };
            // The weight's input channels are those of any group: groups that stay must keep the same ones, and
            // those that go, as channels of a depthwise convolution do, take their outputs along.
            let every = members(&weight[1], inputs, 0);
            let mut each = None;
            for group in 0..groups {
                let (read, written) = (members(&x[1], inputs, group), members(&weight[0], outputs, group));
                if read != every && !(read.is_empty() && written.is_empty()) {
                    return Err(format!(
                        "its {groups} groups, a plain number, would not keep the same input channels"
                    )
                    .into());
                }
                if !read.is_empty() && *each.get_or_insert(written.len()) != written.len() {
                    return Err(format!(
                        "its {groups} groups, a plain number, would not keep as many outputs each"
                    )
                    .into());
                }
            }
        }
        self.contract(index, (node.inputs[0], 1, &x[1]), (node.inputs[1], 1, &weight[1]));
        let mut out = x.clone();
        out[1] = biased(&weight[0], bias)?;
        self.rows(&mut out, 1, bias.is_some());
        Ok(out)
    }

    fn conv_transpose(&mut self, index: usize, groups: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        spatial(x)?;
        spatial(weight)?;
        agree("its input", &x[1], "its weight's input channels", &weight[0])?;
        if groups > 1 && (weight[0].cut() || weight[1].cut()) {
            return Err(format!("its {groups} groups are a plain number").into());
        }
        let inputs = &self.graph.nodes[index].inputs;
        self.contract(index, (inputs[0], 1, &x[1]), (inputs[1], 0, &weight[0]));
        let mut out = x.clone();
        out[1] = biased(&weight[1], bias)?;
        self.rows(&mut out, 1, bias.is_some());
        Ok(out)
    }

    fn linear(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        let last = x.len() - 1;
        let inputs = &self.graph.nodes[index].inputs;
        let (a, b) = ((inputs[0], last, &x[last]), (inputs[1], 0, &weight[0]));
        agree("its input", a.2, "its weight's inputs", b.2).map_err(|it| it.wishing(a, b))?;
        self.contract(index, a, b);
        let mut out = x.clone();
        out[last] = biased(&weight[1], bias)?;
        self.rows(&mut out, last, bias.is_some());
        Ok(out)
    }

    fn matmul(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (lhs, rhs) = (&inputs[0], &inputs[1]);
        if lhs.len() != rhs.len() {
            return Err(format!("it joins ranks {} and {}", lhs.len(), rhs.len()).into());
        }
        let (m, k) = (lhs.len() - 2, lhs.len() - 1);
        let node = &self.graph.nodes[index];
        let (a, b) = ((node.inputs[0], k, &lhs[k]), (node.inputs[1], m, &rhs[m]));
        agree("the left factor", a.2, "the right factor", b.2).map_err(|it| it.wishing(a, b))?;
        self.contract(index, a, b);
        let mut out = Vec::new();
        for dim in 0..m {
            out.push(self.meet(node, dim, &lhs[dim], &rhs[dim], Either::Zero)?);
        }
        out.push(lhs[m].clone());
        out.push(rhs[k].clone());
        Ok(out)
    }

    fn layer_norm(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let x = &inputs[0];
        let last = x.len() - 1;
        self.note(&x[last], index, "averages over the removed units");
        let mut out = map_loud(x.clone(), Some("layer norm of zeros is its shift".into()));
        out[last] = norm(&x[last], &inputs[1..], &inputs[1..])?;
        Ok(out)
    }

    fn binary(&mut self, op: Binary, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (lhs, rhs) = (&inputs[0], &inputs[1]);
        if lhs.len() != rhs.len() {
            return Err(format!("it joins ranks {} and {}", lhs.len(), rhs.len()).into());
        }
        let zero = match op {
            Binary::Add | Binary::Sub | Binary::Greater | Binary::Lower => Either::Both,
            Binary::Mul => Either::Zero,
            Binary::Div => Either::Left,
            Binary::Equal | Binary::GreaterEqual | Binary::LowerEqual => Either::Never,
        };
        (0..lhs.len()).map(|dim| self.meet(node, dim, &lhs[dim], &rhs[dim], zero)).collect()
    }

    /// One dimension of two values that broadcast against each other.
    fn meet(&self, node: &Node, dim: usize, lhs: &Units, rhs: &Units, zero: Either) -> Rule<Units> {
        let one = |input: usize| self.graph.value(node.inputs[input]).shape[dim] == Dim::Fixed(1);
        // A value of size one is the same number for every unit, and not known to be zero.
        let constant = || Some(Loud::from("a number that all units share is joined to them"));
        let (keep, left, right) = match (one(0), one(1)) {
            (false, true) => (&lhs.keep, lhs.loud.clone(), constant()),
            (true, false) => (&rhs.keep, constant(), rhs.loud.clone()),
            _ => {
                agree("the left side", lhs, "the right side", rhs)
                    .map_err(|it| it.wishing((node.inputs[0], dim, lhs), (node.inputs[1], dim, rhs)))?;
                (&lhs.keep, lhs.loud.clone(), rhs.loud.clone())
            }
        };
        if keep.is_none() {
            return Ok(Units::default());
        }
        let wild = wild(&left).or(wild(&right));
        let loud = wild.or_else(|| match zero {
            Either::Both => left.or(right),
            Either::Zero => left.and(right),
            Either::Left if right.is_none() => {
                let reason = "a division by zero makes them no number".into();
                Some(Loud { reason, finite: false })
            }
            Either::Left => left,
            Either::Never => Some("a comparison of zeros is one".into()),
        });
        Ok(Units { keep: keep.clone(), loud })
    }

    /// What a mask chooses from two values.
    fn choose(&self, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let rank = self.graph.value(node.output).shape.len();
        if let Some(other) = inputs.iter().map(Vec::len).find(|&other| other != rank) {
            return Err(format!("it joins ranks {rank} and {other}").into());
        }
        let dim = |dim: usize| {
            let there: Vec<usize> = (0..3).filter(|&input| self.size(node.inputs[input], dim) != 1).collect();
            let at = |input: usize| (node.inputs[input], dim, &inputs[input][dim]);
            for pair in there.windows(2) {
                let (a, b) = (at(pair[0]), at(pair[1]));
                agree("one of its operands", a.2, "another", b.2).map_err(|it| it.wishing(a, b))?;
            }
            let Some(keep) = there.first().and_then(|&input| inputs[input][dim].keep.clone()) else {
                return Ok(Units::default());
            };
            // What is chosen is zero if both are, and both have these units.
            let silent = |input: &usize| there.contains(input) && inputs[*input][dim].loud.is_none();
            let zero = [1, 2].iter().all(silent);
            let wild = wild(&inputs[1][dim].loud).or(wild(&inputs[2][dim].loud));
            let loud = wild.or((!zero).then(|| "a mask chooses what is not zero".into()));
            Ok(Units { keep: Some(keep), loud })
        };
        (0..rank).map(dim).collect()
    }

    fn reshape(&self, node: &Node, x: &[Units]) -> Rule<Vec<Units>> {
        let (from, to) = (&self.graph.value(node.inputs[0]).shape, &self.graph.value(node.output).shape);
        let groups = reshape::groups(from, to).ok_or("its two shapes do not hold the same elements")?;
        let mut out = vec![Units::default(); to.len()];
        for group in groups {
            let units = &x[group.from.clone()];
            if !units.iter().any(Units::cut) {
                continue;
            }
            let sizes = |dims: &[Dim]| -> Rule<Vec<usize>> {
                dims.iter()
                    .map(|dim| match dim {
                        Dim::Fixed(size) => Ok(*size),
                        Dim::Batch(_) => Err("it mixes the removed units with the batch".into()),
                    })
                    .collect()
            };
            let keeps: Vec<_> = units.iter().map(|units| units.keep.clone()).collect();
            let flat = reshape::flatten(&sizes(&from[group.from.clone()])?, &keeps);
            let keeps = reshape::unflatten(&sizes(&to[group.to.clone()])?, &flat)
                .ok_or("what is left cannot be written in the shape that it makes")?;
            let loud = units.iter().find_map(|units| units.loud.clone());
            for (dim, keep) in group.to.clone().zip(keeps) {
                let loud = keep.is_some().then(|| loud.clone()).flatten();
                out[dim] = Units { keep, loud };
            }
        }
        Ok(out)
    }

    fn expand(&self, node: &Node, x: &[Units]) -> Rule<Vec<Units>> {
        let rank = self.graph.value(node.output).shape.len();
        let zero = matches!(&self.graph.value(node.inputs[0]).origin,
            Origin::Constant(values) if values.iter().all(|&value| value == 0.0));
        let mut out: Vec<Units> = (0..rank).map(|dim| wished(&self.wishes, node.output, dim, zero)).collect();
        // The target's sizes are plain numbers, which a forward pass may have read off the tensor or off a field;
        // those that are not expanded must come from the tensor.
        for (out, x) in out[rank - x.len()..].iter_mut().zip(x).filter(|(_, x)| x.cut()) {
            out.clone_from(x);
        }
        Ok(out)
    }

    fn concat(&self, axis: usize, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let mut out = inputs[0].clone();
        for (at, input) in inputs.iter().enumerate().skip(1) {
            for dim in (0..out.len()).filter(|&dim| dim != axis) {
                agree("its first part", &inputs[0][dim], "another part", &input[dim]).map_err(|it| {
                    it.wishing((node.inputs[0], dim, &inputs[0][dim]), (node.inputs[at], dim, &input[dim]))
                })?;
                out[dim].loud = out[dim].loud.take().or(input[dim].loud.clone());
            }
        }
        if inputs.iter().any(|input| input[axis].cut()) {
            let (mut keep, mut loud, mut start) = (Vec::new(), None, 0);
            for (input, &value) in inputs.iter().zip(&node.inputs) {
                let size = self.size(value, axis);
                match &input[axis].keep {
                    Some(kept) => keep.extend(kept.iter().map(|&unit| start + unit)),
                    None => keep.extend(start..start + size),
                }
                loud = loud.or(input[axis].loud.clone());
                start += size;
            }
            out[axis] = Units { keep: Some(keep), loud };
        }
        Ok(out)
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
    fn contract(&mut self, index: usize, a: (ValueId, usize, &Units), b: (ValueId, usize, &Units)) {
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
    fn note(&mut self, units: &Units, index: usize, what: &str) {
        if units.cut() {
            self.incomparable.push(format!("{} {what}", place(self.graph, index)));
        }
    }

    /// A layer that mixes dimension `mixed` alone keeps removed units of the others, but adds its bias to them.
    fn rows(&self, out: &mut [Units], mixed: usize, biased: bool) {
        for (dim, units) in out.iter_mut().enumerate() {
            if dim != mixed && biased && units.cut() {
                units.loud = Some("a bias is added to them".into());
            }
        }
    }
}

/// Which side's zero makes a result zero.
#[derive(Clone, Copy)]
enum Either {
    Both,
    Zero,
    Left,
    Never,
}

impl Obstacle {
    /// With the wish that one of two dimensions keeps what the other does.
    fn wishing(self, a: (ValueId, usize, &Units), b: (ValueId, usize, &Units)) -> Self {
        let wish = |of: (ValueId, usize, &Units), as_in: &Units| Some((of.0, of.1, as_in.keep.clone()?));
        Self { wishes: [wish(a, b.2), wish(b, a.2)].into_iter().flatten().collect(), ..self }
    }
}

/// What a wish leaves of a dimension along which a value repeats.
fn wished(wishes: &Wishes, value: ValueId, dim: usize, zero: bool) -> Units {
    let keep = wishes.get(&(value, dim)).cloned();
    let loud = (keep.is_some() && !zero).then(|| "a value is repeated for them".into());
    Units { keep, loud }
}

impl Units {
    fn cut(&self) -> bool {
        self.keep.is_some()
    }
}

fn agree(left: &str, lhs: &Units, right: &str, rhs: &Units) -> Rule<()> {
    if lhs.keep == rhs.keep {
        return Ok(());
    }
    let count = |units: &Units| match &units.keep {
        Some(keep) => format!("{} units", keep.len()),
        None => "all units".to_owned(),
    };
    Err(match (&lhs.keep, &rhs.keep) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            format!("{left} and {right} keep different units")
        }
        _ => format!("{left} keeps {}, {right} {}", count(lhs), count(rhs)),
    }
    .into())
}

/// Parts of dimensions: their bounds follow the units that stay.
fn slice(ranges: &[(usize, usize)], x: &[Units]) -> Rule<Vec<Units>> {
    let part = |(units, &(start, end)): (&Units, &(usize, usize))| {
        let Some(keep) = &units.keep else { return Ok(Units::default()) };
        let inside = keep.iter().filter(|unit| (start..end).contains(unit));
        let inside: Vec<usize> = inside.map(|unit| unit - start).collect();
        match inside.len() {
            0 => Err(format!("nothing would be left between its bounds {start} and {end}").into()),
            left if left == end - start => Ok(Units::default()),
            _ => Ok(Units { keep: Some(inside), loud: units.loud.clone() }),
        }
    };
    x.iter().zip(ranges).map(part).collect()
}

/// Channels pass, positions cannot be removed.
fn spatial(x: &[Units]) -> Rule<()> {
    match x[2..].iter().any(Units::cut) {
        true => Err("positions would be removed".into()),
        false => Ok(()),
    }
}

fn pool(x: &[Units]) -> Rule<Vec<Units>> {
    spatial(x)?;
    Ok(x.to_vec())
}

/// The output units of a layer: those of its weight, silent if the bias is too.
fn biased(weight: &Units, bias: Option<&Vec<Units>>) -> Rule<Units> {
    let mut out = weight.clone();
    if let Some(bias) = bias {
        agree("its weight", weight, "its bias", &bias[0])?;
        out.loud = out.loud.or(bias[0].loud.clone());
    }
    Ok(out)
}

/// The units of a normalized dimension: all of `vectors` lose what the input loses; `scale` make the result zero.
fn norm(x: &Units, vectors: &[Vec<Units>], scale: &[Vec<Units>]) -> Rule<Units> {
    for vector in vectors {
        agree("its input", x, "its parameters", &vector[0])?;
    }
    Ok(Units { keep: x.keep.clone(), loud: scale.iter().find_map(|vector| vector[0].loud.clone()) })
}

fn batch_norm(inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
    let mut out = map_loud(inputs[0].clone(), Some("batch norm of zeros is not zero".into()));
    out[1] = norm(&inputs[0][1], &inputs[1..], &inputs[1..3])?;
    Ok(out)
}

fn embedding(inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
    let (weights, indices) = (&inputs[0], &inputs[1]);
    if weights[0].cut() {
        return Err("entries of its table would be removed, which its indices name by number".into());
    }
    Ok(indices.iter().chain(&weights[1..]).cloned().collect())
}

/// The same units behind an elementwise operation that makes `reason` of zeros.
fn map_loud(mut x: Vec<Units>, reason: Option<Loud>) -> Vec<Units> {
    if let Some(reason) = reason {
        for units in x.iter_mut().filter(|units| units.cut()) {
            units.loud = wild(&units.loud).or_else(|| Some(reason.clone()));
        }
    }
    x
}

/// What is no number, and stays none.
fn wild(loud: &Option<Loud>) -> Option<Loud> {
    loud.clone().filter(|loud| !loud.finite)
}

fn scalar(op: Binary, value: f64, x: Vec<Units>) -> Vec<Units> {
    let zero = match op {
        Binary::Add | Binary::Sub => value == 0.0,
        Binary::Mul => value.is_finite(),
        Binary::Div => value != 0.0,
        Binary::Equal => value != 0.0,
        Binary::Greater => value >= 0.0,
        Binary::GreaterEqual => value > 0.0,
        Binary::Lower => value <= 0.0,
        Binary::LowerEqual => value < 0.0,
    };
    let reason = format!("{} of {value} makes something else of zero", format!("{op:?}").to_lowercase());
    let finite = !(op == Binary::Div && value == 0.0) && value.is_finite();
    map_loud(x, (!zero).then_some(Loud { reason, finite }))
}

fn unary_of_zero(unary: Unary) -> Option<Loud> {
    match unary {
        Unary::Sigmoid => Some("sigmoid of zero is a half".into()),
        Unary::Exp => Some("exponential of zero is one".into()),
        Unary::Log => Some(Loud { reason: "logarithm of zero is infinite".into(), finite: false }),
        Unary::Relu
        | Unary::Gelu
        | Unary::Tanh
        | Unary::Sqrt
        | Unary::Abs
        | Unary::Neg
        | Unary::Erf
        | Unary::Truncate => None,
    }
}

/// The dimension that a reduction leaves with size one.
fn without(mut x: Vec<Units>, axis: usize) -> Vec<Units> {
    x[axis] = Units::default();
    x
}
