//! ConvNeXt: a residual network of depthwise convolutions.

use burn::module::{Module, Param};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};

use super::layers::{Conv2d, Conv2dConfig, LayerNorm, Linear, grouped, layer_norm, linear, pooled};
use super::table::Architecture;

/// Liu et al. 2022, arXiv:2201.03545: depthwise convolution, layer norm over channels, two linear layers, layer scale.
#[derive(Module, Debug)]
struct ConvNextBlock {
    depthwise: Conv2d,
    norm: LayerNorm,
    expand: Linear,
    project: Linear,
    scale: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct ConvNext {
    stem: Conv2d,
    stem_norm: LayerNorm,
    blocks: Vec<ConvNextBlock>,
    down_norm: LayerNorm,
    down: Conv2d,
    last: ConvNextBlock,
    head_norm: LayerNorm,
    head: Linear,
}

impl ConvNextBlock {
    fn new(width: usize, inner: usize) -> Self {
        let device = Device::flex();
        Self {
            depthwise: grouped(width, width, 3, width),
            norm: layer_norm(width),
            expand: linear(width, inner),
            project: linear(inner, width),
            scale: Param::from_tensor(Tensor::ones([width], &device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.depthwise.forward(x.clone()).permute([0, 2, 3, 1]);
        let y = self.project.forward(gelu(self.expand.forward(self.norm.forward(y))));
        x + (y * self.scale.val().unsqueeze::<4>()).permute([0, 3, 1, 2])
    }
}

#[test]
fn convnext() {
    let device = Device::flex();
    let patches = |from, to| Conv2dConfig::new([from, to], [2, 2]).with_stride([2, 2]).init(&device);
    let over_channels =
        |norm: &LayerNorm, x: Tensor<4>| norm.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
    let net = ConvNext {
        stem: patches(3, 4),
        stem_norm: layer_norm(4),
        blocks: vec![ConvNextBlock::new(4, 7), ConvNextBlock::new(4, 9)],
        down_norm: layer_norm(4),
        down: patches(4, 6),
        last: ConvNextBlock::new(6, 8),
        head_norm: layer_norm(6),
        head: linear(6, 2),
    };
    Architecture::new(net, [1, 3, 8, 8], |net: &ConvNext, x| {
        let x = over_channels(&net.stem_norm, net.stem.forward(x));
        let x = net.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = net.last.forward(net.down.forward(over_channels(&net.down_norm, x)));
        net.head.forward(net.head_norm.forward(pooled(x)))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.{weight,bias}:0 stem_norm.*:0
           blocks.{0,1}.depthwise.weight:0 blocks.{0,1}.norm.*:0 blocks.{0,1}.expand.weight:0
           blocks.{0,1}.project.weight:1 blocks.{0,1}.project.bias:0 blocks.{0,1}.scale:0
           down_norm.*:0 down.weight:1;
           across: `stem_norm.gamma`, `blocks.0.norm.gamma`, `blocks.1.norm.gamma`, `down_norm.gamma`
         width 7: blocks.0.expand.weight:1 blocks.0.expand.bias:0 blocks.0.project.weight:0
         width 9: blocks.1.expand.weight:1 blocks.1.expand.bias:0 blocks.1.project.weight:0
         channels 6: down.{weight,bias}:0 last.depthwise.weight:0 last.norm.*:0 last.expand.weight:0
           last.project.weight:1 last.project.bias:0 last.scale:0 head_norm.*:0 head.weight:0;
           across: `last.norm.gamma`, `head_norm.gamma`
         width 8: last.expand.weight:1 last.expand.bias:0 last.project.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "blocks.0.*
         blocks.1.*
         last.*",
    );
}
