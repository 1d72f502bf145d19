//! Burn's optimizers by the names and rules of Burn, one pass over memory per parameter.
//!
//! Each is an [`Optimizer`]: `ModuleOptimizer::from(AdamW { … })` makes the optimizer of a module. Records are those
//! of Burn's optimizers of the same name: one loads into the other.

use burn::backend::Dispatch;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{self as theirs, AdamState, AdamWState, AdaptiveMomentumState, LionState};
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource, join_path};
use burn::tensor::{Device, Tensor};
use kd_kernels::optim as rule;

use crate::extension::{Plain, own};

/// Stochastic gradient descent, see [`kd_kernels::optim::Sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Weight decay, added to the gradient.
    pub weight_decay: f32,
    /// Momentum; zero for none.
    pub momentum: f32,
    /// Share of a gradient that is kept from the velocity.
    pub dampening: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// State of [`Sgd`], recorded as Burn's `SgdState`.
#[derive(Clone)]
pub struct SgdState<const D: usize> {
    /// The running sum of gradients; none without momentum.
    pub velocity: Option<Tensor<D>>,
}

impl<const D: usize> RecordState for SgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        if let Some(velocity) = &self.velocity {
            out.push_tensor(&join_path(prefix, "momentum"), "velocity", velocity.to_data());
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let velocity = source.take_tensor(&join_path(prefix, "momentum"), "velocity");
        Some(Self { velocity: velocity.map(|velocity| Tensor::from_data(velocity, device)) })
    }
}

/// Adam with weight decay in the gradient, see [`kd_kernels::optim::Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// ε
    pub epsilon: f32,
    /// Weight decay, added to the gradient.
    pub weight_decay: f32,
}

/// Adam with weight decay beside the gradient, see [`kd_kernels::optim::Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// ε
    pub epsilon: f32,
    /// Weight decay, a share of the rate.
    pub weight_decay: f32,
}

/// Lion, see [`kd_kernels::optim::Lion`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion {
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// Weight decay, a share of the rate.
    pub weight_decay: f32,
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        let velocity = state.and_then(|state| state.velocity);
        let with_momentum = self.momentum > 0.0;
        if own(&parameter) {
            let rule = rule::Sgd {
                rate: rate as f32,
                decay: self.weight_decay,
                momentum: self.momentum,
                dampening: self.dampening,
                nesterov: self.nesterov,
            };
            let (p, g) = (parameter.into_dispatch(), gradient.clone().into_dispatch());
            if !with_momentum {
                let parameter = Tensor::from_dispatch(Dispatch::kd_sgd(p, g, rule));
                return (parameter, Some(SgdState { velocity: None }));
            }
            let first = velocity.is_none();
            let v = velocity.unwrap_or(gradient).into_dispatch();
            let (p, v) = Dispatch::kd_sgd_momentum(p, g, v, first, rule);
            return (Tensor::from_dispatch(p), Some(SgdState { velocity: Some(Tensor::from_dispatch(v)) }));
        }
        let gradient = match self.weight_decay > 0.0 {
            true => parameter.clone().mul_scalar(self.weight_decay).add(gradient),
            false => gradient,
        };
        if !with_momentum {
            return (parameter - gradient.mul_scalar(rate), Some(SgdState { velocity: None }));
        }
        let velocity = match velocity {
            Some(velocity) => {
                (gradient.clone().mul_scalar(1.0 - self.dampening)).add(velocity.mul_scalar(self.momentum))
            }
            None => gradient.clone(),
        };
        let step = match self.nesterov {
            true => velocity.clone().mul_scalar(self.momentum).add(gradient),
            false => velocity.clone(),
        };
        (parameter - step.mul_scalar(rate), Some(SgdState { velocity: Some(velocity) }))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        SgdState { velocity: state.velocity.map(|velocity| velocity.to_device(device)) }
    }
}

/// A step of Adam or AdamW by our kernels.
fn moments<const D: usize>(
    rule: rule::Adam,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    state: Option<AdaptiveMomentumState<D>>,
) -> (Tensor<D>, AdaptiveMomentumState<D>) {
    let (first, second, before) = match state {
        Some(state) => (state.moment_1, state.moment_2, state.time),
        None => (gradient.zeros_like(), gradient.zeros_like(), 0),
    };
    let time = before + 1;
    let power = i32::try_from(time).unwrap_or(i32::MAX);
    let rule = rule::Adam { corrections: rule.betas.map(|beta| 1.0 - beta.powi(power)), ..rule };
    let [p, g, m, v] = [parameter, gradient, first, second].map(Tensor::into_dispatch);
    let (p, m, v) = Dispatch::kd_adam(p, g, m, v, rule);
    let [parameter, moment_1, moment_2] = [p, m, v].map(Tensor::from_dispatch);
    (parameter, AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2: None })
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let [beta_1, beta_2] = self.betas;
        if !own(&parameter) {
            let decay = (self.weight_decay > 0.0).then(|| WeightDecayConfig::new(self.weight_decay));
            let config = theirs::AdamConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
            let theirs = config.with_epsilon(self.epsilon).with_weight_decay(decay).build();
            return theirs.step(rate, parameter, gradient, state);
        }
        let rule = rule::Adam {
            rate: rate as f32,
            decay: self.weight_decay,
            keep: 1.0,
            betas: self.betas,
            epsilon: self.epsilon,
            corrections: [1.0; 2],
        };
        let (parameter, momentum) = moments(rule, parameter, gradient, state.map(|s| s.momentum));
        (parameter, Some(AdamState { momentum }))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        AdamState { momentum: state.momentum.to_device(device) }
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let [beta_1, beta_2] = self.betas;
        if !own(&parameter) {
            let config = theirs::AdamWConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
            let theirs = config.with_epsilon(self.epsilon).with_weight_decay(self.weight_decay).build();
            return theirs.step(rate, parameter, gradient, state);
        }
        let rule = rule::Adam {
            rate: rate as f32,
            decay: 0.0,
            keep: (1.0 - rate * f64::from(self.weight_decay)) as f32,
            betas: self.betas,
            epsilon: self.epsilon,
            corrections: [1.0; 2],
        };
        let (parameter, momentum) = moments(rule, parameter, gradient, state.map(|s| s.momentum));
        (parameter, Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamWState { momentum: state.momentum.to_device(device) }
    }
}

impl Optimizer for Lion {
    type State<const D: usize> = LionState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<LionState<D>>,
    ) -> (Tensor<D>, Option<LionState<D>>) {
        let [beta_1, beta_2] = self.betas;
        if !own(&parameter) {
            let config = theirs::LionConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
            let theirs = config.with_weight_decay(self.weight_decay).build();
            return theirs.step(rate, parameter, gradient, state);
        }
        let keep = (1.0 - rate * f64::from(self.weight_decay)) as f32;
        let rule = rule::Lion { rate: rate as f32, keep, betas: self.betas };
        let momentum = state.map_or_else(|| gradient.zeros_like(), |state| state.momentum);
        let [p, g, m] = [parameter, gradient, momentum].map(Tensor::into_dispatch);
        let (p, m) = Dispatch::kd_lion(p, g, m, rule);
        let [parameter, momentum] = [p, m].map(Tensor::from_dispatch);
        (parameter, Some(LionState { momentum }))
    }

    fn to_device<const D: usize>(state: LionState<D>, device: &Device) -> LionState<D> {
        LionState { momentum: state.momentum.to_device(device) }
    }
}
