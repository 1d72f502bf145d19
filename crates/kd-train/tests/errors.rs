//! What a run that cannot begin or go on says: code, message, whose fault it is, and what helps.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use insta::assert_snapshot;
use kd_core::Side;
use kd_train::{CheckpointReason, Error};

/// Everything that a front end is told about these errors.
fn say(errors: impl IntoIterator<Item = Error>) -> String {
    let mut text = String::new();
    for error in errors {
        writeln!(text, "{}: {error}", error.code()).unwrap();
        let mut cause = error.source();
        while let Some(next) = cause {
            writeln!(text, "  because: {next}").unwrap();
            cause = next.source();
        }
        if let Some(help) = error.help() {
            writeln!(text, "  help: {help}").unwrap();
        }
        writeln!(text, "  {:?}", error.kind()).unwrap();
    }
    text
}

fn path() -> PathBuf {
    PathBuf::from("runs/mnist")
}

#[test]
fn devices_and_engines() {
    assert_snapshot!(
        say([
            Error::DeviceNotCompiled { name: "cuda:1".into(), feature: "cuda".into() },
            Error::DeviceUnknown { name: "tpu".into() },
            Error::Threads { threads: 0, reason: "at least one is needed".into() },
            Error::EngineUnknown { name: "onnx".into(), engines: vec!["tract".into(), "burn".into()] },
        ]),
        @""
    );
}

#[test]
fn weights() {
    let checkpoint = |reason| Error::Checkpoint { path: "teacher.safetensors".into(), reason };
    assert_snapshot!(
        say([
            checkpoint(CheckpointReason::Missing),
            checkpoint(CheckpointReason::NoWeights),
            checkpoint(CheckpointReason::Unreadable("the header is cut off".into())),
            checkpoint(CheckpointReason::MissingParameter {
                param: "hidden.weight".into(),
                found: (0..14).map(|i| format!("layer{i}")).collect(),
            }),
            checkpoint(CheckpointReason::DoesNotFit("two widths".into())),
            checkpoint(CheckpointReason::State("expected at least 10 bytes, found 3".into())),
            Error::CheckpointShape {
                path: "t.safetensors".into(),
                param: "hidden.weight".into(),
                expected: vec![64, 784],
                found: vec![64],
            },
            Error::ClassMismatch { path: "t.safetensors".into(), expected: 10, found: 100 },
        ]),
        @""
    );
}

#[test]
fn models_sites_and_losses() {
    let sites = vec!["input".to_owned(), "block1".to_owned()];
    assert_snapshot!(
        say([
            Error::ModelUnfit { role: "student".into(), model: "convnet".into(), reason: "expected images".into() },
            Error::UnknownSite { side: Side::Teacher, site: "blok1".into(), sites },
            Error::SiteNotReached { site: "block1".into() },
            kd_core::Error::Unjoinable {
                student: "block1".into(),
                student_shape: vec![1, 4, 14, 14],
                teacher: "block2".into(),
                teacher_shape: vec![1, 16, 7, 7],
                reason: kd_core::Obstacle::Positions,
            }
            .into(),
            kd_core::Error::LogitShapes { student: [1, 10], teacher: [1, 100] }.into(),
            Error::NonFinite { stage: "distill".into(), step: 40, term: "kl".into(), last: 0.25 },
            Error::ActivationNotFinite { site: "block1".into(), value: f32::INFINITY },
        ]),
        @""
    );
}

#[test]
fn runs() {
    assert_snapshot!(
        say([
            Error::RunExists { path: path() },
            Error::RunUnfinished { path: path() },
            Error::RunInUse { path: path() },
            Error::NotARun { path: path() },
            Error::StageUnknown { run: path(), stage: "int4".into(), stages: vec!["int8".into()] },
            Error::NoSeeds,
            Error::FileExists { path: "out/model.onnx".into() },
            Error::DataUnknown { path: "model.onnx".into() },
            Error::Interrupted { run: path() },
            Error::Io { action: "write", path: path(), source: io::ErrorKind::StorageFull.into() },
            Error::Io { action: "read", path: path(), source: io::ErrorKind::PermissionDenied.into() },
        ]),
        @""
    );
}

#[test]
fn parts() {
    assert_snapshot!(
        say([
            kd_deploy::Error::Parity {
                artifact: "model.onnx".into(),
                engine: "tract".into(),
                found: "max_abs 0.1".into(),
                allowed: "0.001".into(),
            }
            .into(),
            kd_deploy::Error::Zero { what: "threads" }.into(),
            kd_deploy::Error::File {
                action: "write",
                path: "runs/mnist/model.onnx".into(),
                source: io::ErrorKind::StorageFull.into(),
            }
            .into(),
            kd_graph::Error::Recording { reason: "a tensor of another device".into() }.into(),
            prune_core::Share::new(1.0).unwrap_err().into(),
            quant_core::Range::new(vec![f32::NAN], vec![1.0]).unwrap_err().into(),
        ]),
        @""
    );
}

#[test]
fn data() {
    assert_snapshot!(
        say([
            kd_datasets::Error::NotFound { name: "fashion-mnist", looked_in: vec!["datasets".into()] }.into(),
            kd_datasets::Error::UnknownSet { name: "minst".into(), known: vec!["mnist"] }.into(),
            kd_datasets::Error::Empty { path: "train.csv".into() }.into(),
            kd_datasets::Error::Read { path: "train.csv".into(), source: io::ErrorKind::PermissionDenied.into() }
                .into(),
            kd_datasets::Error::Download { name: "mnist", file: "t10k".into(), attempts: Vec::new() }.into(),
        ]),
        @""
    );
}

#[test]
fn a_recipe_is_known_by_its_first_problem() {
    let source = kd_train::recipe::Source { name: "r.toml".into(), text: "schema = 2".into(), folder: PathBuf::new() };
    let problems = kd_train::recipe::Recipe::parse(&source, &[], &kd_train::Registry::builtin()).unwrap_err();
    assert_snapshot!(say([Error::Problems(problems)]), @"");
}
