//! Scales of activations as parameters: while a stage trains they live in a module of their own beside the student, as
//! connectors do; at rest they are plain numbers among the [`Activations`].
//!
//! [`Activations`]: crate::activations::Activations

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Gradients, Tensor};
use kd_core::{Feature, Rewrite};
use quant_core::qat::{lsq_gradient_scale, lsq_plus, pact};
use quant_core::{QParams, Scheme};
use serde::{Deserialize, Serialize};

use crate::activations::Activations;
use crate::survey::{self, Entry};

/// What is trained of a site's rounding. Parameters are ratios to where they start, so that an optimizer whose steps have
/// the size of the learning rate changes a scale of 0.01 by a share and not out of all proportion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learned {
    /// LSQ: the scale; the zero point stays that of the calibration.
    Scale {
        /// Scale of the calibration.
        start: f32,
        /// Trained: `scale / start`.
        ratio: f32,
        /// Code of zero.
        zero_point: f32,
    },
    /// LSQ+: both.
    ScaleAndZero {
        /// Scale of the calibration.
        start: f32,
        /// Trained: `scale / start`.
        ratio: f32,
        /// Trained: the code of zero before it is rounded, as a share of all codes.
        shift: f32,
    },
    /// PACT: the largest value; the smallest is 0.
    Level {
        /// Largest value of the calibration.
        start: f32,
        /// Trained: `α / start`.
        ratio: f32,
    },
}

impl Learned {
    /// The trained numbers.
    fn numbers(self) -> Vec<f32> {
        match self {
            Self::Scale { ratio, .. } | Self::Level { ratio, .. } => vec![ratio],
            Self::ScaleAndZero { ratio, shift, .. } => vec![ratio, shift],
        }
    }

    /// The same with other numbers.
    fn with(self, numbers: &[f32]) -> Self {
        match (self, numbers) {
            (Self::Scale { start, zero_point, .. }, &[ratio]) => Self::Scale { start, ratio, zero_point },
            (Self::ScaleAndZero { start, .. }, &[ratio, shift]) => Self::ScaleAndZero { start, ratio, shift },
            (Self::Level { start, .. }, &[ratio]) => Self::Level { start, ratio },
            (same, _) => same,
        }
    }

    /// Scale and zero point, by the arithmetic of the estimators.
    pub fn qparams(self, (qmin, qmax): (i32, i32)) -> QParams {
        let codes = (qmax - qmin) as f32;
        let code = |zero: f32| zero.round_ties_even().clamp(qmin as f32, qmax as f32) as i32;
        let (scale, zero_point) = match self {
            Self::Scale { start, ratio, zero_point } => (ratio * start, code(zero_point)),
            Self::ScaleAndZero { start, ratio, shift } => (ratio * start, code(shift * codes)),
            Self::Level { start, ratio } => ((ratio * start).max(f32::MIN_POSITIVE) / codes, qmin),
        };
        QParams { scale: vec![scale.max(f32::MIN_POSITIVE)], zero_point: vec![zero_point], qmin, qmax }
    }
}

/// The parameters of all sites that learn.
#[derive(Module, Debug)]
pub struct Sites {
    numbers: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    names: Vec<String>,
}

impl Sites {
    /// The parameters of `activations` on the autodiff device, if some of its sites learn.
    pub fn of(activations: &Activations, device: &Device) -> Option<Self> {
        let (names, numbers): (Vec<_>, Vec<_>) = activations
            .learned()
            .map(|(name, learned)| {
                let numbers = learned.numbers();
                let tensor = Tensor::<1>::from_data(numbers.as_slice(), device).require_grad();
                (name.to_owned(), Param::initialized(ParamId::new(), tensor))
            })
            .unzip();
        (!names.is_empty()).then_some(Self { numbers, names })
    }

    /// Parameters with paths that meet no others.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = survey::survey(self).into_iter();
        entries.map(|entry| Entry { path: format!("activations:{}", entry.path), ..entry }).collect()
    }

    /// One optimizer step; `activations` get the new numbers.
    pub fn step(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: f64,
        gradients: &mut Gradients,
        activations: &mut Activations,
    ) -> Self {
        let gradients = GradientsParams::from_module(gradients, &self);
        let stepped = optimizer.step(rate, self, gradients);
        for (name, numbers) in stepped.names.iter().zip(&stepped.numbers) {
            let numbers = survey::to_array(numbers.val().without_autodiff());
            activations.learn(name, |learned| learned.with(numbers.data()));
        }
        stepped
    }

    fn at(&self, site: &str) -> Option<Tensor<1>> {
        let index = self.names.iter().position(|name| name == site)?;
        Some(self.numbers[index].val())
    }
}

/// Activations while they train.
pub struct Live<'a> {
    /// Observers and ranges.
    pub activations: &'a mut Activations,
    /// Parameters, where some sites learn.
    pub sites: Option<&'a Sites>,
}

impl Rewrite for Live<'_> {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        let learned = self.activations.learned().find(|(name, _)| *name == site).map(|(_, learned)| learned);
        let found = learned.zip(self.sites.and_then(|sites| sites.at(site))).zip(self.activations.scheme());
        match found {
            Some(((learned, numbers), scheme)) => trained(x, learned, numbers, &scheme),
            None => self.activations.rewrite(site, x),
        }
    }
}

fn trained(x: Feature, learned: Learned, numbers: Tensor<1>, scheme: &Scheme) -> Feature {
    fn of<const D: usize>(x: Tensor<D>, learned: Learned, numbers: Tensor<1>, scheme: &Scheme) -> Tensor<D> {
        let Some((qmin, qmax)) = scheme.limits() else { return x };
        let number = |index: usize| numbers.clone().narrow(0, index, 1).reshape([1_usize; D]);
        let elements = x.dims().iter().skip(1).product();
        let zero_point = learned.qparams((qmin, qmax)).zero_point[0];
        let factor = lsq_gradient_scale(elements, qmax - zero_point);
        match learned {
            Learned::Scale { start, zero_point, .. } => {
                let zero = number(0).without_autodiff().zeros_like().add_scalar(zero_point);
                lsq_plus(x, number(0).mul_scalar(start), zero, qmin, qmax, factor)
            }
            Learned::ScaleAndZero { start, .. } => {
                let zero = number(1).mul_scalar((qmax - qmin) as f32);
                lsq_plus(x, number(0).mul_scalar(start), zero, qmin, qmax, factor)
            }
            Learned::Level { start, .. } => {
                let bits = scheme.int().map_or(8, |int| int.bits);
                pact(x, number(0).mul_scalar(start), bits).expect("recipes take 2 to 8 bits")
            }
        }
    }
    match x {
        Feature::D1(x) => Feature::D1(of(x, learned, numbers, scheme)),
        Feature::D2(x) => Feature::D2(of(x, learned, numbers, scheme)),
        Feature::D3(x) => Feature::D3(of(x, learned, numbers, scheme)),
        Feature::D4(x) => Feature::D4(of(x, learned, numbers, scheme)),
    }
}
