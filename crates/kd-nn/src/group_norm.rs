//! Group norm, which takes its channels from its parameters.
//!
//! Burn's own keeps the number of channels and refuses any other, so that no channel could be removed from a group.
//! How many groups there are stays a number of the layer: a channel's scale and shift do not say which group it is in.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn as theirs;
use burn::tensor::{Device, Tensor};

/// As [`burn::nn::GroupNormConfig`], for a norm with a scale and a shift.
#[derive(Debug, Config)]
pub struct GroupNormConfig {
    /// Number of groups, a divisor of the channels.
    pub num_groups: usize,
    /// Number of channels.
    pub num_channels: usize,
    /// ε, finite and positive.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

/// `y = γ (x − mean) / √(variance + ε) + β` over `[batch, channels, …]`, with the mean and the biased variance of a
/// group of neighbouring channels and all their places, as [`burn::nn::GroupNorm`]; made by [`GroupNormConfig`].
///
/// Wu and He, "Group Normalization", arXiv:1803.08494.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct GroupNorm {
    /// γ
    pub gamma: Param<Tensor<1>>,
    /// β
    pub beta: Param<Tensor<1>>,
    /// Number of groups.
    pub num_groups: usize,
    /// ε
    pub epsilon: f64,
}

impl GroupNormConfig {
    /// Makes the layer.
    ///
    /// # Panics
    ///
    /// If the groups do not divide the channels.
    pub fn init(&self, device: &Device) -> GroupNorm {
        assert!(
            self.num_groups > 0 && self.num_channels.is_multiple_of(self.num_groups),
            "{} channels do not make {} groups of one size",
            self.num_channels,
            self.num_groups
        );
        let theirs = theirs::BatchNormConfig::new(self.num_channels).init(device);
        GroupNorm {
            gamma: theirs.gamma,
            beta: theirs.beta,
            num_groups: self.num_groups,
            epsilon: self.epsilon,
        }
    }
}

impl GroupNorm {
    /// The input with each group normalized.
    ///
    /// # Panics
    ///
    /// If the groups do not divide the channels, or these are not as many as γ has.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let shape = input.dims();
        let mut per_channel = [1; D];
        per_channel[1] = shape[1];
        let members = shape[1..].iter().product::<usize>() / self.num_groups;
        let input = input.reshape([shape[0], self.num_groups, members]);
        let centred = input.clone() - input.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let normal = (centred / (variance + self.epsilon).sqrt()).reshape(shape);
        normal * self.gamma.val().reshape(per_channel) + self.beta.val().reshape(per_channel)
    }
}

impl ModuleDisplay for GroupNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [channels] = self.gamma.dims();
        content
            .add("num_groups", &self.num_groups)
            .add("num_channels", &channels)
            .add("epsilon", &self.epsilon)
            .optional()
    }
}
