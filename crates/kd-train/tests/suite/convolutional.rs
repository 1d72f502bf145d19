//! Residual and depthwise-separable networks: sizes counted by hand, what a recipe may say, and every stage of a run.
use crate::common::{RECIPE, run};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_core::loss::{Kl, kl};
use kd_graph::{Axis, Op};
use kd_train::event::Silent;
use kd_train::models::{DsCnn, DsCnnConfig, ResNet, ResNetConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::prune::follow;
use kd_train::recipe::OptimizerSpec;
use kd_train::summary::Summary;
use kd_train::{Model, Task, fold, measure, optimizer};
use prune_core::{Channels, Limits, Magnitude, Share, Weights, plan_axes, predict, score_axis};

fn task(channels: usize, side: usize) -> Task {
    Task { input: vec![channels, side, side], classes: 10 }
}

fn resnet(depth: usize, width: usize, task: &Task) -> Box<dyn Network> {
    let (config, device) = (ResNetConfig { depth, width }, Device::flex());
    seeded(&device, 3, || Built::<ResNet>::build("resnet", &config, task, &device)).unwrap()
}

fn ds_cnn(task: &Task) -> Box<dyn Network> {
    let device = Device::flex();
    let config = DsCnnConfig { stem: 8, stem_stride: 1, channels: vec![12, 16, 16], strides: vec![1, 2, 1] };
    seeded(&device, 3, || Built::<DsCnn>::build("ds-cnn", &config, task, &device)).unwrap()
}

fn teacher() -> Box<dyn Network> {
    let device = Device::flex();
    let config = ResNetConfig { depth: 8, width: 3 };
    seeded(&device, 9, || Built::<ResNet>::build("resnet", &config, &task(1, 8), &device))
        .unwrap()
        .inference()
}

fn rows(batch: usize, features: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..batch * features).map(|i| (i as f32 * 0.73).sin()).collect();
    Tensor::from_data(TensorData::new(values, [batch, features]), device)
}

fn logits(network: &dyn Network, batch: usize) -> Vec<f32> {
    let rows = rows(batch, network.task().features(), &Device::flex());
    network.inference().forward(rows, &mut Tap::none()).into_data().try_to_vec().unwrap()
}

/// Two steps towards another network, after which batch norm has statistics of its own.
fn learn(student: Box<dyn Network>, teacher: &dyn Network) -> Box<dyn Network> {
    let device = Device::flex().autodiff();
    let mut student = student.training();
    let mut optimizer = optimizer::build(&OptimizerSpec::default());
    let knobs = Kl::new(kd_core::Temperature::new(2.0).unwrap());
    for _ in 0..2 {
        let rows = rows(16, student.task().features(), &device);
        let taught = teacher.forward(rows.clone().without_autodiff(), &mut Tap::none());
        let loss = kl(student.forward(rows, &mut Tap::none()), taught, &knobs).unwrap();
        let mut gradients = loss.backward();
        let own = student.gradients(&mut gradients);
        student.step(&mut optimizer, 1e-2, own);
    }
    student.inference()
}

fn sites(network: &dyn Network) -> Vec<String> {
    network.graph().unwrap().sites.into_iter().map(|(site, _)| site).collect()
}

#[test]
fn resnet_20_has_the_parameters_of_the_paper_and_of_its_projections() {
    let size = measure::size(resnet(20, 16, &task(3, 32)).as_ref()).unwrap();
    let conv = |from: u64, to: u64, kernel: u64| from * to * kernel * kernel;
    let unit = |from, to, kernel| conv(from, to, kernel) + 2 * to;
    let block = |from, to| unit(from, to, 3) + unit(to, to, 3);
    let stages = [3 * block(16, 16), block(16, 32) + 2 * block(32, 32), block(32, 64) + 2 * block(64, 64)];
    let shortcuts = unit(16, 32, 1) + unit(32, 64, 1);
    assert_eq!(stages, [14_016, 51_072, 203_520]);
    // Table 6 of the paper says 0.27 M, without the two projections of option B.
    assert_eq!(unit(3, 16, 3) + stages.iter().sum::<u64>() + 650, 269_722);
    assert_eq!(size.params, 269_722 + shortcuts);
    assert_eq!(size.params, 272_474);
    // 32×32, 16×16 and 8×8 positions; batch norm counts nothing.
    let macs = 1024 * conv(3, 16, 3)
        + 1024 * 6 * conv(16, 16, 3)
        + 256 * (conv(16, 32, 3) + 5 * conv(32, 32, 3) + conv(16, 32, 1))
        + 64 * (conv(32, 64, 3) + 5 * conv(64, 64, 3) + conv(32, 64, 1))
        + 640;
    assert_eq!(size.macs, macs);
    assert_eq!(size.macs, 40_813_184);
}

#[test]
fn ds_cnn_is_the_size_counted_by_hand() {
    let network = ds_cnn(&task(1, 28));
    let size = measure::size(network.as_ref()).unwrap();
    let block = |from: u64, to: u64| (9 * from + 2 * from) + (from * to + 2 * to);
    assert_eq!(size.params, (9 * 8 + 16) + block(8, 12) + block(12, 16) + block(16, 16) + (160 + 10));
    let macs = 784 * (9 * 8) + 784 * (9 * 8 + 8 * 12) + 196 * (9 * 12 + 12 * 16) + 196 * (9 * 16 + 256);
    assert_eq!(size.macs, macs + 160);
    let graph = network.graph().unwrap();
    let groups: Vec<usize> = (graph.nodes.iter())
        .filter_map(|node| match node.op {
            Op::Conv { groups, .. } => Some(groups),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [1, 8, 1, 12, 1, 16, 1]);
}

#[test]
fn any_image_goes_in_and_logits_come_out() {
    for (channels, side) in [(1, 28), (3, 32), (2, 7), (1, 1)] {
        let task = task(channels, side);
        for network in [resnet(8, 4, &task), ds_cnn(&task)] {
            let out = network.forward(rows(3, task.features(), &Device::flex()), &mut Tap::none());
            assert_eq!(out.dims(), [3, 10], "{} on {channels}×{side}×{side}", network.model());
        }
    }
}

#[test]
fn every_layer_reads_a_site_and_nothing_is_opaque() {
    let (resnet, ds_cnn) = (resnet(14, 4, &task(1, 8)), ds_cnn(&task(1, 8)));
    let mut expected = vec!["input".to_owned(), "stem".to_owned()];
    for stage in 1..=3 {
        for block in 1..=2 {
            expected.extend([".hidden", ""].map(|part| format!("stage{stage}.block{block}{part}")));
        }
    }
    expected.push("pool".to_owned());
    assert_eq!(sites(resnet.as_ref()), expected);
    let blocks = ["block1.depthwise", "block1", "block2.depthwise", "block2", "block3.depthwise", "block3"];
    assert_eq!(sites(ds_cnn.as_ref()), [&["input", "stem"], blocks.as_slice(), &["pool"]].concat());
    for network in [resnet, ds_cnn] {
        let graph = network.graph().unwrap();
        let opaque: Vec<_> = graph.nodes.iter().filter(|node| matches!(node.op, Op::Opaque(_))).collect();
        assert!(opaque.is_empty(), "{opaque:?}");
        let layers =
            graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv { .. } | Op::Linear)).count();
        let placed: usize = kd_graph::placements(&graph).unwrap().iter().map(|it| it.consumers.len()).sum();
        assert_eq!(placed, layers);
        // All batch norms fold, and the folded network gives the same answers.
        let norms = graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })).count();
        assert_eq!(kd_graph::batch_norm_folds(&graph).len(), norms);
        let network = learn(network, teacher().as_ref());
        let folded = fold::fold(network.as_ref()).unwrap();
        let (a, b) = (logits(network.as_ref(), 7), logits(folded.network.as_ref(), 7));
        let most = a.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-4 * most), "{a:?} became {b:?}");
    }
}

#[test]
fn every_weight_learns() {
    for network in [resnet(8, 4, &task(1, 8)), ds_cnn(&task(1, 8))] {
        let untrained = network.weights();
        let network = learn(network, teacher().as_ref());
        for (path, array) in network.weights() {
            assert_ne!(array, untrained[&path], "`{path}` of {} did not learn", network.model());
        }
    }
}

#[test]
fn channels_go_from_every_layer_and_silencing_them_is_the_same() {
    for network in [resnet(14, 8, &task(1, 8)), ds_cnn(&task(1, 8))] {
        let network = learn(network, teacher().as_ref());
        let graph = network.graph().unwrap();
        let weights =
            network.weights().into_iter().map(|(path, a)| (path, a.shape().to_vec(), a.into_data()));
        let weights = Weights::from_arrays(weights);
        let axes = follow::axes(network.as_ref(), &graph);
        let score = |axis: &Axis| score_axis(&Magnitude::default(), &graph, axis, &weights);
        let target = Channels::Macs(Share::new(0.5).unwrap());
        let plan = plan_axes(&graph, &axes, score, target, Limits::default()).unwrap();
        assert!(2 * plan.after.macs <= plan.before.macs, "{} of {}", plan.after.macs, plan.before.macs);
        // Of everything that has more than one unit, the classes alone stay whole.
        let whole: Vec<_> = plan.whole.iter().map(|axis| axis.reason.as_str()).collect();
        assert_eq!(whole, ["dimension 1 of the model's output"]);

        let rows = rows(16, network.task().features(), &Device::flex());
        let difference = network.verify_cut(&plan.cut, rows).unwrap();
        assert!(difference <= 1e-5, "{} differs by {difference}", network.model());
        let cut = network.cut(&plan.cut).unwrap();
        assert_eq!(cut.graph().unwrap(), predict(&graph, &plan.cut).unwrap().graph);
        assert_eq!(measure::size(cut.as_ref()).unwrap().macs, plan.after.macs);
        // What is left trains on.
        learn(cut, teacher().as_ref());
    }
}

/// A depthwise convolution that keeps its number of groups in a field.
#[derive(Module, Debug)]
struct Counted {
    stem: Conv2d,
    depthwise: Conv2d,
    output: Linear,
}

impl Model for Counted {
    type Input = Tensor<4>;
    type Config = ();
    const ABOUT: &'static str = "six channels, counted";

    fn build(_: &(), task: &Task, device: &Device) -> Result<Self, String> {
        let conv = |from, groups| Conv2dConfig::new([from, 6], [3, 3]).with_groups(groups).init(device);
        let output = LinearConfig::new(6, task.classes).init(device);
        Ok(Self { stem: conv(task.input[0], 1), depthwise: conv(6, 6), output })
    }

    fn forward(&self, input: Tensor<4>, tap: &mut Tap<'_>) -> Tensor<2> {
        let x = tap.at("stem", relu(self.stem.forward(input)));
        let x = relu(self.depthwise.forward(x));
        let x = tap.at("pool", adaptive_avg_pool2d(x, [1, 1]).flatten::<2>(1, 3));
        self.output.forward(x)
    }
}

#[test]
fn groups_that_do_not_follow_are_seen() {
    let device = Device::flex();
    let network = Built::<Counted>::build("counted", &(), &task(1, 8), &device).unwrap();
    let axes = follow::axes(network.as_ref(), &network.graph().unwrap());
    let pinned = |axis: &&Axis| axis.pinned.as_ref().is_some_and(|why| why.contains("do not follow"));
    let counted: Vec<_> = axes.iter().filter(pinned).collect();
    assert_eq!(counted.len(), 1, "{axes:?}");
    assert_eq!((counted[0].size, counted[0].members[0].path.as_str()), (6, "stem.weight"));
    assert!(counted[0].pinned.as_ref().unwrap().contains("`depthwise.weight`"), "{counted:?}");
    let network = ds_cnn(&task(1, 8));
    let axes = follow::axes(network.as_ref(), &network.graph().unwrap());
    assert_eq!(axes.iter().filter(pinned).count(), 0, "{axes:?}");
}

#[test]
fn configurations_that_make_no_network_are_refused() {
    let device = Device::flex();
    let flat = Task { input: vec![64], classes: 10 };
    let resnet = |depth, width, task: &Task| {
        let built = Built::<ResNet>::build("resnet", &ResNetConfig { depth, width }, task, &device);
        built.map(|_| ()).unwrap_err()
    };
    let images = "expected images [channels, height, width], found examples of shape [64]";
    assert_eq!(resnet(20, 16, &flat), images);
    for depth in [0, 2, 7, 18, 21] {
        let says = format!("expected a `depth` of 6n + 2, such as 8, 14, 20 or 56, found {depth}");
        assert_eq!(resnet(depth, 16, &task(1, 8)), says);
    }
    assert_eq!(resnet(20, 0, &task(1, 8)), "expected a `width` of at least 1, found 0");

    let ds_cnn = |text: &str, task: &Task| {
        let config: DsCnnConfig = toml::from_str(text).unwrap();
        Built::<DsCnn>::build("ds-cnn", &config, task, &device).map(|_| ()).err()
    };
    assert_eq!(ds_cnn("channels = [8]", &flat).unwrap(), images);
    assert_eq!(ds_cnn("channels = [8, 8]", &task(1, 8)), None);
    for (text, says) in [
        ("channels = []", "expected at least one block in `channels`"),
        ("channels = [8, 0]", "expected widths of at least 1, found 0 in `channels`, position 1"),
        ("channels = [8]\nstem = 0", "expected a `stem` of at least 1, found 0"),
        ("channels = [8]\nstem-stride = 3", "expected a `stem-stride` of 1 or 2, found 3"),
        ("channels = [8]\nstrides = [0]", "expected strides of 1 or 2, found 0 in `strides`, position 0"),
        (
            "channels = [8, 8]\nstrides = [1]",
            "expected a stride for each of the 2 blocks of `channels`, found 1 in `strides`",
        ),
    ] {
        assert_eq!(ds_cnn(text, &task(1, 8)).unwrap(), says);
    }
}

/// Every kind of stage, exported and run by an engine that is not ours.
fn whole_run(teacher: &str, student: &str, hint: &str) -> Summary {
    let recipe = RECIPE
        .replace("model.convnet = { channels = [6, 8], kernel = 3, hidden = 16 }", teacher)
        .replace("model.convnet = { channels = [4, 6], kernel = 3, hidden = 12 }", student)
        .replace("\"block1\"", hint);
    let base = tempfile::tempdir().unwrap();
    let more = [
        "data.digits.batch=64",
        "stage.teacher.train.epochs=5",
        "stage.distill.distill.epochs=5",
        "stage.prune.prune.epochs=2",
    ];
    let outcome = run(&recipe, &more, base.path(), &mut Silent).unwrap();
    let summary: Summary =
        serde_json::from_slice(&std::fs::read(outcome.dir.join("summary.json")).unwrap()).unwrap();
    let [_, distill, prune, ..] = summary.stages.as_slice() else { panic!("five stages") };
    assert!(prune.macs as f64 <= 0.7 * distill.macs as f64, "{} of {}", prune.macs, distill.macs);
    // The run itself refuses an export beyond these bounds; here they are seen to have been measured.
    let artifacts: Vec<&str> = summary.parity.iter().map(|parity| parity.artifact.as_str()).collect();
    assert_eq!(artifacts, ["model.onnx", "model.int8.onnx"]);
    assert!(summary.parity.iter().all(|parity| parity.top1_agreement >= 0.995), "{:?}", summary.parity);
    summary
}

#[test]
fn a_residual_network_goes_through_every_stage() {
    let summary = whole_run(
        "model.resnet = { depth = 8, width = 6 }",
        "model.resnet = { depth = 8, width = 4 }",
        "\"stage1.block1\"",
    );
    let [teacher, .., int8] = summary.stages.as_slice() else { panic!("five stages") };
    assert!(teacher.accuracy > 0.9 && int8.accuracy > 0.8, "{} {}", teacher.accuracy, int8.accuracy);
}

#[test]
fn a_depthwise_separable_network_goes_through_every_stage() {
    let summary = whole_run(
        "model.ds-cnn = { stem = 8, channels = [16, 24, 32], strides = [1, 2, 1] }",
        "model.ds-cnn = { stem = 8, channels = [16, 20, 24], strides = [1, 2, 1] }",
        "\"block1\"",
    );
    let [teacher, .., int8] = summary.stages.as_slice() else { panic!("five stages") };
    assert!(teacher.accuracy > 0.8 && int8.accuracy > 0.6, "{} {}", teacher.accuracy, int8.accuracy);
}
