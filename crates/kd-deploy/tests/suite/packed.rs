//! Codes of weights in ONNX's narrow types: the same numbers as in wider ones, in fewer bytes.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use kd_deploy::{Array, Engine, QuantPlan, RoundedWeight, WeightPlan, Weights, WeightsContainer, onnx};
use quant_core::{Layout, Observer, ObserverSpec, QParams, Scheme, decode_weight, encode_weight};

use crate::common::{
    Folded, IMAGE, Random, affine, assert_close, floats, images, on_disk, onnxruntime, trained, weights,
    with_weights,
};

const COUNT: usize = 64;

fn net() -> Folded {
    let device = Device::flex();
    Folded::of(&trained(&device), &device)
}

fn matrices(all: &Weights) -> impl Iterator<Item = (&String, &Array, usize)> {
    let weights = all.iter().filter(|(path, _)| path.ends_with("weight"));
    weights.map(|(path, array)| (path, array, usize::from(!path.starts_with("conv"))))
}

fn activations(net: &Folded) -> BTreeMap<String, kd_deploy::ActivationPlan> {
    let mut activations = BTreeMap::new();
    net.forward(images(COUNT, &Device::flex()), &mut |site, x| {
        let data = x.values();
        let (min, max) = data.iter().fold((0f32, 0f32), |(a, b), &x| (a.min(x), b.max(x)));
        activations.insert(site.to_owned(), affine(min, max));
        x
    });
    activations
}

/// Integers with scales that training would observe.
fn integers(net: &Folded, words: &str) -> QuantPlan {
    let scheme: Scheme = words.parse().unwrap();
    let plan = |(path, array, axis): (&String, &Array, usize)| {
        let channel = words.contains("channel");
        let layout = Layout { shape: array.shape().to_vec(), axis: channel.then_some(axis) };
        let mut observer = Observer::new(ObserverSpec::MinMax);
        observer.observe(array.data(), &layout).unwrap();
        let qparams = QParams::from_range(observer.range().unwrap(), &scheme).unwrap();
        (path.clone(), WeightPlan { scheme, axis: layout.axis, qparams, chosen: None })
    };
    QuantPlan { weights: matrices(&weights(net)).map(plan).collect(), ..QuantPlan::default() }
}

/// Values that no engine computes with on integers, with their codes.
fn rounded(all: &Weights, words: &str) -> QuantPlan {
    let scheme: Scheme = words.parse().unwrap();
    let plan = |(path, array, axis): (&String, &Array, usize)| {
        let encoded = encode_weight(array.data(), array.shape(), axis, &scheme).unwrap();
        let values = decode_weight(&encoded, array.shape(), axis).unwrap();
        let values = Array::new(array.shape(), values).unwrap();
        (path.clone(), RoundedWeight { scheme, axis, method: None, values, encoded: Some(encoded) })
    };
    QuantPlan { rounded: matrices(all).map(plan).collect(), ..QuantPlan::default() }
}

fn files(net: &Folded, plan: QuantPlan) -> [Vec<u8>; 2] {
    [WeightsContainer::Int8, WeightsContainer::Packed].map(|container| {
        let plan = QuantPlan { container, ..plan.clone() };
        onnx::lower(&net.graph(), &weights(net), Some(&plan)).unwrap()
    })
}

fn run(model: &[u8], input: &[f32]) -> Option<Vec<f32>> {
    let engine = onnxruntime()?;
    assert!(engine.reads_packed());
    let file = on_disk(model);
    let [c, h, w] = IMAGE;
    Some(engine.load(&file.path, 1).unwrap().run(input, &[COUNT, c, h, w]).unwrap())
}

#[test]
fn integers_are_the_same_in_the_narrowest_type() {
    let net = net();
    let input = floats(images(COUNT, &Device::flex()).into_data());
    for (words, bits) in [
        ("int4 channel narrow", 4),
        ("int4 tensor symmetric", 4),
        ("int3 channel symmetric", 4),
        ("int2 channel symmetric", 2),
        ("int8 channel narrow", 8),
    ] {
        for activations in [BTreeMap::new(), activations(&net)] {
            let plan = QuantPlan { activations, ..integers(&net, words) };
            let float = plan.activations.is_empty();
            let [wide, packed] = files(&net, plan);
            let codes = onnx::quantized_weights(&wide).unwrap();
            assert_eq!(onnx::quantized_weights(&packed).unwrap(), codes, "{words}");
            let count: usize = codes
                .iter()
                .filter(|(name, _)| name.contains("weight"))
                .map(|(_, tensor)| tensor.data.len())
                .sum();
            let saved = wide.len().saturating_sub(packed.len());
            // Zero points are narrower too; each tensor ends on a whole byte.
            let expected = count - count * bits / 8;
            // Where activations are rounded, clips take some bytes.
            assert!(
                !float || saved + 8 >= expected && saved <= expected + 64,
                "{words}: {saved} of {expected}"
            );
            if let (Some(expected), Some(found)) = (run(&wide, &input), run(&packed, &input)) {
                let most = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
                let close = expected.iter().zip(&found).filter(|(a, b)| (*a - *b).abs() < 1e-4 * most);
                // With rounded activations a last bit moves a code now and then.
                let close = close.count() as f64 / expected.len() as f64;
                assert!(close > 0.97, "{words}: {close}");
            }
        }
    }
}

#[test]
fn schemes_that_engines_do_not_compute_with_are_stored_in_codes() {
    let net = net();
    let all = weights(&net);
    let input = floats(images(COUNT, &Device::flex()).into_data());
    for (words, opset) in [
        ("int4 channel affine", Some(21)),
        ("uint4 group=16 affine", Some(21)),
        // No group divides 25 inputs.
        ("int4 group=8 narrow", Some(21)),
        ("uint2 group=8 affine", Some(25)),
        ("int2 tensor affine", Some(25)),
        ("int6 group=8 affine scale=fp16", Some(21)),
        ("uint8 channel affine", Some(13)),
        ("e4m3fn channel", Some(19)),
        ("e4m3fn", Some(19)),
        ("e5m2 group=8", Some(21)),
        ("e4m3fnuz tensor", Some(19)),
        ("e5m2fnuz channel", Some(19)),
        ("binary", Some(25)),
        ("nf4 group=16", None),
        ("mxfp4", None),
    ] {
        for activations in [BTreeMap::new(), activations(&net)] {
            let plan = QuantPlan { activations, ..rounded(&all, words) };
            let values: Weights =
                plan.rounded.iter().map(|(path, weight)| (path.clone(), weight.values.clone())).collect();
            let float = plan.activations.is_empty();
            let [wide, packed] = files(&net, plan);
            assert_eq!(packed.len() < wide.len(), opset.is_some(), "{words}");
            assert_eq!(onnx::opset(&packed).unwrap(), opset.unwrap_or(13), "{words}");
            let stored = onnx::floats(&packed).unwrap();
            assert_eq!(stored.contains_key("linear1.weight"), opset.is_none(), "{words}");
            let Some(found) = run(&packed, &input) else { continue };
            if float {
                let mut rounded = all.clone();
                rounded.extend(values);
                let simulated = with_weights(net.clone(), &rounded);
                let expected = simulated.forward(images(COUNT, &Device::flex()), &mut |_, x| x);
                assert_close(&found, &floats(expected.into_data()), 1e-4, words);
            } else {
                // The same model but for where its numbers are stored.
                assert_close(&found, &run(&wide, &input).unwrap(), 1e-4, words);
            }
        }
    }
}

/// A linear layer on more axes reads `[in, out]`, where groups run down the columns.
#[test]
fn groups_run_along_inputs_in_either_layout() {
    let device = Device::flex();
    let layer = burn::nn::LinearConfig::new(20, 6).init(&device);
    let graph = kd_graph::capture(&layer, [1, 3, 20], |layer: &burn::nn::Linear, x: Tensor<3>, _| {
        layer.forward(x).flatten::<2>(1, 2)
    })
    .unwrap();
    let all = weights(&layer);
    for words in ["int4 group=8 affine", "int4 channel affine", "e4m3fn channel"] {
        let scheme: Scheme = words.parse().unwrap();
        let array = &all["weight"];
        let encoded = encode_weight(array.data(), array.shape(), 1, &scheme).unwrap();
        let values = Array::new(array.shape(), decode_weight(&encoded, array.shape(), 1).unwrap()).unwrap();
        let weight =
            RoundedWeight { scheme, axis: 1, method: None, values: values.clone(), encoded: Some(encoded) };
        let plan = QuantPlan {
            rounded: BTreeMap::from([("weight".to_owned(), weight)]),
            container: WeightsContainer::Packed,
            ..QuantPlan::default()
        };
        let model = onnx::lower(&graph, &all, Some(&plan)).unwrap();
        assert!(!onnx::floats(&model).unwrap().contains_key("weight"), "{words}");
        let Some(engine) = onnxruntime() else { continue };
        let input = Random(3).array(&[2, 3, 20]);
        let file = on_disk(&model);
        let found = engine.load(&file.path, 1).unwrap().run(input.data(), &[2, 3, 20]).unwrap();
        let mut rounded = all.clone();
        rounded.insert("weight".into(), values);
        let data = burn::tensor::TensorData::new(input.data().to_vec(), [2, 3, 20]);
        let expected = with_weights(layer.clone(), &rounded).forward(Tensor::<3>::from_data(data, &device));
        assert_close(&found, &floats(expected.into_data()), 1e-5, words);
    }
}
