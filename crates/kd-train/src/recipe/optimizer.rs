//! Optimizers as a recipe spells them. Every number is checked where it is read, so that the message stands at it.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// `optimizer.NAME = { … }`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerSpec {
    /// Stochastic gradient descent.
    Sgd(SgdSpec),
    /// Kingma and Ba 2015, arXiv 1412.6980; decay is added to the gradient.
    Adam(AdamSpec),
    /// Loshchilov and Hutter 2019, arXiv 1711.05101; decay is apart from the gradient.
    AdamW(AdamWSpec),
    /// Chen et al. 2023, arXiv 2302.06675.
    Lion(LionSpec),
}

/// Knobs of `sgd`, torch's defaults but for the momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SgdSpec {
    /// 0 is none.
    #[serde(deserialize_with = "below_one")]
    pub momentum: f64,
    /// Looks one step ahead.
    pub nesterov: bool,
    /// Pull towards zero, added to the gradient.
    #[serde(deserialize_with = "not_negative")]
    pub weight_decay: f64,
}

/// Knobs of `adam`, torch's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdamSpec {
    /// Memory of the gradient.
    #[serde(deserialize_with = "below_one")]
    pub beta1: f64,
    /// Memory of its square.
    #[serde(deserialize_with = "below_one")]
    pub beta2: f64,
    /// Added to the root.
    #[serde(deserialize_with = "above_zero")]
    pub epsilon: f64,
    /// Pull towards zero, added to the gradient.
    #[serde(deserialize_with = "not_negative")]
    pub weight_decay: f64,
}

/// Knobs of `adam-w`, torch's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdamWSpec {
    /// Memory of the gradient.
    #[serde(deserialize_with = "below_one")]
    pub beta1: f64,
    /// Memory of its square.
    #[serde(deserialize_with = "below_one")]
    pub beta2: f64,
    /// Added to the root.
    #[serde(deserialize_with = "above_zero")]
    pub epsilon: f64,
    /// Pull towards zero, times the learning rate.
    #[serde(deserialize_with = "not_negative")]
    pub weight_decay: f64,
}

/// Knobs of `lion`, the paper's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LionSpec {
    /// Share of the momentum in the step.
    #[serde(deserialize_with = "below_one")]
    pub beta1: f64,
    /// Memory of the momentum.
    #[serde(deserialize_with = "below_one")]
    pub beta2: f64,
    /// Pull towards zero, times the learning rate.
    #[serde(deserialize_with = "not_negative")]
    pub weight_decay: f64,
}

impl OptimizerSpec {
    /// The same without a pull towards zero, for scales.
    pub fn without_decay(self) -> Self {
        match self {
            Self::Sgd(spec) => Self::Sgd(SgdSpec { weight_decay: 0.0, ..spec }),
            Self::Adam(spec) => Self::Adam(AdamSpec { weight_decay: 0.0, ..spec }),
            Self::AdamW(spec) => Self::AdamW(AdamWSpec { weight_decay: 0.0, ..spec }),
            Self::Lion(spec) => Self::Lion(LionSpec { weight_decay: 0.0, ..spec }),
        }
    }

    /// Every optimizer: name, one line, knobs.
    pub const NAMES: [(&'static str, &'static str, &'static str); 4] = [
        ("sgd", "stochastic gradient descent", "momentum = 0.9, nesterov = false, weight-decay = 0"),
        (
            "adam",
            "Adam; decay is added to the gradient",
            "beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight-decay = 0",
        ),
        (
            "adam-w",
            "Adam with decay apart from the gradient",
            "beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight-decay = 0.01",
        ),
        (
            "lion",
            "sign of a momentum; wants a third of Adam's rate",
            "beta1 = 0.9, beta2 = 0.99, weight-decay = 0",
        ),
    ];
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        OptimizerSpec::AdamW(AdamWSpec::default())
    }
}

impl Default for SgdSpec {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

impl Default for AdamSpec {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl Default for AdamWSpec {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

impl Default for LionSpec {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

fn below_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a number from 0 to below 1", |value| (0.0..1.0).contains(&value))
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a finite number of at least 0", |value| value >= 0.0 && value.is_finite())
}

fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a finite number above 0", |value| value > 0.0 && value.is_finite())
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    match fits(value) {
        true => Ok(value),
        false => Err(D::Error::invalid_value(Unexpected::Float(value), &range)),
    }
}
