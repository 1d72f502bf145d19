//! Batch norm, with a ReLU in the same pass where a network has one, and layer norm.

use burn::backend::Dispatch;
use burn::config::Config;
use burn::module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param, RunningState};
use burn::nn as theirs;
use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm, batch_norm_train, layer_norm};
use burn::tensor::{Device, Tensor, assert_shape};

use crate::extension::{Layers, NormOptions, Plain, Rows, own};

/// As [`burn::nn::BatchNormConfig`], field by field.
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// Number of channels, at least one.
    pub num_features: usize,
    /// ε, finite and positive.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Share of a batch in the running statistics, in 0 ..= 1.
    #[config(default = 0.1)]
    pub momentum: f64,
}

/// `y = γ (x − mean) / √(variance + ε) + β` over `[batch, channels, …]`, as [`burn::nn::BatchNorm`]; made by
/// [`BatchNormConfig`].
///
/// On an autodiff device, unless its `training` flag is off, it normalizes by the batch's mean and biased variance and
/// takes them into the running statistics; else it normalizes by those.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BatchNorm {
    /// γ
    pub gamma: Param<Tensor<1>>,
    /// β
    pub beta: Param<Tensor<1>>,
    /// Whether the layer takes part in training.
    pub training: Param<Flag>,
    /// Running mean.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance.
    pub running_var: RunningState<Tensor<1>>,
    /// Share of a batch in the running statistics.
    pub momentum: f64,
    /// ε
    pub epsilon: f64,
}

impl BatchNormConfig {
    /// Makes the layer.
    ///
    /// # Panics
    ///
    /// If a field is outside its range.
    pub fn init(&self, device: &Device) -> BatchNorm {
        theirs::BatchNormConfig::new(self.num_features)
            .with_epsilon(self.epsilon)
            .with_momentum(self.momentum)
            .init(device)
            .into()
    }
}

impl From<theirs::BatchNorm> for BatchNorm {
    fn from(norm: theirs::BatchNorm) -> Self {
        let theirs::BatchNorm { gamma, beta, training, running_mean, running_var, momentum, epsilon } = norm;
        Self { gamma, beta, training, running_mean, running_var, momentum, epsilon }
    }
}

impl BatchNorm {
    /// Normalizes `[batch, channels, …]`.
    ///
    /// # Panics
    ///
    /// If the input's second axis is not the layer's channels.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.run(input, false)
    }

    /// `relu(self.forward(input))`, where our kernels do both in one pass over memory, and the backward pass of both
    /// without a tensor between.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_relu<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.run(input, true)
    }

    fn run<const D: usize>(&self, input: Tensor<D>, with_relu: bool) -> Tensor<D> {
        let [num_features] = self.gamma.shape().dims();
        assert_shape!(input, [_, num_features, ..]);
        let training = input.device().is_autodiff() && self.training.is_enabled();
        let options = NormOptions { epsilon: self.epsilon, relu: with_relu };
        let ours = own(&input) && own(&self.gamma.val());
        match (training, ours) {
            (true, true) => {
                let (gamma, beta) = (self.gamma.val().into_dispatch(), self.beta.val().into_dispatch());
                let (y, mean, variance) =
                    Dispatch::kd_norm_train(input.into_dispatch(), gamma, beta, options);
                self.learn(Tensor::from_dispatch(mean), Tensor::from_dispatch(variance));
                Tensor::from_dispatch(y)
            }
            (true, false) => {
                let found = batch_norm_train(input, self.gamma.val(), self.beta.val(), self.epsilon);
                self.learn(found.mean, found.variance);
                if with_relu { relu(found.output) } else { found.output }
            }
            // Gradients may pass a layer that is frozen: Burn's operations know them.
            (false, true) if !input.device().is_autodiff() => {
                let numbers =
                    [self.gamma.val(), self.beta.val(), self.running_mean.value(), self.running_var.value()];
                let [gamma, beta, mean, variance] = numbers.map(Tensor::into_dispatch);
                let x = input.into_dispatch();
                Tensor::from_dispatch(Dispatch::kd_norm_apply(x, gamma, beta, mean, variance, options))
            }
            (false, _) => {
                let device = input.device();
                let mean = self.running_mean.value().to_device(&device);
                let variance = self.running_var.value().to_device(&device);
                let y = batch_norm(input, self.gamma.val(), self.beta.val(), mean, variance, self.epsilon);
                if with_relu { relu(y) } else { y }
            }
        }
    }

    /// Takes a batch's statistics into the running ones.
    fn learn(&self, mean: Tensor<1>, variance: Tensor<1>) {
        for (running, found) in [(&self.running_mean, mean), (&self.running_var, variance)] {
            let before = running.value_sync().to_device(&found.device());
            let kept = before.mul_scalar(1.0 - self.momentum);
            running.update(kept.add(found.detach().mul_scalar(self.momentum)).detach());
        }
    }
}

impl ModuleDisplay for BatchNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [num_features] = self.beta.shape().dims();
        content
            .add("num_features", &num_features)
            .add("momentum", &self.momentum)
            .add("epsilon", &self.epsilon)
            .optional()
    }
}

/// As [`burn::nn::LayerNormConfig`], field by field.
#[derive(Debug, Config)]
pub struct LayerNormConfig {
    /// Width of the rows.
    pub d_model: usize,
    /// ε, positive.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Whether there is a β.
    #[config(default = true)]
    pub bias: bool,
}

/// `y = γ (x − mean) / √(variance + ε) + β` over the last dimension, as [`burn::nn::LayerNorm`]; made by
/// [`LayerNormConfig`].
///
/// Without β it is Burn's everywhere.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LayerNorm {
    /// γ
    pub gamma: Param<Tensor<1>>,
    /// β
    pub beta: Option<Param<Tensor<1>>>,
    epsilon: f64,
}

impl LayerNormConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> LayerNorm {
        let theirs::LayerNorm { gamma, beta, .. } =
            theirs::LayerNormConfig::new(self.d_model).with_bias(self.bias).init(device);
        LayerNorm { gamma, beta, epsilon: self.epsilon }
    }
}

impl LayerNorm {
    /// Normalizes `[…, width]`.
    ///
    /// # Panics
    ///
    /// If the last dimension is not the layer's width.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let gamma = self.gamma.val();
        let [d_model] = gamma.dims();
        assert_shape!(input, [.., d_model]);
        match self.beta.as_ref().map(|beta| beta.val()) {
            Some(beta) if own(&input) && own(&gamma) => {
                let [gamma, beta] = [gamma, beta].map(Tensor::into_dispatch);
                Tensor::from_dispatch(Dispatch::kd_layer_norm(
                    input.into_dispatch(),
                    gamma,
                    beta,
                    self.epsilon,
                ))
            }
            beta => layer_norm(input, gamma, beta, self.epsilon),
        }
    }
}

impl ModuleDisplay for LayerNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_model] = self.gamma.shape().dims();
        content
            .add("d_model", &d_model)
            .add("epsilon", &self.epsilon)
            .add("bias", &self.beta.is_some())
            .optional()
    }
}
