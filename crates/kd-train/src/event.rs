//! What a run tells while it works, as values; who shows them, and how, is not decided here.

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stage begins, or goes on after `done` of its `steps`.
    StageStarted {
        /// Name of the stage, or `baseline`.
        stage: String,
        /// What it does: `train`, `distill`, `prune`, …
        kind: &'static str,
        /// Optimizer steps in all.
        steps: usize,
        /// Steps that an earlier session did.
        done: usize,
    },
    /// An optimizer step was taken.
    Step {
        /// Steps taken in this stage.
        done: usize,
        /// The weighted sum of all terms.
        loss: f64,
    },
    /// An epoch ended.
    Epoch {
        /// Counted from 1.
        epoch: usize,
        /// Of how many.
        epochs: usize,
        /// Mean loss.
        loss: f64,
        /// Share of validation examples that were right, where there are validation examples.
        validation: Option<f64>,
        /// Seconds.
        seconds: f64,
    },
    /// Work other than training: evaluation, export, latency.
    Working {
        /// What, as a clause: `measuring latency on tract`.
        what: String,
    },
    /// Something a user should know, as a sentence.
    Note(String),
    /// A stage is done and on disk.
    StageDone {
        /// Name of the stage.
        stage: String,
        /// Share of test examples that were right.
        accuracy: f64,
        /// Seconds, over all sessions.
        seconds: f64,
    },
}

/// Receives events.
pub trait Sink {
    /// Takes one event.
    fn event(&mut self, event: Event);

    /// Whether the user asked to stop. Asked after every step.
    fn stopped(&self) -> bool {
        false
    }
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Sink for Silent {
    fn event(&mut self, _: Event) {}
}
