//! What prune stages gather: scores against public code's on the same network, sums that must agree with each other, and
//! whole runs with criteria that read gradients and activations.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::loss::CrossEntropy;
use kd_core::{Connectors, Objective, Schedule, Tap, Term};
use kd_deploy::Array;
use kd_graph::{Axis, Graph};
use kd_train::batches::Batch;
use kd_train::event::{Event, Sink};
use kd_train::models::{ConvNet, ConvNetConfig, Mlp, MlpConfig, ResNet, ResNetConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::prune::follow;
use kd_train::prune::gather::{Gathered, Lesson, gather};
use kd_train::session::Outcome;
use kd_train::{Task, weights};
use prune_core::{
    Builtin, Channels, Criterion, Cut, Group, Limits, Normalization, Ranked, Share, Weights, plan_scoped,
    score_group,
};
use serde::Deserialize;

use crate::common::{RECIPE, StopAfter, exact_files, go_on, run};

fn objective() -> Objective {
    let weight = Schedule::constant(1.0).unwrap();
    Objective::new(vec![Term::new("cross-entropy", weight, CrossEntropy::default())]).unwrap()
}

fn batch(rows: Vec<f32>, classes: &[u32]) -> Batch {
    let (count, device) = (classes.len(), Device::flex());
    let features = rows.len() / count;
    let labels: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let labels: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [count]), &device);
    Batch {
        rows: Tensor::from_data(TensorData::new(rows, [count, features]), &device),
        labels,
        classes: classes.to_vec(),
    }
}

fn stored(network: &dyn Network) -> Weights {
    let arrays = network.weights().into_iter();
    Weights::from_arrays(arrays.map(|(path, array)| (path, array.shape().to_vec(), array.into_data())))
}

/// A network whose axes are scored by what a batch shows.
struct Scored {
    graph: Graph,
    axes: Vec<Axis>,
    weights: Weights,
    gathered: Gathered,
}

impl Scored {
    fn new(network: &dyn Network, criterion: &Builtin, batches: Vec<Batch>) -> Self {
        let graph = network.graph().unwrap();
        let axes = follow::axes(network, &graph);
        let (objective, connectors) = (objective(), Connectors::none());
        let lesson = Lesson { objective: &objective, teacher: None, connectors: &connectors };
        let places = (&graph, axes.as_slice());
        let batches = batches.into_iter();
        let gathered = gather(network, places, criterion, lesson, batches, &Device::flex()).unwrap();
        Self { weights: stored(network), graph, axes, gathered }
    }

    fn of(&self, criterion: &Builtin, axis: &Axis, group: Group) -> Vec<f64> {
        score_group(criterion, &self.graph, axis, &self.gathered.evidence(&self.weights), group).unwrap()
    }

    /// The first axis that can be cut.
    fn first(&self, criterion: &Builtin) -> Vec<f64> {
        let axis = self.axes.iter().find(|axis| axis.pinned.is_none() && axis.size > 1).unwrap();
        self.of(criterion, axis, Group { normalization: Normalization::None, ..Group::default() })
    }
}

#[derive(Deserialize)]
struct Golden {
    header: Header,
    x: Vec<f32>,
    labels: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Header {
    tolerance: f64,
}

#[derive(Deserialize)]
struct Case {
    source: String,
    criterion: Builtin,
    scope: Option<Ranked>,
    share: Option<f64>,
    keep: Option<BTreeMap<String, Vec<usize>>>,
    scores: Option<BTreeMap<String, Vec<f64>>>,
}

#[test]
fn the_channels_of_a_residual_network_that_public_code_keeps_stay() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/torch_resnet.json")).unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_resnet.safetensors");
    let (config, task) = (ResNetConfig { depth: 20, width: 4 }, Task { input: vec![1, 8, 8], classes: 10 });
    let mut network = Built::<ResNet>::build("resnet", &config, &task, &Device::flex()).unwrap();
    weights::load(network.as_mut(), &file).unwrap();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        // FPGM's authors know no groups: the weights that write a channel, where it is coupled to no other.
        let fpgm = case.criterion.name() == "fpgm";
        let group = if fpgm { Group::writing() } else { Group::default() };
        let all = vec![batch(golden.x.clone(), &golden.labels)];
        let scored = Scored::new(network.inference().as_ref(), &case.criterion, all);
        let score = |axis: &Axis| Ok(scored.of(&case.criterion, axis, group));
        let share = Channels::Sparsity(Share::new(case.share.unwrap_or(0.5)).unwrap());
        let (scope, limits) = (case.scope.unwrap_or_default(), Limits::default());
        let plan = plan_scoped(&scored.graph, &scored.axes, score, share, limits, scope).unwrap();
        assert_eq!(plan.axes.len(), 12);
        for axis in &plan.axes {
            let what =
                format!("{} {:?} {scope:?} {:?}: {}", case.source, case.criterion, case.share, axis.path);
            if let Some(keep) = &case.keep {
                let coupled = fpgm && !keep.contains_key(&axis.path);
                let expected = keep.get(&axis.path).cloned().unwrap_or_else(|| (0..axis.size).collect());
                if !coupled && axis.keep != expected {
                    wrong.push(format!("{what} keeps {:?} instead of {expected:?}", axis.keep));
                }
            }
            if let Some(scores) = &case.scores {
                let member = |it: &&Axis| {
                    it.pinned.is_none() && it.members.iter().any(|m| m.path == axis.path && m.dim == 0)
                };
                let found = scored.of(&case.criterion, scored.axes.iter().find(member).unwrap(), group);
                let expected = &scores[&axis.path];
                let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if found.len() != expected.len() || apart > golden.header.tolerance * largest {
                    wrong.push(format!(
                        "{what} scores are {apart:e} apart: {found:?} instead of {expected:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let compared = |name: &str| golden.cases.iter().filter(|case| case.criterion.name() == name).count();
    assert_eq!(["magnitude", "bn-scale", "taylor", "fpgm"].map(compared), [10, 5, 10, 1]);
}

/// A perceptron without biases, one hidden layer.
fn mlp() -> Box<dyn Network> {
    let (config, task) = (MlpConfig { hidden: vec![7] }, Task { input: vec![6], classes: 4 });
    let device = Device::flex();
    let mut network = seeded(&device, 5, || Built::<Mlp>::build("mlp", &config, &task, &device)).unwrap();
    let zeros = |(path, array): (String, Array)| {
        let values = vec![0.0; array.data().len()];
        path.ends_with("bias").then(|| (path, Array::new(array.shape().to_vec(), values).unwrap()))
    };
    let biases = network.weights().into_iter().filter_map(zeros).collect();
    network.set_weights(&biases);
    network.inference()
}

const CLASSES: [u32; 5] = [0, 3, 1, 1, 2];

fn rows() -> Vec<f32> {
    (0..30).map(|at| (at as f32 * 1.37).sin()).collect()
}

/// Batches of one example each.
fn singles() -> impl Iterator<Item = Batch> {
    CLASSES
        .iter()
        .zip(rows().chunks(6))
        .map(|(&class, row)| batch(row.to_vec(), &[class]))
        .collect::<Vec<_>>()
        .into_iter()
}

fn criterion(text: &str) -> Builtin {
    serde_json::from_str(text).unwrap()
}

fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert!(largest > 0.0);
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * largest, "{found:?} is not {expected:?}");
    }
}

#[test]
fn effects_are_what_first_order_says_of_single_examples() {
    // Behind a ReLU without bias, Σ w·g of what writes a unit and of what reads it are both a·∂L/∂a.
    let network = mlp();
    let (taylor, fisher) =
        (criterion(r#"{"taylor":{"form":"square-sum"}}"#), criterion(r#"{"group-fisher":{}}"#));
    let mut expected = vec![0.0; 7];
    for single in singles() {
        let scores = Scored::new(network.as_ref(), &taylor, vec![single]).first(&taylor);
        expected.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / 5.0);
    }
    let together = Scored::new(network.as_ref(), &fisher, vec![batch(rows(), &CLASSES)]).first(&fisher);
    near(&together, &expected);
    let apart = Scored::new(network.as_ref(), &fisher, singles().collect()).first(&fisher);
    near(&apart, &expected);
}

#[test]
fn curvature_is_the_mean_of_squares_of_single_examples() {
    let network = mlp();
    let (taylor, obd) = (criterion(r#"{"taylor":{"form":"sum-square"}}"#), criterion(r#"{"obd":{}}"#));
    let mut expected = vec![0.0; 7];
    for single in singles() {
        let scores = Scored::new(network.as_ref(), &taylor, vec![single]).first(&taylor);
        expected.iter_mut().zip(scores).for_each(|(sum, score)| *sum += 0.5 * score / 5.0);
    }
    near(&Scored::new(network.as_ref(), &obd, vec![batch(rows(), &CLASSES)]).first(&obd), &expected);
}

#[test]
fn activations_are_those_of_the_sites() {
    let network = mlp();
    let mut tap = Tap::wanting(["hidden1"]);
    network.forward(batch(rows(), &CLASSES).rows, &mut tap);
    let features = tap.into_features();
    let hidden = features.get("hidden1").unwrap().clone().rows();
    let hidden: Vec<f32> = hidden.into_data().try_to_vec().unwrap();
    let over = |power: i32| -> Vec<f64> {
        (0..7)
            .map(|unit| (0..5).map(|row| f64::from(hidden[row * 7 + unit]).powi(power)).sum::<f64>() / 5.0)
            .collect()
    };
    for (text, expected) in [
        (r#"{"activation-norm":{"p":1}}"#, over(1)),
        (r#"{"activation-norm":{"p":2}}"#, over(2).into_iter().map(f64::sqrt).collect()),
    ] {
        let norm = criterion(text);
        near(&Scored::new(network.as_ref(), &norm, vec![batch(rows(), &CLASSES)]).first(&norm), &expected);
        near(&Scored::new(network.as_ref(), &norm, singles().collect()).first(&norm), &expected);
    }
}

#[test]
fn a_penalty_pulls_scales_of_batch_norm_towards_zero_and_nothing_else() {
    let config = ConvNetConfig { channels: vec![3, 4], kernel: 3, hidden: 5, norm: true };
    let (task, device) = (Task { input: vec![1, 8, 8], classes: 3 }, Device::flex());
    let build = || Built::<ConvNet>::build("convnet", &config, &task, &device);
    let mut network = seeded(&device, 2, build).unwrap();
    let signs = Array::new(vec![3], vec![0.5, -2.0, 0.0]).unwrap();
    network.set_weights(&[("blocks.0.norm.gamma".to_owned(), signs)].into());
    let network = network.training();
    let gradients = |by: Option<f64>| {
        let rows: Vec<f32> = (0..128).map(|at| (at as f32 * 0.7).cos()).collect();
        let rows = batch(rows, &[0, 1]).on(&device.clone().autodiff()).rows;
        let mut all = network.forward(rows, &mut Tap::none()).powi_scalar(2).sum().backward();
        let mut own = network.gradients(&mut all);
        if let Some(by) = by {
            network.shrink_scales(&mut own, by);
        }
        own
    };
    let (plain, pulled) = (gradients(None), gradients(Some(0.25)));
    for entry in network.entries().iter().filter(|entry| entry.shape.len() == 1 && !entry.is_buffer()) {
        let of = |own: &GradientsParams| -> Vec<f32> {
            own.get::<1>(entry.id).map(|g| g.into_data().try_to_vec().unwrap()).unwrap_or_default()
        };
        let (plain, pulled) = (of(&plain), of(&pulled));
        let moved: Vec<f32> = plain.iter().zip(&pulled).map(|(a, b)| b - a).collect();
        let expected = match entry.path.as_str() {
            "blocks.0.norm.gamma" => vec![0.25, -0.25, 0.0],
            "blocks.1.norm.gamma" => vec![0.25; 4],
            _ => vec![0.0; plain.len()],
        };
        for (a, b) in moved.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{}: {moved:?} is not {expected:?}", entry.path);
        }
    }
}

/// Notes what a run says.
#[derive(Default)]
struct Notes(Vec<String>);

impl Sink for Notes {
    fn event(&mut self, event: Event) {
        match event {
            Event::Working { what } => self.0.push(what),
            Event::Note(note) => self.0.push(note),
            _ => {}
        }
    }
}

fn cut(outcome: &Outcome) -> Cut {
    serde_json::from_slice(&std::fs::read(outcome.dir.join("3-prune/cut.json")).unwrap()).unwrap()
}

#[test]
fn prune_stages_gather_what_their_criteria_read_with_the_teacher_on() {
    let base = tempfile::tempdir().unwrap();
    let recipe = |criterion: &str, more: &str| {
        let stage = format!("pattern.channels = {{ macs = 0.3 }}\ncriterion.{criterion}\n{more}");
        // The hint's connector and the teacher take part in the loss whose gradients are gathered.
        RECIPE.replace("pattern.channels = { macs = 0.3 }", &stage).replace("epochs = 2", "epochs = 1")
    };
    for (at, (criterion, more)) in [
        ("taylor = {}", "calibration = 2"),
        ("group-fisher = {}", "calibration = 1\nscope = \"global\""),
        ("activation-norm = { p = 2 }", "calibration = 2\nscope = \"isomorphic\""),
        ("bn-scale = {}", "bn-scale-penalty = 1e-3"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut notes = Notes::default();
        let out = base.path().join(at.to_string());
        std::fs::create_dir(&out).unwrap();
        let outcome = run(&recipe(criterion, more), &[], &out, &mut notes).unwrap();
        assert!(!cut(&outcome).is_empty(), "{criterion}");
        let name = criterion.split(' ').next().unwrap();
        let gathers = notes.0.iter().any(|note| note.starts_with(&format!("gathering what `{name}` reads")));
        assert_eq!(gathers, name != "bn-scale", "{:?}", notes.0);
    }
    // A run that was stopped goes on with the same channels.
    let text = recipe("taylor = {}", "calibration = 2");
    let out = base.path().join("stopped");
    std::fs::create_dir(&out).unwrap();
    let mut sessions = 1;
    let mut result = run(&text, &[], &out, &mut StopAfter(5));
    while result.is_err() {
        sessions += 1;
        assert!(sessions < 50, "the run does not get on");
        result = go_on(&out.join("runs/tiny"), &mut StopAfter(9));
    }
    assert!(sessions > 5);
    let (whole, stopped) = (exact_files(&base.path().join("0/runs/tiny")), exact_files(&result.unwrap().dir));
    assert!(whole == stopped, "a run that was stopped ends with other files");
}
