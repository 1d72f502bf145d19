//! The one reparameterization of a weight: shared values, mask, then fake-quantization, composed in one value.
//!
//! Burn computes a reparameterized parameter's effective value from its stored base and does not nest
//! reparameterizations, so whatever is done to a weight is done here. It is trained and moved with the module,
//! and folds away with `materialize()`. This module and `kd-graph`'s capture are the only ones that know these
//! young interfaces of Burn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, Param, Reparameterization};
use burn::tensor::{Int, Tensor};
use quant_core::number::{CodebookRule, Number};
use quant_core::qat::{
    binary, bitnet_weight, dorefa_weight, lsq, lsq_gradient_scale, quant_noise, shared_weight, ternary,
};
use quant_core::{Granularity, ScaleFormat, Scheme, Symmetry, fake_quant_scheme};
use serde::{Deserialize, Serialize};

use crate::estimator::Estimator;

mod attach;

pub use attach::{attach, refactor, remask, watch};

/// How a weight is rounded: scheme and the axis of its output units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightQuant {
    /// Any scheme but one of scales for tokens.
    pub scheme: Scheme,
    /// Axis of the output units in Burn's layout.
    pub axis: usize,
    /// How it is trained through.
    pub estimator: Estimator,
    /// Share of the blocks that a training step rounds; all without it.
    pub noise: Option<f64>,
}

impl WeightQuant {
    /// The axis that has a scale for each index, if the scheme has one.
    pub fn channel_axis(&self) -> Option<usize> {
        match self.scheme.granularity() {
            Granularity::Channel => Some(self.axis),
            _ => None,
        }
    }

    /// Whether its values are −s, 0 and s.
    pub fn is_ternary(&self) -> bool {
        matches!(self.scheme.number(), Number::Codebook(row) if matches!(row.rule, CodebookRule::Ternary))
    }

    /// Whether engines run it on integers: at most 8 bits or ternary, zero point 0, a 32-bit scale for the whole or an
    /// output.
    pub fn runs_on_integers(&self) -> bool {
        let scheme = &self.scheme;
        if self.is_ternary() {
            let shared =
                matches!(scheme.granularity(), Granularity::Tensor | Granularity::Channel | Granularity::Own);
            return shared && scheme.scale() == ScaleFormat::F32;
        }
        scheme.int().is_some_and(|int| int.bits <= 8)
            && scheme.symmetry() != Some(Symmetry::Affine)
            && matches!(scheme.granularity(), Granularity::Tensor | Granularity::Channel)
            && scheme.scale() == ScaleFormat::F32
            && !matches!(self.estimator, Estimator::Dorefa {})
    }

    /// Whether zero is on its grid.
    pub fn has_zero(&self) -> bool {
        let binary = match self.scheme.number() {
            Number::Codebook(row) => matches!(row.rule, CodebookRule::Binary),
            _ => false,
        };
        !binary && !matches!(self.estimator, Estimator::Dorefa {})
    }
}

/// What follows a weight's path in that of its mask.
pub const MASK: &str = ".compressed.mask";
/// What follows a weight's path in that of its trained scales.
pub const SCALE: &str = ".compressed.scale";
/// The same of where these started.
pub const START: &str = ".compressed.start";

/// What is done to the weights of a model, by path; empty when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// Kept elements, row-major in the parameter's own layout.
    pub masks: BTreeMap<String, Vec<bool>>,
    /// Rounding.
    pub quant: BTreeMap<String, WeightQuant>,
    /// What outputs of a rounded weight are multiplied by before it is rounded, and divided by afterwards.
    #[serde(default)]
    pub factors: BTreeMap<String, Vec<f32>>,
    /// Weights that are one of few values each; none of them is rounded too.
    #[serde(default)]
    pub shared: BTreeMap<String, SharedWeight>,
}

/// A weight whose elements share few values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedWeight {
    /// Where the values start; one that is 0 stays 0.
    pub values: Vec<f32>,
    /// Which value each element has, row-major in the parameter's own layout.
    pub codes: Vec<u16>,
}

impl Compression {
    /// Whether no weight is touched.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty() && self.quant.is_empty() && self.shared.is_empty()
    }

    /// Elements that masks hold at zero.
    pub fn masked(&self) -> usize {
        self.masks.values().flatten().filter(|&&keep| !keep).count()
    }
}

/// Effective weight = rounded(mask · base), or mask · values\[codes\] where weights share values.
///
/// Without an estimator that trains it, the scale of a rounded weight follows the weight: it is computed from the masked
/// base at every step, from the same numbers and in the same order as at export. Masked elements get no gradient, and
/// are exactly zero, on grids without a zero too.
#[derive(Module, Debug)]
pub struct Compressed {
    mask: Option<Param<Tensor<1>>>,
    /// Trained scales, as ratios to `start`.
    scale: Option<Param<Tensor<1>>>,
    /// Where they started, one a cell; a constant.
    start: Option<Param<Tensor<1>>>,
    /// What outputs are multiplied by before rounding, and divided by afterwards; a constant.
    factor: Option<Param<Tensor<1>>>,
    /// Which of the shared values, `scale · start`, each element has; a constant.
    codes: Option<Param<Tensor<1, Int>>>,
    #[module(skip)]
    quant: Option<WeightQuant>,
    #[module(skip)]
    noise: Option<Noise>,
}

/// Which blocks of a weight are rounded in a step.
#[derive(Debug, Clone)]
struct Noise {
    share: f64,
    /// Of the weight, so that each draws blocks of its own.
    salt: u64,
    draw: Draw,
}

/// The seed of the step at hand, shared by a network and its weights.
pub type Draw = Arc<AtomicU64>;

impl Reparameterization for Compressed {
    const NAME: &'static str = "compressed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dims = base.dims();
        let mask = self.mask.as_ref().map(|mask| mask.val().reshape(dims));
        let base = match (&self.codes, &self.scale, &self.start) {
            (Some(codes), Some(ratio), Some(start)) => {
                shared_weight(ratio.val() * start.val(), codes.val().reshape(dims))
            }
            _ => base,
        };
        let weight = match &mask {
            Some(mask) => base * mask.clone(),
            None => base,
        };
        let Some(quant) = &self.quant else { return weight };
        let Some(factor) = &self.factor else { return self.noisy(quant, weight, mask) };
        let factor = along(quant.axis, factor.val());
        self.noisy(quant, weight * factor.clone(), mask) / factor
    }
}

impl Compressed {
    /// The rounded weight, or some of its blocks while it trains.
    fn noisy<const D: usize>(
        &self,
        quant: &WeightQuant,
        weight: Tensor<D>,
        mask: Option<Tensor<D>>,
    ) -> Tensor<D> {
        // Here there is no way to say what is wrong with a weight: the loss shows it, and the plan names it.
        let broken = || weight.clone().mul_scalar(f32::NAN);
        let mut value = self.rounded(quant, weight.clone()).unwrap_or_else(|_| broken());
        if let Some(mask) = mask.filter(|_| !quant.has_zero()) {
            value = value * mask;
        }
        match &self.noise {
            // What is evaluated and shipped is rounded as a whole.
            Some(noise) if weight.is_tracked() => {
                let seed = noise.draw.load(Ordering::Relaxed) ^ noise.salt;
                quant_noise(weight.clone(), value, noise.share, noise_block(weight.dims()), seed)
                    .unwrap_or_else(|_| broken())
            }
            _ => value,
        }
    }

    fn rounded<const D: usize>(
        &self,
        quant: &WeightQuant,
        weight: Tensor<D>,
    ) -> Result<Tensor<D>, quant_core::Error> {
        let axis = match quant.scheme.granularity() {
            Granularity::Tensor => None,
            Granularity::Own if matches!(quant.estimator, Estimator::Ternary {}) => None,
            _ => Some(quant.axis),
        };
        match (quant.estimator, &self.scale, &self.start) {
            (Estimator::Lsq {} | Estimator::LsqPlus {}, Some(ratio), Some(start)) => {
                let (_, (qmin, qmax)) = quant.scheme.grid()?;
                let elements = weight.shape().num_elements();
                let cells = start.val().dims()[0];
                let shape = std::array::from_fn(|dim| if Some(dim) == axis { cells } else { 1 });
                let scale = (ratio.val() * start.val()).reshape::<D, _>(shape);
                Ok(lsq(weight, scale, qmin, qmax, lsq_gradient_scale(elements / cells.max(1), qmax)))
            }
            (Estimator::Dorefa {}, ..) => {
                let constant = weight.clone().without_autodiff().abs();
                let largest = (0..D).fold(constant, Tensor::max_dim);
                Ok(dorefa_weight(weight, quant.scheme.int().map_or(8, |int| int.bits))? * largest)
            }
            (Estimator::Bitnet {}, ..) => Ok(bitnet_weight(weight)),
            (Estimator::Binary {}, ..) => Ok(binary(weight, axis)),
            (Estimator::Ternary {}, ..) => Ok(ternary(weight, axis)),
            _ => fake_quant_scheme(weight, quant.axis, &quant.scheme),
        }
    }
}

/// One number an output, in the rank of the weight.
fn along<const D: usize>(axis: usize, numbers: Tensor<1>) -> Tensor<D> {
    let outputs = numbers.dims()[0];
    numbers.reshape::<D, _>(std::array::from_fn(|dim| if dim == axis { outputs } else { 1 }))
}

/// What is drawn together: a kernel of a convolution, or eight inputs of an output.
fn noise_block<const D: usize>(shape: [usize; D]) -> [usize; D] {
    let kernel: usize = shape.iter().skip(2).product();
    std::array::from_fn(|dim| match (D, dim) {
        (2, 0) => 8,
        (3.., 1) if kernel == 1 => 8,
        (3.., 2..) => shape[dim],
        _ => 1,
    })
}
