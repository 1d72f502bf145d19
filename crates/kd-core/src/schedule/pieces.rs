//! Schedules that are put together from pieces of the run.

use serde::{Deserialize, Serialize};

use super::Schedule;
use super::grammar::Finite;
use crate::{Error, Progress};

/// The last of `values` whose place is reached, 0 before the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StepKnobs")]
pub(super) struct Step {
    at: Vec<Progress>,
    values: Vec<f64>,
}

impl Step {
    pub(super) fn new(at: Vec<Progress>, values: Vec<f64>) -> Result<Self, Error> {
        if at.len() != values.len() {
            return Err(Error::StepLengths { at: at.len(), values: values.len() });
        }
        check_places("step", at.iter().copied())?;
        Ok(Step { at, values })
    }

    pub(super) fn at(&self, progress: Progress) -> f64 {
        match self.at.partition_point(|place| *place <= progress) {
            0 => 0.0,
            reached => self.values[reached - 1],
        }
    }
}

/// Linearly from 0 to the first value of `then`, then that schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WarmUpKnobs")]
pub(super) struct WarmUp {
    share: Progress,
    then: Box<Schedule>,
}

impl WarmUp {
    pub(super) fn new(share: Progress, then: Schedule) -> Result<Self, Error> {
        if share == Progress::END {
            return Err(Error::OutOfRange { name: "share", expected: "from 0 to below 1", found: 1.0 });
        }
        Ok(WarmUp { share, then: Box::new(then) })
    }

    pub(super) fn at(&self, progress: Progress) -> f64 {
        let share = self.share.get();
        if progress < self.share {
            self.then.at(Progress::START) * (progress.get() / share)
        } else {
            self.then.at(progress.within(share, 1.0))
        }
    }
}

/// One schedule after the other, each until its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Progress, Schedule)>", into = "Vec<(Progress, Schedule)>")]
pub(super) struct Sequence(Vec<(Progress, Schedule)>);

impl Sequence {
    pub(super) fn new(pieces: Vec<(Progress, Schedule)>) -> Result<Self, Error> {
        check_places("sequence", pieces.iter().map(|(until, _)| *until))?;
        match pieces.first() {
            Some((until, _)) if *until == Progress::START => {
                return Err(Error::NotAscending { schedule: "sequence", previous: 0.0, found: 0.0 });
            }
            _ => {}
        }
        match pieces.last() {
            Some((until, _)) if *until != Progress::END => Err(Error::SequenceEnd { found: until.get() }),
            _ => Ok(Sequence(pieces)),
        }
    }

    pub(super) fn at(&self, progress: Progress) -> f64 {
        // A place belongs to the piece that begins there; the last place, 1, to the piece that ends there.
        let index = self.0.partition_point(|(until, _)| *until <= progress).min(self.0.len() - 1);
        let begin = if index == 0 { 0.0 } else { self.0[index - 1].0.get() };
        let (until, schedule) = &self.0[index];
        schedule.at(progress.within(begin, until.get()))
    }
}

fn check_places(schedule: &'static str, places: impl Iterator<Item = Progress>) -> Result<(), Error> {
    let mut previous: Option<Progress> = None;
    for place in places {
        if let Some(previous) = previous.filter(|previous| *previous >= place) {
            return Err(Error::NotAscending { schedule, previous: previous.get(), found: place.get() });
        }
        previous = Some(place);
    }
    if previous.is_none() { Err(Error::NoPieces { schedule }) } else { Ok(()) }
}

#[derive(Deserialize)]
#[serde(rename = "Step", rename_all = "kebab-case", deny_unknown_fields)]
struct StepKnobs {
    at: Vec<Progress>,
    values: Vec<Finite>,
}

impl TryFrom<StepKnobs> for Step {
    type Error = Error;

    fn try_from(knobs: StepKnobs) -> Result<Self, Error> {
        Step::new(knobs.at, knobs.values.into_iter().map(|value| value.0).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename = "WarmUp", rename_all = "kebab-case", deny_unknown_fields)]
struct WarmUpKnobs {
    share: Progress,
    then: Schedule,
}

impl TryFrom<WarmUpKnobs> for WarmUp {
    type Error = Error;

    fn try_from(knobs: WarmUpKnobs) -> Result<Self, Error> {
        WarmUp::new(knobs.share, knobs.then)
    }
}

impl TryFrom<Vec<(Progress, Schedule)>> for Sequence {
    type Error = Error;

    fn try_from(pieces: Vec<(Progress, Schedule)>) -> Result<Self, Error> {
        Sequence::new(pieces)
    }
}

impl From<Sequence> for Vec<(Progress, Schedule)> {
    fn from(sequence: Sequence) -> Self {
        sequence.0
    }
}
