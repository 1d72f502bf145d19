//! Observers that keep a range and nothing else: the extremes, or a range that follows the batches.
//!
//! What a training loop can afford at every step: two numbers a cell, computed on the device. Per-channel min-max is
//! [`ObserverSpec::MinMax`] on a [`Layout::channel`].

use serde::{Deserialize, Serialize};

use crate::{Error, Layout, Range};

/// A rule for combining the ranges of batches, as a recipe says it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ObserverSpec {
    /// The smallest and the largest value ever seen.
    #[default]
    MinMax,
    /// The first batch as it is; then `min ← min + (1 − decay)·(batch min − min)`, and `max` likewise.
    ///
    /// In 32-bit floats. Source: torch's `MovingAverageMinMaxObserver`, whose `averaging_constant` is 1 − decay.
    MovingAverage {
        /// Share of the old range that stays, from 0 to below 1 ([`ObserverSpec::moving_average`] checks); 0.99 is
        /// usual.
        #[serde(default = "usual_decay", deserialize_with = "decay")]
        decay: f64,
    },
}

impl ObserverSpec {
    /// A moving average that keeps the share `decay` of the old range.
    ///
    /// # Errors
    ///
    /// [`Error::Decay`] unless 0 ≤ decay < 1.
    pub fn moving_average(decay: f64) -> Result<Self, Error> {
        match (0.0..1.0).contains(&decay) {
            true => Ok(Self::MovingAverage { decay }),
            false => Err(Error::Decay { found: decay }),
        }
    }

    /// Name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::MovingAverage { .. } => "moving-average",
        }
    }
}

/// What there is to know about an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObserverName {
    /// Name in recipes.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Knobs with defaults, if it has any.
    pub knobs: &'static str,
}

/// The observers there are.
pub const OBSERVERS: &[ObserverName] = &[
    ObserverName { name: "min-max", about: "the smallest and the largest value ever seen", knobs: "" },
    ObserverName {
        name: "moving-average",
        about: "a range that follows the batches, forgetting old ones",
        knobs: "decay = 0.99",
    },
];

/// A range that grows or follows with what is seen. Its state is plain data, so that a run can go on exactly.
///
/// That takes a format that reads back the floats it wrote. `serde_json` does for the limits and for a decay of few
/// digits; for any other decay its feature `float_roundtrip` is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observer {
    spec: ObserverSpec,
    range: Option<Range>,
}

impl Observer {
    /// An observer that has seen nothing.
    pub fn new(spec: ObserverSpec) -> Self {
        Self { spec, range: None }
    }

    /// Takes in a batch of values.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] with the position of a value that is not finite; then nothing is taken in. A layout
    /// that does not fit the values, or has another number of cells than before.
    pub fn observe(&mut self, values: &[f32], layout: &Layout) -> Result<(), Error> {
        layout.check(values.len())?;
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { index, value: values[index] });
        }
        if values.is_empty() {
            return Ok(());
        }
        let cells = layout.cells();
        let (mut min, mut max) = (vec![f32::INFINITY; cells], vec![f32::NEG_INFINITY; cells]);
        for (position, &x) in values.iter().enumerate() {
            let cell = layout.cell(position);
            min[cell] = min[cell].min(x);
            max[cell] = max[cell].max(x);
        }
        self.see(&Range::new(min, max)?)
    }

    /// Takes in the range of a batch, computed elsewhere, such as on a device.
    ///
    /// # Errors
    ///
    /// [`Error::Cells`] for another number of cells than before, [`Error::Decay`] for an illegal decay; nothing else.
    pub fn see(&mut self, batch: &Range) -> Result<(), Error> {
        self.range = Some(match (&self.range, self.spec) {
            (None, _) => batch.clone(),
            (Some(range), ObserverSpec::MinMax) => range.union(batch)?,
            (Some(range), ObserverSpec::MovingAverage { decay }) => {
                ObserverSpec::moving_average(decay)?;
                range.towards(batch, (1.0 - decay) as f32)?
            }
        });
        Ok(())
    }

    /// Takes in what another observer has seen. The order and the grouping of merges do not matter, so that parts of
    /// the data may be watched apart.
    ///
    /// # Errors
    ///
    /// [`Error::Merge`] unless both are [`ObserverSpec::MinMax`]; [`Error::Cells`] for another number of cells.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        match (self.spec, other.spec) {
            (ObserverSpec::MinMax, ObserverSpec::MinMax) => {
                other.range.iter().try_for_each(|range| self.see(range))
            }
            (left, right) => Err(Error::Merge { left: left.name(), right: right.name() }),
        }
    }

    /// The range of what was seen; none before the first batch.
    pub fn range(&self) -> Option<&Range> {
        self.range.as_ref()
    }
}

fn usual_decay() -> f64 {
    0.99
}

fn decay<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    ObserverSpec::moving_average(found).map(|_| found).map_err(serde::de::Error::custom)
}
