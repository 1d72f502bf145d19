//! A small convolutional classifier in the manner of LeNet, with batch norm.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_nn::conv::{Conv2d, Conv2dConfig};
use kd_nn::pool::{MaxPool2d, MaxPool2dConfig};
use kd_nn::{BatchNorm, BatchNormConfig};
use serde::{Deserialize, Serialize};

use crate::model::{Model, Task};

/// `convnet = { channels = [16, 32], kernel = 5, hidden = 128 }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConvNetConfig {
    /// Output channels of the blocks, in order; each block halves height and width.
    pub channels: Vec<usize>,
    /// Side of the square kernels, odd.
    #[serde(default = "default_kernel")]
    pub kernel: usize,
    /// Width of the hidden linear layer.
    pub hidden: usize,
    /// Batch norm after each convolution.
    #[serde(default = "default_norm")]
    pub norm: bool,
}

fn default_kernel() -> usize {
    5
}

fn default_norm() -> bool {
    true
}

/// Blocks of convolution, batch norm, ReLU (sites `block1`, `block2`, …) and 2×2 max pooling, then a hidden
/// linear layer with ReLU (site `hidden`) and a linear classifier.
#[derive(Module, Debug)]
pub struct ConvNet {
    blocks: Vec<Block>,
    hidden: Linear,
    output: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: Option<BatchNorm>,
    pool: MaxPool2d,
}

impl Model for ConvNet {
    type Input = Tensor<4>;
    type Config = ConvNetConfig;
    const ABOUT: &'static str = "convolution, batch norm, ReLU and max pooling, then two linear layers; channels, kernel, hidden, norm";

    fn build(config: &ConvNetConfig, task: &Task, device: &Device) -> Result<Self, String> {
        let &[mut channels, height, width] = task.input.as_slice() else {
            return Err(format!(
                "expected images [channels, height, width], found examples of shape {:?}",
                task.input
            ));
        };
        if config.channels.is_empty() || config.channels.contains(&0) || config.hidden == 0 {
            return Err("expected at least one block, and widths of at least 1".into());
        }
        if config.kernel.is_multiple_of(2) {
            return Err(format!("expected an odd `kernel`, found {}", config.kernel));
        }
        let halvings = config.channels.len();
        let (bottom, right) = (height >> halvings, width >> halvings);
        if bottom == 0 || right == 0 {
            return Err(format!(
                "expected at most {} blocks for images of {height}×{width}, found {halvings}",
                height.min(width).ilog2()
            ));
        }
        let blocks = (config.channels.iter())
            .map(|&next| {
                let pad = config.kernel / 2;
                Block {
                    conv: Conv2dConfig::new(
                        [std::mem::replace(&mut channels, next), next],
                        [config.kernel; 2],
                    )
                    .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                    .with_bias(!config.norm)
                    .init(device),
                    norm: config.norm.then(|| BatchNormConfig::new(next).init(device)),
                    pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
                }
            })
            .collect();
        Ok(Self {
            blocks,
            hidden: LinearConfig::new(channels * bottom * right, config.hidden).init(device),
            output: LinearConfig::new(config.hidden, task.classes).init(device),
        })
    }

    fn forward(&self, input: Tensor<4>, tap: &mut Tap<'_>) -> Tensor<2> {
        let mut x = input;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.conv.forward(x);
            x = match &block.norm {
                Some(norm) => norm.forward_relu(x),
                None => relu(x),
            };
            x = tap.at(&format!("block{}", i + 1), x);
            x = block.pool.forward(x);
        }
        let x = relu(self.hidden.forward(x.flatten::<2>(1, 3)));
        self.output.forward(tap.at("hidden", x))
    }
}
