//! A recipe: what is trained, from whom, in which stages, and what it must reach.
//!
//! The text is read by hand over TOML's table of values, so that every problem is found at once and points at its
//! place; the parts (losses, schedules, schemes, patterns) are read by serde, each at its own place. What comes out
//! has no illegal value left in it: whatever else can go wrong needs the data or the device.

mod criterion;
mod line;
mod objective;
mod optimizer;
mod order;
mod pin;
mod read;
mod resolve;
mod rules;
mod set;
mod sparsify;
mod stages;
mod table;
mod words;

pub use optimizer::{AdamSpec, AdamWSpec, LionSpec, OptimizerSpec, SgdSpec};
pub use pin::Pin;

pub(crate) use criterion::one_criterion;
pub(crate) use line::line_table;
pub(crate) use objective::one_loss;
pub(crate) use table::read as read_value;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use kd_core::{Objective, Schedule};
use kd_deploy::WeightsContainer;
use prune_core::{Blocks, Builtin, Channels, ElementKind, Group, Limits, Ranked};
use quant_core::Scheme;
use quant_core::ptq::Start;
use serde::{Deserialize, Serialize};

use crate::estimator::Estimator;
use crate::observing::Observing;
use crate::problem::Problems;
use crate::registry::{DataSource, ModelSpec, Registry};
use crate::sparsify::{Shape, When};

/// A recipe's text and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name for messages, such as the path that was given.
    pub name: String,
    /// The text.
    pub text: String,
    /// The folder that relative paths in it start from.
    pub folder: PathBuf,
}

/// A recipe, checked.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Names the run.
    pub name: String,
    /// All randomness follows from it.
    pub seed: u64,
    /// Where it runs.
    pub device: DeviceSpec,
    /// What is learned from.
    pub data: DataSpec,
    /// Who teaches.
    pub teacher: NetworkSpec,
    /// Who learns, before any stage.
    pub student: NetworkSpec,
    /// What happens, in order.
    pub stages: Vec<StageSpec>,
    /// What must be reached.
    pub expect: Vec<Gate>,
    /// Terms of the recipe's own objective.
    pub(crate) objective: Option<Vec<TermSpec>>,
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// `flex`, `ndarray`, `wgpu`, `cuda`, `cuda:1`.
    pub name: String,
    /// Whose kernels `flex` runs on.
    pub kernels: KernelsSpec,
    /// Threads of the CPU backend; all cores without it.
    pub threads: Option<usize>,
}

/// `kernels = "own"` or `"burn"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelsSpec {
    /// `kd-kernels`, on the CPU backend `flex`; other devices have Burn's.
    #[default]
    Own,
    /// Burn's on every device.
    Burn,
}

impl KernelsSpec {
    /// Uses the kernels on this thread until the guard is dropped.
    #[must_use = "the kernels are in use until the guard is dropped"]
    pub fn scope(self) -> kd_nn::Guard {
        match self {
            Self::Own => kd_nn::Kernels::Own.scope(),
            Self::Burn => kd_nn::Kernels::Burn.scope(),
        }
    }
}

/// `[data.NAME]`
#[derive(Debug, Clone)]
pub struct DataSpec {
    /// The source's name.
    pub name: String,
    /// Loads it.
    pub source: Arc<dyn DataSource>,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
    /// Examples of a training batch.
    pub batch: usize,
    /// Changes of training examples.
    pub augment: Augment,
}

/// Changes of training examples, drawn anew in each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Augment {
    /// Images move by up to this many pixels in each direction.
    #[serde(default)]
    pub shift: usize,
}

/// `[teacher]`, `[student]`
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// What it is.
    pub model: Arc<dyn ModelSpec>,
    /// Weights to start from: a run, a stage's folder, or a safetensors file in PyTorch's layout.
    pub checkpoint: Option<PathBuf>,
}

/// One of `[[stage]]`
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Names its folder and its row in the report.
    pub name: String,
    /// What it does.
    pub kind: StageKind,
}

/// What a stage does.
#[derive(Debug, Clone)]
pub enum StageKind {
    /// Learns from labels.
    Train(TrainSpec),
    /// Learns from the teacher.
    Distill(FitSpec),
    /// Removes channels, then learns on.
    Prune(PruneSpec),
    /// Masks weights while it learns.
    Sparsify(SparsifySpec),
    /// Makes weights share few values, which learn on.
    Share(ShareSpec),
    /// Rounds weights and activations while it learns.
    Quantize(QuantizeSpec),
    /// Writes artifacts.
    Export(ExportSpec),
}

/// `[stage.train]`
#[derive(Debug, Clone)]
pub struct TrainSpec {
    /// Whom.
    pub of: Role,
    /// How.
    pub fit: FitSpec,
}

/// Who is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The teacher.
    Teacher,
    /// The student.
    Student,
}

/// Heads, hidden units and channels whose weights are all zero go, however many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Empty {
    /// Whether zeros in what stays learn again: "filled" of Lagunas et al., arXiv 2109.04838. Else they stay masked.
    pub fill: bool,
}

/// `[stage.prune]`
#[derive(Debug, Clone)]
pub struct PruneSpec {
    /// What, and how much of it.
    pub pattern: PrunePattern,
    /// Which units stay.
    pub criterion: Arc<Builtin>,
    /// How scores of coupled tensors become one.
    pub group: Group,
    /// Which axes are ranked together.
    pub scope: Ranked,
    /// Training batches over which a criterion gathers gradients or activations.
    pub calibration: usize,
    /// Whether layers or experts are ranked by the loss without them, and the criterion is not asked.
    pub by_loss: bool,
    /// Bounds for each axis: `min-units`, `round-to`, `max-share`.
    pub limits: Limits,
    /// Paths of parameters whose axes stay whole.
    pub pinned: Vec<Pin>,
    /// Whether biases take over what removed channels gave on average.
    pub compensate: bool,
    /// What is left learns on.
    pub fit: FitSpec,
}

/// What a stage removes: `pattern.heads = { sparsity = 0.5 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrunePattern {
    /// Units of every axis that can be cut.
    Channels(Channels),
    /// Whole heads of attention, with keys and values.
    Heads(Channels),
    /// Residual blocks that are elements of a list.
    Layers(Blocks),
    /// Experts that are elements of a list, with their outputs of the router.
    Experts(Blocks),
    /// What masks left empty.
    Empty(Empty),
}

impl PrunePattern {
    /// Whether scores say what goes, those of the criterion if there is one.
    pub fn ranks(self) -> bool {
        !matches!(self, Self::Empty(_))
    }

    /// How many elements of which kind go, where elements do.
    pub fn elements(self) -> Option<(ElementKind, Blocks)> {
        match self {
            PrunePattern::Layers(blocks) => Some((ElementKind::Layers, blocks)),
            PrunePattern::Experts(blocks) => Some((ElementKind::Experts, blocks)),
            PrunePattern::Channels(_) | PrunePattern::Heads(_) | PrunePattern::Empty(_) => None,
        }
    }
}

/// `[stage.share]`
#[derive(Debug, Clone)]
pub struct ShareSpec {
    /// Values of a linear layer's weight, that of zeros not counted.
    pub values: NonZeroUsize,
    /// The same of a convolution, if another.
    pub conv_values: Option<NonZeroUsize>,
    /// Where k-means starts.
    pub start: Start,
    /// How the values learn.
    pub fit: FitSpec,
}

/// `[stage.sparsify]`
#[derive(Debug, Clone)]
pub struct SparsifySpec {
    /// Shape and share of what is masked in the end.
    pub shape: Shape,
    /// Which weights stay; not asked where `when` trains scores.
    pub criterion: Arc<Builtin>,
    /// Training batches over which a criterion gathers what it reads.
    pub calibration: usize,
    /// When masks tighten.
    pub when: When,
    /// Steps between two updates of masks; a hundredth of the stage without it.
    pub frequency: Option<usize>,
    /// Share of the stage after which masks stay; where `when` arrives without it.
    pub lock_after: Option<f64>,
    /// How it learns on the way.
    pub fit: FitSpec,
}

/// `[stage.quantize]`
#[derive(Debug, Clone)]
pub struct QuantizeSpec {
    /// Of weights.
    pub weights: Scheme,
    /// Of activations; none where weights alone are rounded.
    pub activations: Option<Scheme>,
    /// How ranges of activations are found.
    pub observer: Observing,
    /// Training batches that are observed before the first step.
    pub calibration: usize,
    /// Share of the stage after which ranges stay.
    pub freeze_after: f64,
    /// Share of the stage after which batch norm is folded and its statistics stay.
    pub freeze_statistics_after: f64,
    /// How rounding is trained through.
    pub estimator: Estimator,
    /// Share of the blocks of weights that a step rounds; all without it.
    pub noise: Option<f64>,
    /// How it learns on; no epochs is PTQ.
    pub fit: FitSpec,
}

/// `[stage.export]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportSpec {
    /// `weights-container`: what the ONNX file of a model with rounded weights stores their codes in.
    pub weights_container: WeightsContainer,
}

/// Epochs, optimizer, learning rate, objective.
#[derive(Debug, Clone)]
pub struct FitSpec {
    /// Passes over the training examples.
    pub epochs: usize,
    /// What turns gradients into steps.
    pub optimizer: OptimizerSpec,
    /// Size of a step, over the stage.
    pub learning_rate: Schedule,
    /// Largest global norm of the gradients.
    pub clip: Option<f64>,
    /// λ of a penalty λ Σ|γ| on the scales of batch norms.
    pub bn_scale_penalty: Option<f64>,
    /// What is learned from.
    pub objective: Arc<Objective>,
    /// The stage's own terms, where it has some.
    pub(crate) terms: Option<Vec<TermSpec>>,
    /// The same without a teacher, for the baseline.
    pub(crate) alone: Arc<Objective>,
}

/// A term of an objective as it was written.
#[derive(Debug, Clone)]
pub(crate) struct TermSpec {
    pub(crate) weight: Schedule,
    pub(crate) loss: String,
    /// Whether the loss looks at a teacher.
    pub(crate) teacher: bool,
    pub(crate) knobs: toml::Value,
}

/// `[expect] STAGE.METRIC = { min = …, max = … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// A stage, or `baseline`.
    pub stage: String,
    /// Which number.
    pub metric: Metric,
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

/// A number of a stage in `summary.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `accuracy`
    Accuracy,
    /// `accuracy-last`
    AccuracyLast,
    /// `errors`
    Errors,
    /// `params`
    Params,
    /// `nonzero`
    Nonzero,
    /// `macs`
    Macs,
    /// `bytes`
    Bytes,
    /// `agreement`
    Agreement,
    /// `packed.ratio`, of a stage that makes weights share values
    PackedRatio,
}

impl Recipe {
    /// Reads and checks a recipe, `KEY=VALUE` overrides applied first.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, at once.
    pub fn parse(source: &Source, overrides: &[String], registry: &Registry) -> Result<Self, Problems> {
        let text = set::apply(&source.text, overrides, &source.name)?;
        let name = match overrides.is_empty() {
            true => source.name.clone(),
            false => format!("{} with --set", source.name),
        };
        read::recipe(&text, registry).map_err(|list| Problems { name, text, list })
    }

    /// The recipe as TOML with every default spelled out. Reading it again gives the same recipe, and the same
    /// text.
    pub fn resolved(&self) -> String {
        resolve::text(self)
    }

    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

impl Default for DeviceSpec {
    /// The CPU, all cores.
    fn default() -> Self {
        Self { name: "flex".into(), kernels: KernelsSpec::Own, threads: None }
    }
}

impl StageKind {
    /// Every kind.
    pub const NAMES: [&'static str; 7] =
        ["train", "distill", "prune", "sparsify", "share", "quantize", "export"];

    /// Its key in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            StageKind::Train(_) => "train",
            StageKind::Distill(_) => "distill",
            StageKind::Prune(_) => "prune",
            StageKind::Sparsify(_) => "sparsify",
            StageKind::Share(_) => "share",
            StageKind::Quantize(_) => "quantize",
            StageKind::Export(_) => "export",
        }
    }

    /// How it trains, if it does.
    pub fn fit(&self) -> Option<&FitSpec> {
        match self {
            StageKind::Train(spec) => Some(&spec.fit),
            StageKind::Distill(fit) => Some(fit),
            StageKind::Prune(spec) => Some(&spec.fit),
            StageKind::Sparsify(spec) => Some(&spec.fit),
            StageKind::Share(spec) => Some(&spec.fit),
            StageKind::Quantize(spec) => Some(&spec.fit),
            StageKind::Export(_) => None,
        }
    }
}

impl FitSpec {
    /// Cross entropy at weight 1, with the label smoothing of the objective's own cross entropy.
    pub fn alone(&self) -> Arc<Objective> {
        self.alone.clone()
    }
}

impl Metric {
    /// Every metric with its key.
    pub const ALL: [(&'static str, Metric); 9] = [
        ("accuracy", Metric::Accuracy),
        ("accuracy-last", Metric::AccuracyLast),
        ("errors", Metric::Errors),
        ("params", Metric::Params),
        ("nonzero", Metric::Nonzero),
        ("macs", Metric::Macs),
        ("bytes", Metric::Bytes),
        ("agreement", Metric::Agreement),
        ("packed-ratio", Metric::PackedRatio),
    ];

    /// Its key in a recipe.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, metric)| *metric == self).map_or("?", |(name, _)| name)
    }
}
