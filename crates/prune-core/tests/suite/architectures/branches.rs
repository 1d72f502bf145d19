//! Networks that put branches side by side: a concatenation reads each at its own offset.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor};

use super::layers::{
    AvgPool2d, AvgPool2dConfig, BatchNorm, Conv2d, Conv2dConfig, Linear, MaxPool2d, MaxPool2dConfig, config,
    conv, linear, norm, pooled,
};
use super::table::Architecture;

/// Huang et al. 2016, arXiv:1608.06993, DenseNet-BC: every layer reads all before it through a bottleneck.
#[derive(Module, Debug)]
struct DenseLayer {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

impl DenseLayer {
    fn new(from: usize, growth: usize) -> Self {
        Self { norm1: norm(from), conv1: conv(from, 5, 1), norm2: norm(5), conv2: conv(5, growth, 3) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(relu(self.norm1.forward(x.clone())));
        Tensor::cat(vec![x, self.conv2.forward(relu(self.norm2.forward(y)))], 1)
    }
}

#[derive(Module, Debug)]
struct DenseNet {
    stem: Conv2d,
    first: Vec<DenseLayer>,
    norm: BatchNorm,
    transition: Conv2d,
    pool: AvgPool2d,
    second: DenseLayer,
    last: BatchNorm,
    head: Linear,
}

#[test]
fn densenet() {
    let net = DenseNet {
        stem: conv(3, 4, 3),
        first: vec![DenseLayer::new(4, 3), DenseLayer::new(7, 3)],
        norm: norm(10),
        transition: conv(10, 6, 1),
        pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        second: DenseLayer::new(6, 3),
        last: norm(9),
        head: linear(9, 2),
    };
    Architecture::new(net, [1, 3, 6, 6], |net: &DenseNet, x| {
        let x = net.first.iter().fold(net.stem.forward(x), |x, layer| layer.forward(x));
        let x = net.pool.forward(net.transition.forward(relu(net.norm.forward(x))));
        net.head.forward(pooled(relu(net.last.forward(net.second.forward(x)))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 first.0.norm1.*:0 first.0.conv1.weight:1 first.1.norm1.*:0
           first.1.conv1.weight:1 norm.*:0 transition.weight:1
         channels 5: first.0.conv1.weight:0 first.0.norm2.*:0 first.0.conv2.weight:1
         channels 3: first.0.conv2.weight:0 first.1.norm1.*:0:4/1 first.1.conv1.weight:1:4/1 norm.*:0:4/1
           transition.weight:1:4/1
         channels 5: first.1.conv1.weight:0 first.1.norm2.*:0 first.1.conv2.weight:1
         channels 3: first.1.conv2.weight:0 norm.*:0:7/1 transition.weight:1:7/1
         channels 6: transition.weight:0 second.norm1.*:0 second.conv1.weight:1 last.*:0 head.weight:0
         channels 5: second.conv1.weight:0 second.norm2.*:0 second.conv2.weight:1
         channels 3: second.conv2.weight:0 last.*:0:6/1 head.weight:0:6/1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Szegedy et al. 2014, arXiv:1409.4842: four branches with their own reductions.
#[derive(Module, Debug)]
struct Inception {
    one: Conv2d,
    three_in: Conv2d,
    three: Conv2d,
    five_in: Conv2d,
    five: Conv2d,
    pool: MaxPool2d,
    pool_out: Conv2d,
}

impl Inception {
    /// 3 + 4 + 2 + 2 = 11 channels.
    fn new(from: usize) -> Self {
        let conv = |from, to, kernel| config(from, to, kernel).with_bias(true).init(&Device::flex());
        Self {
            one: conv(from, 3, 1),
            three_in: conv(from, 5, 1),
            three: conv(5, 4, 3),
            five_in: conv(from, 3, 1),
            five: conv(3, 2, 5),
            pool: MaxPool2dConfig::new([3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_strides([1, 1])
                .init(),
            pool_out: conv(from, 2, 1),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            self.one.forward(x.clone()),
            self.three.forward(relu(self.three_in.forward(x.clone()))),
            self.five.forward(relu(self.five_in.forward(x.clone()))),
            self.pool_out.forward(self.pool.forward(x)),
        ];
        relu(Tensor::cat(branches, 1))
    }
}

#[derive(Module, Debug)]
struct GoogLeNet {
    stem: Conv2d,
    a: Inception,
    b: Inception,
    head: Linear,
}

#[test]
fn inception() {
    let net =
        GoogLeNet { stem: conv(3, 4, 3), a: Inception::new(4), b: Inception::new(11), head: linear(11, 2) };
    Architecture::new(net, [1, 3, 5, 5], |net: &GoogLeNet, x| {
        net.head.forward(pooled(net.b.forward(net.a.forward(relu(net.stem.forward(x))))))
    })
    .check(
        "channels 3: stem.weight:1; pinned: dimension 1 of the model's input
         channels 4: stem.weight:0 a.{one,three_in,five_in,pool_out}.weight:1
         channels 3: a.one.{weight,bias}:0 b.{one,three_in,five_in,pool_out}.weight:1
         channels 5: a.three_in.{weight,bias}:0 a.three.weight:1
         channels 4: a.three.{weight,bias}:0 b.{one,three_in,five_in,pool_out}.weight:1:3/1
         channels 3: a.five_in.{weight,bias}:0 a.five.weight:1
         channels 2: a.five.{weight,bias}:0 b.{one,three_in,five_in,pool_out}.weight:1:7/1
         channels 2: a.pool_out.{weight,bias}:0 b.{one,three_in,five_in,pool_out}.weight:1:9/1
         channels 3: b.one.{weight,bias}:0 head.weight:0
         channels 5: b.three_in.{weight,bias}:0 b.three.weight:1
         channels 4: b.three.{weight,bias}:0 head.weight:0:3/1
         channels 3: b.five_in.{weight,bias}:0 b.five.weight:1
         channels 2: b.five.{weight,bias}:0 head.weight:0:7/1
         channels 2: b.pool_out.{weight,bias}:0 head.weight:0:9/1
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Ronneberger et al. 2015, arXiv:1505.04597: what is upsampled stands behind what was kept at that size.
#[derive(Module, Debug)]
struct UNet {
    down1: Conv2d,
    down2: Conv2d,
    pool: MaxPool2d,
    middle: Conv2d,
    up2: ConvTranspose2d,
    merge2: Conv2d,
    up1: ConvTranspose2d,
    merge1: Conv2d,
    classes: Conv2d,
}

#[test]
fn unet() {
    let device = Device::flex();
    let up = |from, to| ConvTranspose2dConfig::new([from, to], [2, 2]).with_stride([2, 2]).init(&device);
    let net = UNet {
        down1: conv(1, 4, 3),
        down2: conv(4, 5, 3),
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        middle: conv(5, 7, 3),
        up2: up(7, 5),
        merge2: conv(10, 5, 3),
        up1: up(5, 4),
        merge1: conv(8, 4, 3),
        classes: Conv2dConfig::new([4, 2], [1, 1]).init(&device),
    };
    Architecture::new(net, [1, 1, 8, 8], |net: &UNet, x| {
        let one = relu(net.down1.forward(x));
        let two = relu(net.down2.forward(net.pool.forward(one.clone())));
        let x = relu(net.middle.forward(net.pool.forward(two.clone())));
        let x = relu(net.merge2.forward(Tensor::cat(vec![two, net.up2.forward(x)], 1)));
        let x = relu(net.merge1.forward(Tensor::cat(vec![one, net.up1.forward(x)], 1)));
        net.classes.forward(x).flatten(1, 3)
    })
    .check(
        "channels 4: down1.weight:0 down2.weight:1 merge1.weight:1
         channels 5: down2.weight:0 middle.weight:1 merge2.weight:1
         channels 7: middle.weight:0 up2.weight:0
         channels 5: up2.weight:1 up2.bias:0 merge2.weight:1:5/1
         channels 5: merge2.weight:0 up1.weight:0
         channels 4: up1.weight:1 up1.bias:0 merge1.weight:1:4/1
         channels 4: merge1.weight:0 classes.weight:1
         channels 2: classes.{weight,bias}:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// The same with nearest neighbours instead of transposed convolutions, and sums instead of concatenations, as in feature
/// pyramids (Lin et al. 2016, arXiv:1612.03144).
#[derive(Module, Debug)]
struct Pyramid {
    down1: Conv2d,
    down2: Conv2d,
    pool: MaxPool2d,
    lateral1: Conv2d,
    lateral2: Conv2d,
    smooth: Conv2d,
    head: Linear,
}

#[test]
fn feature_pyramid() {
    let net = Pyramid {
        down1: conv(1, 4, 3),
        down2: conv(4, 6, 3),
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        lateral1: conv(4, 5, 1),
        lateral2: conv(6, 5, 1),
        smooth: conv(5, 3, 3),
        head: linear(3, 2),
    };
    Architecture::new(net, [1, 1, 6, 6], |net: &Pyramid, x| {
        let one = relu(net.down1.forward(x));
        let two = relu(net.down2.forward(net.pool.forward(one.clone())));
        let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
        let x = net.lateral1.forward(one) + interpolate(net.lateral2.forward(two), nearest);
        net.head.forward(pooled(net.smooth.forward(x)))
    })
    .check(
        "channels 4: down1.weight:0 down2.weight:1 lateral1.weight:1
         channels 6: down2.weight:0 lateral2.weight:1
         channels 5: lateral1.weight:0 lateral2.weight:0 smooth.weight:1
         channels 3: smooth.weight:0 head.weight:0
         width 2: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
