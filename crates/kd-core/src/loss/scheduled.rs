//! A loss whose temperature changes along the run: annealed distillation, after Jafari et al., "Annealing Knowledge
//! Distillation", EACL 2021, arXiv 2104.07163.
//!
//! Losses hold numbers, and a number that moves would have to be asked for in each of them. So the loss is made anew in
//! every step, at the temperature of that step.

use std::fmt;

use burn::tensor::Tensor;

use super::DistillLoss;
use crate::{Error, Observed, Parameter, Progress, Schedule, SitePair, Temperature, View};

/// Places at which a schedule is tried before the run.
const TRIED: usize = 1000;

/// A loss made by `make` at the temperature that a schedule gives.
///
/// ```
/// use kd_core::loss::{Kl, Scheduled};
/// use kd_core::Schedule;
///
/// // From 8 to 1, so that the student first learns the teacher's doubts and then its answers.
/// let loss = Scheduled::new(Schedule::linear(8.0, 1.0)?, Kl::new)?;
/// # Ok::<(), kd_core::Error>(())
/// ```
pub struct Scheduled<F> {
    schedule: Schedule,
    make: F,
}

impl<F> Scheduled<F> {
    /// A loss that is made in every step.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] where the schedule is not above 0 somewhere.
    pub fn new(schedule: Schedule, make: F) -> Result<Self, Error> {
        for step in 0..=TRIED {
            Temperature::new(schedule.at(Progress::of(step, TRIED)))?;
        }
        Ok(Scheduled { schedule, make })
    }

    fn at<L>(&self, progress: Progress) -> L
    where
        F: Fn(Temperature) -> L,
    {
        // Tried at a thousand places; between two of them a schedule that is above 0 at both can only touch 0 where it
        // jumps there.
        (self.make)(Temperature::new(self.schedule.at(progress)).unwrap_or(Temperature::ONE))
    }
}

impl<F> fmt::Debug for Scheduled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled").field("temperature", &self.schedule).finish_non_exhaustive()
    }
}

impl<L, F> DistillLoss for Scheduled<F>
where
    L: DistillLoss,
    F: Fn(Temperature) -> L + Send + Sync,
{
    fn needs_teacher(&self) -> bool {
        self.at(Progress::START).needs_teacher()
    }

    fn sites(&self) -> Vec<SitePair> {
        self.at(Progress::START).sites()
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        self.at(Progress::START).parameters(student, teacher)
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        self.at(view.progress).evaluate(view)
    }
}
