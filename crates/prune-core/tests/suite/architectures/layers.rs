//! The layers of this workspace under the names that these networks use.

pub(super) use kd_nn::conv::{Conv2d, Conv2dConfig};
pub(super) use kd_nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
pub(super) use kd_nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};

include!("short.rs");

/// A square convolution in groups.
pub(super) fn grouped(from: usize, to: usize, kernel: usize, groups: usize) -> Conv2d {
    config(from, to, kernel).with_groups(groups).init(&Device::flex())
}

pub(super) fn layer_norm(width: usize) -> LayerNorm {
    LayerNormConfig::new(width).init(&Device::flex())
}
