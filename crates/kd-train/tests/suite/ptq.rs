//! Whole models quantized after training: what layers read, what methods gain, and what they leave as it was.
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::Tap;
use kd_train::batches::Batch;
use kd_train::evaluate::predict;
use kd_train::models::{
    ConvNet, ConvNetConfig, DsCnn, DsCnnConfig, Mlp, MlpConfig, ResNet, ResNetConfig, Transformer,
    TransformerConfig,
};
use kd_train::network::{Built, Network, seeded};
use kd_train::ptq::{
    Layer, Measure, Method, Prepared, Source, Walked, gather, inputs, mixed, score, sensitivities, walk,
};
use kd_train::recipe::OptimizerSpec;
use kd_train::session::{Goal, QuantizeRun, quantize};
use kd_train::{Model, Registry, Task, checkpoint_quant, optimizer};
use quant_core::Scheme;

const EXAMPLES: usize = 24;

fn images() -> Task {
    Task { input: vec![1, 8, 8], classes: 4 }
}

fn build<M: Model>(name: &'static str, config: &M::Config, task: &Task) -> Box<dyn Network> {
    let device = Device::flex();
    seeded(&device, 5, || Built::<M>::build(name, config, task, &device)).unwrap()
}

pub(crate) fn mlp() -> Box<dyn Network> {
    build::<Mlp>("mlp", &MlpConfig { hidden: vec![20, 12] }, &images())
}

pub(crate) fn convnet() -> Box<dyn Network> {
    let config = ConvNetConfig { channels: vec![4, 6], kernel: 3, hidden: 10, norm: true };
    build::<ConvNet>("convnet", &config, &images())
}

pub(crate) fn resnet() -> Box<dyn Network> {
    build::<ResNet>("resnet", &ResNetConfig { depth: 8, width: 3 }, &images())
}

pub(crate) fn ds_cnn() -> Box<dyn Network> {
    let config = DsCnnConfig { stem: 4, stem_stride: 2, channels: vec![6, 6], strides: vec![1, 2] };
    build::<DsCnn>("ds-cnn", &config, &images())
}

pub(crate) fn transformer() -> Box<dyn Network> {
    let config = TransformerConfig { width: 8, layers: 2, heads: 2, feed_forward: 12, vocabulary: 11 };
    build::<Transformer>("transformer", &config, &Task { input: vec![6], classes: 4 })
}

fn upload(rows: Vec<f32>, classes: Vec<u32>, device: &Device) -> Batch {
    let count = classes.len();
    let features = rows.len() / count;
    let labels: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    Batch {
        rows: Tensor::from_data(TensorData::new(rows, [count, features]), device),
        labels: Tensor::from_data(TensorData::new(labels, [count]), device),
        classes,
    }
}

/// Rows with a structure that can be learned: the class moves a bump, and neighbors are correlated.
pub(crate) fn batch(network: &dyn Network, count: usize, salt: usize, device: &Device) -> Batch {
    let features = network.task().features();
    let tokens = network.model() == "transformer";
    let classes: Vec<u32> = (0..count).map(|i| ((i * 7 + salt) % 4) as u32).collect();
    let value = |i: usize, j: usize| {
        let noise = ((i * 31 + j * 17 + salt * 13) as f32 * 0.73).sin();
        let wave = ((j as f32) * 0.3 + classes[i] as f32 * 1.5).sin();
        match tokens {
            true => (1 + (i * 5 + j * (classes[i] as usize + 1) + salt) % 10) as f32,
            false => wave + 0.4 * noise,
        }
    };
    let rows = (0..count).flat_map(|i| (0..features).map(move |j| (i, j))).map(|(i, j)| value(i, j));
    upload(rows.collect(), classes.clone(), device)
}

fn batches(network: &dyn Network) -> Vec<Batch> {
    (0..3).map(|salt| batch(network, EXAMPLES, salt, &Device::flex())).collect()
}

pub(crate) fn trained(network: &dyn Network) -> Box<dyn Network> {
    let device = Device::flex().autodiff();
    let mut network = network.training();
    let mut optimizer = optimizer::build(&OptimizerSpec::default());
    for step in 0..40 {
        let batch = batch(network.as_ref(), EXAMPLES, step % 5, &device);
        let logits = network.forward(batch.rows, &mut Tap::none());
        let labels: Tensor<2, Int> = batch.labels.reshape([EXAMPLES, 1]);
        let loss = burn::tensor::activation::log_softmax(logits, 1).gather(1, labels).neg().mean();
        let mut gradients = loss.backward();
        let own = network.gradients(&mut gradients);
        network.step(&mut optimizer, 1e-2, own);
    }
    network.inference()
}

fn run(network: &dyn Network, method: &str, scheme: &str, source: Source) -> Walked {
    let prepared = Prepared::new(network).unwrap();
    let data = batches(network);
    let scheme: Scheme = scheme.parse().unwrap();
    let method: Method = method.parse().unwrap();
    walk(&prepared, &|_: &Layer| Some(scheme), &method, source, &|| Box::new(data.clone().into_iter()))
        .unwrap()
}

fn logits(network: &dyn Network, data: &[Batch]) -> Vec<f32> {
    predict(network, None, data.iter().cloned()).logits
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// W·X + b of a layer from its rows is what the network shows at the site behind it.
fn check_outputs(network: &dyn Network, layer: &str, site: &str, activated: bool) {
    let prepared = Prepared::new(network).unwrap();
    let layer = prepared.layers.iter().find(|found| found.name == layer).unwrap();
    let weights = prepared.network.weights();
    let matrix = layer.matrix(&weights[&layer.path]);
    let at = prepared.layers.iter().position(|found| found == layer).unwrap();
    let bias = prepared.biases[at].as_ref().map(|path| weights[path].data().to_vec());
    let data = batch(network, 5, 3, &Device::flex());

    let mut by_group: Vec<Vec<f32>> = vec![Vec::new(); layer.groups];
    let mut take = |group: usize, rows: &[f32]| {
        by_group[group].extend(rows);
        Ok(())
    };
    inputs::rows(prepared.network.as_ref(), &prepared.graph, layer, data.clone(), &mut take).unwrap();
    let tokens = by_group[0].len() / layer.columns;
    let mut found = vec![0.0_f32; tokens * layer.rows];
    for (row, w) in matrix.chunks(layer.columns).enumerate() {
        let inputs = &by_group[row / layer.rows_of_group()];
        for (token, x) in inputs.chunks(layer.columns).enumerate() {
            let sum: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            let y = sum as f32 + bias.as_ref().map_or(0.0, |bias| bias[row]);
            found[token * layer.rows + row] = if activated { y.max(0.0) } else { y };
        }
    }

    let mut tap = Tap::wanting([site]);
    prepared.network.forward(data.rows, &mut tap);
    let features = tap.into_features();
    let feature = features.get(site).unwrap().clone();
    let dims = feature.dims();
    let shown: Vec<f32> = feature.flat().into_data().try_to_vec().unwrap();
    assert_eq!(shown.len(), found.len(), "{}: {dims:?}", layer.name);
    // Channels stand before positions at a site of rank 4, behind them in rows.
    let positions: usize = if dims.len() == 4 { dims[2..].iter().product() } else { 1 };
    let of = |index: usize| {
        let (token, row) = (index / layer.rows, index % layer.rows);
        match dims.len() {
            4 => ((token / positions) * layer.rows + row) * positions + token % positions,
            _ => index,
        }
    };
    for (index, y) in found.iter().enumerate() {
        let expected = shown[of(index)];
        assert!((y - expected).abs() < 2e-5 * (1.0 + y.abs()), "{} {index}: {y} {expected}", layer.name);
    }
}

#[test]
fn streamed_inputs_give_what_the_model_gives_at_the_next_site() {
    check_outputs(mlp().as_ref(), "hidden.0.weight", "hidden1", true);
    check_outputs(mlp().as_ref(), "hidden.1.weight", "hidden2", true);
    let net = trained(convnet().as_ref());
    check_outputs(net.as_ref(), "blocks.0.conv.weight", "block1", true);
    check_outputs(net.as_ref(), "blocks.1.conv.weight", "block2", true);
    check_outputs(net.as_ref(), "hidden.weight", "hidden", true);
    let net = trained(resnet().as_ref());
    check_outputs(net.as_ref(), "stem.conv.weight", "stem", true);
    check_outputs(net.as_ref(), "stage2.0.first.conv.weight", "stage2.block1.hidden", true);
    let net = trained(ds_cnn().as_ref());
    check_outputs(net.as_ref(), "stem.weight", "stem", true);
    check_outputs(net.as_ref(), "blocks.0.depthwise.weight", "block1.depthwise", true);
    check_outputs(net.as_ref(), "blocks.0.pointwise.weight", "block1", true);
    check_outputs(net.as_ref(), "blocks.1.depthwise.weight", "block2.depthwise", true);
    let net = transformer();
    for part in ["query", "key", "value"] {
        let (layer, site) = (format!("layers.1.attention.{part}.weight"), format!("layer2.{part}"));
        check_outputs(net.as_ref(), &layer, &site, false);
    }
}

/// Groups, strides, uneven padding and dilation, a site behind each.
#[derive(Module, Debug)]
struct Odd {
    grouped: Conv2d,
    dilated: Conv2d,
    output: Linear,
}

impl Model for Odd {
    type Input = Tensor<4>;
    type Config = ();
    const ABOUT: &'static str = "convolutions of all kinds";

    fn build((): &(), task: &Task, device: &Device) -> Result<Self, String> {
        let padding = PaddingConfig2d::Explicit(1, 0, 2, 1);
        let grouped =
            Conv2dConfig::new([4, 6], [2, 3]).with_groups(2).with_stride([2, 1]).with_padding(padding);
        let dilated = Conv2dConfig::new([6, 3], [3, 2]).with_dilation([1, 2]);
        let dilated = dilated.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        Ok(Self {
            grouped: grouped.init(device),
            dilated: dilated.init(device),
            output: LinearConfig::new(3, task.classes).init(device),
        })
    }

    fn forward(&self, input: Tensor<4>, tap: &mut Tap<'_>) -> Tensor<2> {
        let x = tap.at("grouped", relu(self.grouped.forward(input)));
        let x = tap.at("dilated", self.dilated.forward(x));
        // A mean over positions, step by step: a layer behind it is out of reach.
        let x = x.flatten::<3>(2, 3).sum_dim(2).flatten::<2>(1, 2);
        self.output.forward(x)
    }
}

#[test]
fn convolutions_unfold_with_groups_strides_padding_and_dilation() {
    let task = Task { input: vec![4, 7, 5], classes: 4 };
    let net = build::<Odd>("odd", &(), &task);
    check_outputs(net.as_ref(), "grouped.weight", "grouped", true);
    check_outputs(net.as_ref(), "dilated.weight", "dilated", false);

    let prepared = Prepared::new(net.as_ref()).unwrap();
    let reason = prepared.layers.last().unwrap().route.clone().unwrap_err();
    assert!(reason.contains("`sum_dim`"), "{reason}");
    let walked = run(net.as_ref(), "gptq+bias", "int4 channel affine", Source::Sequential);
    let last = walked.layers.last().unwrap();
    assert_eq!((last.before, last.after), (None, None));
    assert!(last.notes[0].starts_with("rounded to nearest: "), "{:?}", last.notes);
}

#[test]
fn methods_lower_the_error_of_every_layer_of_a_trained_model() {
    for net in [mlp(), convnet(), resnet(), ds_cnn(), transformer()] {
        let net = trained(net.as_ref());
        for (method, source) in [
            ("gptq", Source::Sequential),
            ("gptq", Source::Float),
            ("adaround", Source::Sequential),
            ("awq", Source::Sequential),
            ("spqr", Source::Sequential),
        ] {
            let walked = run(net.as_ref(), method, "int3 channel affine", source);
            let (mut sum, mut count) = (0.0, 0.0);
            for layer in &walked.layers {
                let (before, after) = (layer.before.unwrap(), layer.after.unwrap());
                let every = matches!(method, "gptq" | "adaround");
                assert!(
                    !every || after < before,
                    "{} {method} {}: {before} {after}",
                    net.model(),
                    layer.name
                );
                (sum, count) = (sum + (after / before).ln(), count + 1.0);
            }
            // AWQ's scales are a compromise of several layers, and a filter of nine weights has little to give.
            assert!(sum / count < -0.05, "{} {method}: {}", net.model(), sum / count);
        }
    }
}

#[test]
fn everything_that_rounds_is_what_its_codes_stand_for() {
    let net = trained(convnet().as_ref());
    for (method, scheme) in [
        ("rtn", "nf4 group=16"),
        ("rtn", "mxfp4"),
        ("rtn", "int8 tensor affine"),
        ("gptq", "uint4 group=8 affine"),
        ("adaround", "int4 channel symmetric"),
    ] {
        let walked = run(net.as_ref(), method, scheme, Source::Sequential);
        let weights = walked.network.weights();
        let layers = Prepared::new(net.as_ref()).unwrap().layers;
        for (report, layer) in walked.layers.iter().zip(&layers) {
            assert_eq!(
                report.coded.encoded.decode(),
                layer.matrix(&weights[&layer.path]),
                "{method} {scheme}"
            );
            assert_eq!(report.bits, report.scheme.bits(report.rows, report.columns));
        }
    }
    let walked = run(net.as_ref(), "llm-int8=1.0+lorc=2", "int8 channel narrow", Source::Sequential);
    assert!(walked.layers.iter().any(|layer| !layer.coded.outliers.is_empty()));
    assert!(walked.layers.iter().all(|layer| layer.after.unwrap() <= layer.before.unwrap()));
    let walked = run(net.as_ref(), "hqq", "uint3 group=16 affine", Source::Sequential);
    assert!(walked.layers.iter().all(|layer| layer.coded.float_zeros.is_some()));
}

#[test]
fn scales_between_layers_leave_the_function_as_it_was() {
    for net in [mlp(), convnet(), resnet(), ds_cnn(), transformer()] {
        let net = trained(net.as_ref());
        let data = batches(net.as_ref());
        let given = logits(net.as_ref(), &data);
        let most = given.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        for method in ["equalize", "smooth", "awq"] {
            if (net.model(), method) == ("transformer", "equalize") {
                // No two layers of it stand next to each other.
                continue;
            }
            let walked = run(net.as_ref(), method, "int4 channel affine", Source::Sequential);
            let moved = largest_difference(&given, &logits(walked.float.as_ref(), &data)) / most;
            assert!(moved <= 1e-5, "{} {method}: {moved}", net.model());
            let stored = net.weights();
            let changed = walked.float.weights().iter().any(|(path, array)| *array != stored[path]);
            assert!(changed, "{} {method} scales something", net.model());
        }
    }
}

#[test]
fn equalization_helps_a_scale_for_the_whole_tensor() {
    // Channels of very different ranges, as batch norm leaves them.
    let net = trained(convnet().as_ref());
    let mut weights = net.weights();
    for (path, array) in &mut weights {
        if path.ends_with("norm.gamma") {
            let values: Vec<f32> =
                array.data().iter().enumerate().map(|(at, x)| x * 8_f32.powi(at as i32 % 3 - 1)).collect();
            *array = kd_deploy::Array::new(array.shape(), values).unwrap();
        }
    }
    let mut net = net.inference();
    net.set_weights(&weights);
    let walked = run(net.as_ref(), "equalize", "int4 tensor symmetric", Source::Float);
    let conv = walked.layers.iter().find(|layer| layer.name == "blocks.0.conv.weight").unwrap();
    assert!(conv.after.unwrap() < conv.before.unwrap(), "{:?} {:?}", conv.before, conv.after);
}

/// Mean of each output of a layer in a network, from sums over its inputs.
fn means(prepared: &Prepared, network: &dyn Network, at: usize, data: &[Batch]) -> Vec<f64> {
    let layer = &prepared.layers[at];
    let stats = gather(network, &prepared.graph, &[layer], data.iter().cloned()).unwrap().remove(0).unwrap();
    let weights = network.weights();
    let matrix = layer.matrix(&weights[&layer.path]);
    let bias = &weights[prepared.biases[at].as_ref().unwrap()];
    let mean = |(row, w): (usize, &[f32])| {
        let x = stats[row / layer.rows_of_group()].mean().unwrap();
        w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(bias.data()[row])
    };
    matrix.chunks(layer.columns).enumerate().map(mean).collect()
}

#[test]
fn corrected_biases_restore_the_mean_of_every_output() {
    for net in [mlp(), convnet(), resnet(), ds_cnn(), transformer()] {
        let net = trained(net.as_ref());
        let data = batches(net.as_ref());
        let prepared = Prepared::new(net.as_ref()).unwrap();
        let plain = run(net.as_ref(), "rtn", "int3 channel affine", Source::Sequential);
        let mended = run(net.as_ref(), "rtn+bias=empirical", "int3 channel affine", Source::Sequential);
        for at in 0..prepared.layers.len() {
            let float = means(&prepared, prepared.network.as_ref(), at, &data);
            let off = |walked: &Walked| {
                let found = means(&prepared, walked.network.as_ref(), at, &data);
                found.iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let (before, after) = (off(&plain), off(&mended));
            assert!(after < 1e-5 && after < before, "{} {}: {before} {after}", net.model(), at);
        }
    }
}

#[test]
fn batch_norm_tells_means_without_data() {
    let net = trained(ds_cnn().as_ref());
    let walked = run(net.as_ref(), "rtn+bias", "int3 channel affine", Source::Float);
    assert!(walked.layers.iter().all(|layer| layer.bias.is_some()), "every layer has a bias");
    let empirical = run(net.as_ref(), "rtn+bias=empirical", "int3 channel affine", Source::Float);
    let bias = |walked: &Walked, at: usize| walked.layers[at].bias.clone().unwrap().1;
    assert_eq!(bias(&walked, 0), bias(&empirical, 0), "the first layer reads no batch norm");
    assert_ne!(bias(&walked, 1), bias(&empirical, 1), "the second does");
}

#[test]
fn budgets_are_kept_and_the_front_falls() {
    let net = trained(convnet().as_ref());
    let prepared = Prepared::new(net.as_ref()).unwrap();
    let data = batches(net.as_ref());
    let again = || -> Box<dyn Iterator<Item = Batch>> { Box::new(data.clone().into_iter()) };
    for measure in [Measure::Sqnr, Measure::Kl, Measure::Fisher] {
        let found = sensitivities(&prepared, &mixed::candidates(), measure, 8, &again).unwrap();
        for (layer, candidates) in prepared.layers.iter().zip(&found) {
            let (two, eight) = (candidates[0].loss, candidates[4].loss);
            assert!(eight < two && candidates[8].loss == 0.0, "{measure:?} {}: {two} {eight}", layer.name);
            assert_eq!(candidates[4].bit_operations, layer.macs * 64);
        }
        for cost in [mixed::Cost::Bytes, mixed::Cost::BitOperations] {
            let front = mixed::front(&found, cost, None).unwrap();
            let points: Vec<_> = front.iter().collect();
            assert!(points.len() > 5, "{measure:?}");
            assert!(points.windows(2).all(|pair| pair[0].cost < pair[1].cost && pair[0].loss > pair[1].loss));
        }
        let most = mixed::bytes(&prepared.layers, 6.0);
        let point = mixed::front(&found, mixed::Cost::Bytes, Some(most)).unwrap().within(most).unwrap();
        let schemes = mixed::schemes(&prepared.layers, &found, &point);
        let bits: u64 = prepared
            .layers
            .iter()
            .map(|layer| {
                schemes
                    .get(&layer.path)
                    .map_or(32 * layer.len() as u64, |s| s.bits(layer.rows, layer.columns))
            })
            .sum();
        assert!(bits <= 8 * most, "{bits} {most}");
        let method: Method = "gptq".parse().unwrap();
        let of = |layer: &Layer| schemes.get(&layer.path).copied();
        let walked = walk(&prepared, &of, &method, Source::Sequential, &again).unwrap();
        assert_eq!(walked.layers.len(), schemes.len());
        let float = predict(walked.float.as_ref(), None, again());
        let scored = score(walked.network.as_ref(), &float, again());
        assert!(scored.kl >= 0.0 && scored.agreement > 0.5, "{scored:?}");
    }
}

#[test]
fn equal_arguments_give_equal_bits_and_sums_do_not_grow() {
    let net = trained(resnet().as_ref());
    let once = || {
        let walked = run(net.as_ref(), "equalize+gptq+bias", "int4 group=8 affine", Source::Sequential);
        (walked.layers.clone(), walked.network.weights())
    };
    let (first, second) = (once(), once());
    assert_eq!(first.0, second.0);
    assert_eq!(first.1, second.1);

    let prepared = Prepared::new(net.as_ref()).unwrap();
    let layers: Vec<&Layer> = prepared.layers.iter().collect();
    let data = batches(net.as_ref());
    let sums = |data: Vec<Batch>| gather(net.as_ref(), &prepared.graph, &layers, data.into_iter()).unwrap();
    let size = |gathered: &[Option<std::sync::Arc<Vec<quant_core::ptq::InputStats>>>]| -> usize {
        gathered
            .iter()
            .flatten()
            .flat_map(|stats| stats.iter())
            .map(|stats| stats.hessian().unwrap().values().len())
            .sum()
    };
    let (few, many) = (sums(data[..1].to_vec()), sums((0..10).flat_map(|_| data.clone()).collect()));
    assert_eq!(size(&few), size(&many));
    // Another cut of the same stream gives the same bits.
    let device = Device::flex();
    let cut: Vec<Batch> = data
        .iter()
        .flat_map(|batch| {
            let rows: Vec<f32> = batch.rows.clone().into_data().try_to_vec().unwrap();
            let (rows, device) = (rows, device.clone());
            let classes = batch.classes.clone();
            (0..EXAMPLES).step_by(8).map(move |at| {
                upload(rows[at * 64..(at + 8) * 64].to_vec(), classes[at..at + 8].to_vec(), &device)
            })
        })
        .collect();
    let input = |gathered: &kd_train::ptq::Gathered| gathered[0].clone().unwrap();
    assert_eq!(input(&sums(data.clone())), input(&sums(cut)));
}

/// Sizes as predicted, on disk; shapes and values as they were.
fn every_layout_holds_convolutions(run: &std::path::Path, ask: &dyn Fn(Goal, &str) -> QuantizeRun) {
    let env = crate::common::env();
    for (at, scheme) in [
        "int3 group=9 affine",
        "uint2 channel affine",
        "int8 tensor symmetric",
        "int16 channel symmetric",
        "e4m3fn channel",
        "bf16",
        "nf4 group=16",
        "mxfp4",
        "ternary",
        "q8_0",
    ]
    .into_iter()
    .enumerate()
    {
        let out = run.join(format!("layout-{at}"));
        let request = ask(Goal::Scheme(scheme.parse().unwrap()), "rtn");
        let done = quantize(run, &request, &out, &env, &Registry::builtin()).unwrap();
        let notes = &done.report.notes;
        assert!(notes.iter().all(|note| !note.contains("written as the floats")), "{scheme}: {notes:?}");
        let file = std::fs::read(out.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        let floats = run.join("layout.safetensors");
        checkpoint_quant::dequantize(&out, &floats).unwrap();
        let floats = kd_deploy::safetensors::read(&floats).unwrap().arrays;
        for layer in &done.layers {
            let name = &layer.name;
            let row = done.report.rows.iter().find(|row| row.tensor == *name).unwrap();
            let on_disk: usize = file
                .tensors()
                .iter()
                .filter(|(part, _)| part == name || part.starts_with(&format!("{name}_")))
                .map(|(_, view)| view.data().len())
                .sum();
            assert_eq!(row.bytes, on_disk as u64, "{scheme} {name}");
            assert_eq!(floats[name].data(), layer.coded.encoded.decode(), "{scheme} {name}");
            if scheme == "bf16" && name.contains("conv") {
                assert_eq!(file.tensor(name).unwrap().shape(), floats[name].shape());
            }
        }
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_run_becomes_the_folder_that_was_scored() {
    let trained = crate::common::trained();
    let out = trained.dir.join("int4");
    let ask = |goal: Goal, method: &str| QuantizeRun {
        data: None,
        goal,
        method: method.parse().unwrap(),
        source: Source::Sequential,
        batches: 2,
        own: false,
        ignore: Some(checkpoint_quant::ignore("output").unwrap()),
        front: true,
    };
    let request = ask(Goal::Scheme("int4 channel affine".parse().unwrap()), "equalize+gptq+bias");
    let done = quantize(&trained.dir, &request, &out, &crate::common::env(), &Registry::builtin()).unwrap();
    let names: Vec<&str> = done.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["blocks.0.conv.weight", "blocks.1.conv.weight", "hidden.weight"]);
    assert!(done.score.agreement > 0.5 && done.score.kl > 0.0, "{:?}", done.score);
    let unloadable = "compressed-tensors cannot load `blocks.0.conv.weight`: it is a convolution's";
    assert!(done.report.notes.iter().any(|note| note.starts_with(unloadable)), "{:?}", done.report.notes);
    assert!(!done.report.notes.iter().any(|note| note.contains("`hidden.weight`")));
    let again = quantize(&trained.dir, &request, &out, &crate::common::env(), &Registry::builtin());
    assert_eq!(again.err().unwrap().code(), "run::file-exists");

    // The floats behind the folder score the same: a network with these weights says what was scored.
    let floats = trained.dir.join("floats.safetensors");
    checkpoint_quant::dequantize(&out, &floats).unwrap();
    let stored = kd_deploy::safetensors::read(&floats).unwrap().arrays;
    let hidden = done.layers.last().unwrap();
    for layer in &done.layers {
        assert_eq!(stored[&layer.name].data(), layer.coded.encoded.decode(), "{}", layer.name);
    }
    assert_eq!(stored["blocks.0.conv.weight"].shape().len(), 4);
    assert_eq!(stored["hidden.weight"].data(), hidden.coded.encoded.decode());
    let (name, bias) = hidden.bias.clone().unwrap();
    assert_eq!((name.as_str(), stored["hidden.bias"].data()), ("hidden.bias", bias.as_slice()));

    every_layout_holds_convolutions(&trained.dir, &ask);

    let budget = Goal::Budget("6 bpw".parse().unwrap(), Measure::Kl);
    let done = quantize(
        &trained.dir,
        &ask(budget, "rtn"),
        &trained.dir.join("mixed"),
        &crate::common::env(),
        &Registry::builtin(),
    )
    .unwrap();
    assert!(done.front.len() > 3 && done.front.windows(2).all(|pair| pair[0].loss > pair[1].loss));
    let weights: usize = done.front[0].schemes.len();
    assert_eq!(weights, 3, "the last layer was to stay");
    let small = Goal::Budget("0.5 bpw".parse().unwrap(), Measure::Sqnr);
    let none = trained.dir.join("none");
    let refused =
        quantize(&trained.dir, &ask(small, "rtn"), &none, &crate::common::env(), &Registry::builtin());
    assert_eq!(refused.err().unwrap().code(), "quantize::budget");
    let wrong = ask(Goal::Scheme("nf4 group=16".parse().unwrap()), "gptq");
    let refused = quantize(&trained.dir, &wrong, &none, &crate::common::env(), &Registry::builtin());
    assert_eq!(refused.err().unwrap().code(), "quantize::option");
    assert!(!none.exists());
}
