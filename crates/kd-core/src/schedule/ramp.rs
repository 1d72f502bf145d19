//! From one value to another along a curve: the five schedules that differ only in the curve.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::finite;
use super::grammar::Finite;
use crate::{Error, Progress};

/// Two values, and the part of the run between which one turns into the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RampKnobs")]
pub struct Ramp {
    from: f64,
    to: f64,
    begin: Progress,
    end: Progress,
}

impl Ramp {
    /// From one value to another over the whole run.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless both are finite.
    pub fn new(from: f64, to: f64) -> Result<Self, Error> {
        Ok(Ramp {
            from: finite("from", from)?,
            to: finite("to", to)?,
            begin: Progress::START,
            end: Progress::END,
        })
    }

    /// The same two values, the first held until `begin`, the second from `end` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for a place outside 0 ..= 1, [`Error::EmptyRange`] unless `begin < end`.
    pub fn between(self, begin: f64, end: f64) -> Result<Self, Error> {
        Ramp { begin: Progress::new(begin)?, end: Progress::new(end)?, ..self }.checked()
    }

    pub(super) fn at(&self, curve: Curve, progress: Progress) -> f64 {
        curve.between(self.from, self.to, progress.within(self.begin.get(), self.end.get()))
    }

    fn checked(self) -> Result<Self, Error> {
        if self.begin < self.end {
            Ok(self)
        } else {
            Err(Error::EmptyRange { begin: self.begin.get(), end: self.end.get() })
        }
    }
}

/// How a [`Ramp`] goes from one value to the other. `p` is its own progress,
/// `clamp((t − begin) / (end − begin), 0, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// `from + (to − from)·p`
    Linear,
    /// `from + (to − from)·(1 − cos πp) / 2`: level at both ends. (Loshchilov and Hutter, arXiv 1608.03983, without
    /// restarts.)
    Cosine,
    /// `to + (from − to)·(1 − p)³`: steep at first, level at the end, for sparsities. (Zhu and Gupta, arXiv
    /// 1710.01878, equation 1.)
    Cubic,
    /// `1 − (1 − from)·((1 − to) / (1 − from))^p`: the density, 1 − value, shrinks by the same factor in every step.
    /// For sparsities; both ends must be below 1.
    Exponential,
    /// `from·(to / from)^p`: the value changes by the same factor in every step. For learning rates, weights and
    /// temperatures; both ends must be above 0.
    Geometric,
}

impl Curve {
    pub(super) fn name(self) -> &'static str {
        match self {
            Curve::Linear => "linear",
            Curve::Cosine => "cosine",
            Curve::Cubic => "cubic",
            Curve::Exponential => "exponential",
            Curve::Geometric => "geometric",
        }
    }

    pub(super) fn check(self, &Ramp { from, to, .. }: &Ramp) -> Result<(), Error> {
        match self {
            Curve::Exponential if from >= 1.0 || to >= 1.0 => Err(Error::ExponentialRange { from, to }),
            Curve::Geometric if from <= 0.0 || to <= 0.0 => Err(Error::GeometricRange { from, to }),
            // The ends are given, but their difference or ratio may be beyond the largest float.
            _ if !self.way(from, to).is_finite() => {
                let expected = "near enough to `from` that their difference or ratio is a number";
                Err(Error::OutOfRange { name: "to", expected, found: to })
            }
            _ => Ok(()),
        }
    }

    /// What the curve multiplies by its shape: the difference of the ends, or their ratio.
    fn way(self, from: f64, to: f64) -> f64 {
        match self {
            Curve::Linear | Curve::Cosine | Curve::Cubic => to - from,
            Curve::Exponential => (1.0 - to) / (1.0 - from),
            Curve::Geometric => to / from,
        }
    }

    /// The value at the ramp's own progress. The ends are returned as they were given: `from + (to − from)` can miss
    /// `to` by a rounding.
    pub(super) fn between(self, from: f64, to: f64, progress: Progress) -> f64 {
        let p = progress.get();
        match self {
            _ if progress == Progress::START => from,
            _ if progress == Progress::END => to,
            Curve::Linear => from + (to - from) * p,
            Curve::Cosine => from + (to - from) * (1.0 - (PI * p).cos()) / 2.0,
            Curve::Cubic => to + (from - to) * (1.0 - p).powi(3),
            Curve::Exponential => 1.0 - (1.0 - from) * ((1.0 - to) / (1.0 - from)).powf(p),
            Curve::Geometric => from * (to / from).powf(p),
        }
    }
}

/// A ramp as it is written.
#[derive(Deserialize)]
#[serde(rename = "Ramp", rename_all = "kebab-case", deny_unknown_fields)]
struct RampKnobs {
    from: Finite,
    to: Finite,
    #[serde(default = "start")]
    begin: Progress,
    #[serde(default = "end")]
    end: Progress,
}

fn start() -> Progress {
    Progress::START
}

fn end() -> Progress {
    Progress::END
}

impl TryFrom<RampKnobs> for Ramp {
    type Error = Error;

    fn try_from(knobs: RampKnobs) -> Result<Self, Error> {
        Ramp { from: knobs.from.0, to: knobs.to.0, begin: knobs.begin, end: knobs.end }.checked()
    }
}
