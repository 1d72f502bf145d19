//! Burn's own layers under the same names.

pub(super) use burn::nn::conv::{Conv2d, Conv2dConfig};
pub(super) use burn::nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
pub(super) use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};

include!("short.rs");
