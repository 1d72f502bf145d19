//! Soft movement: scores that are trained beside the weights, and a threshold that rises over them.

use kd_core::Progress;
use prune_core::{Error, select};

use super::memory::{Kind, Memory};
use super::when::SoftMovement;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

impl SoftMovement {
    /// One step of Adam on a layer's scores. `gradient` is that of the loss, Σ w·g over each unit; `layers` how many
    /// layers have scores; `step` counts from 0.
    pub(super) fn train(
        &self,
        memory: &mut Memory,
        path: &str,
        mut gradient: Vec<f32>,
        (layers, step): (usize, usize),
        progress: Progress,
    ) {
        let len = gradient.len();
        let pull = self.regularisation * self.share(progress) / (len * layers).max(1) as f64;
        let scores = memory.get(Kind::Scores, path).map_or_else(|| vec![0.0; len], <[f32]>::to_vec);
        for (gradient, &score) in gradient.iter_mut().zip(&scores) {
            let open = sigmoid(score);
            *gradient += (pull * open * (1.0 - open)) as f32;
        }
        memory.change(Kind::Mean, path, len, |mean| {
            mean.iter_mut().zip(&gradient).for_each(|(mean, g)| *mean = BETA_1 * *mean + (1.0 - BETA_1) * g);
        });
        memory.change(Kind::Square, path, len, |square| {
            let next = |square: &f32, g: &f32| BETA_2 * square + (1.0 - BETA_2) * g * g;
            square.iter_mut().zip(&gradient).for_each(|(square, g)| *square = next(square, g));
        });
        let moment = |kind| memory.get(kind, path).map_or_else(|| vec![0.0; len], <[f32]>::to_vec);
        let (mean, square) = (moment(Kind::Mean), moment(Kind::Square));
        let taken = step as f64 + 1.0;
        let (mean_share, square_share) =
            (1.0 - f64::from(BETA_1).powf(taken), 1.0 - f64::from(BETA_2).powf(taken));
        memory.change(Kind::Scores, path, len, |scores| {
            for ((score, mean), square) in scores.iter_mut().zip(&mean).zip(&square) {
                let (mean, square) = (f64::from(*mean) / mean_share, f64::from(*square) / square_share);
                *score -= (self.rate * mean / (square.sqrt() + f64::from(EPSILON))) as f32;
            }
        });
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
        let soft: SoftMovement = toml::from_str("rate = 0.25\nregularisation = 0.0").unwrap();
        let mut memory = Memory::default();
        soft.train(&mut memory, "a", vec![3.0, -0.5, 0.0], (1, 0), Progress::START);
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
            soft.train(&mut memory, "a", vec![0.0; 4], (2, step), Progress::of(5 + step, 15));
        }
        let scores = memory.get(Kind::Scores, "a").unwrap();
        assert!(scores.iter().all(|&score| (-0.11..-0.09).contains(&score)), "{scores:?}");
    }
}
