//! Random networks: any directed graph of layers, and everything that can be said of its groups.
//!
//! Next to every network an oracle is kept that knows no labels. For networks without groups of channels its sets have to
//! be those of the axes, unit by unit. All axes are proved as those of the table are.
//!
//! `KD_RANDOM_NETWORKS` says how many networks, `KD_RANDOM_SEED` which is the first, and alone the only one: a failure
//! names its seed.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use kd_nn::GroupNormConfig;
use kd_nn::conv::Conv2d;

use super::layers::{config, grouped, layer_norm, linear, norm};
use super::network::{INPUTS, Net, SIDE, Step};
use super::oracle::{Oracle, removed, signature};
use super::table::{Architecture, Stream};

/// A network under construction.
struct Builder {
    stream: Stream,
    net: Net,
    oracle: Oracle,
    /// Atoms of the channels of each value; only sizes count where groups are drawn.
    values: Vec<Vec<usize>>,
}

impl Builder {
    fn new(seed: u64) -> Self {
        let mut oracle = Oracle::default();
        let input: Vec<usize> = (0..INPUTS).map(|_| oracle.fresh()).collect();
        oracle.pinned.extend(&input);
        let net = Net {
            convs: Vec::new(),
            norms: Vec::new(),
            layer_norms: Vec::new(),
            group_norms: Vec::new(),
            linears: Vec::new(),
            scales: Vec::new(),
            head: linear(1, 1),
            steps: Vec::new(),
            ends: Vec::new(),
            flatten: false,
        };
        let mut builder = Self { stream: Stream(seed), net, oracle, values: vec![input] };
        builder.conv(0, None);
        builder
    }

    fn push(&mut self, step: Step, channels: Vec<usize>) {
        self.net.steps.push(step);
        self.values.push(channels);
    }

    /// A convolution of value `x`, to the width of another value where there is one.
    fn conv(&mut self, x: usize, like: Option<usize>) {
        let (from, drawn) = (self.values[x].len(), 2 + self.stream.below(5));
        let to = like.map_or(drawn, |like| self.values[like].len());
        let kernel = 1 + 2 * self.stream.below(2);
        let layer = self.add_conv(from, to, kernel);
        self.apply_conv(layer, x);
    }

    fn add_conv(&mut self, from: usize, to: usize, kernel: usize) -> usize {
        let bias = self.stream.below(2) == 0;
        self.net.convs.push(config(from, to, kernel).with_bias(bias).init(&Device::flex()));
        self.net.convs.len() - 1
    }

    fn apply_conv(&mut self, layer: usize, x: usize) {
        let outputs = self.connect(layer, x);
        self.push(Step::Conv { layer, x }, outputs);
    }

    fn connect(&mut self, layer: usize, x: usize) -> Vec<usize> {
        let path = format!("convs.{layer}");
        let [to, from, _, _] = self.net.convs[layer].weight.dims();
        let read = self.oracle.along(&format!("{path}.weight"), 1, from);
        let x = self.values[x].clone();
        self.oracle.unify(&x, &read);
        let written = self.oracle.along(&format!("{path}.weight"), 0, to);
        if self.net.convs[layer].bias.is_some() {
            self.oracle.vectors(&written, &[format!("{path}.bias")]);
        }
        written
    }

    /// One more step; `groups` are those of grouped convolutions, shuffles and group norms, or none of these.
    fn step(&mut self, groups: bool) {
        let x = self.stream.below(self.values.len());
        let channels = self.values[x].clone();
        let size = channels.len();
        match self.stream.below(if groups { 16 } else { 13 }) {
            0 | 1 => self.conv(x, None),
            2 => self.conv(x, Some(x)),
            3 => {
                // A layer that there is already, if it fits.
                let fits = |conv: &Conv2d| conv.weight.dims()[1] == size;
                match (0..self.net.convs.len()).rev().find(|&layer| fits(&self.net.convs[layer])) {
                    Some(layer) if size > 1 => self.apply_conv(layer, x),
                    _ => self.conv(x, None),
                }
            }
            4 => {
                self.net.convs.push(grouped(size, size, 3, size));
                let layer = self.net.convs.len() - 1;
                self.oracle.vectors(&channels, &[format!("convs.{layer}.weight")]);
                self.push(Step::Conv { layer, x }, channels);
            }
            5 => {
                self.net.norms.push(norm(size));
                let layer = self.net.norms.len() - 1;
                let path = |name: &str| format!("norms.{layer}.{name}");
                let paths = ["gamma", "beta", "running_mean", "running_var"].map(path);
                self.oracle.vectors(&channels, &paths);
                self.push(Step::Norm { layer, x }, channels);
            }
            6 => {
                self.net.layer_norms.push(layer_norm(size));
                let layer = self.net.layer_norms.len() - 1;
                let paths = ["gamma", "beta"].map(|name| format!("layer_norms.{layer}.{name}"));
                self.oracle.vectors(&channels, &paths);
                self.push(Step::LayerNorm { layer, x }, channels);
            }
            7 => {
                let to = 2 + self.stream.below(5);
                self.net.linears.push(linear(size, to));
                let layer = self.net.linears.len() - 1;
                let read = self.oracle.along(&format!("linears.{layer}.weight"), 0, size);
                self.oracle.unify(&channels, &read);
                let written = self.oracle.along(&format!("linears.{layer}.weight"), 1, to);
                self.oracle.vectors(&written, &[format!("linears.{layer}.bias")]);
                self.push(Step::Linear { layer, x }, written);
            }
            8 => {
                self.net.scales.push(Param::from_tensor(Tensor::ones([size], &Device::flex())));
                let layer = self.net.scales.len() - 1;
                self.oracle.vectors(&channels, &[format!("scales.{layer}")]);
                self.push(Step::Scale { layer, x }, channels);
            }
            9 => {
                let inner = 2 + self.stream.below(3);
                let reduce = self.add_conv(size, inner, 1);
                let expand = self.add_conv(inner, size, 1);
                let hidden = self.connect(reduce, x);
                self.values.push(hidden);
                let gate = self.connect(expand, self.values.len() - 1);
                self.values.pop();
                self.oracle.unify(&channels, &gate);
                self.push(Step::Squeeze { reduce, expand, x }, channels);
            }
            10 => {
                let which = self.stream.below(8);
                self.push(Step::Function { which, x }, channels);
            }
            11 => {
                // Something of the same size, made where there is none.
                let others = (0..self.values.len()).filter(|&y| y != x && self.values[y].len() == size);
                let others: Vec<usize> = others.collect();
                let y = match others.is_empty() {
                    true => {
                        let from = self.stream.below(self.values.len());
                        self.conv(from, Some(x));
                        self.values.len() - 1
                    }
                    false => others[self.stream.below(others.len())],
                };
                let other = self.values[y].clone();
                self.oracle.unify(&channels, &other);
                let step = match self.stream.below(4) {
                    0 => Step::Mul { a: x, b: y },
                    _ => Step::Add { a: x, b: y },
                };
                self.push(step, channels);
            }
            12 => {
                let y = self.stream.below(self.values.len());
                let both = [channels, self.values[y].clone()].concat();
                if both.len() <= 16 {
                    self.push(Step::Concat { a: x, b: y }, both);
                }
            }
            13 => {
                if let Some(groups) = self.groups(size) {
                    let to = groups * (1 + self.stream.below(3));
                    self.net.convs.push(grouped(size, to, 3, groups));
                    let layer = self.net.convs.len() - 1;
                    let written = (0..to).map(|_| self.oracle.fresh()).collect();
                    self.push(Step::Conv { layer, x }, written);
                }
            }
            14 => {
                if let Some(groups) = self.groups(size) {
                    self.push(Step::Shuffle { groups, x }, channels);
                }
            }
            _ => {
                if let Some(groups) = self.groups(size) {
                    self.net.group_norms.push(GroupNormConfig::new(groups, size).init(&Device::flex()));
                    let layer = self.net.group_norms.len() - 1;
                    self.push(Step::GroupNorm { layer, x }, channels);
                }
            }
        }
    }

    /// A number of groups that divides a size, neither one nor all.
    fn groups(&mut self, size: usize) -> Option<usize> {
        let divisors: Vec<usize> = (2..size).filter(|groups| size.is_multiple_of(*groups)).collect();
        (!divisors.is_empty()).then(|| divisors[self.stream.below(divisors.len())])
    }

    /// The head reads every value that nothing else does.
    fn finish(mut self) -> (Net, Oracle) {
        let mut read = vec![false; self.values.len()];
        for step in &self.net.steps {
            match *step {
                Step::Conv { x, .. }
                | Step::Norm { x, .. }
                | Step::LayerNorm { x, .. }
                | Step::GroupNorm { x, .. }
                | Step::Linear { x, .. }
                | Step::Scale { x, .. }
                | Step::Squeeze { x, .. }
                | Step::Function { x, .. }
                | Step::Shuffle { x, .. } => read[x] = true,
                Step::Add { a, b } | Step::Mul { a, b } | Step::Concat { a, b } => {
                    (read[a], read[b]) = (true, true);
                }
            }
        }
        self.net.ends = (0..read.len()).filter(|&at| !read[at]).collect();
        self.net.flatten = self.stream.below(2) == 0;
        let channels: Vec<usize> = self.net.ends.iter().flat_map(|&end| self.values[end].clone()).collect();
        let places = if self.net.flatten { SIDE * SIDE } else { 1 };
        self.net.head = linear(channels.len() * places, 2);
        let read = self.oracle.along("head.weight", 0, channels.len() * places);
        let spread: Vec<usize> =
            channels.iter().flat_map(|&atom| std::iter::repeat_n(atom, places)).collect();
        self.oracle.unify(&spread, &read);
        (self.net, self.oracle)
    }
}

/// Checks the network of a seed; how many groups were proved.
fn check(seed: u64) -> usize {
    let groups = seed.is_multiple_of(3);
    let mut builder = Builder::new(seed);
    for _ in 0..2 + builder.stream.below(8) {
        builder.step(groups);
    }
    let (net, oracle) = builder.finish();
    let net = Architecture::new(net, [1, INPUTS, SIDE, SIDE], Net::forward);
    let graph = net.graph(net.net()).unwrap();
    let found = net.axes(&graph);
    if !groups {
        let (found, expected) = (removed(&found), oracle.units());
        let unknown: Vec<_> = found.difference(&expected).collect();
        // A unit that is the only one of its kind has no axis: there is nothing to choose.
        let missed = expected.difference(&found).filter(|unit| {
            let own = signature(unit);
            expected.iter().filter(|other| signature(other) == own).count() > 1
        });
        let missed: Vec<_> = missed.collect();
        assert!(unknown.is_empty() && missed.is_empty(), "{unknown:?} {missed:?}\n{graph}");
    }
    net.prove_groups(&graph, &found, seed).len()
}

#[test]
fn groups_of_random_networks_are_right_and_proved() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = (number("KD_RANDOM_SEED"), number("KD_RANDOM_NETWORKS"));
    let count = count.unwrap_or(if first.is_some() { 1 } else { 150 });
    let first = first.unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = |thread: usize| {
        let (mut failed, mut proved) = (Vec::new(), 0);
        for seed in (first..first + count).skip(thread).step_by(threads) {
            match std::panic::catch_unwind(|| check(seed)) {
                Ok(groups) => proved += groups,
                Err(_) => failed.push(seed),
            }
        }
        (failed, proved)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let failed: Vec<u64> = results.iter().flat_map(|(failed, _)| failed.clone()).collect();
    let proved: usize = results.iter().map(|(_, proved)| proved).sum();
    assert!(failed.is_empty(), "networks {failed:?}, each repeated by KD_RANDOM_SEED");
    assert!(proved as u64 > 2 * count || count < 10, "{proved} groups in {count} networks are too few");
}
