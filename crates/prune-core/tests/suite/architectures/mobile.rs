//! Networks of depthwise convolutions and of shuffled groups.

use burn::module::Module;
use burn::tensor::activation::{hard_sigmoid, hard_swish, relu, relu6};
use burn::tensor::{Device, Tensor};
use kd_nn::conv::{Conv2d, Conv2dConfig};
use kd_nn::{BatchNorm, Linear};

use super::layers::{conv, grouped, halving, linear, norm, pooled};
use super::table::Architecture;

/// Howard et al. 2017, arXiv:1704.04861.
#[derive(Module, Debug)]
struct Separable {
    depthwise: Conv2d,
    norm1: BatchNorm,
    pointwise: Conv2d,
    norm2: BatchNorm,
}

impl Separable {
    fn new(from: usize, to: usize) -> Self {
        Self {
            depthwise: grouped(from, from, 3, from),
            norm1: norm(from),
            pointwise: conv(from, to, 1),
            norm2: norm(to),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm1.forward(self.depthwise.forward(x)));
        relu(self.norm2.forward(self.pointwise.forward(x)))
    }
}

#[derive(Module, Debug)]
struct MobileNetV1 {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Separable>,
    head: Linear,
}

#[test]
fn mobilenet_v1() {
    let net = MobileNetV1 {
        stem: halving(3, 4, 3),
        norm: norm(4),
        blocks: vec![Separable::new(4, 5), Separable::new(5, 7)],
        head: linear(7, 2),
    };
    Architecture::new(net, [1, 3, 8, 8], |net: &MobileNetV1, x| {
        let x = relu(net.norm.forward(net.stem.forward(x)));
        net.head.forward(pooled(net.blocks.iter().fold(x, |x, block| block.forward(x))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 norm.*:0 blocks.0.depthwise.weight:0 blocks.0.norm1.*:0
           blocks.0.pointwise.weight:1
         channels 5: blocks.0.pointwise.weight:0 blocks.0.norm2.*:0 blocks.1.depthwise.weight:0 blocks.1.norm1.*:0
           blocks.1.pointwise.weight:1
         channels 7: blocks.1.pointwise.weight:0 blocks.1.norm2.*:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Sandler et al. 2018, arXiv:1801.04381: narrow streams, wide depthwise convolutions between.
#[derive(Module, Debug)]
struct Inverted {
    expand: Conv2d,
    norm1: BatchNorm,
    depthwise: Conv2d,
    norm2: BatchNorm,
    project: Conv2d,
    norm3: BatchNorm,
}

impl Inverted {
    fn new(from: usize, inner: usize, to: usize) -> Self {
        Self {
            expand: conv(from, inner, 1),
            norm1: norm(inner),
            depthwise: grouped(inner, inner, 3, inner),
            norm2: norm(inner),
            project: conv(inner, to, 1),
            norm3: norm(to),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu6(self.norm1.forward(self.expand.forward(x.clone())));
        let y = relu6(self.norm2.forward(self.depthwise.forward(y)));
        let y = self.norm3.forward(self.project.forward(y));
        if x.dims() == y.dims() { x + y } else { y }
    }
}

#[derive(Module, Debug)]
struct MobileNetV2 {
    stem: Conv2d,
    norm: BatchNorm,
    first: Inverted,
    second: Inverted,
    head: Linear,
}

#[test]
fn mobilenet_v2() {
    let net = MobileNetV2 {
        stem: conv(3, 4, 3),
        norm: norm(4),
        first: Inverted::new(4, 7, 5),
        second: Inverted::new(5, 8, 5),
        head: linear(5, 2),
    };
    Architecture::new(net, [1, 3, 5, 5], |net: &MobileNetV2, x| {
        let x = relu6(net.norm.forward(net.stem.forward(x)));
        // The first block is never added to its input, whatever widths there are.
        let y = net.first.project.forward(relu6(net.first.norm2.forward(
            net.first.depthwise.forward(relu6(net.first.norm1.forward(net.first.expand.forward(x)))),
        )));
        net.head.forward(pooled(net.second.forward(net.first.norm3.forward(y))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 norm.*:0 first.expand.weight:1
         channels 7: first.expand.weight:0 first.norm1.*:0 first.depthwise.weight:0 first.norm2.*:0
           first.project.weight:1
         channels 5: first.project.weight:0 first.norm3.*:0 second.expand.weight:1 second.project.weight:0
           second.norm3.*:0 head.weight:0
         channels 8: second.expand.weight:0 second.norm1.*:0 second.depthwise.weight:0 second.norm2.*:0
           second.project.weight:1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "second.*",
    );
}

/// Howard et al. 2019, arXiv:1905.02244: squeeze-excite (Hu et al. 2017, arXiv:1709.01507) behind the depthwise
/// convolution, hard swish.
#[derive(Module, Debug)]
struct SqueezeExcite {
    reduce: Conv2d,
    expand: Conv2d,
}

impl SqueezeExcite {
    fn new(width: usize, inner: usize) -> Self {
        let device = Device::flex();
        let conv = |from, to| Conv2dConfig::new([from, to], [1, 1]).init(&device);
        Self { reduce: conv(width, inner), expand: conv(inner, width) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mean = x.clone().mean_dim(2).mean_dim(3);
        let gate = self.expand.forward(relu(self.reduce.forward(mean)));
        x * hard_sigmoid(gate, 1.0 / 6.0, 0.5)
    }
}

#[derive(Module, Debug)]
struct MobileNetV3 {
    stem: Conv2d,
    norm: BatchNorm,
    block: Inverted,
    squeeze: SqueezeExcite,
    last: Conv2d,
    hidden: Linear,
    head: Linear,
}

#[test]
fn mobilenet_v3_with_squeeze_excite() {
    let net = MobileNetV3 {
        stem: halving(3, 4, 3),
        norm: norm(4),
        block: Inverted::new(4, 7, 4),
        squeeze: SqueezeExcite::new(7, 3),
        last: conv(4, 6, 1),
        hidden: linear(6, 5),
        head: linear(5, 2),
    };
    Architecture::new(net, [1, 3, 8, 8], |net: &MobileNetV3, x| {
        let block = &net.block;
        let x = hard_swish(net.norm.forward(net.stem.forward(x)));
        let y = hard_swish(block.norm1.forward(block.expand.forward(x.clone())));
        let y = hard_swish(net.squeeze.forward(block.norm2.forward(block.depthwise.forward(y))));
        let x = x + block.norm3.forward(block.project.forward(y));
        net.head.forward(hard_swish(net.hidden.forward(pooled(hard_swish(net.last.forward(x))))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 norm.*:0 block.expand.weight:1 block.project.weight:0 block.norm3.*:0 last.weight:1
         channels 7: block.expand.weight:0 block.norm1.*:0 block.depthwise.weight:0 block.norm2.*:0
           squeeze.reduce.weight:1 squeeze.expand.{weight,bias}:0 block.project.weight:1
         channels 3: squeeze.reduce.{weight,bias}:0 squeeze.expand.weight:1
         channels 6: last.weight:0 hidden.weight:0
         width 5: hidden.weight:1 hidden.bias:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "block.* squeeze.*",
    );
}

/// Zhang et al. 2017, arXiv:1707.01083: grouped 1×1 convolutions with a shuffle of channels between.
#[derive(Module, Debug)]
struct ShuffleNetV1 {
    stem: Conv2d,
    reduce: Conv2d,
    norm1: BatchNorm,
    depthwise: Conv2d,
    norm2: BatchNorm,
    expand: Conv2d,
    norm3: BatchNorm,
    head: Linear,
}

const GROUPS: usize = 2;

/// Channel `[group, member]` becomes `[member, group]`.
fn shuffle(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, GROUPS, channels / GROUPS, height, width])
        .swap_dims(1, 2)
        .reshape([batch, channels, height, width])
}

#[test]
fn shufflenet_v1() {
    let net = ShuffleNetV1 {
        stem: conv(3, 6, 3),
        reduce: grouped(6, 8, 1, GROUPS),
        norm1: norm(8),
        depthwise: grouped(8, 8, 3, 8),
        norm2: norm(8),
        expand: grouped(8, 6, 1, GROUPS),
        norm3: norm(6),
        head: linear(6, 2),
    };
    // The eight inner channels are [group of `reduce`, group of `expand`, member] before the shuffle and [group of
    // `expand`, member, group of `reduce`] behind it. Both have the groups of the stream, as it is read and
    // added, so that both are one group of units: unit g is what either number of the group is g.
    Architecture::new(net, [1, 3, 5, 5], |net: &ShuffleNetV1, x| {
        let x = net.stem.forward(x);
        let y = shuffle(relu(net.norm1.forward(net.reduce.forward(x.clone()))));
        let y = net.norm2.forward(net.depthwise.forward(y));
        let y = net.norm3.forward(net.expand.forward(y));
        net.head.forward(pooled(relu(x + y)))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 2: stem.weight:0:0/3x3@1 reduce.weight:0:0/4x4@1&0/2x2@1x2@4 norm1.*:0:0/4x4@1&0/2x2@1x2@4
           depthwise.weight:0:0/4x4@1&0/1x4@2 norm2.*:0:0/4x4@1&0/1x4@2 expand.weight:0:0/3x3@1
           expand.weight:1:0/1x2@2 norm3.*:0:0/3x3@1 head.weight:0:0/3x3@1; pinned: plain numbers
         channels 3: stem.weight:0:0/1x2@3 reduce.weight:1 expand.weight:0:0/1x2@3 norm3.*:0:0/1x2@3
           head.weight:0:0/1x2@3
         channels 2: reduce.weight:0:0/1x4@2 norm1.*:0:0/1x4@2 depthwise.weight:0:0/2x2@1x2@4
           norm2.*:0:0/2x2@1x2@4 expand.weight:1:0/2x2@1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "reduce.* norm1.* depthwise.* norm2.* expand.* norm3.*",
    );
}

/// Ma et al. 2018, arXiv:1807.11164: half of the channels go through a branch, the other half around it, and a shuffle
/// mixes them.
#[derive(Module, Debug)]
struct ShuffleUnit {
    conv1: Conv2d,
    norm1: BatchNorm,
    depthwise: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
    norm3: BatchNorm,
}

#[derive(Module, Debug)]
struct ShuffleNetV2 {
    stem: Conv2d,
    units: Vec<ShuffleUnit>,
    last: Conv2d,
    head: Linear,
}

#[test]
fn shufflenet_v2() {
    let unit = || ShuffleUnit {
        conv1: conv(4, 5, 1),
        norm1: norm(5),
        depthwise: grouped(5, 5, 3, 5),
        norm2: norm(5),
        conv2: conv(5, 4, 1),
        norm3: norm(4),
    };
    let net = ShuffleNetV2 {
        stem: conv(3, 8, 3),
        units: vec![unit(), unit()],
        last: conv(8, 5, 1),
        head: linear(5, 2),
    };
    // Half of the stem goes around the first unit and is one with what its branch writes, as the shuffle puts unit t
    // of both side by side, [t, half]. The second unit splits that at the middle of t, so that what goes around it is
    // the first two of t, and its branch reads the others. Halves are taken by size: the first two of t, the others and
    // the half that the first branch reads can only lose units in proportion, and are one group.
    Architecture::new(net, [1, 3, 5, 5], |net: &ShuffleNetV2, x| {
        let mut x = net.stem.forward(x);
        for unit in &net.units {
            let halves = x.chunk(2, 1);
            let y = relu(unit.norm1.forward(unit.conv1.forward(halves[1].clone())));
            let y = unit.conv2.forward(unit.norm2.forward(unit.depthwise.forward(y)));
            x = shuffle(Tensor::cat(vec![halves[0].clone(), relu(unit.norm3.forward(y))], 1));
        }
        net.head.forward(pooled(relu(net.last.forward(x))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 2: stem.weight:0:0/1x4@2 units.0.conv1.weight:1:0/1x2@2 units.0.conv2.weight:0:0/1x2@2
           units.0.norm3.*:0:0/1x2@2 units.1.conv1.weight:1:0/2x2@1 units.1.conv2.weight:0:0/2x2@1
           units.1.norm3.*:0:0/2x2@1 last.weight:1:0/4x4@1
         channels 2: units.1.conv1.weight:1:0/1x2@2 units.1.conv2.weight:0:0/1x2@2 units.1.norm3.*:0:0/1x2@2
           last.weight:1:0/2x2@1x2@4; pinned: stacks 2 parts
         channels 2: last.weight:1:0/1x4@2; pinned: stacks 2 parts
         channels 5: units.0.conv1.weight:0 units.0.norm1.*:0 units.0.depthwise.weight:0 units.0.norm2.*:0
           units.0.conv2.weight:1
         channels 5: units.1.conv1.weight:0 units.1.norm1.*:0 units.1.depthwise.weight:0 units.1.norm2.*:0
           units.1.conv2.weight:1
         channels 5: last.weight:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
