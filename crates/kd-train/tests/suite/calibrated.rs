//! Criteria that look at what layers are given: masks and weights of a stage against the same criteria on inputs that are
//! taken from the model's own forward pass, without what the stage streams them by.
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Device, Int, Tensor};
use kd_core::Tap;
use kd_deploy::{Array, Weights};
use kd_train::batches::Batch;
use kd_train::compress::Compression;
use kd_train::network::{Built, Network, seeded};
use kd_train::ptq::{inputs, layers};
use kd_train::sparsify::{Calendar, Kind, Masks, Memory, Sparsifier, When, check_inputs, masked};
use kd_train::{Error, Model, Task};
use prune_core::{
    Builtin, Inputs, Matrix, NonNegative, Owl, Pattern, Pruned, Removal, Samples, Scope, Sparsity,
    Unstructured, Wanda, prune,
};

use crate::common::{calibrated, uncalibrated};
use crate::ptq::{batch, convnet, ds_cnn, mlp, resnet, trained, transformer};

const EXAMPLES: usize = 24;
const SHOT: &str = "one-shot = {}";

fn data(network: &dyn Network) -> Vec<Batch> {
    (0..3).map(|salt| batch(network, EXAMPLES, salt, &Device::flex())).collect()
}

fn criterion(text: &str) -> Builtin {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pattern(text: &str) -> Pattern {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn full(network: &dyn Network) -> Masks {
    let weights = network.weights();
    let all = masked(&network.entries()).into_iter();
    all.map(|(path, _)| (path.clone(), vec![true; weights[&path].data().len()])).collect()
}

/// A student ready to be masked, with what is masked already.
fn student(network: &dyn Network, floor: &Masks) -> (Box<dyn Network>, Masks) {
    let mut masks = full(network);
    masks.extend(floor.clone());
    let compression = Compression { masks: masks.clone(), ..Compression::default() };
    (network.with_compression(compression), masks)
}

fn sparsifier(
    network: &dyn Network,
    (criterion, pattern, schedule): (&str, &str, &str),
    floor: &Masks,
) -> Result<Sparsifier, Error> {
    let when: When = match toml::from_str(schedule) {
        Ok(way) => When::Way(way),
        Err(_) => When::Curve(toml::from_str(schedule).unwrap()),
    };
    let pattern = self::pattern(pattern);
    let calendar = Calendar::new(&when, pattern.sparsity(), 12, Some(2), None);
    let criterion = Arc::new(self::criterion(criterion));
    Sparsifier::new(pattern.into(), criterion, (when, calendar), network, floor.clone())
}

/// Masks and stored weights of a stage that masks at once.
fn at_once(
    network: &dyn Network,
    criterion: &str,
    pattern: &str,
    floor: &Masks,
) -> Result<(Masks, Weights), Error> {
    let data = data(network);
    let sparsifier = sparsifier(network, (criterion, pattern, SHOT), floor)?;
    let (mut student, mut masks) = student(network, floor);
    let batches = || -> Box<dyn Iterator<Item = Batch>> { Box::new(data.clone().into_iter()) };
    // A stage that trains on does the same before its first step.
    let mut training = student.training();
    let mut of_training = masks.clone();
    let mut memory = Memory::default();
    calibrated(&batches, |calibration| {
        sparsifier.before_step(&mut of_training, &mut memory, training.as_mut(), 0, calibration)?;
        sparsifier.at_once(&mut masks, student.as_mut(), calibration)
    })?;
    assert_eq!(of_training, masks, "{criterion}");
    assert_eq!(training.weights(), student.weights(), "{criterion}");
    assert_eq!(student.compression().masks, masks);
    Ok((masks, student.weights()))
}

fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Images of some channels.
struct Images {
    channels: usize,
    side: usize,
    values: Vec<f32>,
}

impl Images {
    /// The larger of every four pixels.
    fn pooled(&self) -> Self {
        let (side, half) = (self.side, self.side / 2);
        let values = self.values.chunks(side * side).flat_map(|image| {
            (0..half * half).map(move |at| {
                let (y, x) = (at / half * 2, at % half * 2);
                let four = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)];
                four.into_iter().map(|(y, x)| image[y * side + x]).fold(f32::NEG_INFINITY, f32::max)
            })
        });
        Self { channels: self.channels, side: half, values: values.collect() }
    }

    /// Windows of 3×3 around every pixel, zeros beyond the edge.
    fn windows(&self) -> Vec<f32> {
        let (side, size) = (self.side as isize, self.side * self.side);
        let mut rows = Vec::new();
        for example in self.values.chunks(self.channels * size) {
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                for image in example.chunks(size) {
                    for (dy, dx) in (-1..2).flat_map(|dy| (-1..2).map(move |dx| (dy, dx))) {
                        let inside = (0..side).contains(&(y + dy)) && (0..side).contains(&(x + dx));
                        rows.push(if inside { image[((y + dy) * side + x + dx) as usize] } else { 0.0 });
                    }
                }
            }
        }
        rows
    }
}

/// The layers that are masked, in the order of the forward pass, and how many columns each has.
fn masked_layers(network: &dyn Network) -> &'static [(&'static str, usize)] {
    match network.model() {
        "mlp" => &[("hidden.0.weight", 64), ("hidden.1.weight", 20)],
        _ => &[("blocks.0.conv.weight", 9), ("blocks.1.conv.weight", 36), ("hidden.weight", 24)],
    }
}

/// What a layer multiplies, row by row, from the forward pass of a plain network.
fn given(network: &dyn Network, layer: usize) -> Vec<f32> {
    let mut rows = Vec::new();
    for batch in data(network) {
        let mut tap = Tap::wanting(["hidden1", "block1", "block2"]);
        let pixels = values(batch.rows.clone().flatten::<1>(0, 1));
        network.forward(batch.rows, &mut tap);
        let features = tap.into_features();
        let site = |name: &str| values(features.get(name).unwrap().clone().flat());
        let images = |name: &str, channels, side| Images { channels, side, values: site(name) };
        rows.extend(match (network.model(), layer) {
            ("mlp", 0) => pixels,
            ("mlp", _) => site("hidden1"),
            (_, 0) => Images { channels: 1, side: 8, values: pixels }.windows(),
            (_, 1) => images("block1", 4, 8).pooled().windows(),
            _ => images("block2", 6, 4).pooled().values,
        });
    }
    rows
}

/// What a criterion says of a layer of a plain network on those rows, in the weight's own layout.
fn alone(
    network: &dyn Network,
    layer: usize,
    ask: impl Fn(&Inputs<'_>) -> Pruned,
) -> (String, Vec<bool>, Array) {
    let (path, columns) = masked_layers(network)[layer];
    let axes: BTreeMap<String, usize> = masked(&network.entries()).into_iter().collect();
    let weight = network.weights()[path].clone();
    let matrix = Matrix::from_weight(path, weight.shape(), weight.data(), axes[path]).unwrap();
    let rows = given(network, layer);
    let samples = Samples::new(path, &[rows.len() / columns, columns], &rows).unwrap();
    let pruned = ask(&Inputs::new(&matrix).with_activations(&samples));
    let keep = matrix.to_stored(&pruned.keep.unwrap()).unwrap();
    let left = matrix
        .to_stored(&pruned.weight.unwrap())
        .unwrap()
        .into_iter()
        .map(|w| w as f32)
        .collect::<Vec<f32>>();
    (path.to_owned(), keep, Array::new(weight.shape(), left).unwrap())
}

fn one(criterion: &Builtin, pattern: Pattern, inputs: &Inputs<'_>) -> Pruned {
    prune(criterion, Some(&Removal::Elements(pattern)), &[*inputs]).unwrap().remove(0)
}

const PATTERNS: [&str; 3] =
    ["unstructured = { sparsity = 0.6 }", "n-m = { keep = 2, of = 4 }", "n-m = { keep = 1, of = 3 }"];

#[test]
fn wanda_masks_are_those_of_the_inputs_that_layers_see() {
    for network in [mlp(), trained(convnet().as_ref())] {
        let columns = "columns = { sparsity = 0.5 }";
        for text in PATTERNS.into_iter().chain([columns]) {
            for knobs in ["wanda = {}", "wanda = { group = \"layer\" }"] {
                let (masks, weights) = at_once(network.as_ref(), knobs, text, &Masks::new()).unwrap();
                assert_eq!(masks.len(), masked_layers(network.as_ref()).len());
                assert_eq!(weights, network.weights(), "no weight changes");
                for layer in 0..masks.len() {
                    let ask = |inputs: &Inputs<'_>| one(&criterion(knobs), pattern(text), inputs);
                    let (path, keep, _) = alone(network.as_ref(), layer, ask);
                    assert_eq!(masks[&path], keep, "{knobs}, {text}, {path}");
                }
            }
        }
    }
}

#[test]
fn sparsegpt_prunes_layer_after_layer_on_what_the_pruned_ones_give() {
    for network in [mlp(), trained(convnet().as_ref())] {
        for text in PATTERNS {
            for knobs in ["sparsegpt = {}", "sparsegpt = { block-size = 7, damping = 0.1 }"] {
                let (masks, weights) = at_once(network.as_ref(), knobs, text, &Masks::new()).unwrap();
                let mut expected = network.inference();
                for layer in 0..masked_layers(network.as_ref()).len() {
                    let ask = |inputs: &Inputs<'_>| one(&criterion(knobs), pattern(text), inputs);
                    let (path, keep, left) = alone(expected.as_ref(), layer, ask);
                    assert_eq!(masks[&path], keep, "{knobs}, {text}, {path}");
                    assert!(left.data().iter().zip(&keep).all(|(w, keep)| *keep || *w == 0.0));
                    expected.set_weights(&Weights::from([(path, left)]));
                }
                assert_eq!(weights, expected.weights(), "{knobs}, {text}");
                assert_ne!(weights, network.weights());
            }
        }
    }
}

/// ‖X(W − Ŵ)ᵀ‖² of the inputs that a layer sees.
fn output_error(network: &dyn Network, layer: usize, left: impl Fn(&Inputs<'_>) -> Vec<f64>) -> f64 {
    let found = Cell::new(0.0);
    alone(network, layer, |inputs| {
        let weight = inputs.weight().unwrap();
        let left = left(inputs);
        let difference: Vec<f64> = weight.values().iter().zip(&left).map(|(w, v)| w - v).collect();
        let samples = inputs.activations().unwrap().rows(weight.columns()).unwrap();
        let error = samples.flat_map(|x| {
            let rows = difference.chunks(weight.columns());
            rows.map(move |row| row.iter().zip(x).map(|(d, x)| d * x).sum::<f64>().powi(2))
                .collect::<Vec<f64>>()
        });
        found.set(error.sum());
        one(&criterion("magnitude = {}"), pattern("n-m = { keep = 2, of = 4 }"), inputs)
    });
    found.get()
}

#[test]
fn two_of_four_by_sparsegpt_lose_less_of_the_output_than_by_magnitude() {
    let text = "n-m = { keep = 2, of = 4 }";
    for network in [trained(mlp().as_ref()), trained(convnet().as_ref())] {
        let (_, weights) = at_once(network.as_ref(), "sparsegpt = {}", text, &Masks::new()).unwrap();
        let axes: BTreeMap<String, usize> = masked(&network.entries()).into_iter().collect();
        // Each layer with what it has before its turn.
        let mut before = network.inference();
        for (layer, (path, columns)) in masked_layers(network.as_ref()).iter().enumerate() {
            let array = &weights[*path];
            let matrix = Matrix::from_weight(path, array.shape(), array.data(), axes[*path]).unwrap();
            for row in matrix.iter_rows() {
                for group in row.chunks(4).filter(|group| group.len() == 4) {
                    assert_eq!(group.iter().filter(|w| **w != 0.0).count(), 2, "{path}");
                }
            }
            let ours = output_error(before.as_ref(), layer, |_| matrix.values().to_vec());
            let magnitude = output_error(before.as_ref(), layer, |inputs| {
                one(&criterion("magnitude = {}"), pattern(text), inputs).weight.unwrap()
            });
            assert!(ours < 0.9 * magnitude, "{path}, {columns} columns: {ours} of {magnitude}");
            before.set_weights(&Weights::from([((*path).to_owned(), array.clone())]));
        }
    }
}

#[test]
fn owl_gives_layers_sparsities_of_their_own_and_wanda_masks_them() {
    for network in [trained(mlp().as_ref()), trained(convnet().as_ref())] {
        let text = "unstructured = { sparsity = 0.6 }";
        let number = |value| NonNegative::new(value).unwrap();
        let owl = Owl { sparsity: None, m: number(2.0), lambda: number(0.2) };
        let (masks, weights) =
            at_once(network.as_ref(), "owl = { m = 2.0, lambda = 0.2 }", text, &Masks::new()).unwrap();
        assert_eq!(weights, network.weights());
        let count = masked_layers(network.as_ref()).len();
        let outliers: Vec<f64> = (0..count)
            .map(|layer| {
                let share = Cell::new(0.0);
                alone(network.as_ref(), layer, |inputs| {
                    share.set(owl.outliers(inputs).unwrap());
                    one(&criterion("wanda = {}"), pattern(text), inputs)
                });
                share.get()
            })
            .collect();
        let ratios = owl.ratios_of(Sparsity::new(0.6).unwrap(), &outliers).unwrap();
        assert!((ratios.iter().sum::<f64>() / count as f64 - 0.6).abs() < 1e-12);
        assert!(ratios.iter().any(|ratio| (ratio - 0.6).abs() > 0.05), "{ratios:?}");
        for (layer, ratio) in ratios.into_iter().enumerate() {
            let own = Unstructured { sparsity: Sparsity::new(ratio).unwrap(), scope: Scope::Local };
            let wanda = Builtin::Wanda(Wanda::default());
            let (path, keep, _) =
                alone(network.as_ref(), layer, |inputs| one(&wanda, Pattern::Unstructured(own), inputs));
            assert_eq!(masks[&path], keep, "{path}");
        }
    }
    let wide = "owl = { m = 2.0, lambda = 0.9 }";
    let error =
        at_once(trained(mlp().as_ref()).as_ref(), wide, "unstructured = { sparsity = 0.6 }", &Masks::new());
    let error = error.unwrap_err();
    assert_eq!(error.code(), "prune::impossible");
    assert!(error.to_string().contains("`lambda` = 0.9 spreads layers too far"), "{error}");
    assert!(error.help().unwrap().contains("lower `lambda`"), "{:?}", error.help());
}

/// Every other element of each row is gone.
fn halved(network: &dyn Network) -> Masks {
    let alternate =
        |keep: &Vec<bool>| (0..keep.len()).map(|index| (index * 7 + index / 13) % 2 == 0).collect();
    full(network).iter().map(|(path, keep)| (path.clone(), alternate(keep))).collect()
}

#[test]
fn what_earlier_stages_masked_stays_gone_and_counts() {
    for network in [trained(mlp().as_ref()), trained(convnet().as_ref()), trained(ds_cnn().as_ref())] {
        let floor = halved(network.as_ref());
        for knobs in ["wanda = {}", "sparsegpt = {}", "owl = { m = 2.0 }"] {
            let text = "unstructured = { sparsity = 0.7 }";
            let (masks, weights) = at_once(network.as_ref(), knobs, text, &floor).unwrap();
            let (mut gone, mut all) = (0, 0);
            for (path, keep) in &masks {
                assert!(keep.iter().zip(&floor[path]).all(|(keep, floor)| *floor || !keep), "{path}");
                (gone, all) = (gone + keep.iter().filter(|keep| !**keep).count(), all + keep.len());
                if knobs.starts_with("sparsegpt") {
                    let stored = weights[path].data().iter().zip(keep);
                    assert!(stored.clone().all(|(w, keep)| *keep || *w == 0.0), "{path}");
                    // Columns that no input reaches any more have weights of 0, kept or not.
                    let idle = stored.filter(|(w, keep)| **keep && **w == 0.0).count();
                    assert!(idle == 0 || network.model() == "ds-cnn", "{path}: {idle}");
                }
            }
            let share = gone as f64 / all as f64;
            assert!((0.55..0.78).contains(&share), "{}, {knobs}: {share}", network.model());
        }
    }
}

#[test]
fn groups_of_a_convolution_read_inputs_of_their_own() {
    let network = trained(ds_cnn().as_ref());
    let text = "n-m = { keep = 4, of = 9 }";
    let plain = network.materialized();
    let graph = plain.graph().unwrap();
    let all = layers(&graph);
    let layer = all.iter().find(|layer| layer.path == "blocks.0.depthwise.weight").unwrap();
    assert!(layer.groups > 1 && layer.columns == 9);
    let (masks, _) = at_once(network.as_ref(), "wanda = {}", text, &Masks::new()).unwrap();
    let mut by_group = vec![Vec::new(); layer.groups];
    for batch in data(network.as_ref()) {
        let mut take = |group: usize, rows: &[f32]| {
            by_group[group].extend_from_slice(rows);
            Ok(())
        };
        inputs::rows(plain.as_ref(), &graph, layer, batch, &mut take).unwrap();
    }
    let weight = network.weights()[&layer.path].clone();
    let size = layer.rows_of_group() * 9;
    for (group, rows) in by_group.iter().enumerate() {
        let values = &weight.data()[group * size..(group + 1) * size];
        let matrix = Matrix::new("group", layer.rows_of_group(), 9, values).unwrap();
        let samples = Samples::new("group", &[rows.len() / 9, 9], rows).unwrap();
        let inputs = Inputs::new(&matrix).with_activations(&samples);
        let expected = one(&criterion("wanda = {}"), pattern(text), &inputs).keep.unwrap();
        assert_eq!(masks[&layer.path][group * size..(group + 1) * size], expected, "group {group}");
    }
}

#[test]
fn optimal_brain_damage_takes_squares_of_single_examples() {
    for network in [trained(mlp().as_ref()), trained(convnet().as_ref())] {
        let text = "block = { rows = 2, columns = 3, sparsity = 0.5 }";
        let (masks, weights) = at_once(network.as_ref(), "obd = {}", text, &Masks::new()).unwrap();
        assert_eq!(weights, network.weights());
        // Batch norm on its running statistics, one backward pass for each example.
        let mut student = network.training();
        student.freeze_statistics();
        let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for example in data(network.as_ref()).into_iter().flat_map(Batch::examples) {
            let example = example.on(&Device::flex().autodiff());
            let logits = student.forward(example.rows, &mut Tap::none());
            let labels: Tensor<2, Int> = example.labels.reshape([1, 1]);
            let loss = burn::tensor::activation::log_softmax(logits, 1).gather(1, labels).neg().mean();
            let own = student.gradients(&mut loss.backward());
            for entry in student.entries().iter().filter(|entry| masks.contains_key(&entry.path)) {
                let found = match entry.shape.len() {
                    2 => values(own.get::<2>(entry.id).unwrap().flatten(0, 1)),
                    _ => values(own.get::<4>(entry.id).unwrap().flatten(0, 3)),
                };
                let sums = sums.entry(entry.path.clone()).or_insert_with(|| vec![0.0; found.len()]);
                sums.iter_mut().zip(found).for_each(|(sum, g)| *sum += f64::from(g) * f64::from(g));
            }
        }
        let axes: BTreeMap<String, usize> = masked(&network.entries()).into_iter().collect();
        for (path, keep) in &masks {
            let weight = &weights[path];
            let matrix = Matrix::from_weight(path, weight.shape(), weight.data(), axes[path]).unwrap();
            let means: Vec<f64> = sums[path].iter().map(|sum| sum / (3 * EXAMPLES) as f64).collect();
            let hessian = Matrix::from_weight(path, weight.shape(), &means, axes[path]).unwrap();
            let expected =
                one(&criterion("obd = {}"), pattern(text), &Inputs::new(&matrix).with_hessian(&hessian));
            assert_eq!(*keep, matrix.to_stored(&expected.keep.unwrap()).unwrap(), "{path}");
        }
    }
}

#[test]
fn every_model_shows_what_its_layers_read() {
    for network in [mlp(), convnet(), resnet(), ds_cnn(), transformer()] {
        for knobs in ["wanda = {}", "sparsegpt = {}"] {
            let text = "n-m = { keep = 2, of = 4 }";
            let (masks, _) = at_once(network.as_ref(), knobs, text, &Masks::new()).unwrap();
            assert_eq!(masks.len(), masked(&network.entries()).len());
            let kept = masks.values().flatten().filter(|keep| **keep).count() as f64;
            let share = kept / masks.values().map(Vec::len).sum::<usize>() as f64;
            assert!((0.5..0.62).contains(&share), "{}, {knobs}: {share}", network.model());
        }
    }
}

#[test]
fn inputs_are_looked_at_once_under_a_curve_and_in_every_round() {
    let network = mlp();
    let data = data(network.as_ref());
    let looks = |knobs: &str, schedule: &str| {
        let text = "unstructured = { sparsity = 0.6 }";
        let none = Masks::new();
        let sparsifier = sparsifier(network.as_ref(), (knobs, text, schedule), &none).unwrap();
        let (student, mut masks) = student(network.as_ref(), &none);
        let mut student = student.training();
        let (mut memory, count) = (Memory::default(), Cell::new(0));
        let batches = || -> Box<dyn Iterator<Item = Batch>> {
            count.set(count.get() + 1);
            Box::new(data.clone().into_iter())
        };
        for step in 0..=12 {
            calibrated(&batches, |calibration| {
                sparsifier.before_step(&mut masks, &mut memory, student.as_mut(), step, calibration).unwrap()
            });
            // A state that is written and read in between changes nothing.
            memory = Memory::from(memory.arrays().clone());
        }
        let gone = masks.values().flatten().filter(|keep| !**keep).count() as f64;
        let share = gone / masks.values().map(Vec::len).sum::<usize>() as f64;
        assert!((0.55..=0.65).contains(&share), "{knobs}, {schedule}: {share}");
        let remembered = [Kind::InputSquares, Kind::Squares].map(|kind| memory.all(kind).len());
        (count.get(), remembered[0] + remembered[1])
    };
    for knobs in ["wanda = {}", "owl = {}", "obd = {}"] {
        assert_eq!(looks(knobs, SHOT), (1, 2));
        assert_eq!(looks(knobs, "cubic = { from = 0.0, to = 1.0 }"), (1, 2));
        assert_eq!(looks(knobs, "exponential = {}"), (1, 2));
        assert_eq!(looks(knobs, "iterative = { rounds = 3 }"), (3, 2));
        assert_eq!(looks(knobs, "growing-regularisation = {}"), (1, 2));
        assert_eq!(looks(knobs, "lottery-ticket = { rounds = 2 }"), (2, 2));
    }
    // Once for each layer.
    assert_eq!(looks("sparsegpt = {}", SHOT), (2, 0));
    assert_eq!(looks("magnitude = {}", SHOT), (0, 0));
}

#[test]
fn no_batch_is_no_input() {
    let network = mlp();
    for knobs in ["wanda = {}", "sparsegpt = {}"] {
        let shape = "n-m = { keep = 2, of = 4 }";
        let sparsifier = sparsifier(network.as_ref(), (knobs, shape, SHOT), &Masks::new()).unwrap();
        let (mut student, mut masks) = student(network.as_ref(), &Masks::new());
        let error = uncalibrated(|calibration| sparsifier.at_once(&mut masks, student.as_mut(), calibration));
        assert_eq!(error.unwrap_err().code(), "site::not-reached");
    }
}

/// A layer behind a function that nobody has named.
#[derive(Module, Debug)]
struct Hidden {
    first: Linear,
    second: Linear,
    output: Linear,
}

impl Model for Hidden {
    type Input = Tensor<2>;
    type Config = ();
    const ABOUT: &'static str = "two hidden layers without a name";

    fn build((): &(), task: &Task, device: &Device) -> Result<Self, String> {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Ok(Self { first: layer(6, 5), second: layer(5, 4), output: layer(4, task.classes) })
    }

    fn forward(&self, input: Tensor<2>, _: &mut Tap<'_>) -> Tensor<2> {
        let x = gelu(self.first.forward(input));
        self.output.forward(relu(self.second.forward(x)))
    }
}

#[test]
fn a_layer_whose_inputs_have_no_name_is_refused() {
    let (task, device) = (Task { input: vec![6], classes: 3 }, Device::flex());
    let network = seeded(&device, 1, || Built::<Hidden>::build("hidden", &(), &task, &device)).unwrap();
    check_inputs(network.as_ref(), &criterion("magnitude = {}")).unwrap();
    let error = check_inputs(network.as_ref(), &criterion("wanda = {}")).unwrap_err();
    assert_eq!(error.code(), "prune::inputs");
    insta::assert_snapshot!(error.to_string(), @"`wanda` reads the inputs of `second.weight`, which are out of reach: between it and the nearest site is `gelu`; a site behind that would do");
    let refused = sparsifier(network.as_ref(), ("sparsegpt = {}", PATTERNS[1], SHOT), &Masks::new());
    assert_eq!(refused.unwrap_err().code(), "prune::inputs");
}
