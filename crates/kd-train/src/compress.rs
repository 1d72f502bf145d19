//! The one reparameterization of a weight: mask, then fake-quantization, composed in one value.
//!
//! Burn computes a reparameterized parameter's effective value from its stored base and does not nest
//! reparameterizations, so whatever is done to a weight is done here. It is trained and moved with the module,
//! and folds away with `materialize()`. This file and `kd-graph`'s capture are the only ones that know these
//! young interfaces of Burn.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, ParamId, Reparameterization, Reparameterizer};
use burn::tensor::{Tensor, TensorData};
use quant_core::{Granularity, ScaleFormat, Scheme, Symmetry, fake_quant_scheme};
use serde::{Deserialize, Serialize};

use crate::survey::Place;

/// How a weight is rounded: scheme and the axis of its output units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightQuant {
    /// Any scheme but one of scales for tokens.
    pub scheme: Scheme,
    /// Axis of the output units in Burn's layout.
    pub axis: usize,
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
    }
}

/// What is done to the weights of a model, by path; empty when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// Kept elements, row-major in the parameter's own layout.
    pub masks: BTreeMap<String, Vec<bool>>,
    /// Rounding.
    pub quant: BTreeMap<String, WeightQuant>,
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
/// The scale of a rounded weight follows the weight: it is computed from the masked base at every step, from
/// the same numbers and in the same order as at export. Masked elements get no gradient, and are exactly zero on every
/// grid that has a zero: `binary` has none.
#[derive(Module, Debug)]
pub struct Compressed {
    mask: Option<Param<Tensor<1>>>,
    #[module(skip)]
    quant: Option<WeightQuant>,
}

impl Reparameterization for Compressed {
    const NAME: &'static str = "compressed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dims = base.dims();
        let weight = match &self.mask {
            Some(mask) => base * mask.val().reshape(dims),
            None => base,
        };
        let Some(quant) = &self.quant else { return weight };
        // Here there is no way to say what is wrong with a weight: the loss shows it, and the plan names it.
        fake_quant_scheme(weight.clone(), quant.axis, &quant.scheme)
            .unwrap_or_else(|_| weight.mul_scalar(f32::NAN))
    }
}

/// Attaches a [`Compression`] to a module that has none yet.
pub fn attach<M: Module>(module: M, compression: &Compression) -> M {
    match compression.is_empty() {
        true => module,
        false => module.apply_reparameterization(Attach(compression)),
    }
}

/// Replaces the masks of a module that [`attach`] gave masks to; the optimizer's state stays.
pub fn remask<M: Module>(module: M, masks: &BTreeMap<String, Vec<bool>>) -> M {
    module.map(&mut Remask { place: Place::default(), masks })
}

struct Attach<'a>(&'a Compression);

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
        let compressed = (mask.is_some() || quant.is_some()).then_some(Compressed { mask, quant });
        (param, compressed)
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

/// Ones and zeros in a flat tensor on the device of `like`, out of reach of gradients.
fn mask_tensor<const D: usize, const E: usize>(keep: &[bool], like: &Tensor<D>) -> Tensor<E> {
    let values: Vec<f32> = keep.iter().map(|&keep| f32::from(u8::from(keep))).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), &like.device()).set_require_grad(false)
}
