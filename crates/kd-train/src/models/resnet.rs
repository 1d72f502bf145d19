//! Residual networks for small images: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
//! arXiv 1512.03385, section 4.2.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_nn::conv::{Conv2d, Conv2dConfig};
use kd_nn::{BatchNorm, BatchNormConfig, SyncShape};
use serde::{Deserialize, Serialize};

use crate::model::{Model, Task};

/// `resnet = { depth = 20, width = 16 }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResNetConfig {
    /// Layers with weights on the longest way, 6n + 2 with n from 1: 8, 14, 20, 32, 44, 56, 110.
    pub depth: usize,
    /// Channels of the first stage; the second has twice, the third four times as many.
    #[serde(default = "default_width")]
    pub width: usize,
}

fn default_width() -> usize {
    16
}

/// A 3×3 convolution with batch norm and ReLU (site `stem`), three stages of n blocks, global average pooling (site
/// `pool`) and a linear classifier.
///
/// A block is two 3×3 convolutions with batch norm, with ReLU between them (site `stage1.block1.hidden`) and behind
/// the sum with the shortcut (site `stage1.block1`). The first block of the second and third stage halves height and
/// width; where a block changes the shape, the shortcut is a 1×1 convolution of its stride with batch norm, the
/// paper's option B, and nothing elsewhere. The paper's own networks for CIFAR-10 pad with zeros instead (option A),
/// which costs no parameter; 272,474 instead of 269,722 for depth 20.
#[derive(Module, Debug, SyncShape)]
pub struct ResNet {
    stem: Unit,
    stage1: Vec<Block>,
    stage2: Vec<Block>,
    stage3: Vec<Block>,
    output: Linear,
}

#[derive(Module, Debug, SyncShape)]
struct Block {
    first: Unit,
    second: Unit,
    shortcut: Option<Unit>,
}

#[derive(Module, Debug, SyncShape)]
struct Unit {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Model for ResNet {
    type Input = Tensor<4>;
    type Config = ResNetConfig;
    const ABOUT: &'static str =
        "residual blocks of 3×3 convolutions in three stages, for small images; depth = 6n + 2, width";

    fn build(config: &ResNetConfig, task: &Task, device: &Device) -> Result<Self, String> {
        let &[channels, _, _] = task.input.as_slice() else {
            return Err(format!(
                "expected images [channels, height, width], found examples of shape {:?}",
                task.input
            ));
        };
        let &ResNetConfig { depth, width } = config;
        if depth < 8 || depth % 6 != 2 {
            return Err(format!("expected a `depth` of 6n + 2, such as 8, 14, 20 or 56, found {depth}"));
        }
        if width == 0 {
            return Err("expected a `width` of at least 1, found 0".into());
        }
        let blocks = (depth - 2) / 6;
        let stage = |from, to, stride| {
            let first = Block::new(from, to, stride, device);
            std::iter::once(first).chain((1..blocks).map(|_| Block::new(to, to, 1, device))).collect()
        };
        Ok(Self {
            stem: Unit::new(channels, width, 3, 1, device),
            stage1: stage(width, width, 1),
            stage2: stage(width, 2 * width, 2),
            stage3: stage(2 * width, 4 * width, 2),
            output: LinearConfig::new(4 * width, task.classes).init(device),
        })
    }

    fn remove_element(&mut self, path: &str) -> bool {
        SyncShape::remove_element(self, path)
    }

    fn forward(&self, input: Tensor<4>, tap: &mut Tap<'_>) -> Tensor<2> {
        let mut x = tap.at("stem", self.stem.forward_relu(input));
        for (stage, blocks) in [&self.stage1, &self.stage2, &self.stage3].into_iter().enumerate() {
            for (block, layers) in blocks.iter().enumerate() {
                x = layers.forward(x, &format!("stage{}.block{}", stage + 1, block + 1), tap);
            }
        }
        let x = tap.at("pool", adaptive_avg_pool2d(x, [1, 1]).flatten::<2>(1, 3));
        self.output.forward(x)
    }
}

impl Block {
    fn new(from: usize, to: usize, stride: usize, device: &Device) -> Self {
        let changes = from != to || stride != 1;
        Self {
            first: Unit::new(from, to, 3, stride, device),
            second: Unit::new(to, to, 3, 1, device),
            shortcut: changes.then(|| Unit::new(from, to, 1, stride, device)),
        }
    }

    fn forward(&self, x: Tensor<4>, site: &str, tap: &mut Tap<'_>) -> Tensor<4> {
        let hidden = tap.at(&format!("{site}.hidden"), self.first.forward_relu(x.clone()));
        let shortcut = match &self.shortcut {
            Some(unit) => unit.forward(x),
            None => x,
        };
        tap.at(site, relu(self.second.forward(hidden) + shortcut))
    }
}

impl Unit {
    fn new(from: usize, to: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        Self {
            conv: Conv2dConfig::new([from, to], [kernel; 2])
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(to).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }

    fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward_relu(self.conv.forward(x))
    }
}
