//! Networks without branches, or with one layer in several places.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Tensor};

use super::layers::{
    AvgPool2d, AvgPool2dConfig, BatchNorm, Conv2d, Conv2dConfig, Linear, MaxPool2d, MaxPool2dConfig, conv,
    halving, linear, norm, pooled,
};
use super::table::Architecture;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    third: Linear,
}

#[test]
fn mlp() {
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

/// VGG with batch norm (Simonyan and Zisserman 2014, arXiv:1409.1556, in small).
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
        norms: widths[1..].iter().map(|&width| norm(width)).collect(),
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        hidden: linear(28, 8),
        output: linear(8, 2),
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

#[derive(Module, Debug)]
struct Autoencoder {
    encode1: Linear,
    encode2: Linear,
    decode1: Linear,
    decode2: Linear,
}

#[test]
fn autoencoder() {
    let net = Autoencoder {
        encode1: linear(8, 5),
        encode2: linear(5, 3),
        decode1: linear(3, 5),
        decode2: linear(5, 8),
    };
    // Nothing ties the encoder's widths to the decoder's: the two of size 5 go apart.
    Architecture::new(net, [1, 8], |net: &Autoencoder, x| {
        let code = relu(net.encode2.forward(relu(net.encode1.forward(x))));
        net.decode2.forward(relu(net.decode1.forward(code)))
    })
    .check(
        "width 8: encode1.weight:0; pinned: dimension 1 of the model's input
         width 5: encode1.weight:1 encode1.bias:0 encode2.weight:0
         width 3: encode2.weight:1 encode2.bias:0 decode1.weight:0
         width 5: decode1.weight:1 decode1.bias:0 decode2.weight:0
         width 8: decode2.weight:1 decode2.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Halves the image twice and doubles it again with transposed convolutions, whose weights are [in, out, …].
#[derive(Module, Debug)]
struct ConvAutoencoder {
    encode1: Conv2d,
    encode2: Conv2d,
    decode1: ConvTranspose2d,
    norm: BatchNorm,
    decode2: ConvTranspose2d,
}

#[test]
fn convolutional_autoencoder() {
    let up =
        |from, to| ConvTranspose2dConfig::new([from, to], [2, 2]).with_stride([2, 2]).init(&Device::flex());
    let net = ConvAutoencoder {
        encode1: halving(2, 4, 3),
        encode2: halving(4, 5, 3),
        decode1: up(5, 3),
        norm: norm(3),
        decode2: up(3, 2),
    };
    Architecture::new(net, [1, 2, 8, 8], |net: &ConvAutoencoder, x| {
        let code = relu(net.encode2.forward(relu(net.encode1.forward(x))));
        let x = relu(net.norm.forward(net.decode1.forward(code)));
        sigmoid(net.decode2.forward(x)).flatten(1, 3)
    })
    .check(
        "channels 2: encode1.weight:1; pinned: dimension 1 of the model's input
         channels 4: encode1.weight:0 encode2.weight:1
         channels 5: encode2.weight:0 decode1.weight:0
         channels 3: decode1.weight:1 decode1.bias:0 norm.*:0 decode2.weight:0
         channels 2: decode2.weight:1 decode2.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// One tower sees both inputs; what it says of them is compared.
#[derive(Module, Debug)]
struct Siamese {
    first: Linear,
    second: Linear,
    head: Linear,
}

#[test]
fn siamese_towers_share_their_layers() {
    let net = Siamese { first: linear(4, 5), second: linear(5, 3), head: linear(3, 2) };
    Architecture::new(net, [1, 8], |net: &Siamese, x| {
        let tower = |x| net.second.forward(relu(net.first.forward(x)));
        let (a, b) = (tower(x.clone().narrow(1, 0, 4)), tower(x.narrow(1, 4, 4)));
        net.head.forward((a - b).abs())
    })
    .check(
        "width 4: first.weight:0; pinned: dimension 1 of the model's input
         width 5: first.weight:1 first.bias:0 second.weight:0
         width 3: second.weight:1 second.bias:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

#[derive(Module, Debug)]
struct Recurrent {
    stem: Conv2d,
    shared: Conv2d,
    norm: BatchNorm,
    head: Linear,
}

#[test]
fn a_layer_applied_three_times_reads_what_it_writes() {
    let net = Recurrent { stem: conv(2, 5, 3), shared: conv(5, 5, 3), norm: norm(5), head: linear(5, 2) };
    Architecture::new(net, [1, 2, 6, 6], |net: &Recurrent, x| {
        let mut x = relu(net.stem.forward(x));
        for _ in 0..3 {
            x = relu(net.norm.forward(net.shared.forward(x)));
        }
        net.head.forward(pooled(x))
    })
    .check(
        "channels 2: stem.weight:1; pinned: dimension 1 of the model's input
         channels 5: stem.weight:0 shared.weight:0 shared.weight:1 norm.*:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Two inputs in one tensor, since a recording has one: four features of one thing, three of another.
#[derive(Module, Debug)]
struct TwoInputs {
    left: Linear,
    right: Linear,
    joint: Linear,
    gate: Linear,
    head: Linear,
}

#[test]
fn two_inputs() {
    let net = TwoInputs {
        left: linear(4, 6),
        right: linear(3, 5),
        joint: linear(11, 7),
        gate: linear(3, 7),
        head: linear(7, 2),
    };
    // The joint layer reads both one after the other; a gate from the second input scales what it says.
    Architecture::new(net, [1, 7], |net: &TwoInputs, x| {
        let (a, b): (Tensor<2>, Tensor<2>) = (x.clone().narrow(1, 0, 4), x.narrow(1, 4, 3));
        let both = Tensor::cat(vec![relu(net.left.forward(a)), relu(net.right.forward(b.clone()))], 1);
        net.head.forward(tanh(net.joint.forward(both)) * sigmoid(net.gate.forward(b)))
    })
    .check(
        "width 4: left.weight:0; pinned: dimension 1 of the model's input
         width 3: right.weight:0 gate.weight:0; pinned: dimension 1 of the model's input
         width 6: left.weight:1 left.bias:0 joint.weight:0
         width 5: right.weight:1 right.bias:0 joint.weight:0:6/1
         width 7: joint.weight:1 joint.bias:0 gate.weight:1 gate.bias:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
