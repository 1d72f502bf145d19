//! How far a stage has come, which is all that a schedule may depend on.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Fraction of a stage that is done: 0 at its first step, 1 at its last.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Progress(f64);

impl Progress {
    /// The beginning.
    pub const START: Progress = Progress(0.0);
    /// The end.
    pub const END: Progress = Progress(1.0);

    /// A fraction.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 ≤ fraction ≤ 1`.
    pub fn new(fraction: f64) -> Result<Self, Error> {
        if (0.0..=1.0).contains(&fraction) {
            Ok(Progress(fraction))
        } else {
            Err(Error::OutOfRange { name: "progress", expected: "from 0 to 1", found: fraction })
        }
    }

    /// `done / total`; 1 where there is nothing to do, and never more than 1.
    ///
    /// For the i-th of N steps to run from exactly 0 to exactly 1, give `of(i, N - 1)`.
    pub fn of(done: usize, total: usize) -> Self {
        if done >= total { Progress::END } else { Progress(done as f64 / total as f64) }
    }

    /// The number, from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Progress within the part of the run from `begin` to `end`: 0 before it, 1 after it.
    pub(crate) fn within(self, begin: f64, end: f64) -> Self {
        if self.0 <= begin {
            Progress::START
        } else if self.0 >= end {
            Progress::END
        } else {
            Progress(((self.0 - begin) / (end - begin)).clamp(0.0, 1.0))
        }
    }
}

impl TryFrom<f64> for Progress {
    type Error = Error;

    fn try_from(fraction: f64) -> Result<Self, Error> {
        Progress::new(fraction)
    }
}

impl From<Progress> for f64 {
    fn from(progress: Progress) -> f64 {
        progress.0
    }
}
