//! The transformer against PyTorch's, counted by hand, and through everything that a recipe does to a model.
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_graph::{Axis, Op, axes, placements};
use kd_train::event::Silent;
use kd_train::models::{Transformer, TransformerConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::prune::{follow, provable};
use kd_train::recipe::OptimizerSpec;
use kd_train::{Error, Task, measure, optimizer, weights};

const LENGTH: usize = 9;
const CLASSES: usize = 4;
const VOCABULARY: usize = 17;

fn config() -> TransformerConfig {
    TransformerConfig { width: 12, layers: 2, heads: 3, feed_forward: 20, vocabulary: VOCABULARY }
}

fn task() -> Task {
    Task { input: vec![LENGTH], classes: CLASSES }
}

fn network(seed: u64) -> Box<dyn Network> {
    let device = Device::flex();
    let build = || Built::<Transformer>::build("transformer", &config(), &task(), &device);
    seeded(&device, seed, build).unwrap()
}

/// The network that PyTorch made.
fn golden() -> Box<dyn Network> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_transformer.safetensors");
    let mut network = network(0);
    weights::load(network.as_mut(), &file).unwrap();
    network
}

fn rows(ids: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [ids.len() / LENGTH, LENGTH]), device)
}

/// Sequences of all lengths.
fn ids(batch: usize) -> Vec<f32> {
    let id = |i: usize| 1 + (i * i + i / 7) % (VOCABULARY - 1);
    let present = |i: usize| i % LENGTH <= (i / LENGTH) % LENGTH;
    (0..batch * LENGTH).map(|i| if present(i) { id(i) as f32 } else { 0.0 }).collect()
}

fn logits(network: &dyn Network, ids: &[f32]) -> Vec<f32> {
    network.forward(rows(ids, &Device::flex()), &mut Tap::none()).into_data().try_to_vec().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let most = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * most, "found {a}, expected {b}");
    }
}

#[test]
fn weights_that_pytorch_made_give_its_logits() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/torch_transformer.json")).unwrap();
    let floats = |key: &str| -> Vec<f32> {
        golden[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    assert_close(&logits(self::golden().as_ref(), &floats("ids")), &floats("logits"));
}

#[test]
fn parameters_and_macs_are_those_counted_by_hand() {
    let size = measure::size(network(1).as_ref()).unwrap();
    let (norm, attention) = (12 + 12, 4 * (12 * 12 + 12));
    let feed_forward = (12 * 20 + 20) + (20 * 12 + 12);
    let layer = 2 * norm + attention + feed_forward;
    assert_eq!(size.params, (17 * 12) + (9 * 12) + 2 * layer + norm + (12 * 4 + 4));
    // Four projections and two feed-forward layers a position; scores and mixtures for each pair of positions.
    let layer = 9 * (4 * 12 * 12 + 2 * 12 * 20) + 2 * (9 * 9 * 12);
    assert_eq!(size.macs, 2 * layer + 12 * 4);
}

#[test]
fn every_product_reads_a_site_and_token_ids_are_not_rounded() {
    let graph = network(1).graph().unwrap();
    assert!(graph.sites.iter().any(|(site, _)| site == "input"));
    assert!(!graph.nodes.iter().any(|node| matches!(node.op, Op::Opaque(_))), "{graph}");
    let sites: Vec<String> = placements(&graph).unwrap().into_iter().map(|place| place.site).collect();
    let layer = |n: usize| {
        ["norm1", "query", "key", "value", "probabilities", "attention", "norm2", "hidden"]
            .map(|part| format!("layer{n}.{part}"))
    };
    assert_eq!(sites, [layer(1).as_slice(), &layer(2), &["pooled".to_owned()]].concat());

    let mut tap = Tap::everything();
    network(1).forward(rows(&ids(2), &Device::flex()), &mut tap);
    for site in ["embed", "layer1", "layer2"] {
        assert!(tap.seen().iter().any(|seen| seen == site), "{:?}", tap.seen());
    }
}

#[test]
fn padding_changes_nothing_and_alone_gives_numbers() {
    let network = golden();
    let short = [3.0, 1.0, 4.0, 1.0, 5.0, 0.0, 0.0, 0.0, 0.0];
    let expected = logits(network.as_ref(), &short);
    // Whatever is stored for padding and for the positions behind the sequence.
    let mut other = golden();
    let mut changed = other.weights();
    for (path, from, to) in [("tokens.weight", 0, 1), ("positions.weight", 5, 9)] {
        let array = changed.get_mut(path).unwrap();
        let mut data = array.data().to_vec();
        data[from * 12..to * 12].iter_mut().for_each(|x| *x = 2.0 - *x);
        *array = kd_deploy::Array::new(array.shape().to_vec(), data).unwrap();
    }
    other.set_weights(&changed);
    assert_eq!(logits(other.as_ref(), &short), expected);
    assert_ne!(logits(network.as_ref(), &[5.0; 9]), expected);
    let nothing = logits(network.as_ref(), &[0.0; 9]);
    assert!(nothing.iter().all(|x| x.is_finite()), "{nothing:?}");
}

#[test]
fn what_does_not_fit_is_said() {
    let error = |config, input: &[usize]| {
        let task = Task { input: input.to_vec(), classes: CLASSES };
        let built = Built::<Transformer>::build("transformer", &config, &task, &Device::flex());
        built.err().unwrap()
    };
    assert_eq!(
        error(config(), &[1, 8, 8]),
        "expected sequences of token ids [length], found examples of shape [1, 8, 8]"
    );
    let uneven = TransformerConfig { heads: 5, ..config() };
    assert_eq!(error(uneven, &[9]), "expected a `width` that is a multiple of `heads` = 5, found 12");
    let flat = TransformerConfig { layers: 0, ..config() };
    assert_eq!(error(flat, &[9]), "expected `layers` of at least 1, found 0");
    let empty = TransformerConfig { vocabulary: 1, ..config() };
    assert_eq!(error(empty, &[9]), "expected `vocabulary` of at least 2, found 1");
}

/// The axis of this size that a parameter has along a dimension.
fn axis(all: &[Axis], path: &str, dim: usize, size: usize) -> Axis {
    let has = |axis: &&Axis| axis.members.iter().any(|member| member.path == path && member.dim == dim);
    all.iter().filter(|axis| axis.size == size).find(has).expect("there is such an axis").clone()
}

#[test]
fn heads_and_hidden_units_can_go_and_the_module_runs_unchanged() {
    let network = golden();
    let graph = network.graph().unwrap();
    let all = axes(&graph);
    let heads = axis(&all, "layers.0.attention.query.weight", 1, 3);
    let hidden = axis(&all, "layers.1.hidden.weight", 1, 20);
    assert_eq!((&heads.pinned, &hidden.pinned), (&None, &None));
    let kept: Vec<usize> = (0..20).filter(|unit| unit % 3 != 0).collect();
    let cut = prune_core::cut_of(&graph, [(&heads, [0, 2].as_slice()), (&hidden, &kept)]).unwrap();
    let columns: Vec<usize> = (0..4).chain(8..12).collect();
    for projection in ["query", "key", "value"] {
        let path = format!("layers.0.attention.{projection}.weight");
        assert_eq!(cut.keep(&path, 1).unwrap(), columns);
    }
    assert_eq!(cut.keep("layers.0.attention.output.weight", 0).unwrap(), columns);
    assert!(network.verify_cut(&cut, rows(&ids(20), &Device::flex())).unwrap() <= 1e-5);

    let small = measure::size(network.cut(&cut).unwrap().as_ref()).unwrap();
    let whole = measure::size(network.as_ref()).unwrap();
    let head = 9 * (4 * 12 * 4) + 2 * (9 * 9 * 4);
    assert_eq!(whole.macs - small.macs, head + 9 * (2 * 12 * (20 - kept.len() as u64)));
}

#[test]
fn a_prune_stage_takes_heads_hidden_units_and_the_width_that_norms_run_over() {
    let network = golden();
    let graph = network.graph().unwrap();
    let all = provable::pinned(&graph, follow::axes(network.as_ref(), &graph));
    let heads = axis(&all, "layers.0.attention.query.weight", 1, 3);
    let inside = axis(&all, "layers.0.attention.query.weight", 1, 4);
    let hidden = axis(&all, "layers.1.hidden.weight", 1, 20);
    let width = axis(&all, "layers.1.hidden.weight", 0, 12);
    for open in [&heads, &hidden, &width] {
        assert_eq!((&open.pinned, open.numbers.is_empty()), (&None, true));
    }
    // The width of a head is a number that no cut changes.
    assert!(inside.pinned.is_some_and(|why| why.contains("do not follow")));
    let cut = prune_core::cut_of(&graph, [(&width, [0, 1, 2, 4, 5, 7, 8, 11].as_slice())]).unwrap();
    let silenced = prune_core::predict(&graph, &cut).unwrap().incomparable;
    assert!(silenced.iter().any(|reason| reason.contains("averages over the removed units")), "{silenced:?}");
    let difference = network.verify_cut(&cut, rows(&ids(20), &Device::flex())).unwrap();
    assert!(difference <= 1e-5, "{difference}");
    let [group] = &cut.across().collect::<Vec<_>>()[..] else { panic!("{cut:?}") };
    assert!(group.operations.iter().all(|operation| operation.contains("norm")), "{group:?}");
    let small = network.cut(&cut).unwrap();
    assert_eq!(small.graph().unwrap(), prune_core::predict(&graph, &cut).unwrap().graph);
}

#[test]
fn two_steps_lower_the_loss_and_reach_every_parameter() {
    let device = Device::flex().autodiff();
    let mut student = network(2).training();
    let before = student.weights();
    let mut optimizer = optimizer::build(&OptimizerSpec::default());
    let teacher = logits(golden().as_ref(), &ids(40));
    let mut losses = Vec::new();
    for _ in 0..3 {
        let wanted = Tensor::<2>::from_data(TensorData::new(teacher.clone(), [40, CLASSES]), &device);
        let found = student.forward(rows(&ids(40), &device), &mut Tap::none());
        let loss = (found - wanted).square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let mut gradients = loss.backward();
        let own = student.gradients(&mut gradients);
        student.step(&mut optimizer, 1e-2, own);
    }
    assert!(losses[1] < losses[0] && losses[2] < losses[1], "{losses:?}");
    for (path, array) in student.weights() {
        assert_ne!(array, before[&path], "`{path}` did not learn");
    }
}

/// Every kind of stage on short words, a hundred steps in all.
const RECIPE: &str = r#"
schema = 1
name = "tiny-text"
seed = 5

[data.csv]
train = "train.csv"
test = "test.csv"
classes = 3
validation = 60
mean = 0.0
std = 1.0
batch = 32

[teacher]
model.transformer = { width = 16, layers = 2, heads = 2, feed-forward = 32, vocabulary = 128 }

[student]
model.transformer = { width = 12, layers = 2, heads = 3, feed-forward = 16, vocabulary = 128 }

[[objective]]
weight = 0.5
cross-entropy = {}

[[objective]]
weight = 0.5
kl = { temperature = 2.0 }

[[objective]]
weight = 0.1
hint = { student = "layer1", teacher = "layer2" }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 4
learning-rate.one-cycle = { peak = 1e-2 }

[[stage]]
name = "distill"
[stage.distill]
epochs = 4
learning-rate.one-cycle = { peak = 1e-2 }

[[stage]]
name = "prune"
[stage.prune]
pattern.channels = { sparsity = 0.34 }
pinned = ["tokens.weight"]
epochs = 1

[[stage]]
name = "heads"
[stage.prune]
pattern.heads = { sparsity = 0.5 }
epochs = 1

[[stage]]
name = "depth"
[stage.prune]
pattern.layers = { count = 1 }
epochs = 1

[[stage]]
name = "sparse"
[stage.sparsify]
pattern.unstructured = { sparsity = 0.5 }
epochs = 2

[[stage]]
name = "int8"
[stage.quantize]
weights = "int8 channel narrow"
activations = "int8 tensor affine"
epochs = 1

[[stage]]
name = "export"
[stage.export]
"#;

/// Words of three alphabets, some letters of which they share: bytes, and zeros behind the word.
fn table(lines: usize, seed: usize) -> String {
    let line = |i: usize| {
        let (class, length) = (i % 3, 4 + (i * 7 + seed) % 7);
        let letter = |j: usize| 97 + (5 * class + (i * 31 + j * j * 17 + seed * j) % 9) % 26;
        let cells = (0..10).map(|j| if j < length { letter(j).to_string() } else { "0".to_owned() });
        cells.chain([class.to_string()]).collect::<Vec<_>>().join(",")
    };
    (0..lines).map(|i| line(i) + "\n").collect()
}

/// The recipe, its tables written into a folder.
fn recipe(folder: &Path) -> String {
    let mut recipe = RECIPE.to_owned();
    for (name, lines, seed) in [("train.csv", 400, 1), ("test.csv", 150, 2)] {
        let file = folder.join(name);
        std::fs::write(&file, table(lines, seed)).unwrap();
        recipe = recipe.replace(name, &file.display().to_string());
    }
    recipe
}

#[test]
fn a_whole_run_from_teacher_to_int8_agrees_with_the_engines() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = crate::common::run(&recipe(folder.path()), &[], folder.path(), &mut Silent).unwrap();
    let summary = outcome.json;
    let stage = |name: &str| {
        summary["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == name).unwrap().clone()
    };
    assert!(stage("teacher")["accuracy"].as_f64().unwrap() > 0.8, "{summary:#}");
    assert!(stage("int8")["accuracy"].as_f64().unwrap() > 0.6, "{summary:#}");
    // The width is pinned. One of three heads, a value's width of four and a third of the hidden units; one of the two heads; one of two layers.
    let macs = |name| stage(name)["macs"].as_u64().unwrap();
    assert!(macs("prune") < macs("distill"), "{summary:#}");
    let head = 10 * (2 * 12 * (4 + 3)) + 10 * 10 * (4 + 3);
    assert_eq!(macs("prune") - macs("heads"), 2 * head);
    assert_eq!(macs("heads") - macs("depth"), head + 10 * (2 * 12 * 11));
    assert_eq!(macs("int8"), macs("depth"));
    let folder_of = |name: &str| {
        let folders =
            std::fs::read_dir(outcome.dir.join("stages")).or_else(|_| std::fs::read_dir(&outcome.dir));
        let folders = folders.unwrap().map(|entry| entry.unwrap().path());
        folders.into_iter().find(|path| path.display().to_string().ends_with(&format!("-{name}"))).unwrap()
    };
    let receipt = std::fs::read_to_string(folder_of("depth").join("elements.json")).unwrap();
    let receipt: prune_core::ElementCut = serde_json::from_str(&receipt).unwrap();
    assert_eq!((receipt.elements.len(), receipt.elements[0].params.len()), (1, 16));
    assert!(receipt.elements[0].path.starts_with("layers."));
    // The program that opens the stage builds two layers, and the file says which one is not there.
    for name in ["depth", "int8"] {
        let again = kd_train::session::evaluate(
            &folder_of(name),
            None,
            "burn",
            &crate::common::env(),
            &kd_train::Registry::builtin(),
        );
        assert_eq!(again.unwrap().accuracy, stage(name)["accuracy"].as_f64().unwrap(), "{name}");
    }
    assert_eq!(summary["parity"].as_array().unwrap().len(), 2, "float and int8, in one engine");
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bytes() {
    let [whole, stopped] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let recipe = recipe(whole.path());
    let expected = crate::common::run(&recipe, &[], whole.path(), &mut Silent).unwrap().dir;
    let error =
        crate::common::run(&recipe, &[], stopped.path(), &mut crate::common::StopAfter(57)).unwrap_err();
    let Error::Interrupted { run } = error else { panic!("{error}") };
    // Once more in the stage that took a layer out: teacher, baseline and student have 44 steps each, others 11.
    let error =
        crate::common::go_on(&run, &mut crate::common::StopAfter(3 * 44 - 57 + 2 * 11 + 5)).unwrap_err();
    let Error::Interrupted { run } = error else { panic!("{error}") };
    assert!(
        std::fs::read_dir(&run).unwrap().any(|entry| entry.unwrap().path().join("elements.json").is_file())
    );
    let found = crate::common::go_on(&run, &mut Silent).unwrap().dir;
    assert_eq!(crate::common::exact_files(&found).len(), crate::common::exact_files(&expected).len());
    for (name, bytes) in crate::common::exact_files(&expected) {
        assert!(crate::common::exact_files(&found)[&name] == bytes, "`{name}` differs");
    }
}
