//! Networks along a line of places, and over them.

use burn::module::Module;
use burn::nn::PaddingConfig1d;
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Device, Tensor};
use kd_nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use kd_nn::{LayerNorm, Linear};

use super::layers::{layer_norm, linear};
use super::table::Architecture;

/// Bai et al. 2018, arXiv:1803.01271: causal dilated convolutions in residual blocks, the last place is read.
#[derive(Module, Debug)]
struct TemporalBlock {
    conv1: Conv1d,
    conv2: Conv1d,
    down: Option<Conv1d>,
}

impl TemporalBlock {
    fn new(from: usize, inner: usize, to: usize, dilation: usize) -> Self {
        let conv = |from, to, kernel: usize| {
            Conv1dConfig::new(from, to, kernel)
                .with_dilation(dilation)
                .with_padding(PaddingConfig1d::Explicit((kernel - 1) * dilation, 0))
                .init(&Device::flex())
        };
        Self {
            conv1: conv(from, inner, 3),
            conv2: conv(inner, to, 3),
            down: (from != to).then(|| conv(from, to, 1)),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = relu(self.conv2.forward(relu(self.conv1.forward(x.clone()))));
        relu(y + self.down.as_ref().map_or(x.clone(), |down| down.forward(x)))
    }
}

#[derive(Module, Debug)]
struct Tcn {
    blocks: Vec<TemporalBlock>,
    head: Linear,
}

#[test]
fn temporal_convolutional_network() {
    let net = Tcn {
        blocks: vec![TemporalBlock::new(3, 4, 5, 1), TemporalBlock::new(5, 6, 5, 2)],
        head: linear(5, 2),
    };
    Architecture::new(net, [1, 3, 9], |net: &Tcn, x| {
        let x: Tensor<3> = net.blocks.iter().fold(x, |x, block| block.forward(x));
        net.head.forward(x.narrow(2, 8, 1).flatten(1, 2))
    })
    .check(
        "channels 3: blocks.0.conv1.weight:1 blocks.0.down.weight:1; pinned: dimension 1 of the model's input
         channels 4: blocks.0.conv1.{weight,bias}:0 blocks.0.conv2.weight:1
         channels 5: blocks.0.conv2.{weight,bias}:0 blocks.0.down.{weight,bias}:0 blocks.1.conv1.weight:1
           blocks.1.conv2.{weight,bias}:0 head.weight:0
         channels 6: blocks.1.conv1.{weight,bias}:0 blocks.1.conv2.weight:1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "blocks.1.*",
    );
}

/// Tolstikhin et al. 2021, arXiv:2105.01601: linear layers over places and over features in turn.
#[derive(Module, Debug)]
struct MixerBlock {
    norm1: LayerNorm,
    token1: Linear,
    token2: Linear,
    norm2: LayerNorm,
    channel1: Linear,
    channel2: Linear,
}

#[derive(Module, Debug)]
struct Mixer {
    patch: Conv2d,
    block: MixerBlock,
    norm: LayerNorm,
    head: Linear,
}

#[test]
fn mlp_mixer() {
    let device = Device::flex();
    let net = Mixer {
        patch: Conv2dConfig::new([3, 6], [4, 4]).with_stride([4, 4]).init(&device),
        block: MixerBlock {
            norm1: layer_norm(6),
            token1: linear(6, 5),
            token2: linear(5, 6),
            norm2: layer_norm(6),
            channel1: linear(6, 7),
            channel2: linear(7, 6),
        },
        norm: layer_norm(6),
        head: linear(6, 2),
    };
    // 2×3 patches and a width of 6: equal sizes, but places and features are not the same thing.
    Architecture::new(net, [1, 3, 8, 12], |net: &Mixer, x| {
        let block = &net.block;
        let x: Tensor<3> = net.patch.forward(x).flatten::<3>(2, 3).swap_dims(1, 2);
        let y = block.norm1.forward(x.clone()).swap_dims(1, 2);
        let x = x + block.token2.forward(gelu(block.token1.forward(y))).swap_dims(1, 2);
        let y = block.norm2.forward(x.clone());
        let x = x + block.channel2.forward(gelu(block.channel1.forward(y)));
        net.head.forward(net.norm.forward(x).mean_dim(1).flatten(1, 2))
    })
    .check(
        "channels 3: patch.weight:1; pinned: dimension 1 of the model's input
         embedding 6: patch.{weight,bias}:0 block.norm1.*:0 block.norm2.*:0 block.channel1.weight:0
           block.channel2.weight:1 block.channel2.bias:0 norm.*:0 head.weight:0;
           across: `block.norm1.gamma`, `block.norm2.gamma`, `norm.gamma`
         positions 2: block.token1.weight:0:0/3x3@1 block.token2.weight:1:0/3x3@1 block.token2.bias:0:0/3x3@1;
           pinned: positions; across: `mean_dim`
         positions 3: block.token1.weight:0:0/1x2@3 block.token2.weight:1:0/1x2@3 block.token2.bias:0:0/1x2@3;
           pinned: positions; across: `mean_dim`
         width 5: block.token1.weight:1 block.token1.bias:0 block.token2.weight:0
         width 7: block.channel1.weight:1 block.channel1.bias:0 block.channel2.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "block.norm1.* block.token1.* block.token2.*
         block.norm2.* block.channel1.* block.channel2.*",
    );
}
