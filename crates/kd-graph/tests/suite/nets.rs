//! The networks of these tests.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_graph::{Graph, Sites, capture};

/// 6 → 5 → 4 → 3.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    a: Linear,
    b: Linear,
    c: Linear,
}

impl Mlp {
    pub(crate) fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self { a: layer(6, 5), b: layer(5, 4), c: layer(4, 3) }
    }

    pub(crate) fn forward(&self, x: Tensor<2>, sites: &mut Sites) -> Tensor<2> {
        sites.mark("input", &x);
        let x = relu(self.a.forward(x));
        sites.mark("hidden1", &x);
        let x = relu(self.b.forward(x));
        sites.mark("hidden2", &x);
        self.c.forward(x)
    }

    pub(crate) fn graph() -> Graph {
        capture(&Self::new(&Device::default()), [1, 6], Self::forward).unwrap()
    }
}

/// Images [1, 8, 8]: two blocks of convolution, batch norm, relu and pooling, then two linear layers.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    pub(crate) conv1: Conv2d,
    pub(crate) norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    pool: MaxPool2d,
    hidden: Linear,
    output: Linear,
}

impl Cnn {
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            conv1: conv(1, 4, 3).with_bias(false).init(device),
            norm1: BatchNormConfig::new(4).init(device),
            conv2: conv(4, 6, 3).init(device),
            norm2: BatchNormConfig::new(6).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            hidden: LinearConfig::new(24, 5).init(device),
            output: LinearConfig::new(5, 3).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>, sites: &mut Sites) -> Tensor<2> {
        let x = relu(self.norm1.forward(self.conv1.forward(x)));
        sites.mark("block1", &x);
        let x = relu(self.norm2.forward(self.conv2.forward(self.pool.forward(x))));
        sites.mark("block2", &x);
        let x = relu(self.hidden.forward(self.pool.forward(x).flatten::<2>(1, 3)));
        sites.mark("hidden", &x);
        self.output.forward(x)
    }

    pub(crate) fn graph() -> Graph {
        capture(&Self::new(&Device::default()), [1, 1, 8, 8], Self::forward).unwrap()
    }
}

/// Images [2, 6, 6]: a stem, a residual block of a depthwise and a pointwise convolution, global pooling.
#[derive(Module, Debug)]
pub(crate) struct Residual {
    stem: Conv2d,
    depthwise: Conv2d,
    pointwise: Conv2d,
    norm: BatchNorm,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl Residual {
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            stem: conv(2, 6, 3).init(device),
            depthwise: conv(6, 6, 3).with_groups(6).with_bias(false).init(device),
            pointwise: conv(6, 6, 1).with_bias(false).init(device),
            norm: BatchNormConfig::new(6).init(device),
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(6, 4).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>, _: &mut Sites) -> Tensor<2> {
        let x = self.stem.forward(x);
        let y = self.norm.forward(self.pointwise.forward(self.depthwise.forward(x.clone())));
        let x = self.pool.forward(relu(x + y));
        let [batch, channels, _, _] = x.dims();
        self.head.forward(x.reshape([batch, channels]))
    }

    pub(crate) fn graph() -> Graph {
        capture(&Self::new(&Device::default()), [1, 2, 6, 6], Self::forward).unwrap()
    }
}

/// A square convolution that keeps height and width.
pub(crate) fn conv(inputs: usize, outputs: usize, kernel: usize) -> Conv2dConfig {
    let pad = kernel / 2;
    Conv2dConfig::new([inputs, outputs], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
}

/// A module to capture operations with, where the operations need no parameter.
pub(crate) fn bare() -> Linear {
    LinearConfig::new(1, 1).with_bias(false).init(&Device::default())
}
