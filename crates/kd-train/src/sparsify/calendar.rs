//! Which steps of a stage tighten masks, and by how much: a [`When`] over a number of steps.
//!
//! Everything here is a function of the step, so that a run that goes on has nothing to restore.

use kd_core::Progress;

use super::when::{Rewind, Way, When};

/// How many times in a stage masks tighten where a recipe does not say.
const UPDATES: usize = 100;

/// A stage's plan. Step `steps` is the moment after the last one.
#[derive(Debug, Clone)]
pub struct Calendar {
    when: When,
    /// Of the pattern, in the end.
    sparsity: f64,
    steps: usize,
    frequency: usize,
    /// The last step before anything changes.
    starts: usize,
    /// From here on the share is final.
    settles: usize,
    /// The last update.
    locks: usize,
    /// Steps before which a round's cut is made.
    cuts: Vec<usize>,
}

impl Calendar {
    /// The plan of a stage of so many steps. Masks are recomputed every `frequency` steps, a hundred times without it,
    /// while the share changes, and until `lock_after`.
    pub fn new(
        when: &When,
        sparsity: f64,
        steps: usize,
        frequency: Option<usize>,
        lock_after: Option<f64>,
    ) -> Self {
        let frequency = frequency.unwrap_or(steps / UPDATES).max(1);
        let mut calendar = Self {
            when: when.clone(),
            sparsity,
            steps,
            frequency,
            starts: 0,
            settles: 0,
            locks: 0,
            cuts: cuts(when, steps),
        };
        (calendar.starts, calendar.settles) = calendar.window();
        calendar.locks = calendar.settles.max(lock_after.map_or(0, |share| step_at(share, steps)));
        calendar
    }

    /// Whether masks are recomputed before this step.
    pub fn acts_at(&self, step: usize) -> bool {
        match self.cuts.is_empty() {
            false => self.cuts.contains(&step),
            true => {
                let due = step >= self.starts && (step - self.starts).is_multiple_of(self.frequency);
                step <= self.locks && (due || step == self.settles || step == self.locks)
            }
        }
    }

    /// Share of the pattern's sparsity that an update before this step puts in force.
    pub fn share(&self, step: usize) -> f64 {
        let rounds = match &self.when {
            When::Way(Way::Iterative(iterative)) => iterative.rounds.get(),
            When::Way(Way::LotteryTicket(lottery)) => lottery.rounds.get(),
            _ if self.cuts.is_empty() => {
                return self.when.share(self.sparsity, Progress::of(step, self.steps));
            }
            _ => 1,
        };
        match self.cuts.iter().filter(|&&cut| cut <= step).count() {
            0 => 0.0,
            done if done >= rounds || self.sparsity == 0.0 => 1.0,
            done => (1.0 - (1.0 - self.sparsity).powf(done as f64 / rounds as f64)) / self.sparsity,
        }
    }

    /// The step before which masks are recomputed for the last time.
    pub fn locks(&self) -> usize {
        self.locks
    }

    /// Share of the stage from which on masks are final in what a step leaves.
    pub fn ready(&self) -> f64 {
        Progress::of((self.locks + 1).min(self.steps), self.steps).get()
    }

    /// Progress of what trains beside the masks: that of a round where rounds begin again, else that of the stage.
    pub fn learning(&self, step: usize) -> Progress {
        let When::Way(Way::LotteryTicket(lottery)) = &self.when else {
            return Progress::of(step, self.steps);
        };
        let to = lottery.to.get();
        let done = self.cuts.iter().filter(|&&cut| cut <= step).count();
        let end = self.cuts.get(done).copied().unwrap_or(self.steps);
        if done == 0 {
            return Progress::of(step, end);
        }
        let begin = self.cuts[done - 1];
        let own = Progress::of(step - begin, end - begin).get();
        Progress::new((to + (1.0 - to) * own).clamp(0.0, 1.0)).unwrap_or(Progress::END)
    }

    /// The step before which the weights are remembered that rounds begin again with.
    pub fn anchor(&self) -> Option<usize> {
        match &self.when {
            When::Way(Way::LotteryTicket(lottery)) if lottery.rewind == Rewind::Weights => {
                Some(step_at(lottery.to.get(), self.cuts[0]).min(self.cuts[0]))
            }
            _ => None,
        }
    }

    /// Whether a round begins again before this step, which takes a new optimizer.
    pub fn rewinds_at(&self, step: usize) -> bool {
        // Behind the last step nothing begins: what was trained is handed on.
        matches!(&self.when, When::Way(Way::LotteryTicket(_)))
            && step < self.steps
            && self.cuts.contains(&step)
    }

    /// Where weights are condemned, in a stage with a growing penalty.
    pub fn condemns_at(&self) -> Option<usize> {
        match &self.when {
            When::Way(Way::GrowingRegularisation(growing)) => {
                Some(step_at(growing.begin.get(), self.steps).min(self.settles))
            }
            _ => None,
        }
    }

    /// λ of the growing penalty in this step; 0 where there is none.
    pub fn penalty(&self, step: usize) -> f64 {
        let (When::Way(Way::GrowingRegularisation(growing)), Some(begin)) = (&self.when, self.condemns_at())
        else {
            return 0.0;
        };
        if step < begin || step >= self.settles {
            return 0.0;
        }
        let grown = (step - begin) / self.frequency * self.frequency;
        growing.ceiling * grown as f64 / (self.settles - begin) as f64
    }

    /// The last step with the share of the first, and the first from which on the share is final.
    fn window(&self) -> (usize, usize) {
        if let Some(&last) = self.cuts.last() {
            return (self.cuts[0], last);
        }
        let first = self.share(0);
        let starts = (1..=self.steps).find(|&step| self.share(step) != first).map_or(0, |step| step - 1);
        let last = self.share(self.steps);
        let settles = (0..self.steps).rev().find(|&step| self.share(step) != last).map_or(0, |step| step + 1);
        (starts, settles)
    }
}

/// The steps before which a round's cut is made, one a round.
fn cuts(when: &When, steps: usize) -> Vec<usize> {
    let When::Way(way) = when else { return Vec::new() };
    match way {
        Way::OneShot(shot) => vec![step_at(shot.at.get(), steps)],
        Way::Iterative(iterative) => {
            let (begin, rounds) = (iterative.begin.get(), iterative.rounds.get());
            let place = |round: usize| begin + (1.0 - begin) * round as f64 / rounds as f64;
            (0..rounds).map(|round| step_at(place(round), steps)).collect()
        }
        Way::GrowingRegularisation(growing) => vec![step_at(growing.end.get(), steps)],
        Way::LotteryTicket(lottery) => {
            let (to, rounds) = (lottery.to.get(), lottery.rounds.get());
            // The first round counts 1, every other one and the training of what is left 1 - to.
            let whole = 1.0 + rounds as f64 * (1.0 - to);
            let place = |round: usize| (1.0 + round as f64 * (1.0 - to)) / whole;
            (0..rounds).map(|round| step_at(place(round), steps)).collect()
        }
        Way::Exponential(_) | Way::Movement(_) | Way::SoftMovement(_) => Vec::new(),
    }
}

/// The first step at or behind a share of the stage; 1e-9 takes back what `0.7 * 10.0` gains in binary.
fn step_at(share: f64, steps: usize) -> usize {
    ((share * steps as f64 - 1e-9).ceil().max(0.0) as usize).min(steps)
}
