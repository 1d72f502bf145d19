//! The network that most tests cut, and what they share.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use kd_graph::{Axis, Graph, axes, capture};
use prune_core::{
    Channels, Error, Evidence, Group, Limits, Magnitude, Plan, Share, Weights, plan_axes, score_group,
};

/// conv – batch norm – relu – pool – conv – batch norm – flatten – linear, on images of 1×8×8.
#[derive(Module, Debug)]
pub(crate) struct ConvNet {
    pub(crate) conv1: Conv2d,
    pub(crate) norm1: BatchNorm,
    pub(crate) pool: MaxPool2d,
    pub(crate) conv2: Conv2d,
    pub(crate) norm2: BatchNorm,
    pub(crate) head: Linear,
}

pub(crate) fn conv(from: usize, to: usize, groups: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([from, to], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_groups(groups)
        .init(device)
}

/// A batch norm with parameters and statistics that are not those it starts with.
pub(crate) fn norm(width: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(width).init(device);
    let random = |low, high| Tensor::<1>::random([width], Distribution::Uniform(low, high), device);
    norm.gamma = Param::from_tensor(random(0.5, 2.0));
    norm.beta = Param::from_tensor(random(-1.0, 1.0));
    norm.running_mean.update(random(-1.0, 1.0));
    norm.running_var.update(random(0.5, 2.0));
    norm.valid()
}

impl ConvNet {
    pub(crate) const EXAMPLE: [usize; 4] = [1, 1, 8, 8];

    pub(crate) fn new(width1: usize, width2: usize, device: &Device) -> Self {
        Self {
            conv1: conv(1, width1, 1, device),
            norm1: norm(width1, device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            conv2: conv(width1, width2, 1, device),
            norm2: norm(width2, device),
            head: LinearConfig::new(width2 * 16, 10).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.norm1.forward(self.conv1.forward(x))));
        let x = self.norm2.forward(self.conv2.forward(x));
        self.head.forward(x.flatten(1, 3))
    }

    pub(crate) fn graph(&self) -> Graph {
        capture(self, Self::EXAMPLE, |net: &Self, x, _| net.forward(x)).unwrap()
    }

    /// Multiply-accumulates by hand: 3×3 on 64 positions, 3×3 on 16, and the head.
    pub(crate) fn macs(width1: usize, width2: usize) -> u64 {
        (64 * 9 * width1 + 16 * 9 * width1 * width2 + 16 * width2 * 10) as u64
    }

    /// Trainable elements by hand: weights and biases, gamma and beta.
    pub(crate) fn params(width1: usize, width2: usize) -> u64 {
        (9 * width1 + width1 + 2 * width1 + 9 * width1 * width2 + width2 + 2 * width2 + 160 * width2 + 10)
            as u64
    }
}

pub(crate) fn images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 1, 8, 8], Distribution::Normal(0.0, 1.0), device)
}

pub(crate) fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

/// By the magnitude of the weights that write a channel.
pub(crate) fn plan<M: Module>(
    module: &M,
    graph: &Graph,
    target: Channels,
    limits: Limits,
) -> Result<Plan, Error> {
    let weights = Weights::read(module);
    let score = |axis: &Axis| {
        let evidence = Evidence::new(&weights);
        score_group(&Magnitude::default(), graph, axis, &evidence, Group::writing())
    };
    plan_axes(graph, &axes(graph), score, target, limits)
}

pub(crate) fn filter_norms(weight: &Tensor<4>) -> Vec<f64> {
    let [out, input, height, width] = weight.dims();
    let values: Vec<f32> = weight.to_data().try_to_vec().unwrap();
    let rows = values.chunks(input * height * width);
    assert_eq!(rows.len(), out);
    rows.map(|row| row.iter().map(|weight| f64::from(weight.abs())).sum()).collect()
}
