//! Which range a histogram is given, as a recipe says it.

use serde::{Deserialize, Serialize};

use super::{Histogram, ObserverName, entropy, l2, mse, percentile};
use crate::{Error, Scheme};

/// A rule that takes a range from a histogram. The range is always inside the extremes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Search {
    /// The middle share of the values: at most `(1 − share)/2` of them lie outside on either side.
    ///
    /// Ends are edges of bins, outward. Source: the asymmetric rule of ONNX Runtime's `PercentileCalibrater`;
    /// ModelOpt's percentile of |x| is the same for values symmetric about zero.
    Percentile {
        /// Above 0, at most 1; 0.9999 is usual.
        #[serde(default = "Search::usual_share")]
        share: f64,
    },
    /// The range whose grid keeps the distribution best in Kullback–Leibler divergence. No knobs.
    Entropy,
    /// The range, among the extremes shrunk by equal steps, with the least mean of `|x − x̂|^norm`.
    Mse {
        /// Above 0; 2 is the squared error, 2.4 weighs outliers more.
        #[serde(default = "Search::usual_norm")]
        norm: f64,
        /// How many ranges to try: factors 1, 1 − 1/steps, …, 1/steps.
        #[serde(default = "Search::usual_steps")]
        steps: u32,
    },
    /// The least squared error that torch's `HistogramObserver` finds by cutting tails in small steps. No knobs.
    L2,
}

/// The searches there are.
pub const SEARCHES: &[ObserverName] = &[
    ObserverName { name: "percentile", about: "the middle share of the values", knobs: "share = 0.9999" },
    ObserverName {
        name: "entropy",
        about: "the range that loses the least information (Kullback–Leibler), as TensorRT has it",
        knobs: "",
    },
    ObserverName {
        name: "mse",
        about: "the shrunk range with the least error",
        knobs: "norm = 2.4, steps = 100",
    },
    ObserverName { name: "l2", about: "tails cut while the squared error falls, as torch has it", knobs: "" },
];

impl Search {
    /// The middle `share` of the values.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless 0 < share ≤ 1.
    pub fn percentile(share: f64) -> Result<Self, Error> {
        Self::Percentile { share }.checked()
    }

    /// The least error of exponent `norm` among `steps` shrunk ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless 0 < norm ≤ 16 and 1 ≤ steps ≤ 10 000.
    pub fn mse(norm: f64, steps: u32) -> Result<Self, Error> {
        Self::Mse { norm, steps }.checked()
    }

    /// Every search with its usual knobs.
    pub fn usual() -> [Self; 4] {
        let (share, norm, steps) = (Self::usual_share(), Self::usual_norm(), Self::usual_steps());
        [Self::Percentile { share }, Self::Entropy, Self::Mse { norm, steps }, Self::L2]
    }

    /// Name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Percentile { .. } => "percentile",
            Self::Entropy => "entropy",
            Self::Mse { .. } => "mse",
            Self::L2 => "l2",
        }
    }

    /// Smallest and largest value of the range.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a knob out of range, [`Error::TooWide`] where a grid would overflow, [`Error::SchemeParts`] for a format
    /// without a grid.
    pub fn range(&self, histogram: &Histogram, scheme: &Scheme) -> Result<(f32, f32), Error> {
        self.checked()?;
        match *self {
            Self::Percentile { share } => Ok(percentile::range(histogram, share)),
            Self::Entropy => entropy::range(histogram, scheme),
            Self::Mse { norm, steps } => mse::range(histogram, scheme, norm, steps),
            Self::L2 => l2::range(histogram, scheme),
        }
    }

    /// The share of a percentile that is not given: 0.9999.
    pub const fn usual_share() -> f64 {
        0.9999
    }

    /// The power of an error that is not given: 2.4.
    pub const fn usual_norm() -> f64 {
        2.4
    }

    /// The number of ranges that are tried where it is not given: 100.
    pub const fn usual_steps() -> u32 {
        100
    }

    fn checked(self) -> Result<Self, Error> {
        let (knob, expected, found, legal) = match self {
            Self::Percentile { share } => ("share", "above 0, at most 1", share, share > 0.0 && share <= 1.0),
            Self::Mse { norm, .. } if !(norm > 0.0 && norm <= 16.0) => {
                ("norm", "above 0, at most 16", norm, false)
            }
            Self::Mse { steps, .. } => {
                ("steps", "from 1 to 10000", f64::from(steps), (1..=10_000).contains(&steps))
            }
            Self::Entropy | Self::L2 => return Ok(self),
        };
        if legal { Ok(self) } else { Err(Error::Setting { what: knob, expected, found }) }
    }
}
