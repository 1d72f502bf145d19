//! How rounding is trained through: which value a number is rounded to, and which gradient stands in for none.

use quant_core::number::{CodebookRule, Number};
use quant_core::{Granularity, ScaleFormat, Scheme, Symmetry};
use serde::{Deserialize, Serialize};

/// An estimator, as a recipe says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Estimator {
    /// The scheme's own rule, gradient 1 ([`quant_core::fake_quant_scheme`]).
    StraightThrough {},
    /// [`quant_core::qat::lsq`]: scales of weights and of activations with one scale are trained.
    Lsq {},
    /// [`quant_core::qat::lsq_plus`]: as LSQ, and zero points of activations are trained too.
    LsqPlus {},
    /// [`quant_core::qat::pact`]: clipping levels of activations that are never negative are trained.
    Pact {},
    /// [`quant_core::qat::dorefa_weight`], times the weight's largest size, since no batch norm follows that could take
    /// the size back: it is folded into the weight.
    Dorefa {},
    /// [`quant_core::qat::bitnet_weight`].
    Bitnet {},
    /// [`quant_core::qat::binary`].
    Binary {},
    /// [`quant_core::qat::ternary`].
    Ternary {},
}

/// What there is to know about an estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EstimatorName {
    /// Name in recipes.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Schemes that it takes.
    pub takes: &'static str,
}

/// The estimators there are.
pub const ESTIMATORS: &[EstimatorName] = &[
    EstimatorName {
        name: "straight-through",
        about: "the scheme's own rounding, gradient 1",
        takes: "any scheme",
    },
    EstimatorName {
        name: "lsq",
        about: "scales of weights and activations are trained (LSQ)",
        takes: "weights: symmetric int2 … int8 by tensor or channel",
    },
    EstimatorName {
        name: "lsq-plus",
        about: "as lsq, and zero points of activations are trained (LSQ+)",
        takes: "weights as lsq; activations: affine by tensor",
    },
    EstimatorName {
        name: "pact",
        about: "clipping levels of activations that are never negative are trained (PACT)",
        takes: "any weights; activations: affine by tensor",
    },
    EstimatorName {
        name: "dorefa",
        about: "weights squeezed by tanh onto an even grid without zero (DoReFa)",
        takes: "weights: integers by tensor",
    },
    EstimatorName {
        name: "bitnet",
        about: "ternary weights by their mean size (BitNet b1.58)",
        takes: "weights: ternary by tensor",
    },
    EstimatorName {
        name: "binary",
        about: "signs times their mean size, with a gradient through it (XNOR-Net)",
        takes: "weights: binary by row, channel or tensor",
    },
    EstimatorName {
        name: "ternary",
        about: "ternary weights by a threshold (TWN)",
        takes: "weights: ternary by tensor or channel",
    },
];

impl Default for Estimator {
    fn default() -> Self {
        Self::StraightThrough {}
    }
}

impl Estimator {
    /// Name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StraightThrough {} => "straight-through",
            Self::Lsq {} => "lsq",
            Self::LsqPlus {} => "lsq-plus",
            Self::Pact {} => "pact",
            Self::Dorefa {} => "dorefa",
            Self::Bitnet {} => "bitnet",
            Self::Binary {} => "binary",
            Self::Ternary {} => "ternary",
        }
    }

    /// Whether scales of weights are parameters.
    pub fn trains_weight_scales(self) -> bool {
        matches!(self, Self::Lsq {} | Self::LsqPlus {})
    }

    /// Whether weights take the values of their scheme's own rule.
    pub fn follows_scheme(self) -> bool {
        matches!(self, Self::StraightThrough {} | Self::Pact {})
    }

    /// What it takes instead of these weights, if it does not take them.
    pub fn refuses_weights(self, scheme: &Scheme) -> Option<&'static str> {
        let granularity = scheme.granularity();
        let bits = scheme.int().map(|int| int.bits);
        let by_channel = matches!(granularity, Granularity::Tensor | Granularity::Channel);
        let plain = scheme.scale() == ScaleFormat::F32;
        let rule = |wanted: fn(&CodebookRule) -> bool| match scheme.number() {
            Number::Codebook(row) => wanted(&row.rule),
            _ => false,
        };
        let (fits, takes) = match self {
            Self::StraightThrough {} | Self::Pact {} => return None,
            Self::Lsq {} | Self::LsqPlus {} => (
                bits.is_some_and(|bits| (2..=8).contains(&bits))
                    && by_channel
                    && scheme.symmetry() != Some(Symmetry::Affine),
                "symmetric integers of 2 to 8 bits by `tensor` or `channel`, such as `int4 channel narrow`",
            ),
            Self::Dorefa {} => (
                bits.is_some() && granularity == Granularity::Tensor,
                "integers by `tensor`, such as `int4 tensor symmetric`",
            ),
            Self::Bitnet {} => (
                rule(|rule| matches!(rule, CodebookRule::Ternary))
                    && matches!(granularity, Granularity::Own | Granularity::Tensor),
                "`ternary` or `ternary tensor`",
            ),
            Self::Binary {} => (
                rule(|rule| matches!(rule, CodebookRule::Binary))
                    && (by_channel || granularity == Granularity::Own),
                "`binary`, `binary channel` or `binary tensor`",
            ),
            Self::Ternary {} => (
                rule(|rule| matches!(rule, CodebookRule::Ternary))
                    && (by_channel || granularity == Granularity::Own),
                "`ternary`, `ternary tensor` or `ternary channel`",
            ),
        };
        (!(fits && plain)).then_some(takes)
    }

    /// What it takes instead of these activations, if it does not take them.
    pub fn refuses_activations(self, scheme: Option<&Scheme>) -> Option<&'static str> {
        let affine = scheme.is_some_and(|scheme| {
            scheme.symmetry() == Some(Symmetry::Affine) && scheme.granularity() == Granularity::Tensor
        });
        match self {
            Self::LsqPlus {} | Self::Pact {} if !affine => {
                Some("an affine scheme with one scale, such as `int8 tensor affine`")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_read() {
        for row in ESTIMATORS {
            let table: toml::Table = toml::from_str(&format!("estimator.{} = {{}}", row.name)).expect("TOML");
            let found: Estimator = table["estimator"].clone().try_into().expect("an estimator");
            assert_eq!(found.name(), row.name);
        }
    }
}
