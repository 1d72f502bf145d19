//! Quantized layers in other company than a plain convnet: where the pairs go, and what ONNX Runtime makes of them.

use std::collections::BTreeMap;

use crate::common::{
    At, Random, affine, d2, d3, d4, engines, fake_quant, floats, max_pool, on_disk, onnxruntime, per_channel,
    symmetric, weights, with_weights,
};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::activation::{gelu, relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use kd_deploy::engine::Optimization;
use kd_deploy::{Error, QuantPlan, Weights, onnx};
use kd_graph::Op;
use quant_core::Layout;

const BATCH: usize = 64;

/// Quantizes every weight and every site by the ranges of one batch, compares each engine with the simulation, and
/// returns the operators that ONNX Runtime executes, if it is there.
#[track_caller]
fn check<M: Module, const D: usize>(
    module: M,
    mut example: [usize; D],
    symmetric_sites: bool,
    forward: impl Fn(&M, Tensor<D>, At<'_>) -> Tensor<2>,
) -> Option<BTreeMap<String, usize>> {
    let mut random = Random(11);
    example[0] = BATCH;
    let input = random.array(&example);
    let x = || Tensor::<D>::from_data(TensorData::new(input.data().to_vec(), example), &Device::flex());
    let original = drawn(&weights(&module));
    let module = with_weights(module, &original);

    let graph = kd_graph::capture(&module, example, |module, x, sites| {
        forward(module, x, &mut |site, x| {
            x.mark(site, sites);
            x
        })
    });
    let graph = graph.unwrap();
    let mut plan = QuantPlan::default();
    forward(&module, x(), &mut |site, x| {
        let (min, max) = x.values().iter().fold((0f32, 0f32), |(a, b), &x| (a.min(x), b.max(x)));
        let activation = if symmetric_sites { symmetric(min, max) } else { affine(min, max) };
        plan.activations.insert(site.to_owned(), activation);
        x
    });
    let mut rounded: Weights = original.clone();
    let looked_up = |path: &str| {
        let embeddings = graph.nodes.iter().filter(|node| node.op == Op::Embedding);
        embeddings.filter_map(|node| graph.param(node.inputs[0])).any(|table| table.path == path)
    };
    for (path, array) in original.iter().filter(|(path, a)| a.shape().len() > 1 && !looked_up(path)) {
        let weight = per_channel(array, if array.shape().len() == 4 { 0 } else { 1 });
        let layout = Layout { shape: array.shape().to_vec(), axis: weight.axis };
        let codes = quant_core::quantize(array.data(), &layout, &weight.qparams).unwrap();
        let data = quant_core::dequantize(&codes, &layout, &weight.qparams).unwrap();
        rounded.insert(path.clone(), kd_deploy::Array::new(array.shape(), data).unwrap());
        plan.weights.insert(path.clone(), weight);
    }
    let simulation = with_weights(module, &rounded);
    let expected = forward(&simulation, x(), &mut |site, x| fake_quant(x, &plan.activations[site]));
    let expected = floats(expected.into_data());
    let largest = expected.iter().fold(0f32, |a, x| a.max(x.abs()));

    let model = onnx::lower(&graph, &original, Some(&plan)).unwrap();
    assert!(onnx::layers_read_integers(&model).unwrap());
    let file = on_disk(&model);
    for engine in engines() {
        let mut session = engine.load(&file.path, 1).unwrap();
        let found = session.run(input.data(), &example).unwrap();
        assert_eq!(found.len(), expected.len());
        // Codes may round the other way next to a tie; that is rare, and moves a result by little.
        let differences: Vec<f32> =
            found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / largest).collect();
        let worst = differences.iter().fold(0f32, |a, d| a.max(*d));
        let mean = differences.iter().sum::<f32>() / differences.len() as f32;
        assert!(worst < 0.03 && mean < 5e-4, "{}: worst {worst}, mean {mean}", engine.name());
    }
    let engine = onnxruntime()?;
    let to = file.folder.path().join("optimized.onnx");
    engine.write_optimized(&file.path, Optimization::Extended, &to).unwrap();
    Some(onnx::operators(&std::fs::read(to).unwrap()).unwrap())
}

/// The same shapes with numbers from a seed: Burn draws new ones in each run, and some put many codes next to a tie.
/// Scales and shifts of norms stay as they begin.
fn drawn(weights: &Weights) -> Weights {
    let mut random = Random(7);
    let draw = |(path, array): (&String, &kd_deploy::Array)| {
        let array = match array.shape().len() > 1 || path.ends_with("bias") {
            true => {
                let numbers = random.array(array.shape());
                let scaled: Vec<f32> = numbers.data().iter().map(|x| 0.4 * x).collect();
                kd_deploy::Array::new(array.shape(), scaled).unwrap()
            }
            false => array.clone(),
        };
        (path.clone(), array)
    };
    weights.iter().map(draw).collect()
}

#[track_caller]
fn assert_operators(found: Option<BTreeMap<String, usize>>, expected: &[(&str, usize)]) {
    if let Some(found) = found {
        let found: Vec<_> = found.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(found, expected);
    }
}

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

fn mlp() -> Mlp {
    let device = Device::flex();
    Mlp {
        first: LinearConfig::new(12, 16).init(&device),
        second: LinearConfig::new(16, 5).with_bias(false).init(&device),
    }
}

#[test]
fn linear_layers() {
    let found = check(mlp(), [1, 12], false, |m, x, at| {
        let x = d2(at, "in", x);
        let x = d2(at, "hidden", relu(m.first.forward(x)));
        m.second.forward(x)
    });
    assert_operators(found, &[("QGemm", 2), ("QuantizeLinear", 1)]);
}

#[test]
fn linear_layers_on_more_axes_are_integer_matrix_products() {
    let found = check(mlp(), [1, 3, 12], false, |m, x, at| {
        let x = d3(at, "in", x);
        let x = d3(at, "hidden", relu(m.first.forward(x)));
        m.second.forward(x).flatten(1, 2)
    });
    let Some(found) = found else { return };
    assert!(!found.contains_key("MatMul") && !found.contains_key("Gemm"), "{found:?}");
    let integer: usize = ["MatMulIntegerToFloat", "QLinearMatMul"].iter().filter_map(|n| found.get(*n)).sum();
    assert_eq!(integer, 2, "{found:?}");
}

#[test]
fn products_of_two_activations() {
    let found = check(mlp(), [1, 4, 12], false, |m, x, at| {
        let x = d3(at, "in", x);
        let keys = d3(at, "keys", m.first.forward(x.clone()));
        let queries = d3(at, "queries", m.first.forward(x));
        let scores = queries.matmul(keys.clone().swap_dims(1, 2));
        let weights = d3(at, "weights", softmax(scores * 0.25, 2));
        let mixed = d3(at, "mixed", weights.matmul(keys));
        m.second.forward(mixed).flatten(1, 2)
    });
    let Some(found) = found else { return };
    assert!(!found.contains_key("MatMul") && !found.contains_key("Gemm"), "{found:?}");
}

#[derive(Module, Debug)]
struct Encoder {
    table: Embedding,
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    classes: Linear,
}

#[test]
fn attention_over_token_ids_with_padding() {
    let device = Device::flex();
    let linear = || LinearConfig::new(8, 8).init(&device);
    let encoder = Encoder {
        table: EmbeddingConfig::new(9, 8).init(&device),
        norm: LayerNormConfig::new(8).init(&device),
        query: linear(),
        key: linear(),
        value: linear(),
        output: linear(),
        classes: LinearConfig::new(8, 3).init(&device),
    };
    let found = check(encoder, [1, 6], false, |m, x: Tensor<2>, at| {
        let [batch, length] = x.dims();
        let ids = (x * 4.0 + 4.5).int();
        let mask = ids.clone().equal_elem(0).float().mul_scalar(-1e9).reshape([batch, 1, 1, length]);
        let embedded = m.table.forward(ids);
        let x = d3(at, "norm", m.norm.forward(embedded.clone()));
        let [query, key, value] = [("query", &m.query), ("key", &m.key), ("value", &m.value)]
            .map(|(site, layer)| d3(at, site, layer.forward(x.clone())))
            .map(|x| x.reshape([batch, length, 2, 4]).swap_dims(1, 2));
        let scores = query.matmul(key.swap_dims(2, 3)) * 0.5 + mask;
        let mixed = d4(at, "probabilities", softmax(scores, 3)).matmul(value);
        let mixed = d3(at, "mixed", mixed.swap_dims(1, 2).reshape([batch, length, 8]));
        let x = d3(at, "hidden", gelu(embedded + m.output.forward(mixed)));
        m.classes.forward(x).mean_dim(1).flatten(1, 2)
    });
    let Some(found) = found else { return };
    assert!(!found.contains_key("MatMul") && !found.contains_key("Gemm"), "{found:?}");
    assert_eq!(found.get("Gather"), Some(&1), "{found:?}");
}

#[derive(Module, Debug)]
struct Convs {
    first: Conv2d,
    second: Conv2d,
}

fn convs() -> Convs {
    let device = Device::flex();
    Convs {
        first: Conv2dConfig::new([2, 3], [3, 3]).init(&device),
        second: Conv2dConfig::new([3, 4], [2, 2]).init(&device),
    }
}

#[test]
fn a_site_behind_the_pooling() {
    for (symmetric, operators) in [
        (false, [("MaxPool", 1), ("QLinearConv", 2), ("QuantizeLinear", 1), ("Reshape", 1)].as_slice()),
        (
            true,
            &[
                ("Clip", 2),
                ("DequantizeLinear", 3),
                ("MaxPool", 1),
                ("QLinearConv", 2),
                ("QuantizeLinear", 3),
                ("Relu", 1),
                ("Reshape", 1),
            ],
        ),
    ] {
        let found = check(convs(), [1, 2, 8, 8], symmetric, |m, x, at| {
            let x = d4(at, "in", x);
            let x = d4(at, "pooled", max_pool(relu(m.first.forward(x))));
            let x = d4(at, "out", m.second.forward(x));
            x.flatten(1, 3)
        });
        // The last site is the output's own, in floats again.
        let Some(mut found) = found else { continue };
        found.retain(|name, _| name != "DequantizeLinear" || symmetric);
        assert_operators(Some(found), operators);
    }
}

#[test]
fn a_site_before_the_relu() {
    for symmetric in [false, true] {
        let found = check(convs(), [1, 2, 8, 8], symmetric, |m, x, at| {
            let x = d4(at, "in", x);
            let x = relu(max_pool(d4(at, "early", m.first.forward(x))));
            d4(at, "out", m.second.forward(x)).flatten(1, 3)
        });
        let Some(found) = found else { continue };
        assert!(!found.contains_key("Conv") && found["QLinearConv"] == 2, "{found:?}");
    }
}

#[derive(Module, Debug)]
struct Residual {
    enter: Conv2d,
    inner: Conv2d,
    norm: BatchNorm,
    exit: Linear,
}

#[test]
fn a_residual_block_and_a_global_mean() {
    let device = Device::flex();
    let module = Residual {
        enter: Conv2dConfig::new([2, 3], [1, 1]).init(&device),
        inner: Conv2dConfig::new([3, 3], [1, 1]).with_bias(false).init(&device),
        norm: BatchNormConfig::new(3).init(&device),
        exit: LinearConfig::new(3, 4).init(&device),
    };
    // The batch norm does not fold: a site stands between it and its convolution.
    let found = check(module, [1, 2, 4, 4], false, |m, x, at| {
        let x = d4(at, "in", x);
        let x = d4(at, "stem", relu(m.enter.forward(x)));
        let y = m.norm.forward(d4(at, "inner", m.inner.forward(x.clone())));
        let x = d4(at, "sum", relu(x + y));
        let x: Tensor<2> = x.mean_dim(2).mean_dim(3).flatten(1, 3);
        m.exit.forward(d2(at, "mean", x))
    });
    let Some(found) = found else { return };
    for float in ["Conv", "Gemm", "MatMul", "FusedConv"] {
        assert!(!found.contains_key(float), "{found:?}");
    }
    assert_eq!(found.get("BatchNormalization"), Some(&1), "{found:?}");
}

#[test]
fn a_layer_that_no_site_reaches_is_refused_by_name() {
    let module = mlp();
    let graph = kd_graph::capture(&module, [1, 12], |m: &Mlp, x: Tensor<2>, sites| {
        sites.mark("in", &x);
        m.second.forward(m.first.forward(x).tanh())
    });
    let all = weights(&module);
    let matrices = all.iter().filter(|(_, array)| array.shape().len() == 2);
    let plan = QuantPlan {
        weights: matrices.map(|(path, array)| (path.clone(), per_channel(array, 1))).collect(),
        activations: BTreeMap::from([("in".to_owned(), affine(-1.0, 1.0))]),
        ..QuantPlan::default()
    };
    let error = onnx::lower(&graph.unwrap(), &all, Some(&plan)).unwrap_err();
    let Error::Placement(source) = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("second.weight"), "{source}");
}
