//! Residual networks: what is added is one.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::layers::{BatchNorm, Conv2d, Linear, conv, halving, linear, norm, pooled};
use super::table::Architecture;

/// A 1×1 convolution where a block changes the width.
#[derive(Module, Debug)]
struct Shortcut {
    conv: Conv2d,
    norm: BatchNorm,
}

/// He et al. 2015, arXiv:1512.03385, figure 5 left.
#[derive(Module, Debug)]
struct Basic {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    down: Option<Shortcut>,
}

impl Basic {
    fn new(from: usize, to: usize) -> Self {
        let wider = from != to;
        Self {
            conv1: if wider { halving(from, to, 3) } else { conv(from, to, 3) },
            norm1: norm(to),
            conv2: conv(to, to, 3),
            norm2: norm(to),
            down: wider.then(|| Shortcut { conv: halving(from, to, 1), norm: norm(to) }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.norm1.forward(self.conv1.forward(x.clone())));
        let y = self.norm2.forward(self.conv2.forward(y));
        let x = match &self.down {
            Some(down) => down.norm.forward(down.conv.forward(x)),
            None => x,
        };
        relu(x + y)
    }
}

#[derive(Module, Debug)]
struct ResNet {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Basic>,
    head: Linear,
}

#[test]
fn resnet_of_basic_blocks() {
    let net = ResNet {
        stem: conv(3, 4, 3),
        norm: norm(4),
        blocks: vec![Basic::new(4, 4), Basic::new(4, 6), Basic::new(6, 6)],
        head: linear(6, 2),
    };
    Architecture::new(net, [1, 3, 6, 6], |net: &ResNet, x| {
        let x = relu(net.norm.forward(net.stem.forward(x)));
        net.head.forward(pooled(net.blocks.iter().fold(x, |x, block| block.forward(x))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 norm.*:0 blocks.0.conv1.weight:1 blocks.0.conv2.weight:0 blocks.0.norm2.*:0
           blocks.1.conv1.weight:1 blocks.1.down.conv.weight:1
         channels 4: blocks.0.conv1.weight:0 blocks.0.norm1.*:0 blocks.0.conv2.weight:1
         channels 6: blocks.1.conv1.weight:0 blocks.1.norm1.*:0 blocks.1.conv2.weight:1
         channels 6: blocks.1.conv2.weight:0 blocks.1.norm2.*:0 blocks.1.down.conv.weight:0 blocks.1.down.norm.*:0
           blocks.2.conv1.weight:1 blocks.2.conv2.weight:0 blocks.2.norm2.*:0 head.weight:0
         channels 6: blocks.2.conv1.weight:0 blocks.2.norm1.*:0 blocks.2.conv2.weight:1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "blocks.0.*
         blocks.2.*",
    );
}

/// The same paper, figure 5 right.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    conv3: Conv2d,
    norm3: BatchNorm,
    down: Option<Shortcut>,
}

impl Bottleneck {
    fn new(from: usize, inner: usize, to: usize) -> Self {
        Self {
            conv1: conv(from, inner, 1),
            norm1: norm(inner),
            conv2: conv(inner, inner, 3),
            norm2: norm(inner),
            conv3: conv(inner, to, 1),
            norm3: norm(to),
            down: (from != to).then(|| Shortcut { conv: conv(from, to, 1), norm: norm(to) }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.norm1.forward(self.conv1.forward(x.clone())));
        let y = relu(self.norm2.forward(self.conv2.forward(y)));
        let y = self.norm3.forward(self.conv3.forward(y));
        let x = match &self.down {
            Some(down) => down.norm.forward(down.conv.forward(x)),
            None => x,
        };
        relu(y + x)
    }
}

#[derive(Module, Debug)]
struct DeepResNet {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Bottleneck>,
    head: Linear,
}

#[test]
fn resnet_of_bottlenecks() {
    let net = DeepResNet {
        stem: conv(3, 4, 3),
        norm: norm(4),
        blocks: vec![Bottleneck::new(4, 3, 8), Bottleneck::new(8, 3, 8)],
        head: linear(8, 2),
    };
    Architecture::new(net, [1, 3, 5, 5], |net: &DeepResNet, x| {
        let x = relu(net.norm.forward(net.stem.forward(x)));
        net.head.forward(pooled(net.blocks.iter().fold(x, |x, block| block.forward(x))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 norm.*:0 blocks.0.conv1.weight:1 blocks.0.down.conv.weight:1
         channels 3: blocks.0.conv1.weight:0 blocks.0.norm1.*:0 blocks.0.conv2.weight:1
         channels 3: blocks.0.conv2.weight:0 blocks.0.norm2.*:0 blocks.0.conv3.weight:1
         channels 8: blocks.0.conv3.weight:0 blocks.0.norm3.*:0 blocks.0.down.conv.weight:0 blocks.0.down.norm.*:0
           blocks.1.conv1.weight:1 blocks.1.conv3.weight:0 blocks.1.norm3.*:0 head.weight:0
         channels 3: blocks.1.conv1.weight:0 blocks.1.norm1.*:0 blocks.1.conv2.weight:1
         channels 3: blocks.1.conv2.weight:0 blocks.1.norm2.*:0 blocks.1.conv3.weight:1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "blocks.1.*",
    );
}

/// He et al. 2016, arXiv:1603.05027: batch norm and ReLU come first, and nothing is behind the sum.
#[derive(Module, Debug)]
struct PreActivation {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

#[derive(Module, Debug)]
struct PreActivationNet {
    stem: Conv2d,
    blocks: Vec<PreActivation>,
    norm: BatchNorm,
    head: Linear,
}

#[test]
fn preactivation_resnet() {
    let block =
        || PreActivation { norm1: norm(6), conv1: conv(6, 4, 3), norm2: norm(4), conv2: conv(4, 6, 3) };
    let net = PreActivationNet {
        stem: conv(3, 6, 3),
        blocks: vec![block(), block()],
        norm: norm(6),
        head: linear(6, 2),
    };
    Architecture::new(net, [1, 3, 5, 5], |net: &PreActivationNet, x| {
        let mut x = net.stem.forward(x);
        for block in &net.blocks {
            let y = block.conv1.forward(relu(block.norm1.forward(x.clone())));
            x = x + block.conv2.forward(relu(block.norm2.forward(y)));
        }
        net.head.forward(pooled(relu(net.norm.forward(x))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 6: stem.weight:0 blocks.0.norm1.*:0 blocks.0.conv1.weight:1 blocks.0.conv2.weight:0
           blocks.1.norm1.*:0 blocks.1.conv1.weight:1 blocks.1.conv2.weight:0 norm.*:0 head.weight:0
         channels 4: blocks.0.conv1.weight:0 blocks.0.norm2.*:0 blocks.0.conv2.weight:1
         channels 4: blocks.1.conv1.weight:0 blocks.1.norm2.*:0 blocks.1.conv2.weight:1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "blocks.0.*
         blocks.1.*",
    );
}
