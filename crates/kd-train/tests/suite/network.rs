//! One network from outside: training leaves a teacher alone, weights travel, compression is what the files say.
use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_core::loss::{Kl, kl};
use kd_train::compress::{Compression, WeightQuant};
use kd_train::models::{ConvNet, ConvNetConfig, Mlp, MlpConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::recipe::OptimizerSpec;
use kd_train::{Task, fold, measure, optimizer, sparsify, weights};

fn task() -> Task {
    Task { input: vec![1, 8, 8], classes: 10 }
}

fn convnet(seed: u64, norm: bool) -> Box<dyn Network> {
    let config = ConvNetConfig { channels: vec![4, 6], kernel: 3, hidden: 12, norm };
    let device = Device::flex();
    seeded(&device, seed, || Built::<ConvNet>::build("convnet", &config, &task(), &device)).unwrap()
}

fn rows(batch: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..batch * 64).map(|i| (i as f32 * 0.73).sin()).collect();
    Tensor::from_data(TensorData::new(values, [batch, 64]), device)
}

fn logits(network: &dyn Network, batch: usize) -> Vec<f32> {
    let logits = network.inference().forward(rows(batch, &Device::flex()), &mut Tap::none());
    logits.into_data().try_to_vec().unwrap()
}

/// A few steps towards another network.
fn learn(student: Box<dyn Network>, teacher: &dyn Network) -> Box<dyn Network> {
    let device = Device::flex().autodiff();
    let mut student = student.training();
    let mut optimizer = optimizer::build(&OptimizerSpec::default());
    let knobs = Kl::new(kd_core::Temperature::new(2.0).unwrap());
    for _ in 0..5 {
        let rows = rows(32, &device);
        let taught = teacher.forward(rows.clone().without_autodiff(), &mut Tap::none());
        let loss = kl(student.forward(rows, &mut Tap::none()), taught, &knobs).unwrap();
        let mut gradients = loss.backward();
        let own = student.gradients(&mut gradients);
        student.step(&mut optimizer, 1e-2, own);
    }
    student
}

#[test]
fn distilling_changes_the_student_and_nothing_of_the_teacher() {
    let teacher = learn(convnet(1, true), convnet(9, true).inference().as_ref()).inference();
    let (before, answers) = (teacher.weights(), logits(teacher.as_ref(), 5));
    assert!(
        before.keys().any(|path| path.ends_with("running_mean")),
        "running statistics are among the weights"
    );
    let student = convnet(2, true);
    let untrained = student.weights();
    let student = learn(student, teacher.as_ref());
    assert_eq!(teacher.weights(), before);
    assert_eq!(logits(teacher.as_ref(), 5), answers);
    for (path, array) in student.weights() {
        assert_ne!(array, untrained[&path], "`{path}` did not learn");
    }
}

#[test]
fn equal_seeds_make_equal_networks_and_other_seeds_others() {
    assert_eq!(convnet(3, true).weights(), convnet(3, true).weights());
    assert_ne!(convnet(3, true).weights(), convnet(4, true).weights());
}

#[test]
fn parameters_and_macs_are_those_counted_by_hand() {
    let size = measure::size(convnet(1, true).as_ref()).unwrap();
    assert_eq!(size.params, 4 * 9 + 2 * 4 + 6 * 4 * 9 + 2 * 6 + (24 * 12 + 12) + (12 * 10 + 10));
    assert_eq!(size.macs, 4 * 9 * 64 + 6 * 4 * 9 * 16 + 24 * 12 + 12 * 10);
    let size = measure::size(convnet(1, false).as_ref()).unwrap();
    assert_eq!(size.params, (4 * 9 + 4) + (6 * 4 * 9 + 6) + (24 * 12 + 12) + (12 * 10 + 10));
    let device = Device::flex();
    let config = MlpConfig { hidden: vec![20, 30] };
    let mlp = Built::<Mlp>::build("mlp", &config, &task(), &device).unwrap();
    let size = measure::size(mlp.as_ref()).unwrap();
    assert_eq!(size.params, (64 * 20 + 20) + (20 * 30 + 30) + (30 * 10 + 10));
    assert_eq!(size.macs, 64 * 20 + 20 * 30 + 30 * 10);
    assert_eq!(size.nonzero, size.params);
}

#[test]
fn folding_batch_norm_changes_no_answer_and_leaves_an_identity() {
    let network = learn(convnet(1, true), convnet(9, true).inference().as_ref()).inference();
    let folded = fold::fold(network.as_ref()).unwrap();
    let (a, b) = (logits(network.as_ref(), 7), logits(folded.network.as_ref(), 7));
    let most = a.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() <= 1e-5 * most, "{a} became {b}");
    }
    let weights = folded.network.weights();
    assert!(weights["blocks.0.norm.gamma"].data().iter().all(|gamma| *gamma == 1.0));
    assert!(weights["blocks.0.norm.running_mean"].data().iter().all(|mean| *mean == 0.0));
    assert!(folded.fixed.contains("blocks.0.norm.gamma"));
}

#[test]
fn masks_and_rounding_compose_and_fold_away() {
    let network = convnet(1, false);
    let scheme = "int8 channel narrow".parse().unwrap();
    let path = "hidden.weight".to_owned();
    let keep: Vec<bool> = (0..24 * 12).map(|i| i % 5 != 0).collect();
    let compression = Compression {
        masks: [(path.clone(), keep.clone())].into(),
        quant: [(path.clone(), WeightQuant { scheme, axis: 1, estimator: Default::default(), noise: None })]
            .into(),
        ..Compression::default()
    };
    let compressed = network.with_compression(compression.clone());
    assert_eq!(compressed.weights(), network.weights(), "the stored weights are untouched");
    assert_ne!(logits(compressed.as_ref(), 3), logits(network.as_ref(), 3));

    let folded = compressed.materialized();
    assert_eq!(logits(folded.as_ref(), 3), logits(compressed.as_ref(), 3));
    let weight = &folded.weights()[&path];
    for column in 0..12 {
        let values: Vec<f32> = (0..24).map(|row| weight.data()[row * 12 + column]).collect();
        let scale = values.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        for (row, value) in values.iter().enumerate() {
            assert!(*value == 0.0 || keep[row * 12 + column], "a masked element is zero");
            let code = value / scale;
            assert!((code - code.round()).abs() < 1e-3, "{value} is not on the grid of {scale}");
        }
    }

    // Trained on, masked elements stay zero, and the stored weights are what the optimizer moves.
    let trained = learn(compressed, convnet(9, false).inference().as_ref()).inference();
    let masked = weights::masked(trained.as_ref());
    for (value, keep) in masked[&path].data().iter().zip(&keep) {
        assert!(*keep || *value == 0.0);
    }
    assert_eq!(trained.compression(), &compression);
}

#[test]
fn optimizer_state_survives_by_path() {
    for spec in ["sgd", "adam", "adam-w", "lion"] {
        let spec: OptimizerSpec =
            toml::from_str::<std::collections::BTreeMap<String, OptimizerSpec>>(&format!("o.{spec} = {{}}"))
                .unwrap()["o"];
        let device = Device::flex().autodiff();
        let step = |network: &mut Box<dyn Network>, optimizer: &mut burn::optim::ModuleOptimizer| {
            let loss = network.forward(rows(16, &device), &mut Tap::none()).square().mean();
            let mut gradients = loss.backward();
            let own = network.gradients(&mut gradients);
            network.step(optimizer, 1e-2, own);
        };
        let mut network = convnet(1, true).training();
        let mut optimizer = optimizer::build(&spec);
        step(&mut network, &mut optimizer);
        step(&mut network, &mut optimizer);

        let state = optimizer::save(&optimizer, &network.entries()).unwrap();
        assert!(!state.tensors.is_empty(), "{spec:?} keeps a state");
        let mut twin = convnet(7, true).training();
        twin.set_weights(&network.weights());
        let mut again = optimizer::load(optimizer::build(&spec), &state, &twin.entries()).unwrap();
        assert_eq!(optimizer::save(&again, &twin.entries()).unwrap(), state);

        step(&mut network, &mut optimizer);
        step(&mut twin, &mut again);
        assert_eq!(network.weights(), twin.weights(), "{spec:?}");
    }
}

#[test]
fn masks_of_a_global_scope_take_more_where_weights_are_smaller() {
    let network = convnet(3, false);
    let (entries, mut weights) = (network.entries(), network.weights());
    let paths: Vec<String> = sparsify::masked(&entries).into_iter().map(|(path, _)| path).collect();
    let small = &paths[0];
    let tiny = weights[small].data().iter().map(|w| w * 1e-3).collect::<Vec<f32>>();
    let shape = weights[small].shape().to_vec();
    weights.insert(small.clone(), kd_deploy::Array::new(shape, tiny).unwrap());
    let gone = |scope| {
        let sparsity = prune_core::Sparsity::new(0.5).unwrap();
        let when = sparsify::When::Curve(kd_core::Schedule::constant(1.0).unwrap());
        let pattern = prune_core::Pattern::Unstructured(prune_core::Unstructured { sparsity, scope });
        let criterion = std::sync::Arc::new(prune_core::Magnitude::default());
        let calendar = sparsify::Calendar::new(&when, 0.5, 1, None, None);
        let floor = sparsify::Masks::new();
        let sparsifier =
            sparsify::Sparsifier::new(pattern.into(), criterion, (when, calendar), network.as_ref(), floor)
                .unwrap();
        let (memory, floor) = (sparsify::Memory::default(), &sparsifier.floor);
        let masks = sparsifier.masks(&weights, &entries, 1.0, &memory, floor).unwrap();
        let count = |path: &String| masks[path].iter().filter(|&&keep| !keep).count();
        let all: usize = masks.values().map(Vec::len).sum();
        assert_eq!(masks.len(), paths.len());
        (count(small), paths.iter().map(count).sum::<usize>(), masks[small].len(), all)
    };
    let (of_small, of_all, small_len, len) = gone(prune_core::Scope::Local);
    assert_eq!(of_small, small_len / 2);
    assert!(of_all.abs_diff(len / 2) < paths.len());
    let (of_small, of_all, small_len, len) = gone(prune_core::Scope::Global);
    assert_eq!((of_small, of_all), (small_len, len / 2));
}
