//! Scoring a network over a whole set: logits, accuracy, loss, agreement.

use burn::tensor::DType;
use kd_core::Tap;

use crate::activations::Activations;
use crate::batches::Batch;
use crate::network::Network;

/// What a network said about a set of examples, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Predictions {
    /// `[examples, classes]`, row-major.
    pub logits: Vec<f32>,
    /// Number of classes.
    pub classes: usize,
    /// Right classes.
    pub labels: Vec<u32>,
}

impl Predictions {
    /// The class with the largest logit for each example, the first one among equals.
    pub fn top1(&self) -> Vec<usize> {
        top1(&self.logits, self.classes)
    }

    /// Examples whose top-1 class is wrong.
    pub fn errors(&self) -> usize {
        self.top1().iter().zip(&self.labels).filter(|(top, label)| **top != **label as usize).count()
    }

    /// Share of examples that are right; 0 of none.
    pub fn accuracy(&self) -> f64 {
        share(self.labels.len() - self.errors(), self.labels.len())
    }

    /// Mean cross entropy in nats, summed in f64.
    pub fn loss(&self) -> f64 {
        let rows = self.logits.chunks(self.classes.max(1)).zip(&self.labels);
        let sum: f64 = rows
            .map(|(row, &label)| {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
                sum.ln() - f64::from(row[label as usize] - max)
            })
            .sum();
        sum / self.labels.len().max(1) as f64
    }

    /// Share of examples with the same top-1 class as `other`.
    pub fn agreement(&self, other: &Predictions) -> f64 {
        let same = self.top1().iter().zip(other.top1()).filter(|(a, b)| **a == *b).count();
        share(same, self.labels.len())
    }

    /// Mean of KL(p ‖ q) in nats over examples, p the softmax of these logits and q that of `other`'s; in f64.
    pub fn divergence(&self, other: &Predictions) -> f64 {
        let classes = self.classes.max(1);
        let rows = self.logits.chunks(classes).zip(other.logits.chunks(classes));
        let sum: f64 = rows
            .map(|(p, q)| {
                let (p, q) = (log_softmax(p), log_softmax(q));
                p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
            })
            .sum();
        sum / self.labels.len().max(1) as f64
    }
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    row.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}

/// The index of the largest of each `classes` numbers, the first one among equals.
pub fn top1(logits: &[f32], classes: usize) -> Vec<usize> {
    let rows = logits.chunks(classes.max(1));
    rows.map(|row| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })).collect()
}

/// Runs `network`, which must be in inference, over `batches`; `activations` round on the way.
pub fn predict(
    network: &dyn Network,
    mut activations: Option<Activations>,
    batches: impl Iterator<Item = Batch>,
) -> Predictions {
    let mut all = Predictions { classes: network.task().classes, ..Predictions::default() };
    for batch in batches {
        let mut tap = match &mut activations {
            Some(activations) => Tap::none().with_rewrite(activations),
            None => Tap::none(),
        };
        let logits = network.forward(batch.rows, &mut tap).into_data().convert_dtype(DType::F32);
        all.logits.extend(logits.try_to_vec::<f32>().expect("converted to f32"));
        all.labels.extend(batch.classes);
    }
    all
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(logits: &[f32], labels: &[u32]) -> Predictions {
        Predictions { logits: logits.to_vec(), classes: 2, labels: labels.to_vec() }
    }

    #[test]
    fn accuracy_errors_and_agreement_are_those_of_a_hand_made_table() {
        let a = predictions(&[1.0, 2.0, 3.0, 0.0, 5.0, 5.0, -1.0, -2.0], &[1, 1, 0, 0]);
        let b = predictions(&[0.0, 2.0, 0.0, 3.0, 5.0, 4.0, -2.0, -1.0], &[1, 1, 0, 0]);
        assert_eq!(a.top1(), [1, 0, 0, 0], "equal logits go to the first class");
        assert_eq!((a.errors(), a.accuracy()), (1, 0.75));
        assert_eq!(a.agreement(&b), 0.5);
        assert_eq!(a.agreement(&a), 1.0);
    }

    #[test]
    fn divergence_is_that_of_the_softmax() {
        let a = predictions(&[0.0, 0.0, 3_f32.ln(), 0.0], &[1, 1]);
        let b = predictions(&[0.0, 3_f32.ln(), 5.0 + 3_f32.ln(), 5.0], &[1, 1]);
        // Half and half against a quarter and three quarters; equal but for a shift.
        let expected = 0.5 * (2_f64.ln() + (2.0_f64 / 3.0).ln());
        assert!((a.divergence(&b) - expected / 2.0).abs() < 1e-6, "{}", a.divergence(&b));
        assert_eq!(a.divergence(&a), 0.0);
    }

    #[test]
    fn loss_is_the_mean_cross_entropy_and_finite_at_large_gaps() {
        assert!((predictions(&[0.0, 0.0], &[1]).loss() - 2_f64.ln()).abs() < 1e-12);
        assert!((predictions(&[1000.0, 0.0], &[1]).loss() - 1000.0).abs() < 1e-9);
    }
}
