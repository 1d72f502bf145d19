//! Numbers of a recipe that are checked where they are read, so that the message stands at the number.
//!
//! They keep the f64 that was typed (a resolved recipe shall say `0.1307`, not the f32 next to it), and are
//! checked as the f32 that they become.

use serde::{Deserialize, Serialize};

use crate::Error;

/// A finite number above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Positive(f64);

impl Positive {
    /// Its value.
    pub fn get(self) -> f32 {
        self.0 as f32
    }
}

impl TryFrom<f64> for Positive {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        let narrow = value as f32;
        if narrow.is_finite() && narrow > 0.0 {
            Ok(Self(value))
        } else {
            Err(Error::Number { expected: "a finite number above 0", found: value })
        }
    }
}

impl From<Positive> for f64 {
    fn from(value: Positive) -> f64 {
        value.0
    }
}

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Finite(f64);

impl Finite {
    /// Its value.
    pub fn get(self) -> f32 {
        self.0 as f32
    }
}

impl TryFrom<f64> for Finite {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        if (value as f32).is_finite() {
            Ok(Self(value))
        } else {
            Err(Error::Number { expected: "a finite number", found: value })
        }
    }
}

impl From<Finite> for f64 {
    fn from(value: Finite) -> f64 {
        value.0
    }
}

/// A number of classes, at least 2 and at most 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Classes(u64);

impl Classes {
    /// Its value.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u64> for Classes {
    type Error = Error;

    fn try_from(value: u64) -> Result<Self, Error> {
        if (2..=1 << 32).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::Number { expected: "at least 2 classes", found: value as f64 })
        }
    }
}

impl From<Classes> for u64 {
    fn from(value: Classes) -> u64 {
        value.0
    }
}
