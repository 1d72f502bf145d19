//! A criterion as a stage asks it: movement's own scores in its place, and what is gone below everything else.

use prune_core::{Criterion, Error, Inputs, Pattern, Ranking, Unit};

use super::units::lowest;

/// A criterion that knows what earlier stages or rounds took. Hooks that update weights are not passed on: a mask is all
/// that a stage takes from a criterion, but for one that updates while it chooses (`seen`).
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    pub(super) criterion: &'a dyn Criterion,
    /// Whether `grad` holds Σ w·g, of which the negative is the score.
    pub(super) moved: bool,
    pub(super) pattern: &'a Pattern,
}

impl Criterion for Ranked<'_> {
    fn name(&self) -> &str {
        self.criterion.name()
    }

    fn unit(&self) -> Option<Unit> {
        self.criterion.unit().filter(|_| !self.moved)
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        match self.moved {
            true => Ok(inputs.grad()?.values().iter().map(|sum| -sum).collect()),
            false => self.criterion.scores(inputs, unit),
        }
    }

    fn scores_of(&self, layers: &[Inputs<'_>], unit: Unit) -> Result<Vec<Vec<f64>>, Error> {
        let mut all = match self.moved {
            true => layers.iter().map(|inputs| self.scores(inputs, unit)).collect::<Result<_, _>>()?,
            false => self.criterion.scores_of(layers, unit)?,
        };
        for (scores, inputs) in all.iter_mut().zip(layers) {
            if let Some(there) = inputs.there()? {
                lowest(scores, self.pattern, inputs.weight()?, there);
            }
        }
        Ok(all)
    }

    fn decide(&self, inputs: &Inputs<'_>, scores: &[f64]) -> Option<Result<Vec<bool>, Error>> {
        // One that takes no pattern is refused by who calls this.
        self.criterion.decide(inputs, scores).filter(|_| !self.moved)
    }

    fn ranking(&self) -> Ranking {
        if self.moved { Ranking::Layer } else { self.criterion.ranking() }
    }
}
