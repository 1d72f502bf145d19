//! A stage that quantizes trains through every estimator: what it trains moves, is saved, is exported, and goes on exactly
//! after a stop.
use std::path::Path;

use crate::common::{StopAfter, env, exact_files, go_on, quantized, run_in, trained};
use kd_deploy::quantization::Quantization;
use kd_train::checkpoint::State;
use kd_train::event::Silent;
use kd_train::regime::Regime;
use kd_train::{Registry, session};

const FIT: &str = "learning-rate.cosine = { from = 5e-3, to = 1e-4 }\n";

/// Estimator, weights, activations, least accuracy after four epochs.
const CASES: [(&str, &str, &str, f64); 12] = [
    ("straight-through", "int4 channel narrow", "int8 tensor affine", 0.7),
    ("lsq", "int4 channel narrow", "int8 tensor affine", 0.7),
    ("lsq", "int2 tensor narrow", "int4 tensor affine", 0.4),
    ("lsq", "int3 channel symmetric", "", 0.7),
    ("lsq", "int8 channel narrow", "int8 token affine", 0.8),
    ("lsq-plus", "int4 channel no-clip", "int4 tensor affine", 0.7),
    ("pact", "int4 group=16", "uint4 tensor affine", 0.7),
    ("dorefa", "int4 tensor symmetric", "int8 tensor affine", 0.6),
    ("bitnet", "ternary", "int8 token symmetric", 0.4),
    ("binary", "binary", "int8 tensor affine", 0.3),
    ("ternary", "ternary channel", "", 0.4),
    ("ternary", "ternary", "int8 tensor affine", 0.4),
];

#[test]
fn every_estimator_trains_and_its_export_agrees_with_engines() {
    let trained = trained();
    for (estimator, weights, activations, least) in CASES {
        let base = tempfile::tempdir().unwrap();
        let activations = match activations {
            "" => String::new(),
            words => format!("activations = {words:?}\n"),
        };
        let stage =
            format!("weights = {weights:?}\n{activations}estimator.{estimator} = {{}}\n{FIT}epochs = 4");
        let (dir, summary) = quantized(&trained, &stage, base.path())
            .unwrap_or_else(|error| panic!("{estimator}, {weights}: {error}"));
        assert!(summary.accuracy > least, "{estimator}, {weights}: {}", summary.accuracy);
        let json = Quantization::read(&dir.join("export/quantization.json")).unwrap();
        let own_rule = ["dorefa", "bitnet", "binary", "ternary"].contains(&estimator);
        for rounded in json.rounded.values() {
            assert_eq!(rounded.method.as_deref(), own_rule.then_some(estimator));
        }
        for integers in json.weights.values() {
            assert_eq!(
                integers.method.as_deref(),
                own_rule.then_some(estimator).filter(|name| *name != "dorefa")
            );
        }

        let state = State::load(&dir.join("2-rounded")).unwrap().unwrap();
        let scales: Vec<_> =
            state.student.iter().filter(|(path, _)| path.ends_with(".compressed.scale")).collect();
        assert_eq!(scales.len(), if estimator.starts_with("lsq") { 4 } else { 0 }, "{estimator}");
        for (path, ratio) in scales {
            assert!(ratio.data().iter().any(|ratio| *ratio != 1.0), "{path} has not moved");
            assert!(ratio.data().iter().all(|ratio| (0.2..5.0).contains(ratio)), "{path}: {ratio:?}");
            assert!(state.optimizer.tensors.keys().any(|name| name.starts_with(path.as_str())), "{path}");
        }
        let Regime::Rounded { activations, .. } = &state.regime else { panic!("a rounded student") };
        let learned: Vec<_> = activations.learned().collect();
        match (estimator, activations.is_dynamic() || activations.scheme().is_none()) {
            ("lsq" | "lsq-plus", false) => assert_eq!(learned.len(), 4),
            ("pact", false) => assert!(learned.len() >= 3, "{learned:?}"),
            _ => assert!(learned.is_empty()),
        }

        for (site, learned) in learned {
            let text = serde_json::to_value(learned).unwrap();
            let ratio = text.as_object().unwrap().values().next().unwrap()["ratio"].as_f64().unwrap();
            assert!(ratio != 1.0 && (0.2..5.0).contains(&ratio), "{estimator}, {site}: {ratio}");
        }

        // The stage opened again is the model that was scored: trained scales are found.
        let score = |target: &Path| {
            session::evaluate(target, None, "burn", &env(), &Registry::builtin()).unwrap().accuracy
        };
        assert_eq!(score(&dir.join("2-rounded")), summary.accuracy, "{estimator}, {weights}");
    }
}

#[test]
fn a_part_of_the_blocks_is_rounded_in_a_step_and_all_are_in_the_end() {
    let trained = trained();
    let result = |noise: &str| {
        let base = tempfile::tempdir().unwrap();
        let stage = format!("weights = \"int4 channel narrow\"\n{noise}\n{FIT}epochs = 2");
        let (dir, summary) = quantized(&trained, &stage, base.path()).unwrap();
        assert!(summary.accuracy > 0.6, "{noise}: {}", summary.accuracy);
        std::fs::read(dir.join("2-rounded/state.safetensors")).unwrap()
    };
    let (all, some) = (result(""), result("quant-noise = 0.3"));
    assert_ne!(all, some);
    assert_eq!(some, result("quant-noise = 0.3"), "the same seed draws the same blocks");
}

#[test]
fn learned_scales_and_noise_go_on_exactly_after_a_stop() {
    let trained = trained();
    for (estimator, weights) in
        [("lsq-plus", "int4 channel narrow"), ("pact", "nf4"), ("lsq", "int2 tensor narrow")]
    {
        let stage = format!(
            "weights = {weights:?}\nactivations = \"int8 tensor affine\"\nestimator.{estimator} = {{}}\n\
             quant-noise = 0.5\noptimizer.adam-w = {{ weight-decay = 0.1 }}\nepochs = 2"
        );
        let (text, [teacher, student]) = trained.recipe(&stage);
        let overrides = [teacher.as_str(), student.as_str()];
        let base = tempfile::tempdir().unwrap();
        let whole = run_in(&env(), &text, &overrides, base.path(), &mut Silent).unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut stops = [1, 7, 3, 5].into_iter().cycle();
        let mut result =
            run_in(&env(), &text, &overrides, other.path(), &mut StopAfter(stops.next().unwrap()));
        let dir = other.path().join("runs/tiny");
        let mut sessions = 1;
        while result.is_err() {
            assert!(sessions < 50, "the run does not get on");
            result = go_on(&dir, &mut StopAfter(stops.next().unwrap()));
            sessions += 1;
        }
        assert!(sessions > 4, "only {sessions} sessions");
        let (expected, found) = (exact_files(&whole.dir), exact_files(&dir));
        for (name, bytes) in expected {
            assert!(bytes == found[&name], "{estimator}: `{name}` differs");
        }
    }
}

#[test]
fn the_teacher_teaches_a_rounded_student() {
    let trained = trained();
    let result = |objective: &str| {
        let base = tempfile::tempdir().unwrap();
        let stage = format!(
            "weights = \"int2 channel narrow\"\nactivations = \"int8 tensor affine\"\nestimator.lsq = {{}}\n\
             {FIT}epochs = 3\n{objective}"
        );
        let (dir, summary) = quantized(&trained, &stage, base.path()).unwrap();
        let metrics = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        (metrics, summary)
    };
    let labels = "[[stage.quantize.objective]]\nweight = 1.0\ncross-entropy = {}";
    let both = format!("{labels}\n[[stage.quantize.objective]]\nweight = 1.0\nkl = {{ temperature = 2.0 }}");
    let (alone, _) = result(labels);
    let (taught, summary) = result(&both);
    assert!(!alone.contains("\"kl\"") && taught.contains("\"kl\""), "{taught}");
    // The divergence from the teacher falls while the student is rounded.
    let divergences: Vec<f64> = taught
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["event"] == "epoch")
        .map(|line| line["terms"]["kl"].as_f64().unwrap())
        .collect();
    assert!(divergences.len() == 3 && divergences[2] < divergences[0], "{divergences:?}");
    assert!(summary.agreement > 0.5, "{}", summary.agreement);
}

#[test]
fn batch_norm_trains_until_it_is_folded_and_goes_on_exactly_after_a_stop() {
    let trained = trained();
    let stage = |after: f64, estimator: &str| {
        format!(
            "weights = \"int4 channel narrow\"\nactivations = \"int8 tensor affine\"\nestimator.{estimator} = {{}}\n\
             freeze-statistics-after = {after}\n{FIT}epochs = 4"
        )
    };
    let mut states = Vec::new();
    for (after, estimator) in
        [(0.0, "straight-through"), (0.5, "straight-through"), (1.0, "straight-through"), (0.3, "lsq")]
    {
        let base = tempfile::tempdir().unwrap();
        let (dir, summary) = quantized(&trained, &stage(after, estimator), base.path()).unwrap();
        assert!(summary.accuracy > 0.7, "{after}: {}", summary.accuracy);
        let state = State::load(&dir.join("2-rounded")).unwrap().unwrap();
        // The best epoch is one after the folding, and its batch norms are identities.
        for weights in [&state.student, &state.best] {
            let gammas = weights.iter().filter(|(path, _)| path.ends_with("norm.gamma"));
            let ones = gammas.map(|(_, gamma)| gamma.data().iter().all(|gamma| *gamma == 1.0));
            assert_eq!(ones.collect::<Vec<_>>(), [true, true], "{after}");
        }
        assert!(state.cursor.best.unwrap().epoch as f64 >= 4.0 * after, "{after}");
        let score = session::evaluate(&dir.join("2-rounded"), None, "burn", &env(), &Registry::builtin());
        assert_eq!(score.unwrap().accuracy, summary.accuracy, "{after}");
        states.push(state.student);
    }
    assert!(states[0] != states[1] && states[1] != states[2]);

    let (text, [teacher, student]) = trained.recipe(&stage(0.4, "lsq"));
    let overrides = [teacher.as_str(), student.as_str()];
    let base = tempfile::tempdir().unwrap();
    let whole = run_in(&env(), &text, &overrides, base.path(), &mut Silent).unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut stops = [3, 11, 7, 5].into_iter().cycle();
    let mut result = run_in(&env(), &text, &overrides, other.path(), &mut StopAfter(stops.next().unwrap()));
    let dir = other.path().join("runs/tiny");
    let state = State::load(&dir.join("2-rounded")).unwrap().unwrap();
    let start = kd_deploy::safetensors::read(&trained.dir.join("2-distill/model.safetensors")).unwrap();
    assert!(matches!(state.regime, Regime::Rounded { unfolded: Some(_), .. }));
    for statistic in ["running_mean", "running_var"] {
        let before = &start.arrays[&format!("blocks.0.norm.{statistic}")];
        assert_ne!(state.student[&format!("blocks.0.norm.{statistic}")].data(), before.data(), "{statistic}");
    }
    let mut sessions = 1;
    while result.is_err() {
        assert!(sessions < 50, "the run does not get on");
        result = go_on(&dir, &mut StopAfter(stops.next().unwrap()));
        sessions += 1;
    }
    assert!(sessions > 4, "only {sessions} sessions");
    let (expected, found) = (exact_files(&whole.dir), exact_files(&dir));
    for (name, bytes) in expected {
        assert!(bytes == found[&name], "`{name}` differs");
    }
}
