//! Which batch norms fold into the layer before.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use kd_graph::{Fold, batch_norm_folds, capture};

use crate::nets::{Cnn, Residual, conv};

#[test]
fn convolutions_take_the_norm_behind_them() {
    let graph = Cnn::graph();
    let folds = batch_norm_folds(&graph);
    let expected = Fold {
        layer: 0,
        norm: 1,
        weight: "conv1.weight".into(),
        bias: None,
        gamma: "norm1.gamma".into(),
        beta: "norm1.beta".into(),
        mean: "norm1.running_mean".into(),
        variance: "norm1.running_var".into(),
        epsilon: 1e-5,
        out_axis: 0,
    };
    assert_eq!(folds[0], expected);
    assert_eq!((folds[1].weight.as_str(), folds[1].bias.as_deref()), ("conv2.weight", Some("conv2.bias")));
    assert_eq!(folds.len(), 2);
    assert_eq!(batch_norm_folds(&Residual::graph())[0].weight, "pointwise.weight");
}

#[derive(Module, Debug)]
struct Two {
    layer: Linear,
    norm: BatchNorm,
    again: BatchNorm,
}

impl Two {
    fn new() -> Self {
        let device = Device::default();
        Self {
            layer: LinearConfig::new(4, 4).init(&device),
            norm: BatchNormConfig::new(4).init(&device),
            again: BatchNormConfig::new(4).init(&device),
        }
    }
}

fn folds(forward: impl Fn(&Two, Tensor<2>) -> Tensor<2>) -> Vec<Fold> {
    batch_norm_folds(&capture(&Two::new(), [1, 4], |net, x, _| forward(net, x)).unwrap())
}

#[test]
fn linear_layers_do_too_along_their_second_axis() {
    let found = folds(|net, x| net.norm.forward(net.layer.forward(x)));
    assert_eq!((found.len(), found[0].out_axis, found[0].weight.as_str()), (1, 1, "layer.weight"));
}

#[test]
fn only_a_layer_of_one_reader_and_one_use() {
    // The layer's result is read elsewhere.
    let found = folds(|net, x| {
        let x = net.layer.forward(x);
        net.norm.forward(x.clone()) + x
    });
    assert_eq!(found, []);
    // The layer is used twice.
    let found = folds(|net, x| net.again.forward(net.layer.forward(net.norm.forward(net.layer.forward(x)))));
    assert_eq!(found, []);
    // A norm behind a norm.
    let found = folds(|net, x| net.again.forward(net.norm.forward(net.layer.forward(x))));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].gamma, "norm.gamma");
}

#[derive(Module, Debug)]
struct Apart {
    conv: Conv2d,
    norm: BatchNorm,
}

#[test]
fn anything_between_keeps_them_apart() {
    let device = Device::default();
    let net = Apart { conv: conv(2, 2, 1).init(&device), norm: BatchNormConfig::new(2).init(&device) };
    let graph = capture(&net, [1, 2, 4, 4], |net, x: Tensor<4>, _| {
        let x = net.norm.forward(net.conv.forward(x).swap_dims(1, 2).swap_dims(1, 2));
        x.flatten::<2>(1, 3)
    });
    assert_eq!(batch_norm_folds(&graph.unwrap()), []);
}
