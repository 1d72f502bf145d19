//! The one reparameterization of a weight: mask, then fake-quantization, composed in one value.
//!
//! Burn computes a reparameterized parameter's effective value from its stored base and does not nest
//! reparameterizations, so whatever is done to a weight is done here. It is trained and moved with the module,
//! and folds away with `materialize()`. This file and `kd-graph`'s capture are the only ones that know these
//! young interfaces of Burn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleMapper, Param, ParamId, Reparameterization, Reparameterizer};
use burn::tensor::{Tensor, TensorData};
use quant_core::number::{CodebookRule, Number};
use quant_core::qat::{
    binary, bitnet_weight, dorefa_weight, lsq, lsq_gradient_scale, lsq_initial_scale, quant_noise, ternary,
};
use quant_core::{Granularity, ScaleFormat, Scheme, Symmetry, fake_quant_scheme, weight_scale};
use serde::{Deserialize, Serialize};

use crate::estimator::Estimator;
use crate::survey::Place;

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

    /// Whether engines run it on integers: at most 8 bits, zero point 0, a 32-bit scale for the whole or an output.
    pub fn runs_on_integers(&self) -> bool {
        let scheme = &self.scheme;
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
}

impl Compression {
    /// Whether no weight is touched.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty() && self.quant.is_empty()
    }

    /// Elements that masks hold at zero.
    pub fn masked(&self) -> usize {
        self.masks.values().flatten().filter(|&&keep| !keep).count()
    }
}

/// Effective weight = rounded(mask · base).
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

/// The scale that LSQ starts from: its own, 2 · mean|w| / √qmax, or that of the range where that is smaller, as with many
/// bits.
fn start<const D: usize>(weight: Tensor<D>, quant: &WeightQuant) -> Option<Tensor<1>> {
    let (symmetry, limits) = quant.scheme.grid().ok()?;
    let axis = quant.channel_axis();
    let (range, _) = weight_scale(weight.clone(), axis, symmetry, limits);
    let scale = lsq_initial_scale(weight, axis, limits.1).min_pair(range);
    let cells = scale.shape().num_elements();
    Some(scale.reshape([cells]))
}

/// Attaches a [`Compression`] to a module that has none yet.
pub fn attach<M: Module>(module: M, compression: &Compression, draw: &Draw) -> M {
    match compression.is_empty() {
        true => module,
        false => module.apply_reparameterization(Attach(compression, draw)),
    }
}

/// Replaces the masks of a module that [`attach`] gave masks to; the optimizer's state stays.
pub fn remask<M: Module>(module: M, masks: &BTreeMap<String, Vec<bool>>) -> M {
    module.map(&mut Remask { place: Place::default(), masks })
}

/// Replaces the factors of a module that [`attach`] gave factors to; those that are not among `factors` become 1.
pub fn refactor<M: Module>(module: M, factors: &BTreeMap<String, Vec<f32>>) -> M {
    module.map(&mut Refactor { place: Place::default(), factors })
}

struct Attach<'a>(&'a Compression, &'a Draw);

impl Reparameterizer for Attach<'_> {
    type Reparam = Compressed;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Compressed>) {
        let mask = self.0.masks.get(path).map(|keep| {
            let mask = mask_tensor(keep, &param.base());
            Param::initialized(ParamId::new(), mask).set_require_grad(false)
        });
        let quant = self.0.quant.get(path).copied();
        if mask.is_none() && quant.is_none() {
            return (param, None);
        }
        let (mut scale, mut start_at) = (None, None);
        let factor = quant.and_then(|_| self.0.factors.get(path)).map(|factors| {
            let factors = Tensor::<1>::from_data(factors.as_slice(), &param.base().device());
            Param::initialized(ParamId::new(), factors).set_require_grad(false)
        });
        if let Some(quant) = quant.filter(|quant| quant.estimator.trains_weight_scales()) {
            let base = param.base().without_autodiff();
            let dims = base.dims();
            let masked = match &mask {
                Some(mask) => base * mask.val().reshape(dims),
                None => base,
            };
            let folded = match &factor {
                Some(factor) => masked * along(quant.axis, factor.val()),
                None => masked,
            };
            if let Some(start) = start(folded, &quant) {
                let constant = |tensor| Param::initialized(ParamId::new(), tensor);
                scale = Some(constant(start.ones_like()).set_require_grad(true));
                start_at = Some(constant(start).set_require_grad(false));
            }
        }
        let noise = quant.and_then(|quant| quant.noise).map(|share| Noise {
            share,
            salt: crate::seeds::derive(0, path, &[]),
            draw: self.1.clone(),
        });
        (param, Some(Compressed { mask, scale, start: start_at, factor, quant, noise }))
    }
}

struct Remask<'a> {
    place: Place,
    masks: &'a BTreeMap<String, Vec<bool>>,
}

impl ModuleMapper for Remask<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let Some(weight) = path.strip_suffix(".compressed.mask") else { return param };
        let Some(keep) = self.masks.get(weight) else { return param };
        param.map(|old| mask_tensor(keep, &old))
    }
}

struct Refactor<'a> {
    place: Place,
    factors: &'a BTreeMap<String, Vec<f32>>,
}

impl ModuleMapper for Refactor<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let Some(weight) = path.strip_suffix(".compressed.factor") else { return param };
        param.map(|old| match self.factors.get(weight) {
            Some(factors) => {
                let data = TensorData::new(factors.clone(), [factors.len()]);
                Tensor::from_data(data, &old.device()).set_require_grad(false)
            }
            None => old.ones_like().set_require_grad(false),
        })
    }
}

/// Ones and zeros in a flat tensor on the device of `like`, out of reach of gradients.
fn mask_tensor<const D: usize, const E: usize>(keep: &[bool], like: &Tensor<D>) -> Tensor<E> {
    let values: Vec<f32> = keep.iter().map(|&keep| f32::from(u8::from(keep))).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), &like.device()).set_require_grad(false)
}
