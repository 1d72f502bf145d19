//! Groups that layers keep beside their weights: those of kd-nn read what they can off shapes, Burn's own keep numbers.

use burn::module::Module;
use burn::nn::conv as theirs;
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::Device;
use burn::tensor::activation::relu;
use kd_nn::Linear;
use kd_nn::conv::Conv2d;

use super::layers::{config, conv, grouped, linear, pooled};
use super::table::Architecture;

/// Burn's own depthwise convolution keeps its number of groups beside the weight, and a cut does not reach it.
#[derive(Module, Debug)]
struct BurnsDepthwise {
    stem: theirs::Conv2d,
    depthwise: theirs::Conv2d,
    pointwise: theirs::Conv2d,
    head: Linear,
}

#[test]
fn depthwise_convolution_of_burn() {
    let device = Device::flex();
    let conv = |from, to, groups| {
        theirs::Conv2dConfig::new([from, to], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_groups(groups)
            .init(&device)
    };
    let net = BurnsDepthwise {
        stem: conv(2, 4, 1),
        depthwise: conv(4, 4, 4),
        pointwise: conv(4, 5, 1),
        head: linear(5, 2),
    };
    Architecture::new(net, [1, 2, 5, 5], |net: &BurnsDepthwise, x| {
        let x = relu(net.depthwise.forward(net.stem.forward(x)));
        net.head.forward(pooled(net.pointwise.forward(x)))
    })
    .check(
        "channels 2: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.{weight,bias}:0 depthwise.{weight,bias}:0 pointwise.weight:1;
           pinned: plain numbers of the module do not follow a cut: groups of the convolution with `depthwise.weight`
         channels 5: pointwise.{weight,bias}:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Xie et al. 2016, arXiv:1611.05431, with group norm (Wu and He 2018, arXiv:1803.08494).
#[derive(Module, Debug)]
struct GroupedNet<N: Module> {
    reduce: Conv2d,
    norm1: N,
    grouped: Conv2d,
    norm2: N,
    expand: Conv2d,
    head: Linear,
}

fn grouped_net<N: Module>(norm: impl Fn(usize) -> N) -> GroupedNet<N> {
    GroupedNet {
        reduce: config(3, 8, 1).with_bias(true).init(&Device::flex()),
        norm1: norm(2),
        grouped: grouped(8, 8, 3, 2),
        norm2: norm(4),
        expand: conv(8, 6, 1),
        head: linear(6, 2),
    }
}

#[test]
fn grouped_convolution_with_group_norm() {
    let norm = |groups| kd_nn::GroupNormConfig::new(groups, 8).init(&Device::flex());
    // The inputs of the grouped convolution are [group, member]; its outputs are [group, group of the second norm in
    // it, member]. Members go in every group alike; how many groups there are is what a norm keeps.
    Architecture::new(grouped_net(norm), [1, 3, 5, 5], |net: &GroupedNet<kd_nn::GroupNorm>, x| {
        let x = relu(net.norm1.forward(net.reduce.forward(x)));
        let x = relu(net.norm2.forward(net.grouped.forward(x)));
        net.head.forward(pooled(relu(net.expand.forward(x))))
    })
    .check(
        "channels 3: reduce.weight:1; pinned: dimension 1 of the model's input
         channels 2: reduce.{weight,bias}:0:0/4x4@1 norm1.*:0:0/4x4@1 grouped.weight:0:0/4x4@1 norm2.*:0:0/4x4@1
           expand.weight:1:0/4x4@1; pinned: plain numbers
         channels 4: reduce.{weight,bias}:0:0/1x2@4 norm1.*:0:0/1x2@4 grouped.weight:1; across: `mean_dim`
         channels 2: grouped.weight:0:0/2x2@1x2@4 norm2.*:0:0/2x2@1x2@4 expand.weight:1:0/2x2@1x2@4;
           pinned: plain numbers
         channels 2: grouped.weight:0:0/1x4@2 norm2.*:0:0/1x4@2 expand.weight:1:0/1x4@2; across: `mean_dim`
         channels 6: expand.weight:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

#[test]
fn group_norm_of_burn_keeps_its_channels() {
    let norm = |groups| GroupNormConfig::new(groups, 8).init(&Device::flex());
    Architecture::new(grouped_net(norm), [1, 3, 5, 5], |net: &GroupedNet<GroupNorm>, x| {
        let x = relu(net.norm1.forward(net.reduce.forward(x)));
        let x = relu(net.norm2.forward(net.grouped.forward(x)));
        net.head.forward(pooled(relu(net.expand.forward(x))))
    })
    .check(
        "channels 3: reduce.weight:1; pinned: dimension 1 of the model's input
         channels 2: reduce.{weight,bias}:0:0/4x4@1 norm1.*:0:0/4x4@1 grouped.weight:0:0/4x4@1 norm2.*:0:0/4x4@1
           expand.weight:1:0/4x4@1; pinned: plain numbers
         channels 4: reduce.{weight,bias}:0:0/1x2@4 norm1.*:0:0/1x2@4 grouped.weight:1; pinned: plain numbers;
           across: `mean_dim`
         channels 2: grouped.weight:0:0/2x2@1x2@4 norm2.*:0:0/2x2@1x2@4 expand.weight:1:0/2x2@1x2@4;
           pinned: plain numbers
         channels 2: grouped.weight:0:0/1x4@2 norm2.*:0:0/1x4@2 expand.weight:1:0/1x4@2; pinned: plain numbers;
           across: `mean_dim`
         channels 6: expand.weight:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
