//! Models rounded block by block: where blocks end, and what they put out on data that they were not rounded with.
use std::collections::BTreeMap;

use burn::tensor::Device;
use kd_core::Tap;
use kd_train::batches::Batch;
use kd_train::network::Network;
use kd_train::ptq::{Block, Layer, Method, Prepared, Rounding, Source, Walked, blocks, walk};
use quant_core::Scheme;

use crate::ptq::{batch, convnet, ds_cnn, mlp, resnet, trained, transformer};

fn found(network: &dyn Network) -> (Prepared, Vec<Block>) {
    let prepared = Prepared::new(network).unwrap();
    let found = blocks(&prepared.graph, &prepared.layers);
    (prepared, found)
}

fn sizes(network: &dyn Network) -> Vec<(String, usize)> {
    found(network).1.iter().map(|block| (block.name().to_owned(), block.layers.len())).collect()
}

fn named(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn blocks_end_where_one_tensor_is_in_flight() {
    assert_eq!(sizes(mlp().as_ref()), named(&[("hidden1", 1), ("hidden2", 1), ("output", 1)]));
    assert_eq!(
        sizes(convnet().as_ref()),
        named(&[("block1", 1), ("block2", 1), ("hidden", 1), ("output", 1)])
    );
    assert_eq!(
        sizes(resnet().as_ref()),
        named(&[("stem", 1), ("stage1.block1", 2), ("stage2.block1", 3), ("pool", 3), ("output", 1)])
    );
    assert_eq!(sizes(transformer().as_ref()), named(&[("layer1", 6), ("pooled", 6), ("output", 1)]));
    for network in [mlp(), convnet(), resnet(), ds_cnn(), transformer()] {
        let (prepared, blocks) = found(network.as_ref());
        let all: Vec<usize> = blocks.iter().flat_map(|block| block.layers.clone()).collect();
        assert_eq!(all, (0..prepared.layers.len()).collect::<Vec<_>>(), "{}", network.model());
    }
}

fn run(prepared: &Prepared, method: &str, scheme: &str, data: &[Batch]) -> Walked {
    rounded(prepared, &method.parse().unwrap(), scheme, data)
}

/// A method that takes few steps.
fn hasty(method: &str) -> Method {
    let mut method: Method = method.parse().unwrap();
    if let Rounding::Brecq(knobs, _) = &mut method.rounding {
        knobs.iterations = 60;
    }
    method
}

fn rounded(prepared: &Prepared, method: &Method, scheme: &str, data: &[Batch]) -> Walked {
    let scheme: Scheme = scheme.parse().unwrap();
    let again = || -> Box<dyn Iterator<Item = Batch>> { Box::new(data.iter().cloned()) };
    walk(prepared, &|_: &Layer| Some(scheme), method, Source::Sequential, &again).unwrap()
}

/// What a network shows at the ends of blocks.
fn shown(network: &dyn Network, blocks: &[Block], data: &Batch) -> BTreeMap<String, Vec<f32>> {
    let mut tap = Tap::wanting(blocks.iter().filter_map(|block| block.site.clone()));
    let logits = network.forward(data.rows.clone(), &mut tap);
    let features = tap.into_features();
    let of = |block: &Block| match &block.site {
        Some(site) => features.get(site).unwrap().clone().flat().into_data().try_to_vec().unwrap(),
        None => logits.clone().into_data().try_to_vec().unwrap(),
    };
    blocks.iter().map(|block| (block.name().to_owned(), of(block))).collect()
}

/// Mean over blocks of ln ‖ŷ − y‖² / ‖y‖² on `data`.
fn error(walked: &Walked, blocks: &[Block], data: &Batch) -> f64 {
    let float = shown(walked.float.as_ref(), blocks, data);
    let rounded = shown(walked.network.as_ref(), blocks, data);
    let of = |name: &String| {
        let pairs = float[name].iter().zip(&rounded[name]);
        let noise: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let all: f64 = float[name].iter().map(|a| f64::from(*a).powi(2)).sum();
        (noise / all).ln()
    };
    float.keys().map(of).sum::<f64>() / blocks.len() as f64
}

#[test]
fn blocks_beat_layers_on_data_that_they_have_not_seen() {
    let device = Device::flex();
    let data = |network: &dyn Network| -> Vec<Batch> {
        (0..8).map(|salt| batch(network, 64, salt, &device)).collect()
    };
    for (network, scheme) in [
        (mlp(), "int2 channel affine"),
        (convnet(), "int2 channel affine"),
        (resnet(), "int2 channel affine"),
        (ds_cnn(), "int3 channel affine"),
        (transformer(), "int2 channel affine"),
    ] {
        let network = trained(network.as_ref());
        let (prepared, blocks) = found(network.as_ref());
        let data = data(network.as_ref());
        let unseen = batch(network.as_ref(), 256, 91, &device);
        let of = |method: &str| error(&run(&prepared, method, scheme, &data), &blocks, &unseen);
        let (nearest, layers) = (of("rtn"), of("adaround"));
        let walked = run(&prepared, "brecq", scheme, &data);
        let together = error(&walked, &blocks, &unseen);
        let name = network.model();
        assert!(together < layers && together < nearest, "{name} {scheme}: {nearest} {layers} {together}");
        for layer in &walked.layers {
            let block = layer.block.as_ref().unwrap();
            assert!(block.after < block.before && block.before > 0.0, "{name} {}: {block:?}", layer.name);
        }
        if name == "convnet" {
            let fisher = of("brecq=fisher");
            assert!(fisher < nearest && fisher != together, "{scheme}: {nearest} {fisher}");
        }
    }
}

#[test]
fn what_is_reconstructed_is_what_its_codes_stand_for() {
    let network = trained(resnet().as_ref());
    let (prepared, _) = found(network.as_ref());
    let data: Vec<Batch> = (0..2).map(|salt| batch(network.as_ref(), 32, salt, &Device::flex())).collect();
    let once = || rounded(&prepared, &hasty("equalize+brecq+bias"), "uint3 group=9 affine", &data);
    let (walked, again) = (once(), once());
    assert_eq!(walked.layers, again.layers, "equal arguments give equal bits");
    let weights = walked.network.weights();
    for (report, layer) in walked.layers.iter().zip(&prepared.layers) {
        assert_eq!(report.coded.encoded.decode(), layer.matrix(&weights[&layer.path]), "{}", layer.name);
        assert_eq!(report.bits, report.scheme.bits(report.rows, report.columns));
        assert!(report.before.is_some() && report.after.is_some(), "{}", layer.name);
    }

    // Layers that stay in floats are not touched, and the rest of their blocks is rounded around them.
    let method = hasty("brecq");
    let again = || -> Box<dyn Iterator<Item = Batch>> { Box::new(data.clone().into_iter()) };
    let scheme: Scheme = "int4 channel affine".parse().unwrap();
    let of = |layer: &Layer| (!layer.name.contains("second")).then_some(scheme);
    let walked = walk(&prepared, &of, &method, Source::Float, &again).unwrap();
    let (before, after) = (prepared.network.weights(), walked.network.weights());
    for layer in &prepared.layers {
        let same = before[&layer.path] == after[&layer.path];
        assert_eq!(same, layer.name.contains("second"), "{}", layer.name);
    }
}
