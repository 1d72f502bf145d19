//! A run that is killed again and again and goes on each time ends with the files of a run that was never stopped,
//! byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{done, kd};

/// Every kind of stage, on data that is built in. An epoch has more than 50 steps, so that lines of `metrics.jsonl`
/// are written between two states.
const RECIPE: &str = r#"schema = 1
name = "every"
seed = 3

[device]
threads = 1

[data.digits]
batch = 32

[teacher]
model.convnet = { channels = [4, 8], kernel = 3, hidden = 16 }

[student]
model.convnet = { channels = [4, 4], kernel = 3, hidden = 8 }

[[objective]]
weight = 0.3
cross-entropy = {}

[[objective]]
weight = 0.7
kl = { temperature = 4.0 }

[[objective]]
weight = 0.1
hint = { student = "hidden", teacher = "hidden" }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 2

[[stage]]
name = "distill"
[stage.distill]
epochs = 2

[[stage]]
name = "prune"
[stage.prune]
pattern.channels = { macs = 0.3 }
epochs = 1

[[stage]]
name = "sparse"
[stage.sparsify]
pattern.unstructured = { sparsity = 0.5 }
epochs = 2
optimizer.sgd = { momentum = 0.9 }
learning-rate = 1e-2

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

/// Times that the run is killed; the last try is left to finish.
const KILLS: u32 = 12;

/// A run that was over after fewer says little.
const ENOUGH: u32 = 4;

#[test]
fn killed_and_resumed_runs_write_the_bytes_of_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("every.toml"), RECIPE).unwrap();
    let begun = Instant::now();
    done(path, &["train", "every.toml", "-q", "--run-dir", "whole"]);
    let mut whole = begun.elapsed();

    // Each session gets a small share of the time that the whole run took, on this machine, so that kills fall into
    // every part of it. Where exactly is chance.
    let mut random = Random::seeded();
    let mut killed = 0;
    for session in 0.. {
        assert!(session < 100, "the run does not come to its end");
        let args: &[&str] = match path.join("cut/manifest.json").exists() {
            true => &["train", "-q", "--resume", "cut"],
            false => &["train", "every.toml", "-q", "--run-dir", "cut"],
        };
        // A kill before the manifest leaves a folder that holds no run yet, and nothing to lose.
        if !path.join("cut/manifest.json").exists() && path.join("cut").exists() {
            std::fs::remove_dir_all(path.join("cut")).unwrap();
        }
        let patience = (killed < KILLS).then(|| whole.mul_f64(0.02 + 0.25 * random.share()));
        match session_of(path, args, patience) {
            None => killed += 1,
            Some(status) => {
                assert!(status.success(), "after {killed} kills: {status}");
                if killed >= ENOUGH {
                    break;
                }
                // The machine was busier with the whole run than it is now.
                std::fs::remove_dir_all(path.join("cut")).unwrap();
                (whole, killed) = (whole / 2, 0);
            }
        }
    }

    let (expected, found) = (promised(&path.join("whole")), promised(&path.join("cut")));
    for run in [&expected, &found] {
        metrics_are_whole(&run[Path::new("metrics.jsonl")]);
    }
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    for folder in ["1-teacher", "2-distill", "3-prune", "4-sparse", "5-int8", "baseline", "export"] {
        assert!(expected.keys().any(|name| name.starts_with(folder)), "nothing of `{folder}` is compared");
    }
    let differing: Vec<_> =
        expected.iter().filter(|(name, bytes)| found[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "after {killed} kills these differ: {differing:?}");
}

/// Runs `kd` to its end, or kills it when patience is over.
fn session_of(folder: &Path, args: &[&str], patience: Option<Duration>) -> Option<ExitStatus> {
    let mut child = kd(folder, args).stdout(Stdio::null()).spawn().unwrap();
    let Some(patience) = patience else { return Some(child.wait().unwrap()) };
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // SIGKILL on Unix: no handler runs, no buffer is written.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.success().then_some(status)
}

/// The files that are promised to be the same: those of stages, baseline and export but for scores that contain
/// times or an engine's arithmetic, and the metrics.
fn promised(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files =
        BTreeMap::from([(PathBuf::from("metrics.jsonl"), std::fs::read(run.join("metrics.jsonl")).unwrap())]);
    for entry in std::fs::read_dir(run).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            if !matches!(name, "summary.json" | "parity.json") {
                files.insert(file.strip_prefix(run).unwrap().to_owned(), std::fs::read(&file).unwrap());
            }
        }
    }
    files
}

/// No line is missing, doubled or torn: every stage has its epochs in order.
fn metrics_are_whole(bytes: &[u8]) {
    let mut seen: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    for line in std::str::from_utf8(bytes).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let stage = line["stage"].as_str().unwrap().to_owned();
        for key in ["step", "epoch"] {
            if let Some(number) = line[key].as_u64() {
                let last = seen.entry((stage.clone(), key)).or_default();
                assert!(number > *last, "{key} {number} of `{stage}` after {last}");
                *last = number;
            }
        }
    }
    let epochs: Vec<(&str, u64)> = seen
        .iter()
        .filter(|((_, key), _)| *key == "epoch")
        .map(|((stage, _), &last)| (stage.as_str(), last))
        .collect();
    let expected =
        [("baseline", 2), ("distill", 2), ("int8", 1), ("prune", 1), ("sparse", 2), ("teacher", 2)];
    assert_eq!(epochs, expected);
}

/// Numbers from 0 to 1 that differ from test to test; a failure names no seed because it needs none: the moment of a
/// kill cannot be repeated anyway.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 | 1)
    }

    fn share(&mut self) -> f64 {
        // xorshift64 by Marsaglia.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
