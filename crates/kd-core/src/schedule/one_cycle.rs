//! The learning rate that rises once and falls once: the one schedule that is a shape of its own.

use serde::{Deserialize, Serialize};

use super::grammar::Finite;
use super::ramp::Curve;
use crate::{Error, Progress};

/// A cosine up from `peak / start-factor` to `peak`, then a cosine down to `peak / (start-factor · end-factor)`.
///
/// The ascent takes the share `warm-up` of the run. (Smith and Topin, arXiv 1708.07120; the two phases and the
/// defaults of PyTorch's `OneCycleLR`, which reaches its peak at step `warm-up · N − 1` of N, a fraction of a step
/// before `warm-up · (N − 1)`, where it is reached here.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "OneCycleKnobs", rename_all = "kebab-case")]
pub struct OneCycle {
    peak: f64,
    warm_up: Progress,
    start_factor: f64,
    end_factor: f64,
}

impl OneCycle {
    /// A cycle with PyTorch's defaults: `warm-up = 0.3`, `start-factor = 25`, `end-factor = 1e4`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `peak` is finite and above 0.
    pub fn new(peak: f64) -> Result<Self, Error> {
        OneCycle { peak, warm_up: warm_up(), start_factor: 25.0, end_factor: 1e4 }.checked()
    }

    /// The same cycle with another share of the run for the ascent.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 ≤ share < 1`.
    pub fn with_warm_up(self, share: f64) -> Result<Self, Error> {
        OneCycle { warm_up: Progress::new(share)?, ..self }.checked()
    }

    /// The same cycle with other factors between start and peak, and between start and end.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless both are finite and at least 1.
    pub fn with_factors(self, start: f64, end: f64) -> Result<Self, Error> {
        OneCycle { start_factor: start, end_factor: end, ..self }.checked()
    }

    pub(super) fn at(&self, progress: Progress) -> f64 {
        let start = self.peak / self.start_factor;
        let last = start / self.end_factor;
        let turn = self.warm_up.get();
        if progress.get() < turn {
            Curve::Cosine.between(start, self.peak, progress.within(0.0, turn))
        } else {
            Curve::Cosine.between(self.peak, last, progress.within(turn, 1.0))
        }
    }

    fn checked(self) -> Result<Self, Error> {
        let wrong = |name, expected, found| Err(Error::OutOfRange { name, expected, found });
        if !(self.peak.is_finite() && self.peak > 0.0) {
            return wrong("peak", "finite and above 0", self.peak);
        }
        if self.warm_up == Progress::END {
            return wrong("warm-up", "from 0 to below 1", 1.0);
        }
        for (name, factor) in [("start-factor", self.start_factor), ("end-factor", self.end_factor)] {
            if !(factor.is_finite() && factor >= 1.0) {
                return wrong(name, "finite and at least 1", factor);
            }
        }
        Ok(self)
    }
}

/// A cycle as it is written.
#[derive(Deserialize)]
#[serde(rename = "OneCycle", rename_all = "kebab-case", deny_unknown_fields)]
struct OneCycleKnobs {
    peak: Finite,
    #[serde(default = "warm_up")]
    warm_up: Progress,
    #[serde(default = "start_factor")]
    start_factor: Finite,
    #[serde(default = "end_factor")]
    end_factor: Finite,
}

fn warm_up() -> Progress {
    Progress::new(0.3).expect("0.3 is a fraction")
}

fn start_factor() -> Finite {
    Finite(25.0)
}

fn end_factor() -> Finite {
    Finite(1e4)
}

impl TryFrom<OneCycleKnobs> for OneCycle {
    type Error = Error;

    fn try_from(knobs: OneCycleKnobs) -> Result<Self, Error> {
        OneCycle {
            peak: knobs.peak.0,
            warm_up: knobs.warm_up,
            start_factor: knobs.start_factor.0,
            end_factor: knobs.end_factor.0,
        }
        .checked()
    }
}
