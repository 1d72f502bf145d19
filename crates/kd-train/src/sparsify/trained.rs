//! Scores that are trained beside the weights: one for each unit, stepped by Adam on the gradient straight through the mask.
//!
//! Sums of weight times gradient are the same scores under gradient descent without momentum: there a few steps with
//! large gradients decide. Adam gives every unit the same pace, which is how the authors' scores move.

use super::memory::{Kind, Memory};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// One step of Adam (Kingma and Ba, arXiv 1412.6980; β 0.9 and 0.999, ε 1e-8) at `rate` on the scores of `name`, zeros at
/// first unless they were given a start. `step` counts from 0.
pub(super) fn adam(memory: &mut Memory, name: &str, gradient: &[f32], rate: f64, step: usize) {
    let len = gradient.len();
    memory.change(Kind::Mean, name, len, |mean| {
        mean.iter_mut().zip(gradient).for_each(|(mean, g)| *mean = BETA_1 * *mean + (1.0 - BETA_1) * g);
    });
    memory.change(Kind::Square, name, len, |square| {
        let next = |square: &f32, g: &f32| BETA_2 * square + (1.0 - BETA_2) * g * g;
        square.iter_mut().zip(gradient).for_each(|(square, g)| *square = next(square, g));
    });
    let moment = |kind| memory.get(kind, name).map_or_else(|| vec![0.0; len], <[f32]>::to_vec);
    let (mean, square) = (moment(Kind::Mean), moment(Kind::Square));
    let taken = step as f64 + 1.0;
    let (mean_share, square_share) =
        (1.0 - f64::from(BETA_1).powf(taken), 1.0 - f64::from(BETA_2).powf(taken));
    memory.change(Kind::Scores, name, len, |scores| {
        for ((score, mean), square) in scores.iter_mut().zip(&mean).zip(&square) {
            let (mean, square) = (f64::from(*mean) / mean_share, f64::from(*square) / square_share);
            *score -= (rate * mean / (square.sqrt() + f64::from(EPSILON))) as f32;
        }
    });
}

/// The scores of `name`, zeros at first.
pub(super) fn scores(memory: &Memory, name: &str, count: usize) -> Vec<f32> {
    memory.get(Kind::Scores, name).map_or_else(|| vec![0.0; count], <[f32]>::to_vec)
}
