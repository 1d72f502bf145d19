//! Whole stages that sparsify, with the teacher on: a recipe for every way, runs that go on bit for bit, and masked weights
//! that stay exactly 0 in everything that follows.
use std::path::Path;

use kd_deploy::{WeightsContainer, onnx, safetensors};
use kd_train::event::Silent;
use kd_train::summary::Summary;
use kd_train::{Registry, session};

use crate::common::{StopAfter, exact_files, go_on, run};

const HEAD: &str = r#"
schema = 1
name = "masks"
seed = 11

[data.digits]
validation = 200
batch = 256

[teacher]
model.mlp = { hidden = [24] }

[student]
model.mlp = { hidden = [16, 12] }

[[objective]]
weight.linear = { from = 0.2, to = 0.5 }
cross-entropy = {}

[[objective]]
weight = 0.8
kl = { temperature = 3.0 }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 2
learning-rate = 1e-2
"#;

const DISTILL: &str = "
[[stage]]
name = \"distill\"
[stage.distill]
epochs = 1
learning-rate = 1e-2
";

fn sparsify(name: &str, body: &str) -> String {
    format!("\n[[stage]]\nname = \"{name}\"\n[stage.sparsify]\nepochs = 2\nlearning-rate = 5e-3\n{body}\n")
}

fn summary(dir: &Path) -> Summary {
    serde_json::from_slice(&std::fs::read(dir.join("summary.json")).unwrap()).unwrap()
}

/// Zeros of a stage's stored weight.
fn zeros(dir: &Path, folder: &str, weight: &str) -> Vec<bool> {
    let file = safetensors::read(&dir.join(folder).join("model.safetensors")).unwrap();
    file.arrays[weight].data().iter().map(|x| *x == 0.0).collect()
}

fn count(zeros: &[bool]) -> usize {
    zeros.iter().filter(|zero| **zero).count()
}

const LAYERS: [(&str, usize); 2] = [("hidden.0.weight", 64 * 16), ("hidden.1.weight", 16 * 12)];

#[test]
fn every_way_reaches_its_sparsity_and_goes_on_bit_for_bit() {
    let ways = [
        "schedule.cubic = { from = 0.0, to = 1.0, end = 0.75 }\nfrequency = 3\nlock-after = 0.9",
        "schedule.one-shot = { at = 0.25 }\noptimizer.sgd = { momentum = 0.9 }",
        "schedule.iterative = { rounds = 3 }\ncriterion.random = { seed = 4 }",
        "schedule.exponential = {}\ncriterion.taylor = {}",
        "schedule.iterative = { rounds = 2, begin = 0.3 }\ncriterion.movement = {}",
        "schedule.movement = {}\nfrequency = 1\ngradient-clipping = 1.0",
        "schedule.growing-regularisation = { ceiling = 5.0 }",
        "schedule.lottery-ticket = { rounds = 2, to = 0.2 }",
        "schedule.lottery-ticket = { rounds = 2, rewind = \"learning-rate\" }",
    ];
    for way in ways {
        let tickets = way.contains("lottery-ticket");
        // Lottery tickets begin with a student that has learned nothing.
        let (before, folder) = if tickets { ("", "2-sparse") } else { (DISTILL, "3-sparse") };
        let body = format!("pattern.unstructured = {{ sparsity = 0.6 }}\n{way}");
        let recipe = format!("{HEAD}{before}{}", sparsify("sparse", &body));
        let base = tempfile::tempdir().unwrap();
        let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        for (weight, elements) in LAYERS {
            let found = count(&zeros(&whole.dir, folder, weight));
            assert_eq!(found, (0.6 * elements as f64 + 1e-9) as usize, "{way}: {weight}");
        }
        let last = summary(&whole.dir).stages.pop().unwrap();
        assert_eq!(last.params - last.nonzero, 614 + 115, "{way}");
        assert!(last.accuracy > 0.2, "{way}: {}", last.accuracy);

        let other = tempfile::tempdir().unwrap();
        let mut stops = [43, 7, 3, 5, 11, 2].into_iter().cycle();
        let mut result = run(&recipe, &[], other.path(), &mut StopAfter(stops.next().unwrap()));
        let dir = other.path().join("runs/masks");
        let mut sessions = 1;
        while result.is_err() && sessions < 60 {
            result = go_on(&dir, &mut StopAfter(stops.next().unwrap()));
            sessions += 1;
        }
        result.unwrap();
        assert!(sessions >= 4, "only {sessions} sessions");
        let (expected, found) = (exact_files(&whole.dir), exact_files(&dir));
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(bytes == &found[name], "{way}, {sessions} sessions: `{name}` differs");
        }
    }
}

/// Recipes whose masks come from what layers read, with stages behind them that keep the masks.
#[test]
fn criteria_of_inputs_go_on_bit_for_bit_and_later_stages_keep_their_masks() {
    let student = "[student]\nmodel.convnet = { channels = [4, 6], kernel = 3, hidden = 12 }";
    let n_m = "pattern.n-m = { keep = 2, of = 4 }";
    let unstructured = "pattern.unstructured = { sparsity = 0.6 }";
    for (epochs, pattern, way) in [
        (0, n_m, "schedule.one-shot = {}\ncriterion.wanda = {}\ncalibration = 2"),
        (0, n_m, "schedule.one-shot = {}\ncriterion.sparsegpt = { block-size = 16 }\ncalibration = 2"),
        (2, n_m, "schedule.one-shot = { at = 0.25 }\ncriterion.sparsegpt = {}"),
        (2, unstructured, "criterion.wanda = {}\nfrequency = 3\ncalibration = 1"),
        (2, unstructured, "schedule.iterative = { rounds = 3 }\ncriterion.wanda = {}\ncalibration = 1"),
        (0, unstructured, "schedule.one-shot = {}\ncriterion.obd = {}\ncalibration = 1"),
        (2, unstructured, "schedule.cubic = { from = 0.0, to = 1.0 }\ncriterion.obd = {}\ncalibration = 1"),
        (2, unstructured, "schedule.exponential = {}\ncriterion.owl = { m = 2.0 }\ncalibration = 1"),
    ] {
        let body = format!("{pattern}\n{way}");
        let sparse = sparsify("sparse", &body).replace("epochs = 2", &format!("epochs = {epochs}"));
        let more = DISTILL.replace("\"distill\"", "\"more\"");
        let recipe = format!("{HEAD}{DISTILL}{sparse}{more}")
            .replace("[student]\nmodel.mlp = { hidden = [16, 12] }", student);
        let base = tempfile::tempdir().unwrap();
        let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        for (weight, elements) in [("blocks.1.conv.weight", 6 * 36), ("hidden.weight", 12 * 24)] {
            let [first, then] = ["3-sparse", "4-more"].map(|folder| zeros(&whole.dir, folder, weight));
            let share = count(&first) as f64 / elements as f64;
            assert!((0.45..0.7).contains(&share), "{way}: {share} of {weight}");
            assert_eq!(first, then, "{way}: {weight}");
            if pattern == n_m {
                assert!(first.chunks(4).all(|group| count(group) == 2), "{way}: {weight}");
            }
        }
        let other = tempfile::tempdir().unwrap();
        let mut stops = [43, 5, 3, 2, 4, 7].into_iter().cycle();
        let mut result = run(&recipe, &[], other.path(), &mut StopAfter(stops.next().unwrap()));
        let dir = other.path().join("runs/masks");
        let mut sessions = 1;
        while result.is_err() && sessions < 60 {
            result = go_on(&dir, &mut StopAfter(stops.next().unwrap()));
            sessions += 1;
        }
        result.unwrap();
        assert!(sessions >= 3, "only {sessions} sessions");
        let (expected, found) = (exact_files(&whole.dir), exact_files(&dir));
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(bytes == &found[name], "{way}, {sessions} sessions: `{name}` differs");
        }
    }
}

#[test]
fn batch_norm_begins_again_wherever_a_run_was_stopped() {
    let way = "pattern.n-m = { keep = 2, of = 4 }\nschedule.lottery-ticket = { rounds = 2, to = 0.3 }";
    let recipe = format!("{HEAD}{}", sparsify("sparse", way)).replace(
        "[student]\nmodel.mlp = { hidden = [16, 12] }",
        "[student]\nmodel.convnet = { channels = [4, 6], kernel = 3, hidden = 12 }",
    );
    let base = tempfile::tempdir().unwrap();
    let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
    let expected = exact_files(&whole.dir);
    // 28 steps of the teacher; cuts before the steps 12 and 20 of the student, and its weights are remembered before 4.
    for stop in [28 + 3, 28 + 4, 28 + 11, 28 + 12, 28 + 13, 28 + 20] {
        let other = tempfile::tempdir().unwrap();
        run(&recipe, &[], other.path(), &mut StopAfter(stop)).unwrap_err();
        let dir = other.path().join("runs/masks");
        go_on(&dir, &mut Silent).unwrap();
        assert!(expected == exact_files(&dir), "stopped after {stop} steps");
    }
}

#[test]
fn soft_movement_lets_scores_decide_how_many_go() {
    let soft = |regularisation: f64| {
        format!(
            "pattern.block = {{ rows = 4, columns = 4, sparsity = 0.9 }}\nfrequency = 1\n\
             schedule.soft-movement = {{ regularisation = {regularisation:?}, rate = 0.2, begin = 0.0, end = 0.8 }}"
        )
    };
    let of = |regularisation: f64| {
        let recipe = format!("{HEAD}{DISTILL}{}", sparsify("sparse", &soft(regularisation)));
        let base = tempfile::tempdir().unwrap();
        let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        let gone: usize =
            LAYERS.iter().map(|(weight, _)| count(&zeros(&whole.dir, "3-sparse", weight))).sum();
        // Stopped where it likes, it ends the same.
        let other = tempfile::tempdir().unwrap();
        run(&recipe, &[], other.path(), &mut StopAfter(51)).unwrap_err();
        let dir = other.path().join("runs/masks");
        go_on(&dir, &mut Silent).unwrap();
        assert_eq!(exact_files(&whole.dir), exact_files(&dir));
        gone
    };
    let (little, much) = (of(0.0), of(1000.0));
    assert_eq!(much, (0.9_f64 * 64.0) as usize * 16 + (0.9_f64 * 12.0) as usize * 16, "all that may go");
    assert!(little < much && little % 16 == 0, "{little} of {much}");
}

#[test]
fn hidden_units_that_are_empty_are_taken_out_and_what_stays_is_filled() {
    let sparse = "pattern.hybrid = { rows = 4, columns = 4, sparsity = 0.5 }\nfrequency = 1";
    for way in [
        "schedule.movement = { scores = \"adam\" }",
        "schedule.movement.scores.from-magnitude = { rate = 0.01 }",
        "schedule.soft-movement = { regularisation = 1000.0, rate = 0.2, begin = 0.0, end = 0.8 }",
        "criterion.magnitude = { p = 2 }",
    ] {
        let out = |name: &str, fill: bool, epochs: usize| {
            format!(
                "\n[[stage]]\nname = \"{name}\"\n[stage.prune]\npattern.empty = {{ fill = {fill} }}\n\
                 compensate = true\nepochs = {epochs}\nlearning-rate = 5e-3\n"
            )
        };
        let recipe = format!(
            "{HEAD}{DISTILL}{}{}{}",
            sparsify("sparse", &format!("{sparse}\n{way}")),
            out("smaller", false, 0),
            out("filled", true, 1),
        );
        let base = tempfile::tempdir().unwrap();
        let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        let shape = |folder: &str, weight: &str| {
            let file = safetensors::read(&whole.dir.join(folder).join("model.safetensors")).unwrap();
            file.arrays[weight].shape().to_vec()
        };
        // PyTorch lays a linear layer out as [out, in].
        for folder in ["4-smaller", "5-filled"] {
            assert_eq!(shape(folder, "hidden.0.weight"), [8, 64], "{way}");
            assert_eq!(shape(folder, "hidden.1.weight"), [6, 8], "{way}");
            assert_eq!(shape(folder, "output.weight"), [10, 6], "{way}");
        }
        let stages = summary(&whole.dir).stages;
        let [sparse, smaller, filled] = [2, 3, 4].map(|stage| &stages[stage]);
        assert_eq!(sparse.params - sparse.nonzero, (8 * 64 + 16 * 12 - 8 * 6) as u64, "{way}");
        assert_eq!(smaller.params, smaller.nonzero, "{way}: everything that was masked is gone");
        assert!(
            smaller.accuracy > sparse.accuracy - 0.03,
            "{way}: {} of {}",
            smaller.accuracy,
            sparse.accuracy
        );
        assert!(filled.accuracy > 0.2, "{way}: {}", filled.accuracy);

        let other = tempfile::tempdir().unwrap();
        run(&recipe, &[], other.path(), &mut StopAfter(52)).unwrap_err();
        let dir = other.path().join("runs/masks");
        go_on(&dir, &mut Silent).unwrap();
        assert!(exact_files(&whole.dir) == exact_files(&dir), "{way}");
    }
}

#[test]
fn zeros_in_what_stays_are_masked_or_filled() {
    let of = |fill: bool| {
        let body = "pattern.unstructured = { sparsity = 0.9 }\nschedule.one-shot = {}";
        let recipe = format!(
            "{HEAD}{DISTILL}{}\n[[stage]]\nname = \"out\"\n[stage.prune]\npattern.empty = {{ fill = {fill} }}\n\
             epochs = 1\nlearning-rate = 5e-3\n",
            sparsify("sparse", body)
        );
        let base = tempfile::tempdir().unwrap();
        let whole = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        let last = summary(&whole.dir).stages.pop().unwrap();
        let zero = count(&zeros(&whole.dir, "4-out", "hidden.0.weight"));
        (last.params - last.nonzero, zero)
    };
    let (masked, zero) = of(false);
    assert!(masked > 500 && zero > 500, "{masked} masked, {zero} zeros");
    let (masked, zero) = of(true);
    assert!(masked == 0 && zero < 100, "{masked} masked, {zero} zeros");
}

/// A network that is sparsified twice, distilled on, and rounded: what is masked once is 0 in every file behind it.
#[test]
fn masked_weights_stay_zero_in_what_is_stored_and_what_is_exported() {
    for (weights, activations, estimator) in [
        ("int8 channel narrow", "activations = \"int8 tensor affine\"", ""),
        ("int4 channel symmetric", "activations = \"int8 tensor affine\"", "estimator.lsq = {}"),
        ("int4 group=16 affine", "activations = \"int8 tensor affine\"", ""),
        ("ternary tensor", "", ""),
        ("binary channel", "", "estimator.binary = {}"),
    ] {
        let recipe = format!(
            "{HEAD}{DISTILL}{}{}{}\n[[stage]]\nname = \"rounded\"\n[stage.quantize]\nepochs = 1\nweights = \"{weights}\"\n\
             {activations}\n{estimator}\n\n[[stage]]\nname = \"export\"\n[stage.export]\n",
            sparsify("sparse", "pattern.unstructured = { sparsity = 0.5 }\nschedule.one-shot = {}"),
            sparsify("again", "pattern.n-m = { keep = 2, of = 4 }"),
            DISTILL.replace("\"distill\"", "\"more\"").replace("1e-2", "5e-2"),
        );
        let base = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &[], base.path(), &mut Silent).unwrap();
        let (mut gone, mut elements) = (0, 0);
        for (weight, count_of) in LAYERS {
            let [first, second, third, last] = ["3-sparse", "4-again", "5-more", "6-rounded"]
                .map(|folder| zeros(&outcome.dir, folder, weight));
            assert!(count(&first) == count_of / 2 && count(&second) > count(&first), "{weights}: {weight}");
            assert_eq!(second, third, "{weights}: {weight}");
            for (before, after) in [(&first, &second), (&second, &last)] {
                assert!(
                    before.iter().zip(after).all(|(before, after)| *after || !before),
                    "{weights}: {weight}"
                );
            }
            // PyTorch lays a linear layer out as [out, in]: at most two of every four inputs are there.
            assert!(second.chunks(4).all(|group| count(group) >= 2), "{weights}: {weight}");
            (gone, elements) = (gone + count(&second), elements + count_of);

            let file =
                ["model.int8.onnx", "model.rounded.onnx"].map(|file| outcome.dir.join("export").join(file));
            let file = file.iter().find(|file| file.is_file()).expect("an export");
            let model = std::fs::read(file).unwrap();
            let exported = exported(&model, count_of);
            let forward = second.iter().zip(&exported).all(|(masked, zero)| *zero || !masked);
            let (inputs, outputs) = if count_of == 1024 { (64, 16) } else { (16, 12) };
            let turned: Vec<bool> = (0..inputs)
                .flat_map(|i| (0..outputs).map(move |o| (o, i)))
                .map(|(o, i)| second[o * inputs + i])
                .collect();
            let across = turned.iter().zip(&exported).all(|(masked, zero)| *zero || !masked);
            assert!(forward || across, "{weights}: {weight} in the export");
        }
        // What is exported from a stage that is opened again has the masks too.
        let again = outcome.dir.join("again");
        let (env, registry) = (crate::common::env(), Registry::builtin());
        session::export(&outcome.dir, Some("rounded"), &again, WeightsContainer::Int8, &env, &registry)
            .unwrap();
        for file in std::fs::read_dir(&again).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "onnx") {
                let first = outcome.dir.join("export").join(file.file_name().unwrap());
                assert!(std::fs::read(&file).unwrap() == std::fs::read(first).unwrap(), "{weights}");
            }
        }
        let rounded = summary(&outcome.dir).stages.pop().unwrap();
        assert_eq!(rounded.params - rounded.nonzero, gone as u64);
        let figures = rounded.rounded.unwrap();
        assert_eq!(
            (figures.masked_zeros, figures.elements),
            (gone as u64, elements as u64 + 120),
            "{weights}"
        );
        match weights {
            "ternary tensor" => assert!(figures.rounded_zeros > 50, "{}", figures.rounded_zeros),
            "binary channel" => assert_eq!(figures.rounded_zeros, 0),
            _ => assert!(figures.rounded_zeros < 100, "{weights}: {}", figures.rounded_zeros),
        }
        for part in ["masked zeros", "zeros by rounding"] {
            assert!(outcome.report.contains(part), "{}", outcome.report);
        }
    }
}

/// Which elements of the stored weight of so many elements are zero, in whatever form the file has it.
fn exported(model: &[u8], elements: usize) -> Vec<bool> {
    let integers = onnx::quantized_weights(model).unwrap();
    if let Some(tensor) = integers.values().find(|tensor| tensor.data.len() == elements) {
        return tensor.data.iter().map(|code| *code == 0).collect();
    }
    let floats = onnx::floats(model).unwrap();
    let tensor = floats.values().find(|tensor| tensor.len() == elements).expect("the weight is stored");
    tensor.iter().map(|x| *x == 0.0).collect()
}
