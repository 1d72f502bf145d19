//! Soft movement: a threshold that rises over trained scores, and a penalty that pulls them below it.

use kd_core::Progress;
use prune_core::{Error, select};

use super::parts::Part;
use super::when::SoftMovement;

impl SoftMovement {
    /// Adds the gradient of the penalty to that of the loss: `λ·weight·σ′(S)/n`, n the scores of the part.
    pub(super) fn pull(&self, gradient: &mut [f32], scores: &[f32], weight: f64, progress: Progress) {
        let pull = self.regularisation * self.share(progress) * weight / gradient.len().max(1) as f64;
        for (gradient, &score) in gradient.iter_mut().zip(scores) {
            let open = sigmoid(score);
            *gradient += (pull * open * (1.0 - open)) as f32;
        }
    }

    /// What the penalty of one part weighs: hidden units and tiles weigh half each where there are both, and parts of a
    /// kind weigh the same.
    pub(super) fn weight(&self, part: &Part, parts: &[Part]) -> f64 {
        let alike = parts.iter().filter(|other| other.hidden == part.hidden).count();
        let kinds = if alike == parts.len() { 1.0 } else { 2.0 };
        let own = if part.hidden { self.units } else { 1.0 };
        own / (kinds * alike.max(1) as f64)
    }

    /// Which units stay: all but those with σ(S) ≤ τ, of which at most `most` go, the lowest first.
    pub(super) fn keep(&self, scores: &[f32], most: usize, progress: Progress) -> Result<Vec<bool>, Error> {
        let threshold = self.threshold * self.share(progress);
        let below = scores.iter().filter(|&&score| sigmoid(score) <= threshold).count();
        let scores: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
        select::keep(&scores, below.min(most))
    }
}

/// σ(x) = 1 / (1 + e^−x)
fn sigmoid(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::memory::{Kind, Memory};
    use super::super::trained::{adam, scores};
    use super::*;

    #[test]
    fn the_threshold_takes_what_is_below_it_and_no_more_than_it_may() {
        let soft: SoftMovement = toml::from_str("threshold = 0.5\nbegin = 0.0\nend = 0.5").unwrap();
        let scores = [-2.0, 1.0, -1.0, 0.5, -3.0];
        let keep = |most, progress| soft.keep(&scores, most, Progress::new(progress).unwrap()).unwrap();
        assert_eq!(keep(5, 0.0), [true; 5], "the threshold is 0");
        assert_eq!(keep(5, 1.0), [false, true, false, true, false]);
        assert_eq!(keep(1, 1.0), [true, true, true, true, false]);
        // At 7/16 of the window τ = 0.5·(1 − (9/16)³) ≈ 0.41: −1 has σ = 0.27.
        assert_eq!(keep(5, 7.0 / 32.0), [false, true, false, true, false]);
        // At 1/16 of it τ ≈ 0.088: −2 has σ = 0.119 and stays, −3 has 0.047 and goes.
        assert_eq!(keep(5, 1.0 / 32.0), [true, true, true, true, false]);
    }

    #[test]
    fn adams_first_step_is_the_rate_against_the_gradient() {
        let mut memory = Memory::default();
        adam(&mut memory, "a", &[3.0, -0.5, 0.0], 0.25, 0);
        let scores = memory.get(Kind::Scores, "a").unwrap();
        for (found, expected) in scores.iter().zip([-0.25, 0.25, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn the_penalty_alone_pushes_every_score_down() {
        let soft: SoftMovement = toml::from_str("regularisation = 4.0\nbegin = 0.0\nend = 0.5").unwrap();
        let mut memory = Memory::default();
        for step in 0..10 {
            let mut gradient = vec![0.0; 4];
            let before = scores(&memory, "a", 4);
            soft.pull(&mut gradient, &before, 0.5, Progress::of(5 + step, 15));
            adam(&mut memory, "a", &gradient, soft.rate, step);
        }
        let scores = memory.get(Kind::Scores, "a").unwrap();
        assert!(scores.iter().all(|&score| (-0.11..-0.09).contains(&score)), "{scores:?}");
    }
}
