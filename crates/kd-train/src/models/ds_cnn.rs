//! Depthwise-separable convolutions, for devices that count multiplications: Howard et al., "MobileNets", 2017,
//! arXiv 1704.04861, in the small shape of Zhang et al., "Hello Edge", 2017, arXiv 1711.07128 (DS-CNN).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_nn::conv::{Conv2d, Conv2dConfig};
use kd_nn::{BatchNorm, BatchNormConfig};
use serde::{Deserialize, Serialize};

use crate::model::{Model, Task};

/// `ds-cnn = { stem = 32, channels = [64, 128, 128], strides = [1, 2, 1] }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DsCnnConfig {
    /// Output channels of the ordinary convolution in front of the blocks.
    #[serde(default = "default_stem")]
    pub stem: usize,
    /// Stride of that convolution, 1 or 2.
    #[serde(default = "default_stem_stride")]
    pub stem_stride: usize,
    /// Output channels of the blocks, in order.
    pub channels: Vec<usize>,
    /// Stride of each block, 1 or 2; all 1 if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strides: Vec<usize>,
}

fn default_stem() -> usize {
    32
}

fn default_stem_stride() -> usize {
    1
}

/// A 3×3 convolution with batch norm and ReLU (site `stem`), then blocks, global average pooling (site `pool`) and a
/// linear classifier.
///
/// A block is a depthwise 3×3 convolution, one filter a channel, with batch norm and ReLU (site
/// `block1.depthwise`), and a pointwise 1×1 convolution with batch norm and ReLU (site `block1`). It has
/// `9·i + i·o` weights where an ordinary convolution has `9·i·o`. Unlike MobileNet's, ReLU is not clipped at 6.
/// The layers take their groups from their weights' shapes, so that channels can be cut.
#[derive(Module, Debug)]
pub struct DsCnn {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    output: Linear,
}

#[derive(Module, Debug)]
struct Block {
    depthwise: Conv2d,
    depthwise_norm: BatchNorm,
    pointwise: Conv2d,
    pointwise_norm: BatchNorm,
}

impl Model for DsCnn {
    type Input = Tensor<4>;
    type Config = DsCnnConfig;
    const ABOUT: &'static str = "depthwise 3×3 and pointwise 1×1 convolutions in turns, as MobileNet; stem, stem-stride, channels, strides";

    fn build(config: &DsCnnConfig, task: &Task, device: &Device) -> Result<Self, String> {
        let &[channels, _, _] = task.input.as_slice() else {
            return Err(format!(
                "expected images [channels, height, width], found examples of shape {:?}",
                task.input
            ));
        };
        let strides = strides(config)?;
        let mut from = config.stem;
        let blocks = (config.channels.iter().zip(strides))
            .map(|(&to, stride)| Block::new(std::mem::replace(&mut from, to), to, stride, device))
            .collect();
        Ok(Self {
            stem: convolution([channels, config.stem], 3, config.stem_stride).init(device),
            norm: BatchNormConfig::new(config.stem).init(device),
            blocks,
            output: LinearConfig::new(from, task.classes).init(device),
        })
    }

    fn forward(&self, input: Tensor<4>, tap: &mut Tap<'_>) -> Tensor<2> {
        let mut x = tap.at("stem", self.norm.forward_relu(self.stem.forward(input)));
        for (i, block) in self.blocks.iter().enumerate() {
            let site = format!("block{}", i + 1);
            x = block.depthwise_norm.forward_relu(block.depthwise.forward(x));
            x = tap.at(&format!("{site}.depthwise"), x);
            x = block.pointwise_norm.forward_relu(block.pointwise.forward(x));
            x = tap.at(&site, x);
        }
        let x = tap.at("pool", adaptive_avg_pool2d(x, [1, 1]).flatten::<2>(1, 3));
        self.output.forward(x)
    }
}

/// A stride for every block.
fn strides(config: &DsCnnConfig) -> Result<Vec<usize>, String> {
    let blocks = config.channels.len();
    if blocks == 0 {
        return Err("expected at least one block in `channels`".into());
    }
    if config.stem == 0 {
        return Err("expected a `stem` of at least 1, found 0".into());
    }
    if let Some(at) = config.channels.iter().position(|&width| width == 0) {
        return Err(format!("expected widths of at least 1, found 0 in `channels`, position {at}"));
    }
    let strides = match config.strides.as_slice() {
        [] => vec![1; blocks],
        given if given.len() == blocks => given.to_vec(),
        given => {
            return Err(format!(
                "expected a stride for each of the {blocks} blocks of `channels`, found {} in `strides`",
                given.len()
            ));
        }
    };
    let legal = |stride: usize| matches!(stride, 1 | 2);
    if !legal(config.stem_stride) {
        return Err(format!("expected a `stem-stride` of 1 or 2, found {}", config.stem_stride));
    }
    match strides.iter().position(|&stride| !legal(stride)) {
        Some(at) => {
            Err(format!("expected strides of 1 or 2, found {} in `strides`, position {at}", strides[at]))
        }
        None => Ok(strides),
    }
}

impl Block {
    fn new(from: usize, to: usize, stride: usize, device: &Device) -> Self {
        Self {
            depthwise: convolution([from, from], 3, stride).with_groups(from).init(device),
            depthwise_norm: BatchNormConfig::new(from).init(device),
            pointwise: convolution([from, to], 1, 1).init(device),
            pointwise_norm: BatchNormConfig::new(to).init(device),
        }
    }
}

fn convolution(channels: [usize; 2], kernel: usize, stride: usize) -> Conv2dConfig {
    let pad = kernel / 2;
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
}
