//! What is done to a student while it trains, beyond learning: masks that tighten, activations that are rounded.
//!
//! The loop asks at three places: before a step, in the forward pass, and when an epoch is judged.

use std::collections::BTreeMap;

use kd_core::Progress;
use kd_graph::Fold;
use serde::{Deserialize, Serialize};

use crate::activations::Activations;
use crate::error::Error;
use crate::fold;
use crate::network::Network;
use crate::sparsify::{Calibration, Masks, Memory, Sparsifier, Turn};

/// The state of whatever a stage does to its student.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// Nothing: teachers, distillation, recovery after channels are gone.
    #[default]
    Plain,
    /// Weights are masked, and the masks tighten as a stage's sparsifier says.
    Sparse {
        /// Masks in force, by path.
        masks: BTreeMap<String, Mask>,
    },
    /// Weights and activations are rounded.
    Rounded {
        /// Observers and ranges of the activations.
        activations: Activations,
        /// Share of the stage after which ranges stay.
        freeze_after: f64,
        /// While batch norm still trains: the share of the stage after which it is folded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unfolded: Option<f64>,
    },
}

/// A mask as text, one hexadecimal digit for four elements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mask(pub Vec<bool>);

impl Regime {
    /// Before a step, or behind the last one: tightens masks, freezes ranges.
    ///
    /// # Errors
    ///
    /// Scores that are not finite.
    pub fn before_step(
        &mut self,
        sparsifier: Option<(&Sparsifier, &mut Memory, &Calibration<'_, '_>)>,
        folds: &[Fold],
        student: &mut dyn Network,
        step: usize,
        progress: Progress,
    ) -> Result<Turn, Error> {
        match self {
            Regime::Plain => {}
            Regime::Sparse { masks } => {
                if let Some((sparsifier, memory, calibration)) = sparsifier {
                    let mut plain: Masks =
                        std::mem::take(masks).into_iter().map(|(path, mask)| (path, mask.0)).collect();
                    let turn = sparsifier.before_step(&mut plain, memory, student, step, calibration)?;
                    *masks = plain.into_iter().map(|(path, keep)| (path, Mask(keep))).collect();
                    return Ok(turn);
                }
            }
            Regime::Rounded { activations, freeze_after, .. } => {
                activations.round(true);
                activations.observe(progress.get() < *freeze_after);
                self.fold(folds, student, progress)?;
            }
        }
        Ok(Turn::On)
    }

    /// Folds batch norm once that is due; before, follows it with the rounding of weights.
    ///
    /// # Errors
    ///
    /// A weight that is missing.
    pub fn fold(
        &mut self,
        folds: &[Fold],
        student: &mut dyn Network,
        progress: Progress,
    ) -> Result<(), Error> {
        let Regime::Rounded { unfolded, .. } = self else { return Ok(()) };
        match *unfolded {
            Some(after) if progress.get() >= after => {
                let fixed = fold::fold_in_place(student, folds)?;
                student.set_trains(&|path| !fixed.contains(path));
                *unfolded = None;
            }
            Some(_) => student.set_factors(fold::factors(&student.weights(), folds)),
            None => {}
        }
        Ok(())
    }

    /// Makes a student whose state was saved folded train as one.
    pub fn settle(&self, folds: &[Fold], student: &mut dyn Network) {
        if let Regime::Rounded { unfolded: None, .. } = self
            && !folds.is_empty()
        {
            let fixed = fold::settle(student, folds);
            student.set_trains(&|path| !fixed.contains(path));
        }
    }

    /// What rewrites activations in a training step.
    pub fn activations(&mut self) -> Option<&mut Activations> {
        match self {
            Regime::Rounded { activations, .. } => Some(activations),
            _ => None,
        }
    }

    /// What rewrites activations in evaluation.
    pub fn for_evaluation(&self) -> Option<Activations> {
        match self {
            Regime::Rounded { activations, .. } => Some(activations.frozen()),
            _ => None,
        }
    }

    /// An error if an activation was not finite in the last step.
    ///
    /// # Errors
    ///
    /// The site in question.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Regime::Rounded { activations, .. } => activations.check(),
            _ => Ok(()),
        }
    }

    /// The masks in force, if any are.
    pub fn masks(&self) -> Option<BTreeMap<String, Vec<bool>>> {
        match self {
            Regime::Sparse { masks } => {
                Some(masks.iter().map(|(path, mask)| (path.clone(), mask.0.clone())).collect())
            }
            _ => None,
        }
    }
}

impl From<Mask> for String {
    fn from(mask: Mask) -> Self {
        let nibble =
            |bits: &[bool]| bits.iter().enumerate().map(|(i, &bit)| u32::from(bit) << i).sum::<u32>();
        let digits: String = mask.0.chunks(4).filter_map(|bits| char::from_digit(nibble(bits), 16)).collect();
        format!("{}:{digits}", mask.0.len())
    }
}

impl TryFrom<String> for Mask {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let broken =
            || format!("expected `length:hexadecimal digits`, found a text of {} characters", text.len());
        let (len, digits) = text.split_once(':').ok_or_else(broken)?;
        let len: usize = len.parse().map_err(|_| broken())?;
        let mut bits = Vec::with_capacity(digits.len() * 4);
        for digit in digits.chars() {
            let nibble = digit.to_digit(16).ok_or_else(broken)?;
            bits.extend((0..4).map(|i| nibble >> i & 1 == 1));
        }
        if bits.len() < len || bits.len() >= len + 4 {
            return Err(broken());
        }
        bits.truncate(len);
        Ok(Mask(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_survives_its_text() {
        for len in 0..20 {
            let mask = Mask((0..len).map(|i| i % 3 == 0).collect());
            assert_eq!(Mask::try_from(String::from(mask.clone())), Ok(mask));
        }
        assert!(Mask::try_from("5:f".to_owned()).is_err());
        assert!(Mask::try_from("3:fx".to_owned()).is_err());
    }
}
