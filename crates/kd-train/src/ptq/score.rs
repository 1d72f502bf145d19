//! How far a rounded network is from the float one, on data that it was not calibrated with.

use serde::Serialize;

use crate::batches::Batch;
use crate::evaluate::{Predictions, predict};
use crate::network::Network;

/// A network beside its float original.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Share of examples that are right.
    pub accuracy: f64,
    /// The float network's.
    pub float_accuracy: f64,
    /// Mean KL(float ‖ rounded) of the classes' probabilities, in nats.
    pub kl: f64,
    /// Share of examples with the same top-1 class.
    pub agreement: f64,
}

/// Scores `network` beside what `float` said about the same examples.
pub fn score(network: &dyn Network, float: &Predictions, batches: impl Iterator<Item = Batch>) -> Score {
    let found = predict(network, None, batches);
    Score {
        accuracy: found.accuracy(),
        float_accuracy: float.accuracy(),
        kl: divergence(float, &found),
        agreement: found.agreement(float),
    }
}

/// Mean over examples of Σ p (ln p − ln q), p = softmax of `reference`'s logits and q of `other`'s, in f64; 0 of none.
pub fn divergence(reference: &Predictions, other: &Predictions) -> f64 {
    let classes = reference.classes.max(1);
    let rows = reference.logits.chunks(classes).zip(other.logits.chunks(classes));
    let sum: f64 = rows
        .map(|(p, q)| {
            let pairs = log_softmax(p).into_iter().zip(log_softmax(q));
            pairs.map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
        })
        .sum();
    sum / (reference.logits.len() / classes).max(1) as f64
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    logits.iter().map(|&x| f64::from(x - most) - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_two_coins() {
        let of = |logits: &[f32]| Predictions { logits: logits.to_vec(), classes: 2, labels: vec![0] };
        // p = (1/2, 1/2), q = (3/4, 1/4): ½ ln(2/3) + ½ ln 2.
        let found = divergence(&of(&[0.0, 0.0]), &of(&[3_f32.ln(), 0.0]));
        assert!((found - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-7, "{found}");
        assert_eq!(divergence(&of(&[1.0, 5.0]), &of(&[1.0, 5.0])), 0.0);
    }
}
