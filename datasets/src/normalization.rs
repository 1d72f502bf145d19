//! From a stored value to the number that a network sees.
//!
//! One definition for every set and both halves of it: the divisor brings pixels to 0 ..= 1, mean and standard
//! deviation are those of the *training* examples. The arithmetic is f32 in the order of torchvision's
//! `ToTensor` and `Normalize`, so that weights trained there see the same inputs here.

use crate::{Error, Pixels};

/// `(value / divisor - mean) / std`, in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    divisor: f32,
    mean: f32,
    std: f32,
}

impl Normalization {
    /// Leaves values as they are.
    pub const NONE: Self = Self { divisor: 1.0, mean: 0.0, std: 1.0 };

    /// `divisor` and `std` finite and above 0, `mean` finite.
    ///
    /// # Errors
    /// [`Error::Number`] names the first that is not.
    pub fn new(divisor: f32, mean: f32, std: f32) -> Result<Self, Error> {
        let above_zero = |value: f32| value.is_finite() && value > 0.0;
        for (ok, expected, found) in [
            (above_zero(divisor), "a finite divisor above 0", divisor),
            (mean.is_finite(), "a finite mean", mean),
            (above_zero(std), "a finite standard deviation above 0", std),
        ] {
            if !ok {
                return Err(Error::Number { expected, found: f64::from(found) });
            }
        }
        Ok(Self { divisor, mean, std })
    }

    /// Of compile-time constants, which a test checks.
    pub(crate) const fn constant(divisor: f32, mean: f32, std: f32) -> Self {
        Self { divisor, mean, std }
    }

    /// Mean and standard deviation (of the population) of `pixels / divisor`, where they are not given.
    ///
    /// # Errors
    /// [`Error::Constant`] where the standard deviation is needed and all values are equal.
    pub(crate) fn measured(
        pixels: &Pixels,
        divisor: f32,
        mean: Option<f32>,
        std: Option<f32>,
    ) -> Result<Self, Error> {
        let scale = f64::from(divisor);
        let center = pixels.mean_of(|x| x);
        let std = match std {
            Some(std) => std,
            None => match pixels.only_value() {
                Some(value) => return Err(Error::Constant { value }),
                None => (pixels.mean_of(|x| (x - center) * (x - center)).sqrt() / scale) as f32,
            },
        };
        let mean = mean.unwrap_or((center / scale) as f32);
        Self::new(divisor, mean, std)
    }

    /// The number that a network sees for a stored value; `apply(0.0)` is the color of a black border.
    pub fn apply(self, value: f32) -> f32 {
        (value / self.divisor - self.mean) / self.std
    }

    /// What stored values are divided by first: 255 for bytes, 16 for the digits.
    pub fn divisor(self) -> f32 {
        self.divisor
    }

    /// Mean of the training values after the division.
    pub fn mean(self) -> f32 {
        self.mean
    }

    /// Standard deviation of the training values after the division.
    pub fn std(self) -> f32 {
        self.std
    }

    /// [`apply`](Self::apply) of every byte.
    pub(crate) fn table(self) -> [f32; 256] {
        std::array::from_fn(|byte| self.apply(byte as f32))
    }
}
