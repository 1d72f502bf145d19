//! When masks tighten, as recipes write it: a curve of shares, or a way of sparsifying with knobs of its own.
//!
//! What goes (criterion, pattern) and when it goes are two choices, and any of the one combines with any of the other.
//! Movement ranks by scores that it trains itself and is the one exception.

mod knobs;
mod names;

use std::num::NonZeroUsize;

use kd_core::{Progress, Schedule};
use serde::{Deserialize, Serialize, Serializer};

pub use knobs::Early;
use knobs::{ExponentialKnobs, GrowingKnobs, MovementKnobs, SoftKnobs, start};
pub use names::WHENS;

/// When masks tighten.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Share of the pattern's sparsity in force, over the stage (Zhu and Gupta, arXiv 1710.01878: `cubic`).
    Curve(Schedule),
    /// Anything else.
    Way(Way),
}

/// A way of sparsifying that is more than a curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// All at once.
    OneShot(OneShot),
    /// In rounds: an equal share of what is left goes, then the rest recovers.
    Iterative(Iterative),
    /// Density by equal factors.
    Exponential(Exponential),
    /// The lowest movement scores go, by Zhu and Gupta's cubic curve.
    Movement(Movement),
    /// Movement scores below a threshold go.
    SoftMovement(SoftMovement),
    /// Condemned weights shrink under a growing penalty before they go.
    GrowingRegularisation(Growing),
    /// In rounds, each of which begins again from early in the stage.
    LotteryTicket(LotteryTicket),
}

/// Everything that goes does so at one step (`share` jumps from 0 to 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OneShot {
    /// Where in the stage.
    #[serde(default = "start")]
    pub at: Progress,
}

/// Round k of n begins at `begin + (1 − begin)·(k − 1)/n` with a cut to a sparsity of `1 − (1 − s)^(k/n)`: the same
/// share of what is left each time (Han et al., arXiv 1506.02626). Masks stay within a round, and what is gone stays gone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Iterative {
    /// How many.
    pub rounds: NonZeroUsize,
    /// Where in the stage the first one begins.
    #[serde(default)]
    pub begin: Early,
}

/// Sparsity `1 − (1 − from)·((1 − s)/(1 − from))^p`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ExponentialKnobs", rename_all = "kebab-case")]
pub struct Exponential {
    /// Sparsity at `begin`.
    pub from: f64,
    /// Where the curve begins.
    pub begin: Progress,
    /// Where it ends.
    pub end: Progress,
}

/// The lowest `s·(1 − (1 − p)³)` of the scores go, nothing in the warm-up before `begin`, and nothing more behind `end`.
///
/// (Sanh et al., arXiv 2005.07683.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MovementKnobs", rename_all = "kebab-case")]
pub struct Movement {
    /// Where masks begin to tighten.
    pub begin: Progress,
    /// Where they are final.
    pub end: Progress,
    /// What they are.
    pub scores: Scores,
}

/// Scores of movement. A learning rate would change no ranking of the first two, which start at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scores {
    /// `S = −Σ w·g` over the steps so far, of each element: gradient descent on S.
    #[default]
    Sum,
    /// One for each unit of the pattern, trained by Adam on `Σ w·g` over the unit: `topK` of the authors' code.
    Adam,
    /// As [`Self::Adam`], from the mean magnitude of the unit on and not from 0. Adam moves a weight by about its own rate
    /// a step, so that scores at that rate are the magnitudes that weights have, but go on where weights are masked.
    FromMagnitude {
        /// Learning rate, above 0.
        rate: f64,
    },
}

/// The learning rate of scores where it changes nothing: that of the authors.
const RATE: f64 = 0.01;

/// Weights (or blocks) with `σ(S) ≤ τ` go, at most the pattern's sparsity of them, lowest first.
///
/// S starts at 0 and is trained by Adam at the rate `rate` on the loss, straight through the mask, and on a penalty:
/// its gradient is `Σ w·g + λ·σ′(S)/(n·layers)`, n the scores of the layer. With `c = 1 − (1 − p)³`, `τ = threshold·c` and
/// `λ = regularisation·c`. Under a hybrid pattern tiles and hidden units have half the penalty each, and `layers` counts
/// those of the same kind. (Sanh et al., arXiv 2005.07683; Lagunas et al., arXiv 2109.04838.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SoftKnobs", rename_all = "kebab-case")]
pub struct SoftMovement {
    /// τ in the end.
    pub threshold: f64,
    /// λ in the end.
    pub regularisation: f64,
    /// What λ is multiplied by for hidden units.
    pub units: f64,
    /// Learning rate of the scores.
    pub rate: f64,
    /// Where the threshold begins to rise.
    pub begin: Progress,
    /// Where it arrives.
    pub end: Progress,
}

/// At `begin` the criterion condemns what the pattern does not keep; the penalty `λ/2 · Σ w²` over it grows in equal steps,
/// one every `frequency` steps, to `ceiling` at `end`, where it goes. (Wang et al., arXiv 2012.09243, GReg-1.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GrowingKnobs", rename_all = "kebab-case")]
pub struct Growing {
    /// λ in the end.
    pub ceiling: f64,
    /// Where it begins to grow.
    pub begin: Progress,
    /// Where it arrives.
    pub end: Progress,
}

/// Round k of n trains to its end, cuts to a sparsity of `1 − (1 − s)^(k/n)`, and begins again from `to`; a last one trains
/// what is left. (Frankle and Carbin, arXiv 1803.03635; Frankle et al., arXiv 1912.05671; Renda et al., arXiv 2003.02389.)
///
/// All of them take equally many steps for the same part of their training: schedules of the stage run from 0 to 1 in the
/// first, and from `to` to 1 in every other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LotteryTicket {
    /// Cuts.
    pub rounds: NonZeroUsize,
    /// Share of the first round at whose weights the others begin.
    #[serde(default)]
    pub to: Early,
    /// What begins again.
    #[serde(default)]
    pub rewind: Rewind,
}

/// What a round of lottery tickets begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewind {
    /// Weights, running statistics and every schedule; the optimizer is a new one.
    #[default]
    Weights,
    /// Every schedule; weights go on from where they are. The optimizer is a new one.
    LearningRate,
}

/// Progress within a part of the stage: 0 before it, 1 after it.
fn within(begin: Progress, end: Progress, progress: Progress) -> f64 {
    let (begin, end) = (begin.get(), end.get());
    match progress.get() {
        t if t >= end => 1.0,
        t => ((t - begin) / (end - begin)).clamp(0.0, 1.0),
    }
}

/// `1 − (1 − p)³`
fn cubic(p: f64) -> f64 {
    1.0 - (1.0 - p).powi(3)
}

impl SoftMovement {
    /// The share of the last threshold and of the whole penalty: `1 − (1 − p)³`.
    pub fn share(&self, progress: Progress) -> f64 {
        cubic(within(self.begin, self.end, progress))
    }
}

impl Exponential {
    /// The share of `sparsity` in force; both sparsities are below 1.
    pub fn share(self, sparsity: f64, progress: Progress) -> f64 {
        match within(self.begin, self.end, progress) {
            p if p >= 1.0 || sparsity == 0.0 => 1.0,
            p => (1.0 - (1.0 - self.from) * ((1.0 - sparsity) / (1.0 - self.from)).powf(p)) / sparsity,
        }
    }
}

impl When {
    /// Whether scores of its own take the place of a criterion.
    pub fn is_movement(&self) -> bool {
        matches!(self, Self::Way(Way::Movement(_) | Way::SoftMovement(_)))
    }

    /// Learning rate of the scores that it trains, if it does.
    pub fn rate_of_scores(&self) -> Option<f64> {
        match self {
            Self::Way(Way::SoftMovement(soft)) => Some(soft.rate),
            Self::Way(Way::Movement(movement)) => match movement.scores {
                Scores::Sum => None,
                Scores::Adam => Some(RATE),
                Scores::FromMagnitude { rate } => Some(rate),
            },
            _ => None,
        }
    }

    /// Whether scores start at what weights are worth.
    pub fn starts_at_magnitude(&self) -> bool {
        matches!(self, Self::Way(Way::Movement(Movement { scores: Scores::FromMagnitude { .. }, .. })))
    }

    /// Whether steps of training belong to it.
    pub fn needs_training(&self) -> bool {
        let trained = matches!(self, Self::Way(Way::GrowingRegularisation(_) | Way::LotteryTicket(_)));
        self.is_movement() || trained
    }

    /// Whether it trains from the beginning, and may get a student that has learned nothing.
    pub fn begins(&self) -> bool {
        matches!(self, Self::Way(Way::LotteryTicket(_)))
    }

    /// Whether weights go, or are condemned, before the first step.
    pub fn is_at_once(&self) -> bool {
        match self {
            Self::Way(Way::OneShot(shot)) => shot.at == Progress::START,
            Self::Way(Way::Iterative(iterative)) => iterative.begin.get() == 0.0,
            Self::Way(Way::GrowingRegularisation(growing)) => growing.begin == Progress::START,
            Self::Way(Way::LotteryTicket(_)) => false,
            curve => curve.share(0.5, Progress::START) > 0.0,
        }
    }

    /// Whether masks are recomputed, or a penalty grows, every so many steps.
    pub fn is_gradual(&self) -> bool {
        !matches!(self, Self::Way(Way::OneShot(_) | Way::Iterative(_) | Way::LotteryTicket(_)))
    }

    /// Whether masks are recomputed again and again, so that there is something to lock.
    pub fn recomputes(&self) -> bool {
        self.is_gradual() && !matches!(self, Self::Way(Way::GrowingRegularisation(_)))
    }

    /// Share of the pattern's sparsity, itself `sparsity`, that a curve has in force; 1 for what is not a curve.
    pub fn share(&self, sparsity: f64, progress: Progress) -> f64 {
        match self {
            Self::Curve(schedule) => schedule.at(progress).clamp(0.0, 1.0),
            Self::Way(Way::Exponential(curve)) => curve.share(sparsity, progress),
            Self::Way(Way::Movement(movement)) => cubic(within(movement.begin, movement.end, progress)),
            // The threshold decides; a share of it stands for it.
            Self::Way(Way::SoftMovement(soft)) => soft.share(progress),
            Self::Way(_) => 1.0,
        }
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Curve(schedule) => schedule.serialize(serializer),
            Self::Way(way) => way.serialize(serializer),
        }
    }
}
