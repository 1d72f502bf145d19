//! From the range of some values to scales and zero points.

use serde::{Deserialize, Serialize};

use crate::{Error, Scheme, Symmetry};

/// Smallest and largest value of each cell, finite, min ≤ max.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    min: Vec<f32>,
    max: Vec<f32>,
}

impl Range {
    /// A range of these limits, one pair a cell.
    ///
    /// # Errors
    ///
    /// [`Error::Cells`] for lists of unequal length, [`Error::NotFinite`], [`Error::Empty`].
    pub fn new(min: Vec<f32>, max: Vec<f32>) -> Result<Self, Error> {
        if min.len() != max.len() {
            return Err(Error::Cells { what: "largest values", expected: min.len(), found: max.len() });
        }
        for (cell, (&min, &max)) in min.iter().zip(&max).enumerate() {
            if let Some(value) = [min, max].into_iter().find(|value| !value.is_finite()) {
                return Err(Error::NotFinite { index: cell, value });
            }
            if min > max {
                return Err(Error::Empty { cell, min, max });
            }
        }
        Ok(Self { min, max })
    }

    /// Smallest values.
    pub fn min(&self) -> &[f32] {
        &self.min
    }

    /// Largest values.
    pub fn max(&self) -> &[f32] {
        &self.max
    }
}

/// Scales and zero points of the cells of a tensor, with the codes in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QParams {
    /// Positive and normal, one a cell.
    pub scale: Vec<f32>,
    /// From `qmin` to `qmax`, one a cell.
    pub zero_point: Vec<i32>,
    /// Smallest code.
    pub qmin: i32,
    /// Largest code.
    pub qmax: i32,
}

impl QParams {
    /// Scales and zero points that cover `range`.
    ///
    /// Symmetric: s = max(|min|, |max|) / qmax, z = 0. Affine: the range is widened to contain 0,
    /// s = (max − min) / (qmax − qmin), z = clamp(qmin − round_half_even(min / s), qmin, qmax), so that 0 is
    /// exactly representable. All in 32-bit floats. A cell of zeros has s = 1; a scale below the smallest normal
    /// number (1.2e-38) is raised to it.
    ///
    /// Source: gemmlowp, `doc/quantization.md`; torch's `_calculate_qparams`, but for its floor of 1.2e-7 for scales.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] where the width of a range overflows.
    pub fn from_range(range: &Range, scheme: &Scheme) -> Result<Self, Error> {
        let (qmin, qmax) = scheme.limits();
        let (mut scale, mut zero_point) = (Vec::new(), Vec::new());
        for (cell, (&min, &max)) in range.min.iter().zip(&range.max).enumerate() {
            let (s, z) = match scheme.symmetry {
                Symmetry::Symmetric => (legal(min.abs().max(max.abs()) / qmax as f32), 0),
                Symmetry::Affine => {
                    let (low, high) = (min.min(0.0), max.max(0.0));
                    let s = legal((high - low) / (qmax - qmin) as f32);
                    let z = (qmin as f32 - (low / s).round_ties_even()).clamp(qmin as f32, qmax as f32);
                    (s, z as i32)
                }
            };
            if !s.is_finite() {
                return Err(Error::NotFinite { index: cell, value: s });
            }
            scale.push(s);
            zero_point.push(z);
        }
        Ok(Self { scale, zero_point, qmin, qmax })
    }

    /// An error unless there are `cells` scales and zero points.
    pub(crate) fn check(&self, cells: usize) -> Result<(), Error> {
        for (what, found) in [("scales", self.scale.len()), ("zero points", self.zero_point.len())] {
            if found != cells {
                return Err(Error::Cells { what, expected: cells, found });
            }
        }
        Ok(())
    }
}

fn legal(scale: f32) -> f32 {
    if scale == 0.0 { 1.0 } else { scale.max(f32::MIN_POSITIVE) }
}
