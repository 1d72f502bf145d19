//! What stages promise: an untouched teacher, a baseline that mirrors, masks that hold, files that say what they are.
use crate::common::{RECIPE, run};
use kd_deploy::safetensors;
use kd_train::event::Silent;
use kd_train::summary::Summary;

fn summary(dir: &std::path::Path) -> Summary {
    serde_json::from_slice(&std::fs::read(dir.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn a_term_of_weight_zero_makes_the_distilled_student_the_baseline_bit_for_bit() {
    // Initial weights, data order, augmentation, optimizer, schedule and steps must all agree for that, and the
    // baseline's objective must be the cross entropy with the student's smoothing at weight 1.
    let recipe = RECIPE.split("[[stage]]").take(3).collect::<Vec<_>>().join("[[stage]]");
    let recipe = recipe.replace("weight = 0.4", "weight = 1.0");
    let recipe = recipe.replace("weight.linear = { from = 1.0, to = 0.5 }", "weight = 0.0");
    let hint = recipe.find("[[objective]]\nweight = 0.1").unwrap();
    let end = hint + recipe[hint..].find("[[stage]]").unwrap();
    let recipe = format!("{}{}", &recipe[..hint], &recipe[end..]);
    let base = tempfile::tempdir().unwrap();
    let outcome = run(&recipe, &[], base.path(), &mut Silent).unwrap();
    let read = |folder: &str| safetensors::read(&outcome.dir.join(folder).join("model.safetensors")).unwrap();
    let (alone, distilled) = (read("baseline"), read("2-distill"));
    assert_eq!(alone.arrays, distilled.arrays);
    let summary = summary(&outcome.dir);
    let baseline = summary.baseline.unwrap();
    assert_eq!(baseline.accuracy, summary.stages[1].accuracy);
    assert!(baseline.accuracy > 0.5, "{}", baseline.accuracy);
}

#[test]
fn every_number_of_a_summary_is_what_it_says() {
    let base = tempfile::tempdir().unwrap();
    let outcome = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    let summary = summary(&outcome.dir);
    let names: Vec<&str> = summary.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["teacher", "distill", "prune", "sparse", "int8"]);
    let kinds: Vec<&str> = summary.stages.iter().map(|stage| stage.kind.as_str()).collect();
    assert_eq!(kinds, ["train", "distill", "prune", "sparsify", "quantize"]);
    let [teacher, distill, prune, sparse, int8] = summary.stages.as_slice() else { panic!("five stages") };

    // Teacher: conv 1→6 and 6→8 of 3×3 without bias, norms, 8·2·2→16, 16→10.
    assert_eq!(teacher.params, 54 + 12 + 432 + 16 + (32 * 16 + 16) + (16 * 10 + 10));
    assert_eq!(teacher.macs, 54 * 64 + 432 * 16 + 32 * 16 + 160);
    assert_eq!(distill.params, 36 + 8 + 216 + 12 + (24 * 12 + 12) + (12 * 10 + 10));
    assert_eq!(distill.macs, 36 * 64 + 216 * 16 + 24 * 12 + 120);
    assert!(prune.macs as f64 <= 0.7 * distill.macs as f64, "{} of {}", prune.macs, distill.macs);
    assert_eq!((sparse.params, sparse.macs), (prune.params, prune.macs), "masks remove nothing");
    assert!(sparse.nonzero < sparse.params && int8.nonzero == sparse.nonzero, "masks outlive their stage");
    assert_eq!(teacher.nonzero, teacher.params);
    assert_eq!(teacher.agreement, 1.0);

    for (i, stage) in summary.stages.iter().enumerate() {
        let folder = outcome.dir.join(format!("{}-{}", i + 1, stage.name));
        assert_eq!(stage.bytes, std::fs::metadata(folder.join("model.onnx")).unwrap().len());
        assert_eq!(stage.accuracy, (stage.examples - stage.errors) as f64 / stage.examples as f64);
        assert_eq!(stage.examples, 1797);
        let own: kd_train::summary::StageSummary =
            serde_json::from_slice(&std::fs::read(folder.join("summary.json")).unwrap()).unwrap();
        assert_eq!(own, *stage);
        assert_eq!(stage.latency_ms.len(), 1);
        assert!(stage.latency_ms[0].batch_1.median > 0.0 && stage.latency_ms[0].batch_32.p95 > 0.0);
    }
    // Half of every weight but the last layer's is masked, and the file holds exact zeros there.
    let file = safetensors::read(&outcome.dir.join("4-sparse/model.safetensors")).unwrap();
    let masked: usize = ["blocks.0.conv.weight", "blocks.1.conv.weight", "hidden.weight"]
        .iter()
        .map(|name| file.arrays[*name].data().len() / 2)
        .sum();
    assert_eq!(sparse.params - sparse.nonzero, masked as u64);
    let zeros = file.arrays["hidden.weight"].data().iter().filter(|x| **x == 0.0).count();
    assert_eq!(zeros, file.arrays["hidden.weight"].data().len() / 2);

    let parity: Vec<&str> = summary.parity.iter().map(|parity| parity.artifact.as_str()).collect();
    assert_eq!(parity, ["model.onnx", "model.int8.onnx"]);
    let same = |a: &str, b: &str| {
        assert_eq!(
            std::fs::read(outcome.dir.join(a)).unwrap(),
            std::fs::read(outcome.dir.join(b)).unwrap(),
            "{a}, {b}"
        );
    };
    same("export/model.onnx", "4-sparse/model.onnx");
    same("export/model.int8.onnx", "5-int8/model.onnx");
    same("export/model.safetensors", "5-int8/model.safetensors");
    assert!(outcome.report.contains("| teacher"), "{}", outcome.report);
}

#[test]
fn ptq_needs_no_step() {
    let base = tempfile::tempdir().unwrap();
    let overrides =
        ["stage.int8.quantize.epochs=0", "stage.sparse.sparsify.epochs=0", "stage.prune.prune.epochs=0"];
    let outcome = run(RECIPE, &overrides, base.path(), &mut Silent).unwrap();
    let summary = summary(&outcome.dir);
    assert_eq!(summary.stages[4].accuracy, summary.stages[4].accuracy_last);
    let lost = summary.stages[3].accuracy - summary.stages[4].accuracy;
    assert!(lost.abs() < 0.03, "int8 without training loses {lost}");
}

#[test]
fn a_given_teacher_is_scored_and_taught_from_but_not_trained() {
    let base = tempfile::tempdir().unwrap();
    let first = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    let stages: Vec<&str> = RECIPE.split("[[stage]]").collect();
    let without = [stages[0], stages[2]].join("[[stage]]");
    let checkpoint = first.dir.join("1-teacher");
    let overrides = format!("teacher.checkpoint={:?}", checkpoint.display().to_string());
    let second = run(&without, &[&overrides, "name=given"], base.path(), &mut Silent).unwrap();
    let (a, b) = (summary(&first.dir), summary(&second.dir));
    assert_eq!(a.stages[0].accuracy, b.stages[0].accuracy);
    assert_eq!(b.stages[0].kind, "train");
    let read = |dir: &std::path::Path, folder: &str| {
        std::fs::read(dir.join(folder).join("model.safetensors")).unwrap()
    };
    assert_eq!(read(&first.dir, "1-teacher"), read(&second.dir, "1-teacher"), "the teacher is unchanged");
    assert_eq!(read(&first.dir, "2-distill"), read(&second.dir, "2-distill"), "and teaches the same");
}

#[test]
fn seeds_give_mean_and_spread() {
    let base = tempfile::tempdir().unwrap();
    let recipe = RECIPE.split("[[stage]]").take(3).collect::<Vec<_>>().join("[[stage]]");
    let options =
        kd_train::session::Options { base: base.path().into(), seeds: Some(2), ..Default::default() };
    let env = crate::common::env();
    let outcome = kd_train::session::start(
        &crate::common::source(&recipe),
        &[],
        &options,
        &env,
        &kd_train::Registry::builtin(),
        &mut Silent,
    )
    .unwrap();
    let (a, b) = (summary(&outcome.dir.join("seed-11")), summary(&outcome.dir.join("seed-12")));
    assert_eq!((a.seed, b.seed), (11, 12));
    let metrics = outcome.json["metrics"].as_array().unwrap();
    let distill = metrics.iter().find(|m| m["stage"] == "distill" && m["metric"] == "accuracy").unwrap();
    let (x, y) = (a.stages[1].accuracy, b.stages[1].accuracy);
    assert!((distill["mean"].as_f64().unwrap() - (x + y) / 2.0).abs() < 1e-12);
    assert!((distill["std"].as_f64().unwrap() - (x - y).abs() / 2_f64.sqrt()).abs() < 1e-12);
    assert!(outcome.json["notes"][0].as_str().unwrap().contains("distilled student"), "{}", outcome.json);
}
