//! Whether an engine computes what the trained model computes.
//!
//! An export is believed only after it has run: over a whole data set, on an engine that we did not write, against
//! the logits of the framework. Beyond the tolerance an export is an error, not a warning.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::engine::OnnxRuntime;
use crate::{Engine, Error, Session};

/// A float model's largest difference, as a share of the largest logit.
pub const FLOAT_DIFFERENCE: f64 = 1e-4;
/// Share of examples on which a quantized model's class must be that of the simulation, in an engine that rounds as
/// the simulation does (ONNX Runtime).
pub const INT8_AGREEMENT: f64 = 0.999;
/// The same in an engine that multiplies by the inverse of a scale (tract) or of which nothing is known.
pub const INT8_AGREEMENT_BY_INVERSE: f64 = 0.995;
/// Logits of the reference that differ by less than this share of the largest one are equal: where few bits leave few
/// values, two classes often have the same logit, and an engine's last bit decides between them.
pub const TIE: f64 = 1e-5;
/// Below so many examples a share means nothing: one disagreement is allowed.
pub const FEW_EXAMPLES: usize = 1000;

/// How two sets of logits compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Number of examples.
    pub examples: usize,
    /// Largest absolute difference of two logits; infinite if one of them is no number.
    pub max_abs: f64,
    /// Largest absolute logit of the reference.
    pub max_logit: f64,
    /// Examples with the same class on top, or with one that is as high in the reference, up to [`TIE`].
    pub agreeing: usize,
}

/// How far an engine may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// `max_abs ≤ FLOAT_DIFFERENCE · max_logit`
    Float,
    /// At least this share of examples with the same class on top; at most one disagreement below
    /// [`FEW_EXAMPLES`].
    Agreement(f64),
}

impl Tolerance {
    /// The tolerance for a quantized model in this engine.
    pub fn int8(engine: &dyn Engine) -> Self {
        Self::Agreement(match engine.name() == OnnxRuntime::NAME {
            true => INT8_AGREEMENT,
            false => INT8_AGREEMENT_BY_INVERSE,
        })
    }
}

impl Parity {
    /// Compares logits `[examples, classes]`, row-major. Of equal logits the first counts as the top one.
    ///
    /// # Errors
    /// When the lengths differ or are no multiple of `classes`.
    pub fn of(reference: &[f32], found: &[f32], classes: usize) -> Result<Self, Error> {
        if classes == 0 {
            return Err(Error::Zero { what: "the number of classes" });
        }
        let length = |expected, found| Error::Length { what: "logits", expected, found };
        if reference.len() != found.len() {
            return Err(length(reference.len(), found.len()));
        }
        if !reference.len().is_multiple_of(classes) {
            return Err(length(reference.len().next_multiple_of(classes), reference.len()));
        }
        let difference = |(a, b): (&f32, &f32)| {
            let difference = (f64::from(*a) - f64::from(*b)).abs();
            if difference.is_nan() { f64::INFINITY } else { difference }
        };
        let rows = reference.chunks_exact(classes).zip(found.chunks_exact(classes));
        let max_logit = reference.iter().map(|a| f64::from(a.abs())).fold(0.0, f64::max);
        let same = |(reference, found): &(&[f32], &[f32])| match (top(reference), top(found)) {
            (Some(a), Some(b)) => {
                a == b || f64::from(reference[a]) - f64::from(reference[b]) < TIE * max_logit
            }
            (a, b) => a == b,
        };
        Ok(Self {
            examples: reference.len() / classes,
            max_abs: reference.iter().zip(found).map(difference).fold(0.0, f64::max),
            max_logit,
            agreeing: rows.filter(same).count(),
        })
    }

    /// The share of examples with the same class on top; 1 for none.
    pub fn top1_agreement(&self) -> f64 {
        match self.examples {
            0 => 1.0,
            n => self.agreeing as f64 / n as f64,
        }
    }

    /// Checks the tolerance.
    ///
    /// # Errors
    /// When it is exceeded; the message names the file and the engine.
    pub fn check(&self, tolerance: Tolerance, artifact: &str, engine: &str) -> Result<(), Error> {
        let disagreeing = self.examples - self.agreeing;
        let (fits, found, allowed) = match tolerance {
            Tolerance::Float => {
                let allowed = FLOAT_DIFFERENCE * self.max_logit;
                (
                    self.max_abs <= allowed,
                    format!("a logit is off by {:.3e}", self.max_abs),
                    format!("{allowed:.3e}, {FLOAT_DIFFERENCE} of the largest logit"),
                )
            }
            Tolerance::Agreement(share) => {
                let allowed = match self.examples < FEW_EXAMPLES {
                    true => 1,
                    // The small term keeps 0.1 % of 10 000 at 10 in spite of binary fractions.
                    false => ((1.0 - share) * self.examples as f64 + 1e-6).floor() as usize,
                };
                (
                    disagreeing <= allowed && self.max_abs.is_finite(),
                    format!("{disagreeing} of {} examples get another class", self.examples),
                    allowed.to_string(),
                )
            }
        };
        if fits {
            return Ok(());
        }
        let (artifact, engine) = (artifact.to_owned(), engine.to_owned());
        Err(Error::Parity { artifact, engine, found, allowed })
    }
}

/// Runs `examples` examples of shape `example` through a session, `batch` at a time (the last batch may be smaller),
/// and returns all outputs. `fill` appends the inputs of a range of examples.
///
/// # Errors
/// When a batch is not filled as asked, or the engine fails.
pub fn run_all(
    session: &mut dyn Session,
    example: &[usize],
    examples: usize,
    batch: usize,
    mut fill: impl FnMut(Range<usize>, &mut Vec<f32>),
) -> Result<Vec<f32>, Error> {
    if batch == 0 {
        return Err(Error::Zero { what: "the batch size" });
    }
    let mut outputs = Vec::new();
    let mut input = Vec::new();
    let mut shape = vec![0];
    shape.extend_from_slice(example);
    for start in (0..examples).step_by(batch) {
        let range = start..examples.min(start + batch);
        input.clear();
        shape[0] = range.len();
        fill(range, &mut input);
        outputs.extend(session.run(&input, &shape)?);
    }
    Ok(outputs)
}

/// The index of the largest number, the first of equal ones; not-a-numbers never win.
fn top(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &x) in row.iter().enumerate() {
        if !x.is_nan() && best.is_none_or(|(_, most)| x > most) {
            best = Some((index, x));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn with_disagreeing(examples: usize, disagreeing: usize) -> Parity {
        Parity { examples, max_abs: 0.5, max_logit: 10.0, agreeing: examples - disagreeing }
    }

    #[test]
    fn differences_and_classes_are_counted() {
        let parity = Parity::of(&[1.0, 2.0, -8.0, 0.0], &[1.5, 1.0, -8.0, 0.0], 2).unwrap();
        assert_eq!(parity, Parity { examples: 2, max_abs: 1.0, max_logit: 8.0, agreeing: 1 });
        assert_eq!(parity.top1_agreement(), 0.5);
    }

    #[test]
    fn of_equal_logits_the_first_is_on_top() {
        let parity = Parity::of(&[1.0, 1.0], &[1.0, 0.0], 2).unwrap();
        assert_eq!(parity.agreeing, 1);
    }

    #[test]
    fn a_tie_of_the_reference_is_broken_by_nobody() {
        let agreeing = |a: &[f32], b: &[f32]| Parity::of(a, b, 3).unwrap().agreeing;
        assert_eq!(agreeing(&[2.0, 2.0, 0.0], &[2.0, 2.000_001, 0.0]), 1);
        assert_eq!(agreeing(&[2.0, 1.999_999, 0.0], &[2.0, 2.1, 0.0]), 1);
        assert_eq!(agreeing(&[2.0, 1.99, 0.0], &[2.0, 2.1, 0.0]), 0);
        assert_eq!(agreeing(&[2.0, f32::NAN, 0.0], &[2.0, 2.1, 0.0]), 0);
    }

    #[test]
    fn float_tolerance_is_a_share_of_the_largest_logit() {
        let parity = |max_abs| Parity { examples: 1, max_abs, max_logit: 10.0, agreeing: 1 };
        assert!(parity(1e-3).check(Tolerance::Float, "model.onnx", "tract").is_ok());
        assert_eq!(
            parity(2e-3).check(Tolerance::Float, "model.onnx", "tract").unwrap_err().to_string(),
            "`model.onnx` in tract differs from the trained model: a logit is off by 2.000e-3, \
             allowed is 1.000e-3, 0.0001 of the largest logit"
        );
    }

    #[test]
    fn what_is_no_number_is_never_within_a_tolerance() {
        let parity = Parity::of(&[1.0, 0.0], &[1.0, f32::NAN], 2).unwrap();
        assert!(parity.check(Tolerance::Float, "m", "e").is_err());
        assert!(parity.check(Tolerance::Agreement(0.9), "m", "e").is_err());
        let parity = Parity::of(&[f32::NAN, 0.0], &[1.0, 0.0], 2).unwrap();
        assert!(parity.check(Tolerance::Float, "m", "e").is_err());
    }

    #[test]
    fn agreement_is_a_share_of_many_and_one_of_few() {
        let ok =
            |n, bad, share| with_disagreeing(n, bad).check(Tolerance::Agreement(share), "m", "e").is_ok();
        assert!(ok(10_000, 10, INT8_AGREEMENT));
        assert!(!ok(10_000, 11, INT8_AGREEMENT));
        assert!(ok(10_000, 50, INT8_AGREEMENT_BY_INVERSE));
        assert!(!ok(10_000, 51, INT8_AGREEMENT_BY_INVERSE));
        assert!(ok(999, 1, INT8_AGREEMENT));
        assert!(!ok(999, 2, INT8_AGREEMENT));
        assert!(!ok(10, 2, INT8_AGREEMENT_BY_INVERSE));
    }

    #[test]
    fn the_last_batch_may_be_smaller() {
        struct Sum(Vec<usize>);
        impl Session for Sum {
            fn threads(&self) -> usize {
                1
            }
            fn run(&mut self, input: &[f32], shape: &[usize]) -> Result<Vec<f32>, Error> {
                self.0.push(shape[0]);
                Ok(input.chunks(shape[1]).map(|row| row.iter().sum()).collect())
            }
        }
        let mut session = Sum(Vec::new());
        let fill = |range: Range<usize>, into: &mut Vec<f32>| {
            into.extend(range.flat_map(|i| [i as f32, 1.0]));
        };
        let sums = run_all(&mut session, &[2], 7, 3, fill).unwrap();
        assert_eq!(sums, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(session.0, [3, 3, 1]);
    }
}
