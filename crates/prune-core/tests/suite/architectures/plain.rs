//! Networks without branches.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::tensor::Device;
use burn::tensor::activation::{relu, tanh};
use kd_nn::conv::{Conv2d, Conv2dConfig};
use kd_nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use kd_nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};

use super::table::Architecture;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    third: Linear,
}

#[test]
fn mlp() {
    let device = Device::flex();
    let linear = |from, to| LinearConfig::new(from, to).init(&device);
    let net = Mlp { first: linear(6, 5), second: linear(5, 4), third: linear(4, 3) };
    Architecture::new(net, [1, 6], |net: &Mlp, x| {
        let x = relu(net.first.forward(x));
        net.third.forward(relu(net.second.forward(x)))
    })
    .check(
        "width 6: first.weight:0; pinned: dimension 1 of the model's input
         width 5: first.weight:1 first.bias:0 second.weight:0
         width 4: second.weight:1 second.bias:0 third.weight:0
         width 3: third.weight:1 third.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// LeNet-5 (LeCun et al. 1998): two convolutions with average pooling, three linear layers, tanh.
#[derive(Module, Debug)]
struct LeNet {
    c1: Conv2d,
    c3: Conv2d,
    pool: AvgPool2d,
    c5: Linear,
    f6: Linear,
    output: Linear,
}

#[test]
fn lenet() {
    let device = Device::flex();
    let conv = |from, to| Conv2dConfig::new([from, to], [3, 3]).init(&device);
    let linear = |from, to| LinearConfig::new(from, to).init(&device);
    let net = LeNet {
        c1: conv(1, 4),
        c3: conv(4, 6),
        pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        c5: linear(24, 7),
        f6: linear(7, 5),
        output: linear(5, 3),
    };
    // 14 → 12 → 6 → 4 → 2: each channel of c3 is four inputs of c5, one after the other.
    Architecture::new(net, [1, 1, 14, 14], |net: &LeNet, x| {
        let x = net.pool.forward(tanh(net.c1.forward(x)));
        let x = net.pool.forward(tanh(net.c3.forward(x)));
        let x = tanh(net.c5.forward(x.flatten::<2>(1, 3)));
        net.output.forward(tanh(net.f6.forward(x)))
    })
    .check(
        "channels 4: c1.{weight,bias}:0 c3.weight:1
         channels 6: c3.{weight,bias}:0 c5.weight:0:0/4x4@1
         width 7: c5.weight:1 c5.bias:0 f6.weight:0
         width 5: f6.weight:1 f6.bias:0 output.weight:0
         width 3: output.weight:1 output.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// VGG with batch norm (Simonyan and Zisserman 2014, configuration A in small).
#[derive(Module, Debug)]
struct Vgg {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    pool: MaxPool2d,
    hidden: Linear,
    output: Linear,
}

#[test]
fn vgg() {
    let device = Device::flex();
    let widths = [3, 4, 5, 6, 7];
    let conv = |i: usize| {
        Conv2dConfig::new([widths[i], widths[i + 1]], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(&device)
    };
    let net = Vgg {
        convs: (0..4).map(conv).collect(),
        norms: widths[1..].iter().map(|&width| BatchNormConfig::new(width).init(&device)).collect(),
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        hidden: LinearConfig::new(28, 8).init(&device),
        output: LinearConfig::new(8, 2).init(&device),
    };
    Architecture::new(net, [1, 3, 8, 8], |net: &Vgg, mut x| {
        for (i, (conv, norm)) in net.convs.iter().zip(&net.norms).enumerate() {
            x = relu(norm.forward(conv.forward(x)));
            if i % 2 == 1 {
                x = net.pool.forward(x);
            }
        }
        net.output.forward(relu(net.hidden.forward(x.flatten::<2>(1, 3))))
    })
    .check(
        "channels 3: convs.0.weight:1; pinned: dimension 1 of the model's input
         channels 4: convs.0.{weight,bias}:0 norms.0.*:0 convs.1.weight:1
         channels 5: convs.1.{weight,bias}:0 norms.1.*:0 convs.2.weight:1
         channels 6: convs.2.{weight,bias}:0 norms.2.*:0 convs.3.weight:1
         channels 7: convs.3.{weight,bias}:0 norms.3.*:0 hidden.weight:0:0/4x4@1
         width 8: hidden.weight:1 hidden.bias:0 output.weight:0
         width 2: output.weight:1 output.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
