//! Putting masks and rounding onto the parameters of a module, and exchanging their constants while it trains.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, ParamId, Reparameterizer};
use burn::tensor::{Device, Tensor, TensorData};
use quant_core::qat::lsq_initial_scale;
use quant_core::weight_scale;

use super::{Compressed, Compression, Draw, MASK, Noise, WeightQuant, along};
use crate::survey::Place;

/// Attaches a [`Compression`] to a module that has none yet.
pub fn attach<M: Module>(module: M, compression: &Compression, draw: &Draw) -> M {
    match compression.is_empty() {
        true => module,
        false => module.apply_reparameterization(Attach(compression, draw)),
    }
}

/// Replaces the masks of a module that [`attach`] gave masks to; the optimizer's state stays.
pub fn remask<M: Module>(module: M, masks: &BTreeMap<String, Vec<bool>>) -> M {
    let values = |path: &str, _| masks.get(path).map(|keep| ones(keep));
    module.map(&mut Replace { place: Place::default(), suffix: MASK, values })
}

/// Makes the masks of a module take gradients. That of a mask's element is weight times gradient, which masked weights
/// have too: what a criterion of first order asks for, and what movement pruning adds up.
pub fn watch<M: Module>(module: M) -> M {
    module.map(&mut Watch { place: Place::default() })
}

/// Replaces the factors of a module that [`attach`] gave factors to; those that are not among `factors` become 1.
pub fn refactor<M: Module>(module: M, factors: &BTreeMap<String, Vec<f32>>) -> M {
    let values = |path: &str, len| Some(factors.get(path).cloned().unwrap_or_else(|| vec![1.0; len]));
    module.map(&mut Replace { place: Place::default(), suffix: ".compressed.factor", values })
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
            let mask = flat::<1>(ones(keep), &param.base().device());
            Param::initialized(ParamId::new(), mask).set_require_grad(false)
        });
        if let Some(shared) = self.0.shared.get(path) {
            let device = param.base().device();
            let constant = |tensor| Param::initialized(ParamId::new(), tensor);
            let start = flat::<1>(shared.values.clone(), &device);
            let codes: Vec<i32> = shared.codes.iter().map(|&code| i32::from(code)).collect();
            let codes = TensorData::new(codes, [shared.codes.len()]);
            let compressed = Compressed {
                mask,
                scale: Some(constant(start.ones_like()).set_require_grad(true)),
                start: Some(constant(start).set_require_grad(false)),
                factor: None,
                codes: Some(Param::initialized(ParamId::new(), Tensor::from_data(codes, &device))),
                quant: None,
                noise: None,
            };
            return (param, Some(compressed));
        }
        let quant = self.0.quant.get(path).copied();
        if mask.is_none() && quant.is_none() {
            return (param, None);
        }
        let (mut scale, mut start_at) = (None, None);
        let factor = quant.and_then(|_| self.0.factors.get(path)).map(|factors| {
            let factors = flat::<1>(factors.clone(), &param.base().device());
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
        (param, Some(Compressed { mask, scale, start: start_at, factor, codes: None, quant, noise }))
    }
}

/// Replaces one kind of constant, by the path of its weight and how many numbers it has.
struct Replace<F> {
    place: Place,
    suffix: &'static str,
    values: F,
}

impl<F: Fn(&str, usize) -> Option<Vec<f32>>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let Some(weight) = path.strip_suffix(self.suffix) else { return param };
        let len = param.lazy_shape().num_elements();
        let Some(values) = (self.values)(weight, len) else { return param };
        param.map(|old| flat(values, &old.device()).set_require_grad(old.is_require_grad()))
    }
}

struct Watch {
    place: Place,
}

impl ModuleMapper for Watch {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.place.path().ends_with(MASK) {
            true => param.set_require_grad(true),
            false => param,
        }
    }
}

/// Ones and zeros.
fn ones(keep: &[bool]) -> Vec<f32> {
    keep.iter().map(|&keep| f32::from(u8::from(keep))).collect()
}

/// A flat tensor out of reach of gradients.
fn flat<const D: usize>(values: Vec<f32>, device: &Device) -> Tensor<D> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device).set_require_grad(false)
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
