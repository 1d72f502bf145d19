//! Knobs as they are written, and what must hold among them.

use kd_core::{Error, Progress};
use serde::{Deserialize, Serialize};

use super::{Exponential, Growing, Movement, Scores, SoftMovement};

/// A place before the end of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Early(f64);

impl Early {
    /// The number, from 0 to below 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Early {
    fn default() -> Self {
        Self(0.0)
    }
}

impl TryFrom<f64> for Early {
    type Error = Error;

    fn try_from(share: f64) -> Result<Self, Error> {
        in_range("place", "from 0 to below 1", share, (0.0..1.0).contains(&share)).map(Self)
    }
}

impl From<Early> for f64 {
    fn from(early: Early) -> f64 {
        early.0
    }
}

/// Both places, if the second lies behind the first.
fn ascending(begin: Progress, end: Progress) -> Result<(Progress, Progress), Error> {
    match begin < end {
        true => Ok((begin, end)),
        false => Err(Error::EmptyRange { begin: begin.get(), end: end.get() }),
    }
}

pub(super) fn start() -> Progress {
    Progress::START
}

fn share(value: f64) -> Progress {
    Progress::new(value).expect("a default is a share")
}

fn in_range(name: &'static str, expected: &'static str, found: f64, fits: bool) -> Result<f64, Error> {
    if fits { Ok(found) } else { Err(Error::OutOfRange { name, expected, found }) }
}

fn above_zero(name: &'static str, value: f64) -> Result<f64, Error> {
    in_range(name, "finite and above 0", value, value > 0.0 && value.is_finite())
}

#[derive(Deserialize)]
#[serde(rename = "Movement", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct MovementKnobs {
    #[serde(default = "after_warm_up")]
    begin: Progress,
    #[serde(default = "before_the_last")]
    end: Progress,
    #[serde(default)]
    scores: Scores,
}

#[derive(Deserialize)]
#[serde(rename = "Exponential", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ExponentialKnobs {
    #[serde(default)]
    from: f64,
    #[serde(default = "start")]
    begin: Progress,
    #[serde(default = "three_quarters")]
    end: Progress,
}

#[derive(Deserialize)]
#[serde(rename = "SoftMovement", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SoftKnobs {
    #[serde(default = "tenth")]
    threshold: f64,
    #[serde(default = "one")]
    regularisation: f64,
    #[serde(default = "one")]
    units: f64,
    #[serde(default = "hundredth")]
    rate: f64,
    #[serde(default = "after_warm_up")]
    begin: Progress,
    #[serde(default = "before_the_last")]
    end: Progress,
}

#[derive(Deserialize)]
#[serde(rename = "GrowingRegularisation", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct GrowingKnobs {
    #[serde(default = "one")]
    ceiling: f64,
    #[serde(default = "start")]
    begin: Progress,
    #[serde(default = "half")]
    end: Progress,
}

impl TryFrom<MovementKnobs> for Movement {
    type Error = Error;

    fn try_from(MovementKnobs { begin, end, scores }: MovementKnobs) -> Result<Self, Error> {
        let (begin, end) = ascending(begin, end)?;
        if let Scores::FromMagnitude { rate } = scores {
            above_zero("rate", rate)?;
        }
        Ok(Self { begin, end, scores })
    }
}

impl TryFrom<ExponentialKnobs> for Exponential {
    type Error = Error;

    fn try_from(knobs: ExponentialKnobs) -> Result<Self, Error> {
        let from = in_range("from", "from 0 to below 1", knobs.from, (0.0..1.0).contains(&knobs.from))?;
        let (begin, end) = ascending(knobs.begin, knobs.end)?;
        Ok(Self { from, begin, end })
    }
}

impl TryFrom<SoftKnobs> for SoftMovement {
    type Error = Error;

    fn try_from(knobs: SoftKnobs) -> Result<Self, Error> {
        let SoftKnobs { threshold, regularisation, units, rate, begin, end } = knobs;
        let (begin, end) = ascending(begin, end)?;
        let weight = |name, value: f64| {
            in_range(name, "finite and at least 0", value, value >= 0.0 && value.is_finite())
        };
        Ok(Self {
            threshold: in_range(
                "threshold",
                "above 0 and below 1",
                threshold,
                threshold > 0.0 && threshold < 1.0,
            )?,
            regularisation: weight("regularisation", regularisation)?,
            units: weight("units", units)?,
            rate: above_zero("rate", rate)?,
            begin,
            end,
        })
    }
}

impl TryFrom<GrowingKnobs> for Growing {
    type Error = Error;

    fn try_from(GrowingKnobs { ceiling, begin, end }: GrowingKnobs) -> Result<Self, Error> {
        let (begin, end) = ascending(begin, end)?;
        Ok(Self { ceiling: above_zero("ceiling", ceiling)?, begin, end })
    }
}

fn after_warm_up() -> Progress {
    share(0.1)
}

fn before_the_last() -> Progress {
    share(0.9)
}

fn three_quarters() -> Progress {
    share(0.75)
}

fn half() -> Progress {
    share(0.5)
}

fn tenth() -> f64 {
    0.1
}

fn hundredth() -> f64 {
    0.01
}

fn one() -> f64 {
    1.0
}
