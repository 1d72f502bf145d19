//! The quantized export: integers everywhere, the same codes as the files beside it, the same classes as the
//! simulation.

use std::collections::BTreeMap;

use crate::common::{
    CLASSES, Convnet, Folded, IMAGE, affine, engines, fake_quant, floats, graph, images, on_disk,
    onnxruntime, per_channel, per_tensor, symmetric, trained, unsigned, weights, with_weights,
};
use burn::tensor::{Device, Tensor};
use kd_deploy::engine::Optimization;
use kd_deploy::parity::{Parity, Tolerance, run_all};
use kd_deploy::quantization::Quantization;
use kd_deploy::{ActivationPlan, Array, QuantPlan, WeightPlan, Weights, onnx, rounded_biases, safetensors};
use quant_core::Layout;

const SITES: [&str; 4] = ["image", "block1", "block2", "hidden"];

/// A network to quantize, its plan, and what the simulation makes of the images.
struct Case {
    net: Folded,
    plan: QuantPlan,
}

impl Case {
    fn new(activation: fn(f32, f32) -> ActivationPlan) -> Self {
        let device = Device::flex();
        Self::of(&trained(&device), activation)
    }

    fn of(net: &Convnet, activation: fn(f32, f32) -> ActivationPlan) -> Self {
        Self::with(net, activation, per_channel)
    }

    fn with(
        net: &Convnet,
        activation: fn(f32, f32) -> ActivationPlan,
        weight: fn(&Array, usize) -> WeightPlan,
    ) -> Self {
        let device = Device::flex();
        let net = Folded::of(net, &device);
        let mut activations = BTreeMap::new();
        net.forward(images(256, &device), &mut |site, x| {
            let data = x.values();
            let (min, max) = data.iter().fold((0f32, 0f32), |(a, b), &x| (a.min(x), b.max(x)));
            activations.insert(site.to_owned(), activation(min, max));
            x
        });
        let all = weights(&net);
        let matrices = all.iter().filter(|(path, _)| path.ends_with("weight"));
        let plan = |(path, array): (&String, &Array)| {
            (path.clone(), weight(array, if path.starts_with("conv") { 0 } else { 1 }))
        };
        let weights = matrices.map(plan).collect();
        let plan = QuantPlan { weights, activations, ..QuantPlan::default() };
        Self { net, plan }
    }

    /// The logits of fake quantization, as training computes them.
    fn simulated(&self, input: Tensor<4>) -> Vec<f32> {
        let mut rounded: Weights = weights(&self.net);
        for (path, plan) in &self.plan.weights {
            let array = &rounded[path];
            let layout = Layout { shape: array.shape().to_vec(), axis: plan.axis };
            let codes = quant_core::quantize(array.data(), &layout, &plan.qparams).unwrap();
            let data = quant_core::dequantize(&codes, &layout, &plan.qparams).unwrap();
            rounded.insert(path.clone(), Array::new(layout.shape, data).unwrap());
        }
        let net = with_weights(self.net.clone(), &rounded);
        let logits = net.forward(input, &mut |site, x| fake_quant(x, &self.plan.activations[site]));
        floats(logits.into_data())
    }

    fn model(&self) -> Vec<u8> {
        onnx::lower(&self.net.graph(), &weights(&self.net), Some(&self.plan)).unwrap()
    }

    /// Runs the model on every engine, at two batch sizes, against the simulation.
    fn check_parity(&self, model: &[u8]) {
        let device = Device::flex();
        let file = on_disk(model);
        let count = 1050;
        let expected = self.simulated(images(count, &device));
        let input = floats(images(count, &device).into_data());
        let size: usize = IMAGE.iter().product();
        for engine in engines() {
            let mut session = engine.load(&file.path, 1).unwrap();
            let fill = |range: std::ops::Range<usize>, into: &mut Vec<f32>| {
                into.extend_from_slice(&input[range.start * size..range.end * size]);
            };
            let found = run_all(session.as_mut(), &IMAGE, count, 32, fill).unwrap();
            let parity = Parity::of(&expected, &found, CLASSES).unwrap();
            parity.check(Tolerance::int8(engine.as_ref()), "model.int8.onnx", engine.name()).unwrap();
            // One code of the last hidden layer, rounded the other way, moves a logit by a few hundredths.
            assert!(parity.max_abs < 0.03 * parity.max_logit, "{}: {parity:?}", engine.name());
            // A batch of one is the same arithmetic.
            let first = session.run(&input[..size], &[1, 1, 12, 12]).unwrap();
            crate::common::assert_close(&first, &found[..CLASSES], 1e-5, engine.name());
        }
    }

    /// The operators of the graph that ONNX Runtime makes of the model.
    fn optimized(model: &[u8]) -> Option<BTreeMap<String, usize>> {
        let engine = onnxruntime()?;
        let file = on_disk(model);
        let to = file.folder.path().join("optimized.onnx");
        engine.write_optimized(&file.path, Optimization::Extended, &to).unwrap();
        Some(onnx::operators(&std::fs::read(to).unwrap()).unwrap())
    }
}

fn assert_integers_only(model: &[u8]) {
    let Some(operators) = Case::optimized(model) else { return };
    let float = ["Conv", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul"];
    for operator in float {
        assert!(!operators.contains_key(operator), "{operator} stays: {operators:?}");
    }
    let count = |name: &str| operators.get(name).copied().unwrap_or_default();
    assert_eq!((count("QLinearConv"), count("QGemm")), (2, 2), "{operators:?}");
}

#[test]
fn affine_activations() {
    let case = Case::new(affine);
    let model = case.model();
    assert_integers_only(&model);
    // What is left besides the layers moves codes or turns images into them.
    if let Some(mut operators) = Case::optimized(&model) {
        operators.retain(|name, _| !name.starts_with("QLinear") && !name.starts_with("QGemm"));
        let rest: Vec<_> = operators.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(rest, [("MaxPool", 2), ("QuantizeLinear", 1), ("Reshape", 1)]);
    }
    case.check_parity(&model);
}

#[test]
fn symmetric_activations_of_a_narrow_range() {
    let case = Case::new(symmetric);
    let model = case.model();
    assert_integers_only(&model);
    case.check_parity(&model);
}

#[test]
fn unsigned_activations_and_one_scale_for_a_weight() {
    let case = Case::with(&trained(&Device::flex()), unsigned, per_tensor);
    let model = case.model();
    assert_integers_only(&model);
    case.check_parity(&model);
}

#[test]
fn every_layer_reads_integers_and_biases_have_32_bits() {
    let model = Case::new(affine).model();
    let integers = onnx::quantized_weights(&model).unwrap();
    let names: Vec<_> = integers.iter().map(|(name, t)| (name.as_str(), t.shape.clone())).collect();
    let expected = [
        ("conv1.bias_quantized", vec![4]),
        ("conv1.weight_quantized", vec![4, 1, 5, 5]),
        ("conv2.bias_quantized", vec![6]),
        ("conv2.weight_quantized", vec![6, 4, 3, 3]),
        ("linear1.bias_quantized", vec![16]),
        ("linear1.weight_quantized", vec![16, 54]),
        ("linear2.bias_quantized", vec![10]),
        ("linear2.weight_quantized", vec![10, 16]),
    ];
    assert_eq!(names, expected);
    let largest = integers["conv1.weight_quantized"].data.iter().map(|q| q.abs()).max();
    assert_eq!(largest, Some(127));
    assert!(onnx::layers_read_integers(&model).unwrap());
    let device = Device::flex();
    let net = trained(&device);
    let float = onnx::lower(&graph(&net), &weights(&net), None).unwrap();
    assert!(!onnx::layers_read_integers(&float).unwrap());
}

#[test]
fn the_batch_norms_of_the_original_fold_into_the_same_model() {
    let device = Device::flex();
    let net = trained(&device);
    let case = Case::of(&net, affine);
    let with_norms = onnx::lower(&graph(&net), &weights(&net), Some(&case.plan)).unwrap();
    assert_eq!(
        onnx::quantized_weights(&with_norms).unwrap(),
        onnx::quantized_weights(&case.model()).unwrap()
    );
    assert_integers_only(&with_norms);
    case.check_parity(&with_norms);
}

#[test]
fn the_float_weights_and_the_json_file_give_the_codes_of_the_onnx_file() {
    let device = Device::flex();
    let net = trained(&device);
    let case = Case::of(&net, affine);
    let folded = (case.net.graph(), weights(&case.net));
    let unfolded = (graph(&net), weights(&net));
    for (graph, weights) in [folded, unfolded] {
        let model = onnx::lower(&graph, &weights, Some(&case.plan)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [floats, json] = ["model.safetensors", "quantization.json"].map(|name| folder.path().join(name));
        let torch = safetensors::to_torch(&graph.params, &weights).unwrap();
        safetensors::write(&floats, &torch, &BTreeMap::new()).unwrap();
        Quantization::new(&graph, &weights, &case.plan).unwrap().write(&json).unwrap();

        let quantization = Quantization::read(&json).unwrap();
        let tensors = safetensors::read(&floats).unwrap().arrays;
        let integers = quantization.integers(&tensors).unwrap();
        let stored = onnx::quantized_weights(&model).unwrap();
        assert_eq!(integers.weights.len() + integers.biases.len(), stored.len());
        for (name, codes) in &integers.weights {
            assert_eq!(&stored[&format!("{name}_quantized")], codes, "{name}");
        }
        for (bias, codes) in quantization.biases.iter().zip(&integers.biases) {
            assert_eq!(&stored[&format!("{}_quantized", bias.name)], codes, "{}", bias.name);
        }
        let sites: Vec<_> = quantization.activations.keys().map(String::as_str).collect();
        let mut expected = SITES;
        expected.sort_unstable();
        assert_eq!(sites, expected);
    }
}

#[test]
fn biases_on_their_steps_are_those_of_the_onnx_file() {
    let device = Device::flex();
    let net = trained(&device);
    let case = Case::of(&net, affine);
    let folded = (case.net.graph(), weights(&case.net));
    let unfolded = (graph(&net), weights(&net));
    for (graph, mut weights) in [folded, unfolded] {
        let before = weights.clone();
        let codes = |weights: &Weights| {
            let model = onnx::lower(&graph, weights, Some(&case.plan)).unwrap();
            onnx::quantized_weights(&model).unwrap()
        };
        let shipped = codes(&weights);
        let rounded = rounded_biases(&graph, &weights, &case.plan).unwrap();
        assert_eq!(rounded.len(), 4, "two convolutions and two linear layers: {:?}", rounded.keys());
        weights.extend(rounded);
        // The integers stay, and there is nothing left to move but what folding a batch norm costs in f32.
        assert_eq!(codes(&weights), shipped);
        let again = rounded_biases(&graph, &weights, &case.plan).unwrap();
        for (path, array) in &again {
            crate::common::assert_close(array.data(), weights[path].data(), 1e-6, path);
        }
        let steps = Quantization::new(&graph, &before, &case.plan).unwrap().biases;
        let step = steps.iter().flat_map(|bias| &bias.scale).fold(0f32, |most, &step| most.max(step));
        for (path, array) in &weights {
            crate::common::assert_close(array.data(), before[path].data(), 0.51 * step, path);
        }
    }
    // Without batch norm a bias is a number of steps, exactly.
    let (graph, weights) = (case.net.graph(), weights(&case.net));
    let rounded = rounded_biases(&graph, &weights, &case.plan).unwrap();
    let quantization = Quantization::new(&graph, &weights, &case.plan).unwrap();
    let shipped = onnx::quantized_weights(&case.model()).unwrap();
    for bias in &quantization.biases {
        let codes = &shipped[&format!("{}_quantized", bias.name)].data;
        let expected: Vec<f32> = (codes.iter().zip(&bias.scale))
            .map(|(&code, &step)| (f64::from(code) * f64::from(step)) as f32)
            .collect();
        assert_eq!(rounded[&bias.name].data(), expected, "{}", bias.name);
    }
    let mut settled = weights;
    settled.extend(rounded);
    assert!(rounded_biases(&graph, &settled, &case.plan).unwrap().is_empty());
}

#[test]
fn a_channel_that_is_switched_off_keeps_its_bias() {
    let mut case = Case::new(affine);
    let mut all = weights(&case.net);
    // Channel 0 of the first convolution: weights all but zero, and a bias that 2^31 steps of their scale miss.
    let mut data = all["conv1.weight"].data().to_vec();
    data[..25].iter_mut().for_each(|w| *w *= 1e-12);
    all.insert("conv1.weight".into(), Array::new([4, 1, 5, 5], data).unwrap());
    case.net = with_weights(case.net, &all);
    case.plan.weights.insert("conv1.weight".into(), per_channel(&all["conv1.weight"], 0));
    let model = case.model();
    let bias = &onnx::quantized_weights(&model).unwrap()["conv1.bias_quantized"];
    assert!(bias.data[0].unsigned_abs().abs_diff(1 << 30) < 100, "{bias:?}");
    case.check_parity(&model);
}

#[test]
fn a_site_that_no_layer_needs_is_quantized_where_the_plan_says_so() {
    let mut case = Case::new(affine);
    let graph = {
        let mut graph = case.net.graph();
        graph.sites.push(("logits".into(), graph.outputs[0]));
        graph
    };
    case.plan.activations.insert("logits".into(), affine(-4.0, 4.0));
    let model = onnx::lower(&graph, &weights(&case.net), Some(&case.plan)).unwrap();
    let file = on_disk(&model);
    let step = case.plan.activations["logits"].qparams.scale[0];
    let image = floats(images(1, &Device::flex()).into_data());
    for engine in engines() {
        let logits = engine.load(&file.path, 1).unwrap().run(&image, &[1, 1, 12, 12]).unwrap();
        assert!(logits.iter().any(|x| *x != 0.0));
        for x in logits {
            let codes = x / step;
            assert!((codes - codes.round()).abs() < 1e-3, "{x} is no multiple of {step}");
        }
    }
}

#[test]
fn equal_plans_give_equal_bytes() {
    assert!(Case::new(affine).model() == Case::new(affine).model());
}

#[track_caller]
fn check_error(change: impl FnOnce(&mut QuantPlan), expected: &str) {
    let mut case = Case::new(affine);
    change(&mut case.plan);
    let error = onnx::lower(&case.net.graph(), &weights(&case.net), Some(&case.plan)).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn weights_and_biases_that_are_no_numbers_are_refused() {
    for (path, index) in [("conv2.weight", 7), ("linear2.bias", 3)] {
        let case = Case::new(affine);
        let mut all = weights(&case.net);
        let mut data = all[path].data().to_vec();
        data[index] = f32::NAN;
        let broken = Array::new(all[path].shape(), data).unwrap();
        all.insert(path.to_owned(), broken);
        let error = onnx::lower(&case.net.graph(), &all, Some(&case.plan)).unwrap_err();
        let expected =
            format!("weight `{path}`: element {index} is NaN; only finite numbers can be exported");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    check_error(
        |plan| drop(plan.activations.remove("hidden")),
        "quantization plan, `hidden`: a layer reads this site, but the plan has no scale for it; \
         it has: block1, block2, image",
    );
    check_error(
        |plan| drop(plan.activations.insert("blok1".into(), affine(0.0, 1.0))),
        "quantization plan, `blok1`: the model has no such site; it has: block1, block2, hidden, image",
    );
    check_error(
        |plan| drop(plan.weights.remove("conv2.weight")),
        "quantization plan, `conv2.weight`: every weight of a convolution, linear layer or matrix product needs an \
         entry",
    );
    check_error(
        |plan| plan.weights.get_mut("linear1.weight").unwrap().axis = Some(0),
        "quantization plan, `linear1.weight`: scales along axis 0, but the outputs are axis 1",
    );
    check_error(
        |plan| plan.weights.get_mut("conv2.weight").unwrap().qparams.zero_point[3] = 5,
        "quantization plan, `conv2.weight`: zero points differ between channels, which engines refuse for weights; \
         use a symmetric scheme",
    );
    check_error(
        |plan| plan.weights.get_mut("conv2.weight").unwrap().qparams.scale.truncate(2),
        "quantization plan, `conv2.weight`: expected 6 scales, found 2 and 6 zero points",
    );
    check_error(
        |plan| plan.activations.get_mut("image").unwrap().qparams.scale[0] = 0.0,
        "quantization plan, `image`: scale 0 is not a positive normal number",
    );
    check_error(
        |plan| plan.activations.get_mut("image").unwrap().qparams.qmin = -200,
        "quantization plan, `image`: codes -200..=127 fit neither int8 nor uint8",
    );
}
