//! Weights that PyTorch made, in its names and layout, against what PyTorch computes with them.

use std::collections::BTreeMap;

use crate::common::{assert_close, engines, floats, max_pool, on_disk, weights, with_weights};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use kd_deploy::{Array, onnx, safetensors};
use serde::Deserialize;

/// `tests/golden/torch_network.json`, written by `tools/golden/kd_deploy.py`.
#[derive(Deserialize)]
struct Golden {
    state_dict: BTreeMap<String, Numbers>,
    input: Numbers,
    logits: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// The network of the generator.
#[derive(Module, Debug)]
struct Network {
    conv: Conv2d,
    norm: BatchNorm,
    hidden: Linear,
    layer: LayerNorm,
    head: Linear,
}

fn forward(net: &Network, x: Tensor<4>) -> Tensor<2> {
    let x = relu(net.norm.forward(net.conv.forward(x)));
    let x = max_pool(x).flatten::<2>(1, 3);
    net.head.forward(net.layer.forward(net.hidden.forward(x)))
}

#[test]
fn a_state_dict_loads_without_a_transpose_and_leaves_as_it_came() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/torch_network.json")).unwrap();
    let device = Device::flex();
    let net = Network {
        conv: Conv2dConfig::new([2, 3], [3, 2]).with_bias(false).init(&device),
        norm: BatchNormConfig::new(3).init(&device),
        hidden: LinearConfig::new(12, 5).init(&device),
        layer: LayerNormConfig::new(5).init(&device),
        head: LinearConfig::new(5, 4).init(&device),
    };
    let graph = kd_graph::capture(&net, [1, 2, 6, 5], |net, x, _| forward(net, x)).unwrap();
    let torch: BTreeMap<String, Array> = golden
        .state_dict
        .into_iter()
        .map(|(name, numbers)| (name, Array::new(numbers.shape, numbers.data).unwrap()))
        .collect();

    let loaded = safetensors::from_torch(&graph.params, &torch).unwrap();
    let net = with_weights(net, &loaded);
    assert_eq!(weights(&net), loaded);
    assert_eq!(safetensors::to_torch(&graph.params, &weights(&net)).unwrap(), torch);

    let Numbers { shape, data } = golden.input;
    let x = Tensor::<4>::from_data(TensorData::new(data.clone(), shape.clone()), &device);
    assert_close(&floats(forward(&net, x).into_data()), &golden.logits.data, 1e-5, "Burn");
    let file = on_disk(&onnx::lower(&graph, &loaded, None).unwrap());
    for engine in engines() {
        let found = engine.load(&file.path, 1).unwrap().run(&data, &shape).unwrap();
        assert_close(&found, &golden.logits.data, 1e-5, engine.name());
    }
}
