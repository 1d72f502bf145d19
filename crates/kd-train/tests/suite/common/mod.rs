//! What the tests of whole runs share: small recipes on the embedded digits, a student to quantize, and a sink that
//! stops when told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kd_deploy::Tract;
use kd_train::event::{Event, Silent, Sink};
use kd_train::recipe::Source;
use kd_train::run::Env;
use kd_train::session::{Options, Outcome, resume, start};
use kd_train::summary::{StageSummary, Summary};
use kd_train::{Error, Registry};

/// Every kind of stage, a few steps each.
pub(crate) const RECIPE: &str = r#"
schema = 1
name = "tiny"
seed = 11

[data.digits]
validation = 200
batch = 128
augment = { shift = 1 }

[teacher]
model.convnet = { channels = [6, 8], kernel = 3, hidden = 16 }

[student]
model.convnet = { channels = [4, 6], kernel = 3, hidden = 12 }

[[objective]]
weight = 0.4
cross-entropy = { label-smoothing = 0.1 }

[[objective]]
weight.linear = { from = 1.0, to = 0.5 }
kl = { temperature = 3.0 }

[[objective]]
weight = 0.1
hint = { student = "block1", teacher = "block1" }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 2
optimizer.adam = {}
learning-rate.one-cycle = { peak = 1e-2 }

[[stage]]
name = "distill"
[stage.distill]
epochs = 2
learning-rate.one-cycle = { peak = 1e-2 }
gradient-clipping = 1.0

[[stage]]
name = "prune"
[stage.prune]
pattern.channels = { macs = 0.3 }
epochs = 1
optimizer.lion = {}
learning-rate = 1e-3

[[stage]]
name = "sparse"
[stage.sparsify]
pattern.unstructured = { sparsity = 0.5 }
epochs = 2
optimizer.sgd = { momentum = 0.9, nesterov = true }
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

/// Stops the run after so many steps of this session.
pub(crate) struct StopAfter(pub(crate) usize);

impl Sink for StopAfter {
    fn event(&mut self, event: Event) {
        if matches!(event, Event::Step { .. }) {
            self.0 = self.0.saturating_sub(1);
        }
    }

    fn stopped(&self) -> bool {
        self.0 == 0
    }
}

pub(crate) fn env() -> Env {
    Env {
        folders: Default::default(),
        engines: vec![Box::new(Tract)],
        absent: Vec::new(),
        caller_works: false,
    }
}

/// [`env`], and ONNX Runtime where `ORT_DYLIB_PATH` says where it is.
pub(crate) fn env_with_onnxruntime() -> Env {
    let mut env = env();
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        env.engines.push(Box::new(kd_deploy::OnnxRuntime::open(Path::new(&path)).unwrap()));
    }
    env
}

pub(crate) fn source(text: &str) -> Source {
    Source { name: "recipe.toml".into(), text: text.into(), folder: ".".into() }
}

/// Runs a recipe in `base/runs/NAME`.
pub(crate) fn run(
    text: &str,
    overrides: &[&str],
    base: &Path,
    sink: &mut dyn Sink,
) -> Result<Outcome, Error> {
    run_in(&env(), text, overrides, base, sink)
}

/// The same with other surroundings.
pub(crate) fn run_in(
    env: &Env,
    text: &str,
    overrides: &[&str],
    base: &Path,
    sink: &mut dyn Sink,
) -> Result<Outcome, Error> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let options = Options { base: base.to_owned(), ..Options::default() };
    start(&source(text), &overrides, &options, env, &Registry::builtin(), sink)
}

/// Goes on with a run.
pub(crate) fn go_on(run: &Path, sink: &mut dyn Sink) -> Result<Outcome, Error> {
    resume(run, &env(), &Registry::builtin(), sink)
}

/// The files that two equal runs must share byte for byte.
pub(crate) fn exact_files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files =
        BTreeMap::from([("metrics.jsonl".to_owned(), std::fs::read(run.join("metrics.jsonl")).unwrap())]);
    for folder in std::fs::read_dir(run).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name != "summary.json" && name != "parity.json" {
                let path = format!("{}/{name}", folder.file_name().to_string_lossy());
                files.insert(path, std::fs::read(file.path()).unwrap());
            }
        }
    }
    files
}

/// A teacher and a student to start from, trained once.
pub(crate) struct Trained {
    _folder: tempfile::TempDir,
    pub(crate) dir: PathBuf,
}

pub(crate) fn trained() -> Trained {
    let recipe = RECIPE.split("[[stage]]").take(3).collect::<Vec<_>>().join("[[stage]]");
    let folder = tempfile::tempdir().unwrap();
    let epochs = ["stage.distill.distill.epochs=14"];
    let dir = run(&recipe, &epochs, folder.path(), &mut Silent).unwrap().dir;
    Trained { _folder: folder, dir }
}

impl Trained {
    /// A recipe that quantizes the student as `stage` says and exports it, with its overrides.
    pub(crate) fn recipe(&self, stage: &str) -> (String, [String; 2]) {
        let head = RECIPE.split("[[stage]]").next().unwrap();
        let text = format!(
            "{head}[[stage]]\nname = \"rounded\"\n[stage.quantize]\n{stage}\n[[stage]]\nname = \"export\"\n[stage.export]\n"
        );
        let checkpoint = |role: &str, folder: &str| {
            format!("{role}.checkpoint={:?}", self.dir.join(folder).display().to_string())
        };
        (text, [checkpoint("teacher", "1-teacher"), checkpoint("student", "2-distill")])
    }
}

/// The student of `trained`, quantized as `stage` says, and exported.
pub(crate) fn quantized(
    trained: &Trained,
    stage: &str,
    base: &Path,
) -> Result<(PathBuf, StageSummary), Error> {
    let (text, [teacher, student]) = trained.recipe(stage);
    let env = env_with_onnxruntime();
    let outcome = run_in(&env, &text, &[&teacher, &student], base, &mut Silent)?;
    let summary: Summary =
        serde_json::from_slice(&std::fs::read(outcome.dir.join("summary.json")).unwrap()).unwrap();
    assert!(outcome.report.contains("## Rounded weights"), "{}", outcome.report);
    let stage = summary.stages.into_iter().find(|stage| stage.name == "rounded").unwrap();
    Ok((outcome.dir, stage))
}

/// Batches and cross entropy alone, for criteria that gather before they mask.
pub(crate) fn calibrated<T>(
    batches: &kd_train::ptq::Batches<'_>,
    then: impl FnOnce(&kd_train::sparsify::Calibration<'_, '_>) -> T,
) -> T {
    let weight = kd_core::Schedule::constant(1.0).unwrap();
    let term = kd_core::Term::new("cross-entropy", weight, kd_core::loss::CrossEntropy::default());
    let objective = kd_core::Objective::new(vec![term]).unwrap();
    let connectors = kd_core::Connectors::none();
    let lesson =
        kd_train::prune::gather::Lesson { objective: &objective, teacher: None, connectors: &connectors };
    let device = burn::tensor::Device::flex();
    then(&kd_train::sparsify::Calibration { batches, lesson, device: &device })
}

/// The same for criteria that gather nothing.
pub(crate) fn uncalibrated<T>(then: impl FnOnce(&kd_train::sparsify::Calibration<'_, '_>) -> T) -> T {
    calibrated(&|| Box::new(std::iter::empty()), then)
}
