//! Numbers that knobs take, checked when they are read.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The exponent of a norm, 1 or 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub enum Norm {
    /// Absolute values.
    #[default]
    L1,
    /// Squares.
    L2,
}

/// A finite number of at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct NonNegative(f64);

/// Bits of a whole number, 1 ..= 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Bits(u8);

impl NonNegative {
    /// The number `value`.
    ///
    /// # Errors
    ///
    /// One that is negative, infinite or no number.
    pub fn new(value: f64) -> Result<Self, Error> {
        match value >= 0.0 && value.is_finite() {
            true => Ok(Self(value)),
            false => Err(Error::NonNegative { value }),
        }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// A default, which stands in this crate.
    pub(super) const fn usual(value: f64) -> Self {
        Self(value)
    }
}

impl Bits {
    /// That many bits.
    ///
    /// # Errors
    ///
    /// None, or more than 16.
    pub fn new(bits: u64) -> Result<Self, Error> {
        match bits {
            1..=16 => Ok(Self(bits as u8)),
            _ => Err(Error::Bits { bits }),
        }
    }

    /// The largest code.
    pub fn largest(self) -> f64 {
        f64::from((1_u32 << self.0) - 1)
    }
}

impl TryFrom<u64> for Norm {
    type Error = Error;

    fn try_from(p: u64) -> Result<Self, Error> {
        match p {
            1 => Ok(Norm::L1),
            2 => Ok(Norm::L2),
            _ => Err(Error::Norm { p }),
        }
    }
}

impl From<Norm> for u64 {
    fn from(norm: Norm) -> u64 {
        match norm {
            Norm::L1 => 1,
            Norm::L2 => 2,
        }
    }
}

impl TryFrom<f64> for NonNegative {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl From<NonNegative> for f64 {
    fn from(number: NonNegative) -> f64 {
        number.0
    }
}

impl TryFrom<u64> for Bits {
    type Error = Error;

    fn try_from(bits: u64) -> Result<Self, Error> {
        Self::new(bits)
    }
}

impl From<Bits> for u64 {
    fn from(bits: Bits) -> u64 {
        u64::from(bits.0)
    }
}
