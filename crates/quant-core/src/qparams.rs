//! From the range of some values to scales and zero points.

use serde::{Deserialize, Serialize};

use crate::scheme::fit;
use crate::{Error, Scheme};

/// Smallest and largest value of each cell, finite, min ≤ max. A stored one is checked when it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RangeAsStored")]
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
        // −0 would make the bits depend on the order in which equal zeros are met.
        let plain = |limits: Vec<f32>| limits.into_iter().map(|x| x + 0.0).collect();
        Ok(Self { min: plain(min), max: plain(max) })
    }

    /// Smallest values.
    pub fn min(&self) -> &[f32] {
        &self.min
    }

    /// Largest values.
    pub fn max(&self) -> &[f32] {
        &self.max
    }

    /// The range of both together: the smaller minimum and the larger maximum of each cell.
    ///
    /// # Errors
    ///
    /// [`Error::Cells`] for another number of cells.
    pub fn union(&self, other: &Self) -> Result<Self, Error> {
        self.check_cells(other)?;
        let pairs = |a: &[f32], b: &[f32], outer: fn(f32, f32) -> f32| -> Vec<f32> {
            a.iter().zip(b).map(|(&a, &b)| outer(a, b)).collect()
        };
        Ok(Self { min: pairs(&self.min, &other.min, f32::min), max: pairs(&self.max, &other.max, f32::max) })
    }

    /// The range moved towards `other` by `rate`: `old + rate · (new − old)` in 32-bit floats, kept between the two
    /// where their distance overflows, and `max` kept at or above `min`, which rounding alone could cross.
    pub(crate) fn towards(&self, other: &Self, rate: f32) -> Result<Self, Error> {
        self.check_cells(other)?;
        let step = |(&old, &new): (&f32, &f32)| (old + rate * (new - old)).clamp(old.min(new), old.max(new));
        let min: Vec<f32> = self.min.iter().zip(&other.min).map(step).collect();
        let max = self.max.iter().zip(&other.max).map(step).zip(&min).map(|(max, &min)| max.max(min));
        Ok(Self { max: max.collect(), min })
    }

    fn check_cells(&self, other: &Self) -> Result<(), Error> {
        match (self.min.len(), other.min.len()) {
            (expected, found) if expected == found => Ok(()),
            (expected, found) => Err(Error::Cells { what: "ranges", expected, found }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeAsStored {
    min: Vec<f32>,
    max: Vec<f32>,
}

impl TryFrom<RangeAsStored> for Range {
    type Error = Error;

    fn try_from(stored: RangeAsStored) -> Result<Self, Error> {
        Self::new(stored.min, stored.max)
    }
}

/// Scales and zero points of the cells of a tensor, with the codes in use.
///
/// The fields are plain so that formats of files can be written down; whatever reads values through them
/// ([`quantize`](crate::quantize), [`dequantize`](crate::dequantize), deserialization) checks them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "QParamsAsStored")]
pub struct QParams {
    /// Positive and finite, one a cell.
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
    /// Scales and zero points by the rule of the scheme's [`Symmetry`](crate::Symmetry), the range widened to contain 0,
    /// so that 0 is exactly representable. All in 32-bit floats, and zero points from the scale as it is stored. A cell
    /// of zeros has s = 1, for which it is exact and nothing divides by zero, and so has one of numbers below 1e-43, for
    /// which s would be 0; any other scale below the smallest normal number (1.2e-38) is raised to it.
    /// Rounding z moves the grid by up to half a step, so an end of an affine range can lie up to a step outside.
    ///
    /// Source: gemmlowp, `doc/quantization.md`; torch's `_calculate_qparams`, but for its floor of 1.2e-7 for scales,
    /// below which it loses small weights.
    ///
    /// # Errors
    ///
    /// [`Error::TooWide`] where a value of the grid would overflow, [`Error::SchemeParts`] for a format without a grid.
    pub fn from_range(range: &Range, scheme: &Scheme) -> Result<Self, Error> {
        let (symmetry, limits) = scheme.grid()?;
        let (mut scale, mut zero_point) = (Vec::new(), Vec::new());
        for (cell, (&min, &max)) in range.min.iter().zip(&range.max).enumerate() {
            let (s, z) =
                fit(symmetry, limits, scheme.scale(), (min, max)).ok_or(Error::TooWide { cell, min, max })?;
            scale.push(s);
            zero_point.push(z);
        }
        Ok(Self { scale, zero_point, qmin: limits.0, qmax: limits.1 })
    }

    /// An error unless there are `cells` scales and zero points, and each is legal.
    pub(crate) fn check(&self, cells: usize) -> Result<(), Error> {
        for (what, found) in [("scales", self.scale.len()), ("zero points", self.zero_point.len())] {
            if found != cells {
                return Err(Error::Cells { what, expected: cells, found });
            }
        }
        let (qmin, qmax) = (self.qmin, self.qmax);
        if qmin >= qmax || [qmin, qmax].iter().any(|q| q.unsigned_abs() > MOST) {
            return Err(Error::Codes { qmin, qmax });
        }
        for (cell, (&scale, &zero_point)) in self.scale.iter().zip(&self.zero_point).enumerate() {
            if !(scale > 0.0 && scale.is_finite()) {
                return Err(Error::Scale { cell, scale });
            }
            if !(qmin..=qmax).contains(&zero_point) {
                return Err(Error::ZeroPoint { cell, zero_point, qmin, qmax });
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QParamsAsStored {
    scale: Vec<f32>,
    zero_point: Vec<i32>,
    qmin: i32,
    qmax: i32,
}

impl TryFrom<QParamsAsStored> for QParams {
    type Error = Error;

    fn try_from(stored: QParamsAsStored) -> Result<Self, Error> {
        let QParamsAsStored { scale, zero_point, qmin, qmax } = stored;
        let qparams = Self { scale, zero_point, qmin, qmax };
        qparams.check(qparams.scale.len()).map(|()| qparams)
    }
}

/// Codes up to here, and differences of two, are exact in 32-bit floats.
const MOST: u32 = 1 << 23;
