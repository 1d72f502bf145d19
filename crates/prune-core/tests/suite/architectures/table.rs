//! A row of the table: an architecture, its groups and its residual blocks, and what is checked of them.
//!
//! 1. The groups that the graph has are those of the table, all of them and no other, pins with their reason.
//! 2. Every group that is not pinned loses random units. The module without them is recorded again and is the graph
//!    that was predicted; it computes, to 1e-5 of the largest output, what the graph computes in f64 with the
//!    units absent; and where no norm, mean or softmax runs over the units, also what the module does with them silenced.
//!    Whether one does is in the table, and what the library says of it has to agree.
//! 3. All groups together lose units, with the same comparison.
//! 4. Residual blocks are those of the table. With zeros in the parameters that go with one, the module computes what the
//!    graph without the block does.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use kd_graph::{Axis, Block, Graph, axes, blocks, capture};
use prune_core::{
    Comparison, Cut, Error, TOLERANCE, Weights, apply, cut_of, mask_equals_remove, predict, run_without,
    settle_numbers,
};

use super::notation::{Group, braces, parse};

/// A network and how it is called.
pub(crate) struct Architecture<M, const D: usize, F> {
    net: M,
    example: [usize; D],
    forward: F,
    tokens: Option<usize>,
}

impl<M: Module, const D: usize, F: Fn(&M, Tensor<D>) -> Tensor<2>> Architecture<M, D, F> {
    /// `example` is the shape of one input, with a batch of any size first. All parameters get random values.
    pub(crate) fn new(net: M, example: [usize; D], forward: F) -> Self {
        let net = net.valid().map(&mut Randomize { names: Vec::new(), stream: Stream(1) });
        Self { net, example, forward, tokens: None }
    }

    /// Inputs are whole numbers below `count` instead of normally distributed ones.
    #[allow(dead_code, reason = "sequence models")]
    pub(crate) fn tokens(mut self, count: usize) -> Self {
        self.tokens = Some(count);
        self
    }

    /// Compares the network with its rows of the table and proves its groups. `depth` has a line for each residual
    /// block: the parameters that go with it, in the notation of members without their dimension.
    pub(crate) fn check(&self, groups: &str, depth: &str) {
        let graph = self.graph(&self.net).unwrap();
        let found = self.axes(&graph);
        compare(&parse(groups, &graph), &found, &graph);
        compare_blocks(depth, &graph);
        for (axis, incomparable) in self.prove_groups(&graph, &found, 7) {
            let name = Group::from(axis).to_string();
            // What the library says cannot be compared, the table says runs over the units.
            let across = axis.across.iter().any(|operation| !operation.contains("sum_dim"));
            assert_eq!(incomparable.is_empty(), !across, "{incomparable:?} of {name}");
        }
        for block in blocks(&graph) {
            self.prove_block(&graph, &block);
        }
    }

    pub(crate) fn graph(&self, net: &M) -> Result<Graph, kd_graph::Error> {
        capture(net, self.example, |net, x, _| (self.forward)(net, x))
    }

    /// The axes of the network's graph, plain numbers settled.
    pub(crate) fn axes(&self, graph: &Graph) -> Vec<Axis> {
        settle_numbers(graph, axes(graph), |cut| Ok::<_, Error>(self.graph(&apply(self.net.clone(), cut)?)?))
    }

    pub(crate) fn net(&self) -> &M {
        &self.net
    }

    /// Proves each axis that is not pinned with units drawn by `seed`, then all together; returns for each axis why
    /// silencing is not removing, if it is not.
    pub(crate) fn prove_groups<'a>(
        &self,
        graph: &Graph,
        axes: &'a [Axis],
        seed: u64,
    ) -> Vec<(&'a Axis, Vec<String>)> {
        let mut stream = Stream(seed);
        let free = axes.iter().filter(|axis| axis.pinned.is_none());
        let cuts: Vec<(&Axis, Vec<usize>)> = free.map(|axis| (axis, stream.subset(axis.size))).collect();
        let prove = |(axis, keep): &(&'a Axis, Vec<usize>)| {
            let cut = cut_of(graph, [(*axis, keep.as_slice())]).unwrap();
            (*axis, self.prove(graph, &cut, &Group::from(*axis).to_string()))
        };
        let proved = cuts.iter().map(prove).collect();
        let all = cut_of(graph, cuts.iter().map(|(axis, keep)| (*axis, keep.as_slice()))).unwrap();
        if !all.is_empty() {
            self.prove(graph, &all, "all groups together");
        }
        proved
    }

    /// Proves a cut, and returns why silencing is not removing, if it is not.
    fn prove(&self, graph: &Graph, cut: &Cut, name: &str) -> Vec<String> {
        let predicted = predict(graph, cut).unwrap_or_else(|error| panic!("{name}: {error}"));
        let small = apply(self.net.clone(), cut).unwrap();
        let again = self.graph(&small).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(again == predicted.graph, "{name}: predicted\n{}\nfound\n{again}", predicted.graph);
        let x = self.batch();
        let silenced = without(graph, &self.net, cut, x.clone());
        // The module as it computes in f32, and what it was recorded to compute, in f64.
        let removed = values((self.forward)(&small, x.clone()));
        close(&silenced, &removed, TOLERANCE, name);
        let removed = without(&again, &small, &Cut::default(), x.clone());
        close(&silenced, &removed, 1e-9, name);
        match mask_equals_remove(&self.net, graph, cut, |net| (self.forward)(net, x.clone())).unwrap() {
            Comparison::NotComparable { reasons } => reasons,
            comparison => {
                comparison.check().unwrap_or_else(|error| panic!("{name}: {error}"));
                Vec::new()
            }
        }
    }

    /// The network with zeros in the parameters that go with a block computes what its graph without the block does.
    fn prove_block(&self, graph: &Graph, block: &Block) {
        let left = block.removed_from(graph);
        let zeroed = self.net.clone().map(&mut Zero { names: Vec::new(), paths: &block.params });
        let x = self.batch();
        let removed = without(&left, &self.net, &Cut::default(), x.clone());
        close(&removed, &values((self.forward)(&zeroed, x)), TOLERANCE, &format!("{:?}", block.params));
    }

    fn batch(&self) -> Tensor<D> {
        let mut shape = self.example;
        shape[0] = 3;
        let mut stream = Stream(3);
        let count = shape.iter().product();
        let values: Vec<f32> = match self.tokens {
            Some(tokens) => (0..count).map(|_| stream.below(tokens) as f32).collect(),
            None => (0..count).map(|_| stream.normal() as f32).collect(),
        };
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }
}

/// What the graph of a network computes in f64 without what a cut removes.
fn without<M: Module, const D: usize>(
    graph: &Graph,
    net: &M,
    cut: &Cut,
    x: Tensor<D>,
) -> (Vec<usize>, Vec<f64>) {
    let (shape, values) = values(x);
    run_without(graph, &Weights::read(net), cut, (&shape, &values)).unwrap()
}

fn values<const D: usize>(x: Tensor<D>) -> (Vec<usize>, Vec<f64>) {
    (x.dims().to_vec(), x.into_data().convert::<f64>().try_to_vec().unwrap())
}

/// Equal shapes, and values within `tolerance` of the largest.
fn close(a: &(Vec<usize>, Vec<f64>), b: &(Vec<usize>, Vec<f64>), tolerance: f64, name: &str) {
    assert_eq!(a.0, b.0, "{name}");
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |max: f64, x| max.max(x.abs()));
    let scale = largest(&mut a.1.iter().copied());
    let differs = largest(&mut a.1.iter().zip(&b.1).map(|(a, b)| a - b));
    assert!(scale > 0.0 && differs <= tolerance * scale, "{name}: {differs:e} of {scale:e}");
}

fn compare(expected: &[Group], found: &[Axis], graph: &Graph) {
    let mut found: Vec<Group> = found.iter().map(Group::from).collect();
    let missing: Vec<&Group> = expected
        .iter()
        .filter(|row| match found.iter().position(|found| row.is(found)) {
            Some(at) => {
                found.remove(at);
                false
            }
            None => true,
        })
        .collect();
    if missing.is_empty() && found.is_empty() {
        return;
    }
    let list =
        |groups: &mut dyn Iterator<Item = String>| groups.map(|row| format!("  {row}\n")).collect::<String>();
    panic!(
        "groups differ\nin the table only:\n{}found only:\n{}in\n{graph}",
        list(&mut missing.iter().map(ToString::to_string)),
        list(&mut found.iter().map(ToString::to_string)),
    );
}

fn compare_blocks(depth: &str, graph: &Graph) {
    let expected: Vec<BTreeSet<String>> = depth
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let paths = line.split_whitespace().flat_map(braces);
            let all = graph.params.iter().map(|param| &param.path);
            let under = |pattern: String| {
                let matches = |path: &&String| match pattern.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => **path == pattern,
                };
                all.clone().filter(matches).cloned().collect::<Vec<_>>()
            };
            paths.flat_map(under).collect()
        })
        .collect();
    let found: Vec<BTreeSet<String>> =
        blocks(graph).into_iter().map(|block| block.params.into_iter().collect()).collect();
    assert_eq!(expected, found, "residual blocks in\n{graph}");
}

/// Gives every parameter and statistic values that show where they are used.
struct Randomize {
    names: Vec<String>,
    stream: Stream,
}

impl ModuleMapper for Randomize {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.names.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let stream = &mut self.stream;
        let name = self.names.last().map_or("", String::as_str);
        param.map(|value| {
            let shape = value.dims();
            let count: usize = shape.iter().product();
            // A sum over all but the outputs has about the size of its inputs.
            let fan = if D > 1 { (count / shape[0]).min(count / shape[1]).max(1) as f64 } else { 1.0 };
            let values: Vec<f32> = (0..count)
                .map(|_| match name {
                    "running_var" | "gamma" => 0.5 + stream.uniform(),
                    _ if D > 1 => 1.5 * stream.normal() / fan.sqrt(),
                    _ => 0.5 * stream.normal(),
                })
                .map(|value| value as f32)
                .collect();
            Tensor::from_data(TensorData::new(values, shape), &value.device())
        })
    }
}

/// Zeros in these parameters.
struct Zero<'a> {
    names: Vec<String>,
    paths: &'a [String],
}

impl ModuleMapper for Zero<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.names.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.paths.contains(&self.names.join(".")) {
            true => param.map(|value| value.zeros_like()),
            false => param,
        }
    }
}

/// Random numbers: splitmix64.
pub(crate) struct Stream(pub(crate) u64);

impl Stream {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0 .. 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// The sum of twelve uniform numbers, less six.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// At least one of `size` things, and not all where there are two.
    pub(crate) fn subset(&mut self, size: usize) -> Vec<usize> {
        let count = 1 + self.below(size.max(2) - 1);
        let mut all: Vec<usize> = (0..size).collect();
        while all.len() > count.min(size) {
            all.remove(self.below(all.len()));
        }
        all
    }
}
