//! The state of a stage in the middle of training: everything that the next step depends on, in one file.
//!
//! `state.safetensors` holds the student, the best epoch's student, the optimizer, the connectors and what a stage that
//! sparsifies remembers as arrays, and a [`Cursor`] in its metadata. It is replaced as a whole, so a kill at any moment
//! leaves either the old state or the new one, and it depends on nothing but the steps taken: two runs write the
//! same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use kd_deploy::{Array, Weights, safetensors};
use serde::{Deserialize, Serialize};

use crate::error::{CheckpointReason, Error};
use crate::exact;
use crate::optimizer::{Number, OptimizerState};
use crate::regime::Regime;
use crate::sparsify::Memory;

/// File name of a stage's state.
pub const STATE_FILE: &str = "state.safetensors";

/// Where training stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Whole epochs done.
    pub epoch: usize,
    /// Steps done of the next one.
    pub step: usize,
    /// Sums over the steps of the epoch at hand.
    pub sums: Sums,
    /// The epoch that is passed on, so far.
    pub best: Option<Best>,
    /// Bytes of `metrics.jsonl` that belong to the steps done.
    pub metrics: u64,
}

/// Sums of losses over the steps of an epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Of the weighted sum of all terms.
    #[serde(with = "exact")]
    pub loss: f64,
    /// Of each term, unweighted, in the objective's order.
    pub terms: Vec<Exact>,
}

/// A float whose bits survive JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Exact(#[serde(with = "exact")] pub f64);

/// The best epoch on validation data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// Share of validation examples that were right.
    #[serde(with = "exact")]
    pub accuracy: f64,
    /// Mean cross entropy over the validation examples.
    #[serde(with = "exact")]
    pub loss: f64,
}

/// Everything that the next step depends on.
#[derive(Debug, Clone)]
pub struct State {
    /// Where training stands.
    pub cursor: Cursor,
    /// Masks, observers, whatever is done to the student while it trains.
    pub regime: Regime,
    /// The same at the best epoch.
    pub best_regime: Regime,
    /// Stored weights of the student.
    pub student: Weights,
    /// Stored weights of the best epoch's student.
    pub best: Weights,
    /// Weights of the connectors.
    pub connectors: Weights,
    /// Moments and counters of the optimizer, over student and connectors.
    pub optimizer: OptimizerState,
    /// What a stage that sparsifies remembers.
    pub memory: Memory,
}

#[derive(Serialize, Deserialize)]
struct Words {
    cursor: Cursor,
    regime: Regime,
    best_regime: Regime,
    scalars: BTreeMap<String, Number>,
}

const GROUPS: [&str; 5] = ["student", "best", "connectors", "optimizer", "sparsify"];

impl State {
    /// Writes the state into a stage's folder, all or nothing.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let groups =
            [&self.student, &self.best, &self.connectors, &self.optimizer.tensors, self.memory.arrays()];
        let mut arrays: BTreeMap<String, Array> = BTreeMap::new();
        for (group, weights) in GROUPS.iter().zip(groups) {
            arrays.extend(weights.iter().map(|(name, array)| (format!("{group}/{name}"), array.clone())));
        }
        let words = Words {
            cursor: self.cursor.clone(),
            regime: self.regime.clone(),
            best_regime: self.best_regime.clone(),
            scalars: self.optimizer.scalars.clone(),
        };
        let words = serde_json::to_string(&words).expect("plain values become JSON");
        let metadata = BTreeMap::from([("state".to_owned(), words)]);
        safetensors::write(&folder.join(STATE_FILE), &arrays, &metadata)?;
        Ok(())
    }

    /// Reads a stage's state, if it has one.
    ///
    /// # Errors
    ///
    /// A file that is not such a state, with what is wrong about it.
    pub fn load(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(STATE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let broken = |reason: String| Error::Checkpoint {
            path: path.clone(),
            reason: CheckpointReason::State(reason),
        };
        let tensors = safetensors::read(&path)?;
        let words = tensors.metadata.get("state").ok_or_else(|| broken("it has no `state` entry".into()))?;
        let words: Words = serde_json::from_str(words).map_err(|error| broken(error.to_string()))?;
        let mut groups: [Weights; 5] = Default::default();
        for (name, array) in tensors.arrays {
            let (group, name) =
                name.split_once('/').ok_or_else(|| broken(format!("unknown entry `{name}`")))?;
            let index = GROUPS.iter().position(|known| *known == group);
            let index = index.ok_or_else(|| broken(format!("unknown entry `{group}/{name}`")))?;
            groups[index].insert(name.to_owned(), array);
        }
        let [student, best, connectors, moments, memory] = groups;
        Ok(Some(Self {
            cursor: words.cursor,
            regime: words.regime,
            best_regime: words.best_regime,
            student,
            best,
            connectors,
            optimizer: OptimizerState { tensors: moments, scalars: words.scalars },
            memory: Memory::from(memory),
        }))
    }
}
