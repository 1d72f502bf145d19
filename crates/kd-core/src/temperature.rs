//! The temperature of a softened distribution, as a type that cannot be zero, negative or NaN.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Divides logits before the softmax: `softmax(z / T)`.
///
/// Finite and above 0. At 1 the distribution is the model's own; above 1 it is flatter and shows what the model
/// thinks of the wrong classes; as it grows, `T²·KL` tends to half the mean squared difference of centered logits.
/// Usual values are 1 to 20 (Hinton, Vinyals and Dean, arXiv 1503.02531, section 2).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Temperature(f64);

impl Temperature {
    /// A temperature of 1, which leaves logits as they are.
    pub const ONE: Temperature = Temperature(1.0);

    /// A temperature.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] unless `value` is finite and above 0.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value.is_finite() && value > 0.0 {
            Ok(Temperature(value))
        } else {
            Err(Error::OutOfRange { name: "temperature", expected: "finite and above 0", found: value })
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Temperature {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        Temperature::new(value)
    }
}

impl From<Temperature> for f64 {
    fn from(temperature: Temperature) -> f64 {
        temperature.0
    }
}
