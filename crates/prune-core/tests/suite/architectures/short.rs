// Short names for the layers that most of these networks are made of, of whichever library.

use burn::nn::PaddingConfig2d;
use burn::tensor::{Device, Tensor};

/// A square convolution that keeps height and width, without a bias.
pub(super) fn conv(from: usize, to: usize, kernel: usize) -> Conv2d {
    config(from, to, kernel).init(&Device::flex())
}

/// The same with a stride of two.
pub(super) fn halving(from: usize, to: usize, kernel: usize) -> Conv2d {
    config(from, to, kernel).with_stride([2, 2]).init(&Device::flex())
}

pub(super) fn config(from: usize, to: usize, kernel: usize) -> Conv2dConfig {
    let pad = kernel / 2;
    Conv2dConfig::new([from, to], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
}

pub(super) fn norm(width: usize) -> BatchNorm {
    BatchNormConfig::new(width).init(&Device::flex())
}

pub(super) fn linear(from: usize, to: usize) -> Linear {
    LinearConfig::new(from, to).init(&Device::flex())
}

/// Mean over height and width: `[batch, channels]`.
pub(super) fn pooled(x: Tensor<4>) -> Tensor<2> {
    x.mean_dim(3).mean_dim(2).flatten(1, 3)
}
