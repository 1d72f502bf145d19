//! Numbers that change along a run, as pure functions of its progress.
//!
//! A learning rate, the weight of a loss, a temperature and a target sparsity are all a [`Schedule`]: nothing has a
//! state to step or to save, a resumed run reads the same number, and a front end can print the curve before training.
//! The grammar in which recipes write them is in `grammar.rs`, the table that explains them in `names.rs`.

mod grammar;
mod names;
mod one_cycle;
mod pieces;
mod ramp;

pub use names::ScheduleName;
pub use one_cycle::OneCycle;
pub use ramp::{Curve, Ramp};

use crate::{Error, Progress};
use pieces::{Sequence, Step, WarmUp};

/// A number as a pure function of [`Progress`].
///
/// In a recipe it is a number, or a table with exactly one key, the name of a schedule; [`Schedule::NAMES`] lists
/// them with their knobs:
///
/// ```toml
/// a = 0.5
/// b.linear = { from = 1.0, to = 0.5 }
/// c.warm-up = { share = 0.1, then.cosine = { from = 1e-3, to = 1e-5 } }
/// d.sequence = [[0.3, 0.0], [1.0, { linear = { from = 0.0, to = 1.0 } }]]
/// ```
///
/// Every value is checked when it is made, so that [`at`](Schedule::at) cannot fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Form);

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Constant(f64),
    Ramp(Curve, Ramp),
    Step(Step),
    OneCycle(OneCycle),
    WarmUp(WarmUp),
    Sequence(Sequence),
}

impl Schedule {
    /// The value at `progress`: always finite.
    pub fn at(&self, progress: Progress) -> f64 {
        match &self.0 {
            Form::Constant(value) => *value,
            Form::Ramp(curve, ramp) => ramp.at(*curve, progress),
            Form::Step(step) => step.at(progress),
            Form::OneCycle(cycle) => cycle.at(progress),
            Form::WarmUp(warm_up) => warm_up.at(progress),
            Form::Sequence(sequence) => sequence.at(progress),
        }
    }

    /// The schedule's name in a recipe; `constant` for a plain number.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Form::Constant(_) => "constant",
            Form::Ramp(curve, _) => curve.name(),
            Form::Step(_) => "step",
            Form::OneCycle(_) => "one-cycle",
            Form::WarmUp(_) => "warm-up",
            Form::Sequence(_) => "sequence",
        }
    }

    /// The same value throughout.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `value` is finite.
    pub fn constant(value: f64) -> Result<Self, Error> {
        Ok(Schedule(Form::Constant(finite("value", value)?)))
    }

    /// A ramp along `curve`.
    ///
    /// # Errors
    ///
    /// [`Error::ExponentialRange`] and [`Error::GeometricRange`] where the curve is not defined for the ramp's ends,
    /// [`Error::OutOfRange`] where their difference or ratio is beyond the largest float.
    pub fn ramp(curve: Curve, ramp: Ramp) -> Result<Self, Error> {
        curve.check(&ramp)?;
        Ok(Schedule(Form::Ramp(curve, ramp)))
    }

    /// [`Curve::Linear`] over the whole run.
    ///
    /// # Errors
    ///
    /// As [`Ramp::new`].
    pub fn linear(from: f64, to: f64) -> Result<Self, Error> {
        Schedule::ramp(Curve::Linear, Ramp::new(from, to)?)
    }

    /// [`Curve::Cosine`] over the whole run.
    ///
    /// # Errors
    ///
    /// As [`Ramp::new`].
    pub fn cosine(from: f64, to: f64) -> Result<Self, Error> {
        Schedule::ramp(Curve::Cosine, Ramp::new(from, to)?)
    }

    /// The last of `values` whose place is reached, and 0 before the first: `at[i] ≤ progress`.
    ///
    /// # Errors
    ///
    /// [`Error::NoPieces`], [`Error::StepLengths`], [`Error::NotAscending`], and [`Error::OutOfRange`] for a place
    /// outside 0 ..= 1 or a value that is not finite.
    pub fn step(at: &[f64], values: &[f64]) -> Result<Self, Error> {
        let at = at.iter().map(|&place| Progress::new(place)).collect::<Result<_, _>>()?;
        let values = values.iter().map(|&value| finite("values", value)).collect::<Result<_, _>>()?;
        Ok(Schedule(Form::Step(Step::new(at, values)?)))
    }

    /// Up to a peak and down to almost nothing, see [`OneCycle`].
    pub fn one_cycle(cycle: OneCycle) -> Self {
        Schedule(Form::OneCycle(cycle))
    }

    /// Linearly from 0 to `then.at(0)` during the first `share` of the run; after it `then` over the rest, from its
    /// own 0 to its own 1.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `0 ≤ share < 1`.
    pub fn warm_up(share: f64, then: Schedule) -> Result<Self, Error> {
        Ok(Schedule(Form::WarmUp(WarmUp::new(Progress::new(share)?, then)?)))
    }

    /// One schedule after the other: each lasts until its place, over its own 0 ..= 1, and the next begins there.
    ///
    /// # Errors
    ///
    /// [`Error::NoPieces`], [`Error::NotAscending`], [`Error::SequenceEnd`] unless the last piece lasts until 1, and
    /// [`Error::OutOfRange`] for a place outside 0 ..= 1.
    pub fn sequence(pieces: Vec<(f64, Schedule)>) -> Result<Self, Error> {
        let pieces = pieces
            .into_iter()
            .map(|(until, schedule)| Ok((Progress::new(until)?, schedule)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Schedule(Form::Sequence(Sequence::new(pieces)?)))
    }
}

/// `value`, or an error that says that `name` must be finite.
fn finite(name: &'static str, value: f64) -> Result<f64, Error> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::OutOfRange { name, expected: "finite", found: value })
    }
}
