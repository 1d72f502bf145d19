//! Every way in which channels hang together.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use kd_graph::{Axis, Op, axes, capture};
use prune_core::{
    Channels, Cut, Evidence, Group, Limits, Magnitude, Norm, Normalization, Slice, Weights, apply, cut_of,
    mask_equals_remove, plan_axes, predict, score_axis, score_group, verify_cut,
};

use crate::nets::{conv, filter_norms, images, norm, plan, share};

/// A residual block and two concatenated branches.
#[derive(Module, Debug)]
struct Branches {
    stem: Conv2d,
    norm: BatchNorm,
    inner: Conv2d,
    outer: Conv2d,
    left: Conv2d,
    right: Conv2d,
    merge: Conv2d,
    head: Linear,
}

impl Branches {
    fn new(device: &Device) -> Self {
        Self {
            stem: conv(1, 6, 1, device),
            norm: norm(6, device),
            inner: conv(6, 5, 1, device),
            outer: conv(5, 6, 1, device),
            left: conv(6, 4, 1, device),
            right: conv(6, 8, 1, device),
            merge: conv(12, 3, 1, device),
            head: LinearConfig::new(3, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.norm.forward(self.stem.forward(x));
        let x = x.clone() + self.outer.forward(relu(self.inner.forward(x)));
        let x = Tensor::cat(vec![self.left.forward(x.clone()), relu(self.right.forward(x))], 1);
        let x = self.merge.forward(x);
        self.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    }
}

#[test]
fn residual_sums_and_concatenations_are_cut_together() {
    let device = Device::default();
    let net = Branches::new(&device);
    let graph = capture(&net, [1, 1, 8, 8], |net: &Branches, x, _| net.forward(x)).unwrap();
    let weights = Weights::read(&net);
    let all = axes(&graph);
    // The residual stream's scores are the mean of what stem and outer write, as they are.
    let stream = all.iter().find(|axis| axis.size == 6 && axis.pinned.is_none()).unwrap();
    let evidence = Evidence::new(&weights);
    let group = Group { normalization: Normalization::None, ..Group::writing() };
    let scores = score_group(&Magnitude::default(), &graph, stream, &evidence, group).unwrap();
    let (stem, outer) = (filter_norms(&net.stem.weight.val()), filter_norms(&net.outer.weight.val()));
    for (unit, score) in scores.iter().enumerate() {
        assert!((score - (stem[unit] + outer[unit]) / 2.0).abs() < 1e-6);
    }
    let score = |axis: &Axis| score_axis(&Magnitude { p: Norm::L2, unit: None }, &graph, axis, &weights);
    let plan = plan_axes(&graph, &all, score, Channels::Sparsity(share(0.5)), Limits::default()).unwrap();
    let mut sizes: Vec<_> = plan.axes.iter().map(|axis| (axis.size, axis.keep.len())).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(3, 2), (4, 2), (5, 3), (6, 3), (8, 4)], "{:?}", plan.whole);
    // What merge reads: left's channels first, then right's.
    let (left, right) = (plan.cut.keep("left.weight", 0).unwrap(), plan.cut.keep("right.weight", 0).unwrap());
    let merged: Vec<usize> = left.iter().copied().chain(right.iter().map(|unit| 4 + unit)).collect();
    assert_eq!(plan.cut.keep("merge.weight", 1).unwrap(), merged);
    let x = images(8, &device);
    let comparison = mask_equals_remove(&net, &graph, &plan.cut, |net| net.forward(x.clone())).unwrap();
    assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
    let small = apply(net, &plan.cut).unwrap();
    verify_cut(&small, &graph, &plan.cut, [1, 1, 8, 8], |net: &Branches, x, _| net.forward(x)).unwrap();
}

/// A depthwise convolution between two ordinary ones.
#[derive(Module, Debug)]
struct Depthwise {
    expand: Conv2d,
    depthwise: Conv2d,
    grouped: Conv2d,
    project: Conv2d,
    head: Linear,
}

#[test]
fn channels_that_a_plain_number_counts_stay_whole() {
    let device = Device::default();
    let net = Depthwise {
        expand: conv(1, 6, 1, &device),
        depthwise: conv(6, 6, 6, &device),
        grouped: conv(6, 6, 3, &device),
        project: conv(6, 5, 1, &device),
        head: LinearConfig::new(5, 2).init(&device),
    };
    let forward = |net: &Depthwise, x: Tensor<4>| {
        let x = net.grouped.forward(net.depthwise.forward(net.expand.forward(x)));
        let x = relu(net.project.forward(x));
        net.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    };
    let graph = capture(&net, [1, 1, 8, 8], |net: &Depthwise, x, _| forward(net, x)).unwrap();
    let plan = plan(&net, &graph, Channels::Sparsity(share(0.4)), Limits::default()).unwrap();
    let x = images(8, &device);
    let comparison = mask_equals_remove(&net, &graph, &plan.cut, |net| forward(net, x.clone())).unwrap();
    assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
    let small = apply(net, &plan.cut).unwrap();
    assert_eq!(small.project.weight.dims()[0], 3);
    assert_eq!(small.depthwise.weight.dims(), [6, 1, 3, 3]);
    verify_cut(&small, &graph, &plan.cut, [1, 1, 8, 8], |net: &Depthwise, x, _| forward(net, x)).unwrap();
    let reasons: Vec<_> = plan.whole.iter().map(|axis| axis.reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("groups")), "{reasons:?}");
}

#[test]
fn whole_groups_go_where_their_number_follows_the_weights() {
    let device = Device::default();
    let net = Depthwise {
        expand: conv(1, 6, 1, &device),
        depthwise: conv(6, 6, 6, &device),
        grouped: conv(6, 6, 3, &device),
        project: conv(6, 5, 1, &device),
        head: LinearConfig::new(5, 2).init(&device),
    };
    let by_shape = |layer: &Conv2d, x: Tensor<4>| {
        let mut layer = layer.clone();
        layer.groups = x.dims()[1] / layer.weight.dims()[1];
        layer.forward(x)
    };
    let forward = |net: &Depthwise, x: Tensor<4>| {
        let x = relu(by_shape(&net.depthwise, relu(net.expand.forward(x))));
        let x = relu(net.project.forward(by_shape(&net.grouped, x)));
        net.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    };
    let graph = capture(&net, [1, 1, 8, 8], |net: &Depthwise, x, _| forward(net, x)).unwrap();
    let mut axes = axes(&graph);
    axes.iter_mut().for_each(|axis| axis.numbers.clear());
    let weights = Weights::read(&net);
    let score = |axis: &Axis| score_axis(&Magnitude::default(), &graph, axis, &weights);
    let plan = plan_axes(&graph, &axes, score, Channels::Sparsity(share(0.34)), Limits::default()).unwrap();
    // One of three groups goes, with its two channels of every layer; of the five of the last layer goes one.
    let small = apply(net.clone(), &plan.cut).unwrap();
    let dims = [&small.expand, &small.depthwise, &small.grouped, &small.project].map(|l| l.weight.dims());
    assert_eq!(dims, [[4, 1, 3, 3], [4, 1, 3, 3], [4, 2, 3, 3], [4, 4, 3, 3]]);
    let found =
        verify_cut(&small, &graph, &plan.cut, [1, 1, 8, 8], |net: &Depthwise, x, _| forward(net, x)).unwrap();
    assert_eq!(found, predict(&graph, &plan.cut).unwrap().graph);
    let groups = found.nodes.iter().filter_map(|node| match node.op {
        Op::Conv { groups, .. } => Some(groups),
        _ => None,
    });
    assert_eq!(groups.collect::<Vec<_>>(), [1, 4, 2, 1]);
    let x = images(8, &device);
    let comparison = mask_equals_remove(&net, &graph, &plan.cut, |net| forward(net, x.clone())).unwrap();
    assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
}

/// A grouped convolution between two ordinary ones.
#[derive(Module, Debug)]
struct Grouped {
    expand: Conv2d,
    grouped: Conv2d,
    head: Linear,
}

impl Grouped {
    fn new(device: &Device) -> Self {
        Self {
            expand: conv(1, 6, 1, device),
            grouped: conv(6, 9, 3, device),
            head: LinearConfig::new(9, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.grouped.forward(relu(self.expand.forward(x))));
        self.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    }

    /// Keeps these channels between the first two layers, and these inputs of every group.
    fn cut(channels: &[usize], inputs: &[usize], outputs: &[usize]) -> Cut {
        let slice = |path: &str, dim, size, keep: &[usize]| Slice {
            path: path.into(),
            dim,
            size,
            keep: keep.to_vec(),
        };
        Cut::new([
            slice("expand.weight", 0, 6, channels),
            slice("expand.bias", 0, 6, channels),
            slice("grouped.weight", 1, 2, inputs),
            slice("grouped.weight", 0, 9, outputs),
            slice("grouped.bias", 0, 9, outputs),
            slice("head.weight", 0, 9, outputs),
        ])
        .unwrap()
    }
}

#[test]
fn groups_lose_the_same_channels_each() {
    let device = Device::default();
    let net = Grouped::new(&device);
    let graph = capture(&net, [1, 1, 8, 8], |net: &Grouped, x, _| net.forward(x)).unwrap();
    let x = images(8, &device);
    let outputs = [0, 2, 3, 4, 7, 8];
    for (channels, inputs) in [([0, 2, 4], [0]), ([1, 3, 5], [1])] {
        let cut = Grouped::cut(&channels, &inputs, &outputs);
        let comparison = mask_equals_remove(&net, &graph, &cut, |net| net.forward(x.clone())).unwrap();
        assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
        let small = apply(net.clone(), &cut).unwrap();
        assert_eq!(small.grouped.weight.dims(), [6, 1, 3, 3]);
        verify_cut(&small, &graph, &cut, [1, 1, 8, 8], |net: &Grouped, x, _| net.forward(x)).unwrap();
    }
    let all = (0..9).collect::<Vec<_>>();
    for (cut, complaint) in [
        (
            Grouped::cut(&[0, 1, 2], &[0], &all),
            "its 3 groups, a plain number, would not keep the same input channels",
        ),
        (Grouped::cut(&[0, 2, 5], &[0], &all), "would not keep the same input channels"),
        (Grouped::cut(&[0, 1, 2, 3, 4, 5], &[0], &all), "would not keep the same input channels"),
        (
            Grouped::cut(&[0, 2, 4], &[0], &[0, 1, 3]),
            "its 3 groups, a plain number, would not keep as many outputs each",
        ),
    ] {
        let error = predict(&graph, &cut).unwrap_err().to_string();
        assert!(error.contains("grouped.weight") && error.contains(complaint), "{error}");
    }
    // A plan finds the two inputs that each group has; the groups themselves are a plain number.
    let plan = plan(&net, &graph, Channels::Sparsity(share(0.5)), Limits::default()).unwrap();
    assert!(plan.axes.iter().any(|axis| axis.size == 2 && axis.keep.len() == 1), "{plan:?}");
    assert!(
        plan.whole.iter().any(|axis| axis.size == 3 && axis.reason.contains("groups")),
        "{:?}",
        plan.whole
    );
    let comparison = mask_equals_remove(&net, &graph, &plan.cut, |net| net.forward(x.clone())).unwrap();
    assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
}

/// Self-attention whose number of heads follows from its weights' width.
#[derive(Module, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    head: Linear,
    head_width: usize,
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, length, _] = x.dims();
        let split = |x: Tensor<3>| {
            let heads = x.dims()[2] / self.head_width;
            x.reshape([batch, length, heads, self.head_width]).swap_dims(1, 2)
        };
        let query = split(self.query.forward(x.clone()));
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x));
        let heads = value.dims()[1];
        let weights = softmax(query.matmul(key.swap_dims(2, 3)).mul_scalar(0.5), 3);
        let mixed = weights.matmul(value).swap_dims(1, 2).reshape([batch, length, heads * self.head_width]);
        let pooled: Tensor<2> = self.output.forward(mixed).mean_dim(1).flatten(1, 2);
        self.head.forward(pooled)
    }
}

#[test]
fn heads_are_told_from_positions_inside_a_head() {
    let device = Device::default();
    let linear = |from, to| LinearConfig::new(from, to).init(&device);
    let net = Attention {
        query: linear(7, 12),
        key: linear(7, 12),
        value: linear(7, 12),
        output: linear(12, 7),
        head: linear(7, 2),
        head_width: 4,
    };
    let graph = capture(&net, [1, 5, 7], |net: &Attention, x, _| net.forward(x)).unwrap();
    let all = axes(&graph);
    let heads =
        all.iter().find(|axis| axis.size == 3 && axis.pinned.is_none()).expect("an axis of three heads");
    let keep = [0, 2];
    let cut = cut_of(&graph, [(heads, keep.as_slice())]).unwrap();
    let columns: Vec<usize> = (0..4).chain(8..12).collect();
    assert_eq!(cut.keep("query.weight", 1).unwrap(), columns);
    assert_eq!(cut.keep("output.weight", 0).unwrap(), columns);
    let x = Tensor::random([4, 5, 7], Distribution::Normal(0.0, 1.0), &device);
    let comparison = mask_equals_remove(&net, &graph, &cut, |net| net.forward(x.clone())).unwrap();
    assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
    // A plan cannot know that this module computes its number of heads, and leaves them alone.
    let plan = plan(&net, &graph, Channels::Sparsity(share(0.4)), Limits::default()).unwrap();
    assert!(
        plan.whole.iter().any(|axis| axis.size == 3 && axis.reason.contains("reshape")),
        "{:?}",
        plan.whole
    );
    assert_eq!(plan.cut.keep("query.weight", 1), None);
    let small = apply(net, &cut).unwrap();
    verify_cut(&small, &graph, &cut, [1, 5, 7], |net: &Attention, x, _| net.forward(x)).unwrap();
}
