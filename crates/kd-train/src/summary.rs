//! `summary.json`: what a run reached and what it cost, stage by stage.

use serde::{Deserialize, Serialize};

/// Results of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this file's form.
    pub schema: u32,
    /// The recipe's name.
    pub name: String,
    /// The teacher first, then the student after each stage.
    pub stages: Vec<StageSummary>,
    /// The student trained alone; absent in a recipe that does not distill.
    pub baseline: Option<StageSummary>,
    /// How well exported files agree with the models here.
    pub parity: Vec<ParitySummary>,
    /// Seed of the run.
    pub seed: u64,
    /// Device that it ran on.
    pub device: String,
    /// Seconds of work, over all sessions.
    pub wall_s: f64,
    /// What a reader should know about these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Gates of the recipe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateResult>,
}

/// Results of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// `train`, `distill`, `prune`, `sparsify` or `quantize`.
    pub kind: String,
    /// Share of test examples that the weights passed on get right: those of the epoch best on validation data.
    pub accuracy: f64,
    /// The same of the last epoch's weights.
    pub accuracy_last: f64,
    /// Test examples that the weights passed on get wrong.
    pub errors: usize,
    /// Test examples.
    pub examples: usize,
    /// Trainable elements, before batch norm is folded; no running statistics, masks or scales.
    pub params: u64,
    /// `params` less the elements that a mask holds at zero.
    pub nonzero: u64,
    /// Multiply-accumulates of convolutions and matrix products at batch 1, padding taps counted.
    pub macs: u64,
    /// Size on disk of the stage's ONNX file.
    pub bytes: u64,
    /// Share of test examples with the teacher's top-1 class.
    pub agreement: f64,
    /// Seconds of work on the stage.
    pub seconds: f64,
    /// Measured on the stage's ONNX file, one entry an engine.
    pub latency_ms: Vec<LatencySummary>,
    /// What its rounded weights take; of a stage that quantizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounded: Option<RoundedSummary>,
    /// Its packed weights; of a stage that makes them share values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<PackedSummary>,
    /// Its masks; of a stage that sparsifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseSummary>,
    /// Why a stage that prunes or sparsifies removed nothing, and what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_removed: Option<String>,
}

/// The masks of a stage, those of stages before it among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparseSummary {
    /// Where its zeros may stand, and how many.
    pub pattern: String,
    /// Elements that masks hold at zero.
    pub masked: u64,
    /// Elements of the masked weights.
    pub elements: u64,
    /// The product of `kd-kernels` that skips zeros of this pattern, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// The `.kdz` file of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackedSummary {
    /// Most distinct values that a tensor with shared values has, zero not counted.
    pub most_values: usize,
    /// Elements that are not zero in tensors with shared values.
    pub shared: u64,
    /// The file on disk.
    pub bytes: u64,
    /// All its elements as f32.
    pub float_bytes: u64,
    /// `float_bytes / bytes`
    pub ratio: f64,
}

/// The weights that a stage rounds. `bytes` of the stage is its ONNX file, which holds wider integers or floats where no
/// engine runs the scheme; these are the bits that the scheme itself takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundedSummary {
    /// Scheme of the weights.
    pub weights: String,
    /// Scheme of the activations, where they are rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<String>,
    /// Whether the ONNX file has integers for every layer to compute with.
    pub integers: bool,
    /// Elements of the rounded weights.
    pub elements: u64,
    /// Bits of their codes, scales, zero points and padding, densely packed.
    pub bits: u64,
    /// `bits / elements`
    pub bits_per_weight: f64,
    /// Elements that masks hold at zero.
    #[serde(default)]
    pub masked_zeros: u64,
    /// Further elements that rounding makes zero.
    #[serde(default)]
    pub rounded_zeros: u64,
    /// 10 · log10(Σ w² / Σ (w − ŵ)²) over all of them; absent where nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
    /// Mean KL(float ‖ rounded) of the softmax over test examples, in nats, from the float model that the stage began with.
    #[serde(default)]
    pub logit_kl: f64,
    /// Share of test examples with that model's top-1 class.
    #[serde(default)]
    pub agreement: f64,
}

/// Latency on an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// `tract` or `onnxruntime`.
    pub engine: String,
    /// Threads that the engine may use.
    pub threads: usize,
    /// One example.
    pub batch_1: Spread,
    /// 32 examples.
    pub batch_32: Spread,
}

/// A median and how far the slow end is from it, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the runs took at most this.
    pub median: f64,
    /// 95 of 100 runs took at most this.
    pub p95: f64,
}

/// Agreement of an exported file with the model here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParitySummary {
    /// File name in `export/`.
    pub artifact: String,
    /// Engine that ran it.
    pub engine: String,
    /// Largest difference of a logit.
    pub max_abs: f64,
    /// Share of test examples with the same top-1 class.
    pub top1_agreement: f64,
    /// Share of test examples that the engine gets right.
    pub accuracy: f64,
}

/// A gate of the recipe, held against the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// `distill.accuracy`
    pub gate: String,
    /// What was found.
    pub value: f64,
    /// Lower limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Whether it was met.
    pub met: bool,
}

/// Results over several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedsSummary {
    /// Version of this file's form.
    pub schema: u32,
    /// The recipe's name.
    pub name: String,
    /// Seeds, in order.
    pub seeds: Vec<u64>,
    /// One entry a stage and metric.
    pub metrics: Vec<SeedsMetric>,
    /// What a reader should know about these numbers.
    pub notes: Vec<String>,
}

/// A number over several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedsMetric {
    /// Stage, or `baseline`.
    pub stage: String,
    /// `accuracy`, `agreement`, …
    pub metric: String,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n − 1.
    pub std: f64,
    /// One a seed, in order.
    pub values: Vec<f64>,
}
