//! What a user asks for, from beginning to end: start a run, go on with one, check a recipe, score, export, report.
//!
//! The command line is a thin shell around these functions; a program of one's own can call them likewise.

mod check;
mod graph;
mod open;
mod quantize;
mod seeds;
mod start;

use std::path::PathBuf;

pub use check::{Plan, check};
pub use graph::{ModelGraph, graph};
pub use open::{Evaluated, evaluate, export, report};
pub use quantize::{CALIBRATION_BATCHES, FrontPoint, Goal, QuantizeRun, QuantizedRun, quantize};
pub use start::{resume, start};

/// What a command line may say about a run beside its recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The run's directory, which must not exist; `runs/NAME` in `base` without it.
    pub run_dir: Option<PathBuf>,
    /// Instead of the recipe's device.
    pub device: Option<String>,
    /// Instead of the recipe's threads.
    pub threads: Option<usize>,
    /// As many runs, with seeds from the recipe's seed on.
    pub seeds: Option<usize>,
    /// Where `runs` is made.
    pub base: PathBuf,
}

/// A run that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its directory.
    pub dir: PathBuf,
    /// The report, in Markdown.
    pub report: String,
    /// The content of `summary.json`.
    pub json: serde_json::Value,
    /// Gates of the recipe that were missed.
    pub gates_missed: usize,
}
