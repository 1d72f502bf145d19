//! Numbers beside the weights follow a cut, of Burn's layers and of modules with their own.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, LayerNorm, Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Distribution, Tensor};
use kd_graph::{Axis, Graph, Sites, axes, capture};
use kd_nn::SyncShape;
use prune_core::{Cut, apply_synced, cut_of, mask_equals_removed, pin, settle_numbers, verify_cut};

/// Cuts `module` to `keep` of the axis of so many units that `path` is on, and checks the result against the plan.
fn cut_axis<M: Module + SyncShape, const D: usize>(
    module: &M,
    example: [usize; D],
    forward: impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2> + Copy,
    (path, size): (&str, usize),
    keep: &[usize],
) -> (M, Cut) {
    let graph = capture(module, example, forward).unwrap();
    let axes = followed(module, &graph, example, forward);
    let on = |axis: &&Axis| axis.size == size && axis.members.iter().any(|member| member.path == path);
    let axis = axes.iter().find(on).unwrap();
    assert_eq!((&axis.pinned, &axis.numbers), (&None, &vec![]), "{path}");
    let cut = cut_of(&graph, [(axis, keep)]).unwrap();
    let small = apply_synced(module.clone(), &cut).unwrap();
    verify_cut(&small, &graph, &cut, example, forward).unwrap();
    (small, cut)
}

fn followed<M: Module + SyncShape, const D: usize>(
    module: &M,
    graph: &Graph,
    example: [usize; D],
    forward: impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2> + Copy,
) -> Vec<Axis> {
    settle_numbers(graph, axes(graph), |cut| -> Result<_, Box<dyn std::error::Error>> {
        Ok(capture(&apply_synced(module.clone(), cut)?, example, forward)?)
    })
}

#[derive(Module, Debug, SyncShape)]
struct Grouped {
    stem: Conv2d,
    grouped: Conv2d,
    depthwise: Conv2d,
    head: Conv2d,
}

impl Grouped {
    fn forward(&self, x: Tensor<4>, _: &mut Sites) -> Tensor<2> {
        let x = self.depthwise.forward(self.grouped.forward(self.stem.forward(x)));
        self.head.forward(x).mean_dim(2).mean_dim(3).flatten(1, 3)
    }
}

#[test]
fn groups_of_burns_convolutions_follow() {
    let device = Device::flex();
    let conv = |from, to, groups| Conv2dConfig::new([from, to], [1, 1]).with_groups(groups).init(&device);
    let net = Grouped {
        stem: conv(1, 8, 1),
        grouped: conv(8, 12, 4),
        depthwise: conv(12, 12, 12),
        head: conv(12, 3, 1),
    };
    let x = Tensor::random([4, 1, 5, 5], Distribution::Default, &device);
    let graph = capture(&net, [2, 1, 4, 4], Grouped::forward).unwrap();
    // Places inside each of four groups of three, and whole groups.
    for (size, keep, kept, groups) in
        [(3, &[0, 2][..], &[0, 2, 3, 5, 6, 8, 9, 11][..], (4, 8)), (4, &[0, 2], &[0, 1, 2, 6, 7, 8], (2, 6))]
    {
        let (small, cut) = cut_axis(&net, [2, 1, 4, 4], Grouped::forward, ("depthwise.weight", size), keep);
        assert_eq!(cut.keep("grouped.weight", 0), Some(kept));
        assert_eq!((small.grouped.groups, small.depthwise.groups), groups);
        let forward = |net: &Grouped| net.forward(x.clone(), &mut Sites::default());
        let equal = mask_equals_removed(&net, |net| apply_synced(net, &cut), &graph, &cut, forward).unwrap();
        equal.check().unwrap();
    }
}

#[derive(Module, Debug, SyncShape)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    #[sync(self.value.weight.dims()[1] / self.width)]
    heads: usize,
    width: usize,
}

impl Attention {
    fn forward(&self, x: Tensor<3>, _: &mut Sites) -> Tensor<2> {
        let [batch, length, _] = x.dims();
        let split = |x: Tensor<3>| x.reshape([batch, length, self.heads, self.width]).swap_dims(1, 2);
        let (q, k, v) = (
            split(self.query.forward(x.clone())),
            split(self.key.forward(x.clone())),
            split(self.value.forward(x)),
        );
        let weights = softmax(q.matmul(k.transpose()), 3);
        let mixed = weights.matmul(v).swap_dims(1, 2).reshape([batch, length, self.heads * self.width]);
        self.output.forward(mixed).mean_dim(1).squeeze_dim(1)
    }
}

#[test]
fn heads_follow_by_a_rule_and_widths_without_one_do_not() {
    let device = Device::flex();
    let linear = || LinearConfig::new(12, 12).init(&device);
    let net =
        Attention { query: linear(), key: linear(), value: linear(), output: linear(), heads: 3, width: 4 };
    let example = [2, 5, 12];
    let (small, _) = cut_axis(&net, example, Attention::forward, ("query.weight", 3), &[0, 2]);
    assert_eq!((small.heads, small.query.weight.dims()), (2, [12, 8]));
    let graph = capture(&net, example, Attention::forward).unwrap();
    let all = followed(&net, &graph, example, Attention::forward);
    let widths: Vec<_> = all.iter().filter(|axis| axis.size == 4).collect();
    assert!(!widths.is_empty() && widths.iter().all(|axis| axis.pinned.is_some()), "{widths:?}");
}

#[derive(Module, Debug, SyncShape)]
struct Recurrent {
    lstm: Lstm,
    head: Linear,
    #[module(skip)]
    #[sync(skip)]
    name: &'static str,
}

#[test]
fn a_derive_reaches_layers_with_numbers_and_skips_what_it_is_told() {
    let device = Device::flex();
    let mut net = Recurrent {
        lstm: LstmConfig::new(4, 6, true).init(&device),
        head: LinearConfig::new(6, 2).init(&device),
        name: "net",
    };
    net.lstm.input_gate.input_transform = LinearConfig::new(4, 5).init(&device);
    let nothing = |_: &str, _: usize| None;
    net.sync_shape(&kd_nn::ShapeCut::new(&nothing));
    assert_eq!((net.lstm.d_hidden, net.name), (5, "net"));
}

#[derive(Module, Debug, SyncShape)]
enum Norm {
    Group(GroupNorm),
    Layer(LayerNorm),
}

#[test]
fn group_norm_loses_whole_groups_or_some_of_each() {
    let device = Device::flex();
    let sync = |keep: &[usize]| {
        let mut norm = Norm::Group(GroupNormConfig::new(3, 12).init(&device));
        let keep = keep.to_vec();
        norm.sync_shape(&kd_nn::ShapeCut::new(&|path, dim| {
            ((path, dim) == ("Group.gamma", 0)).then_some(kd_nn::Kept { size: 12, keep: &keep })
        }));
        let Norm::Group(norm) = norm else { unreachable!("it was one") };
        (norm.num_groups, norm.num_channels)
    };
    assert_eq!(sync(&[0, 1, 2, 3, 8, 9, 10, 11]), (2, 8));
    assert_eq!(sync(&[0, 1, 4, 5, 8, 9]), (3, 6));
}

#[test]
fn pinned_axes_name_the_parameter() {
    let device = Device::flex();
    let conv = |from, to| Conv2dConfig::new([from, to], [1, 1]).init(&device);
    let net = Grouped { stem: conv(1, 8), grouped: conv(8, 12), depthwise: conv(12, 12), head: conv(12, 3) };
    let mut all = axes(&capture(&net, [1, 1, 2, 2], Grouped::forward).unwrap());
    pin(&mut all, "^grouped", |path| path.starts_with("grouped")).unwrap();
    let error = pin(&mut all, "^group$", |path| path == "group").unwrap_err().to_string();
    assert!(error.starts_with("`^group$` pins nothing: it matches none of depthwise.bias, "), "{error}");
    let open: Vec<_> = all.iter().filter(|axis| axis.pinned.is_none()).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].members[0].path, "depthwise.weight");
    let reasons: Vec<_> = all.iter().filter_map(|axis| axis.pinned.as_deref()).collect();
    assert!(reasons.contains(&"`grouped.weight` is pinned by `^grouped`"), "{reasons:?}");
}
