//! What can go wrong with a run, each with a code that `kd explain` knows.

use std::fmt;
use std::path::PathBuf;

use kd_core::Side;

use crate::problem::{Problems, nearest};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe with problems.
    #[error("`{}` has {} problem{}", .0.name, .0.list.len(), if .0.list.len() == 1 { "" } else { "s" })]
    Problems(Problems),
    /// Data that is missing or wrong.
    #[error(transparent)]
    Data(#[from] kd_datasets::Error),
    /// A device that this binary was built without.
    #[error("the device `{name}` is not compiled in")]
    DeviceNotCompiled {
        /// Its name.
        name: String,
        /// The feature that brings it.
        feature: String,
    },
    /// A device that does not exist.
    #[error(
        "no device is named `{name}`; there are `flex`, `ndarray`, `wgpu` and `cuda`, the last two with an index behind a colon"
    )]
    DeviceUnknown {
        /// The name.
        name: String,
    },
    /// A number of threads that cannot be set any more, or is 0.
    #[error("cannot run on {threads} threads: {reason}")]
    Threads {
        /// The number.
        threads: usize,
        /// Why not.
        reason: String,
    },
    /// A file with weights or state that cannot be used.
    #[error("`{}`: {reason}", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: CheckpointReason,
    },
    /// A parameter of another rank than the model's.
    #[error("`{}`: expected `{param}` of shape {expected:?}, found {found:?}", .path.display())]
    CheckpointShape {
        /// The file.
        path: PathBuf,
        /// The parameter.
        param: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// A model for other classes than the data's.
    #[error("`{}`: expected a model of {expected} classes, found one of {found}", .path.display())]
    ClassMismatch {
        /// The file.
        path: PathBuf,
        /// Classes of the data.
        expected: usize,
        /// Classes of the model.
        found: usize,
    },
    /// A site that a model does not have.
    #[error("the {side} has no site `{site}`; it has {}", quoted(.sites))]
    UnknownSite {
        /// Which of the two models.
        side: Side,
        /// The site that a loss names.
        site: String,
        /// The sites there are.
        sites: Vec<String>,
    },
    /// A site that must be quantized and that no batch has reached.
    #[error("no batch has reached the site `{site}`, so its activations have no range")]
    SiteNotReached {
        /// The site.
        site: String,
    },
    /// An activation that is infinite or not a number.
    #[error("an activation at the site `{site}` is {value}")]
    ActivationNotFinite {
        /// The site.
        site: String,
        /// What it is.
        value: f32,
    },
    /// A loss that is infinite or not a number.
    #[error(
        "the loss of stage `{stage}` is not finite at step {step}: the term `{term}` is to blame; the last finite loss was {last}"
    )]
    NonFinite {
        /// The stage.
        stage: String,
        /// The step, counted from 1.
        step: usize,
        /// The term, or `total`.
        term: String,
        /// The last finite loss.
        last: f64,
    },
    /// A model whose configuration does not fit the data.
    #[error("the {role}'s model `{model}` does not fit: {reason}")]
    ModelUnfit {
        /// `teacher` or `student`.
        role: String,
        /// Name of the model.
        model: String,
        /// What does not fit.
        reason: String,
    },
    /// A run directory that exists.
    #[error("`{}` exists", .path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// A run that is not finished, where a new one would begin.
    #[error("`{}` holds a run that is not finished", .path.display())]
    RunUnfinished {
        /// The directory.
        path: PathBuf,
    },
    /// A run directory that another process works on.
    #[error("another process works on `{}`", .path.display())]
    RunInUse {
        /// The directory.
        path: PathBuf,
    },
    /// A path that holds no run.
    #[error("`{}` holds no run: it has no `manifest.json`", .path.display())]
    NotARun {
        /// The path.
        path: PathBuf,
    },
    /// A stage that a run does not have.
    #[error("`{}` has no stage `{stage}`; it has {}", .run.display(), quoted(.stages))]
    StageUnknown {
        /// The run.
        run: PathBuf,
        /// The stage.
        stage: String,
        /// The stages there are.
        stages: Vec<String>,
    },
    /// A seeds count of zero.
    #[error("expected at least 1 seed, found 0")]
    NoSeeds,
    /// An engine that is not there.
    #[error("no engine is named `{name}` here; there are {}", quoted(.engines))]
    EngineUnknown {
        /// The name.
        name: String,
        /// The engines there are.
        engines: Vec<String>,
    },
    /// A file that is there already.
    #[error("`{}` exists and is not overwritten", .path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// The data set of an ONNX file is not known.
    #[error("`{}` does not say what data it is for", .path.display())]
    DataUnknown {
        /// The file.
        path: PathBuf,
    },
    /// The file system.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of named tensors that cannot be used.
    #[error("cannot read tensors from `{}`: {reason}", .path.display())]
    TensorFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A loss was not given a tensor that it reads.
    #[error("the loss `{loss}` reads `{input}`, which is not there; there are {}", quoted(.found))]
    LossInput {
        /// Its name.
        loss: &'static str,
        /// What is missing, with its shape.
        input: String,
        /// What is there.
        found: Vec<String>,
    },
    /// A named tensor that is not what its name says.
    #[error("`{name}` must be {expected}, found {found}")]
    LossTensor {
        /// Its name.
        name: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A criterion was not given a tensor that it reads.
    #[error("the criterion `{criterion}` reads `{input}`, which is not there; there are {}", quoted(.found))]
    PruneInput {
        /// Its name.
        criterion: &'static str,
        /// What is missing, with its shape.
        input: String,
        /// What is there.
        found: Vec<String>,
    },
    /// A tensor of integers that a criterion reads as floats.
    #[error("`{name}` must be floats, found {found}")]
    PruneKind {
        /// Its name.
        name: String,
        /// What it is.
        found: String,
    },
    /// A tensor whose name is nearly one that criteria read.
    #[error("no criterion reads a tensor named `{name}`")]
    PruneName {
        /// Its name.
        name: String,
        /// The name that criteria read.
        known: String,
    },
    /// A score, or an updated weight, that is beyond the precision of the inputs.
    #[error("`{name}` would be {value:e} at element {index}, more than f32 holds")]
    PruneRange {
        /// Its name.
        name: String,
        /// Element, row-major.
        index: usize,
        /// What was computed.
        value: f64,
    },
    /// Tensors that a criterion can do nothing with.
    #[error(transparent)]
    PruneTensor(prune_core::Error),
    /// A pattern that cannot be read.
    #[error(transparent)]
    PrunePattern(prune_core::Error),
    /// A pattern that a criterion cannot remove by.
    #[error("{reason}")]
    PruneRemoves {
        /// Which.
        reason: prune_core::Error,
        /// Those that it can remove by.
        patterns: &'static str,
    },
    /// A number format or a numerics profile that does not exist, or two that do not go together.
    #[error(transparent)]
    CastFormat(quant_core::Error),
    /// A named tensor that a format cannot hold.
    #[error("`{name}` cannot be cast: {source}")]
    CastTensor {
        /// Its name.
        name: String,
        /// Why not.
        source: quant_core::Error,
    },
    /// A weight that a scheme cannot round.
    #[error("the weight `{path}` cannot be rounded: {source}")]
    Weight {
        /// Its path in the model.
        path: String,
        /// Why not.
        source: quant_core::Error,
    },
    /// Words that are no scheme for weights.
    #[error(transparent)]
    WeightScheme(quant_core::Error),
    /// An option of `kd quantize` that makes no sense, or not with another one.
    #[error("`{option}` takes {expected}, found {found}")]
    QuantizeOption {
        /// The option.
        option: String,
        /// What is legal.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A method that needs to know what layers are given, and a checkpoint alone.
    #[error("`{method}` needs the inputs of every layer, which a checkpoint does not hold")]
    NeedsInputs {
        /// The method.
        method: &'static str,
    },
    /// A weight whose inputs are not in the file of inputs.
    #[error("`{}` has neither `{name}.inputs` nor `{name}.hessian`", .path.display())]
    InputsMissing {
        /// The file.
        path: PathBuf,
        /// The weight.
        name: String,
    },
    /// A weight that cannot be quantized.
    #[error("`{name}` cannot be quantized: {source}")]
    WeightTensor {
        /// Its name.
        name: String,
        /// Why not.
        source: quant_core::Error,
    },
    /// A budget below the cheapest schemes.
    #[error(
        "a budget of {budget} bpw is too small for these {weights} weights, which take at least {least:.4} bpw"
    )]
    BudgetTooSmall {
        /// Bits for each number.
        budget: f64,
        /// The least.
        least: f64,
        /// How many weights.
        weights: usize,
    },
    /// A folder that should hold a quantized checkpoint, or is to hold one, and cannot.
    #[error("`{}` is no quantized checkpoint: {reason}", .path.display())]
    QuantizedFolder {
        /// The folder, or a file of it.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A layer whose inputs a criterion reads and cannot have.
    #[error("`{criterion}` reads the inputs of `{path}`, which are out of reach: {reason}")]
    InputsOutOfReach {
        /// The criterion.
        criterion: String,
        /// Path of the weight.
        path: String,
        /// What stands in the way.
        reason: String,
    },
    /// A forward pass that cannot be captured.
    #[error(transparent)]
    Graph(#[from] kd_graph::Error),
    /// An artifact or an engine.
    #[error(transparent)]
    Deploy(#[from] kd_deploy::Error),
    /// A mask or a shape that a stage was to keep and did not: an error of this program.
    #[error("`{stage}` did not keep `{path}`: expected {expected}, found {found}")]
    NotKept {
        /// The stage.
        stage: String,
        /// The weight.
        path: String,
        /// What was to be kept.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A cut or a mask.
    #[error(transparent)]
    Prune(#[from] prune_core::Error),
    /// A scheme or a range.
    #[error(transparent)]
    Quant(#[from] quant_core::Error),
    /// A loss or a schedule.
    #[error(transparent)]
    Core(#[from] kd_core::Error),
    /// The user stopped the run; it can go on.
    #[error("stopped, with everything saved")]
    Interrupted {
        /// The run.
        run: PathBuf,
    },
}

/// What is wrong with a file of weights or state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointReason {
    /// There is nothing.
    Missing,
    /// A folder without weights.
    NoWeights,
    /// No safetensors file.
    Unreadable(String),
    /// A parameter that the model has and the file has not.
    MissingParameter {
        /// In PyTorch's spelling.
        param: String,
        /// What the file has.
        found: Vec<String>,
    },
    /// Weights whose widths do not fit each other.
    DoesNotFit(String),
    /// A state that was not written by this program, or was damaged.
    State(String),
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request was wrong: exit code 2.
    Request,
    /// The run failed: exit code 3.
    Run,
    /// The user stopped it: exit code 3, and a line that says how to go on.
    Interrupted,
}

impl Error {
    /// What `kd explain` knows it by.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Problems(problems) => {
                problems.list.first().map_or("recipe::syntax", |problem| problem.code)
            }
            Error::Data(error) => data_code(error.kind()),
            Error::DeviceNotCompiled { .. } => "device::not-compiled",
            Error::DeviceUnknown { .. } => "device::unknown",
            Error::Threads { .. } => "device::threads",
            Error::Checkpoint { reason: CheckpointReason::Missing | CheckpointReason::NoWeights, .. } => {
                "checkpoint::missing"
            }
            Error::Checkpoint { reason: CheckpointReason::State(_), .. } => "checkpoint::state",
            Error::Checkpoint { .. } => "checkpoint::unusable",
            Error::CheckpointShape { .. } => "checkpoint::shape",
            Error::ClassMismatch { .. } => "checkpoint::classes",
            Error::UnknownSite { .. } => "site::unknown",
            Error::SiteNotReached { .. } => "site::not-reached",
            Error::ActivationNotFinite { .. } => "train::activation-not-finite",
            Error::NonFinite { .. } => "train::loss-not-finite",
            Error::ModelUnfit { .. } => "model::unfit",
            Error::RunExists { .. } => "run::exists",
            Error::RunUnfinished { .. } => "run::unfinished",
            Error::RunInUse { .. } => "run::in-use",
            Error::NotARun { .. } => "run::not-a-run",
            Error::StageUnknown { .. } => "run::unknown-stage",
            Error::NoSeeds => "run::no-seeds",
            Error::EngineUnknown { .. } => "engine::unknown",
            Error::FileExists { .. } => "run::file-exists",
            Error::DataUnknown { .. } => "run::data-unknown",
            Error::Io { source, .. } | Error::Deploy(kd_deploy::Error::File { source, .. })
                if is_full(source) =>
            {
                "io::disk-full"
            }
            Error::Io { .. } | Error::Deploy(kd_deploy::Error::File { .. }) => "io::failed",
            Error::InputsOutOfReach { .. } => "prune::inputs",
            Error::Graph(_) => "graph::not-captured",
            Error::Deploy(kd_deploy::Error::Parity { .. }) => "export::parity",
            Error::Deploy(_) => "export::failed",
            Error::NotKept { .. } => "prune::not-kept",
            Error::Prune(
                prune_core::Error::NoHeads { .. }
                | prune_core::Error::NoElements { .. }
                | prune_core::Error::NoElement { .. }
                | prune_core::Error::TooFewElements { .. },
            ) => "prune::none-can-go",
            Error::Prune(_) => "prune::impossible",
            Error::Quant(_) | Error::Weight { .. } => "quantize::impossible",
            Error::TensorFile { .. } => "loss::tensors",
            Error::CastFormat(_) => "cast::format",
            Error::CastTensor { .. } => "cast::tensor",
            Error::WeightScheme(_) => "quantize::scheme",
            Error::QuantizeOption { .. } => "quantize::option",
            Error::NeedsInputs { .. } | Error::InputsMissing { .. } => "quantize::inputs",
            Error::WeightTensor { .. } => "quantize::tensor",
            Error::BudgetTooSmall { .. } => "quantize::budget",
            Error::QuantizedFolder { .. } => "quantize::folder",
            Error::LossInput { .. }
            | Error::Core(kd_core::Error::Missing { .. } | kd_core::Error::NoParameter { .. }) => {
                "loss::missing-input"
            }
            Error::LossTensor { .. }
            | Error::Core(kd_core::Error::UnknownInput { .. } | kd_core::Error::InputRank { .. }) => {
                "loss::wrong-input"
            }
            Error::PruneInput { .. } => "prune::missing-input",
            Error::PruneKind { .. }
            | Error::PruneName { .. }
            | Error::PruneTensor(_)
            | Error::PruneRange { .. } => "prune::wrong-input",
            Error::PrunePattern(_) | Error::PruneRemoves { .. } => "prune::pattern",
            Error::Core(kd_core::Error::Unjoinable { .. }) => "site::unjoinable",
            Error::Core(_) => "train::loss-impossible",
            Error::Interrupted { .. } => "run::interrupted",
        }
    }

    /// What helps, if something does.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::Data(error) => Some(error.help()).filter(|help| !help.is_empty()),
            Error::PruneInput { criterion, .. } => {
                Some(format!("`kd explain criterion.{criterion}` says what it reads, with an example"))
            }
            Error::PruneName { known, .. } => Some(format!("did you mean `{known}`? Else give it another name")),
            Error::PruneTensor(prune_core::Error::TwoTensors { .. }) => {
                Some("take one of the two out of the file".into())
            }
            Error::PruneTensor(prune_core::Error::Overflow { .. }) => Some("scale the tensors down".into()),
            Error::PruneRange { .. } => Some("give the tensors as f64, or scale them down".into()),
            Error::PruneRemoves { reason: prune_core::Error::UnitKnob { removes, .. }, .. } => {
                Some(format!("leave `unit` out, which then is \"{removes}\", or choose another pattern"))
            }
            Error::InputsOutOfReach { .. } => {
                Some("let the model name the layer's inputs with `tap.at`, or take another criterion".into())
            }
            Error::Prune(prune_core::Error::LayerSparsity { .. }) => {
                Some("lower `lambda`, or move the pattern's `sparsity` away from 0 and 1".into())
            }
            Error::PruneRemoves { patterns: "none", .. } => Some("leave the pattern out".into()),
            Error::PruneRemoves { patterns, .. } => Some(format!("it can remove by {patterns}")),
            Error::DeviceNotCompiled { feature, .. } => Some(format!(
                "build with `--features {feature}`, or choose another device; `kd list devices` shows them"
            )),
            Error::DeviceUnknown { .. } => Some("`kd list devices` shows them".into()),
            Error::Checkpoint { reason: CheckpointReason::Missing | CheckpointReason::NoWeights, .. } => {
                Some(
                    "a checkpoint is a run, a stage's folder, or a safetensors file in PyTorch's layout"
                        .into(),
                )
            }
            Error::UnknownSite { site, sites, .. } => {
                let nearest = nearest(site, sites.iter().map(String::as_str));
                nearest.map(|nearest| format!("did you mean `{nearest}`?"))
            }
            Error::StageUnknown { stage, stages, .. } => {
                let nearest = nearest(stage, stages.iter().map(String::as_str));
                nearest.map(|nearest| format!("did you mean `{nearest}`?"))
            }
            Error::NotARun { .. } => {
                Some("a run is a directory that `kd train` made, such as `runs/mnist`".into())
            }
            Error::RunExists { .. } => Some("choose another `--run-dir`, or none".into()),
            Error::RunUnfinished { path } => {
                Some(format!("go on with `kd train --resume {}`", path.display()))
            }
            Error::RunInUse { .. } => Some("wait for it, or stop it".into()),
            Error::NonFinite { .. } | Error::ActivationNotFinite { .. } => {
                Some("lower the learning rate, or set `gradient-clipping = 1.0`".into())
            }
            Error::CastFormat(quant_core::Error::UnknownNumber { .. })
            | Error::WeightScheme(quant_core::Error::UnknownNumber { .. }) => {
                Some("`kd list formats` shows them".into())
            }
            Error::NeedsInputs { .. } => Some(
                "give them with `--inputs FILE.safetensors`, or quantize a run with its data; `rtn` and `hqq` need none".into(),
            ),
            Error::InputsMissing { .. } => {
                Some("add one of them, or leave the weight as it is with `--ignore REGEX`".into())
            }
            Error::WeightTensor { source: quant_core::Error::NotFinite { .. }, .. } => {
                Some("mend the tensor, or leave it as it is with `--ignore REGEX`".into())
            }
            Error::FileExists { .. } => Some("choose another folder with `--out`".into()),
            Error::DataUnknown { .. } => Some("name the data set with `--data NAME`".into()),
            Error::Io { source, .. } | Error::Deploy(kd_deploy::Error::File { source, .. })
                if is_full(source) =>
            {
                Some("free some room; a run that stopped goes on with `kd train --resume DIR`".into())
            }
            Error::Interrupted { run } => Some(format!("go on with `kd train --resume {}`", run.display())),
            _ => None,
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Interrupted { .. } => Kind::Interrupted,
            Error::Data(error) => match error.kind() {
                kd_datasets::Kind::Download | kd_datasets::Kind::Io => Kind::Run,
                _ => Kind::Request,
            },
            Error::NonFinite { .. }
            | Error::ActivationNotFinite { .. }
            | Error::SiteNotReached { .. }
            | Error::Io { .. }
            | Error::Deploy(_)
            | Error::Graph(_)
            | Error::Quant(_)
            | Error::NotKept { .. }
            | Error::Prune(prune_core::Error::NotFinite { .. })
            | Error::Checkpoint { reason: CheckpointReason::State(_), .. } => Kind::Run,
            _ => Kind::Request,
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for CheckpointReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointReason::Missing => f.write_str("there is no such file or folder"),
            CheckpointReason::NoWeights => f.write_str("there is no `model.safetensors` in it"),
            CheckpointReason::Unreadable(reason) => f.write_str(reason),
            CheckpointReason::MissingParameter { param, found } => {
                write!(f, "expected a parameter `{param}`, found {}", quoted(found))
            }
            CheckpointReason::DoesNotFit(reason) => write!(f, "its weights do not fit the model: {reason}"),
            CheckpointReason::State(reason) => write!(f, "this state cannot be used: {reason}"),
        }
    }
}

/// Up to a dozen names in quotes.
fn quoted(names: &[String]) -> String {
    let list: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".into(),
        1..=12 => list.join(", "),
        more => format!("{} and {} more", list.join(", "), more - 12),
    }
}

fn data_code(kind: kd_datasets::Kind) -> &'static str {
    match kind {
        kd_datasets::Kind::Missing => "data::missing",
        kd_datasets::Kind::Damaged => "data::damaged",
        kd_datasets::Kind::Malformed => "data::malformed",
        kd_datasets::Kind::Download => "data::download",
        kd_datasets::Kind::Io => "data::io",
        _ => "data::request",
    }
}
