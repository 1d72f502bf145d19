//! A multilayer perceptron: linear layers with ReLU between them.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use serde::{Deserialize, Serialize};

use crate::model::{Model, Task};

/// `mlp = { hidden = [512, 512] }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MlpConfig {
    /// Widths of the hidden layers, in order; may be empty (a linear classifier).
    pub hidden: Vec<usize>,
}

/// Hidden layers, each followed by ReLU and the site `hidden1`, `hidden2`, …, then a linear classifier.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
}

impl Model for Mlp {
    type Input = Tensor<2>;
    type Config = MlpConfig;
    const ABOUT: &'static str = "linear layers with ReLU between them; hidden = widths";

    fn build(config: &MlpConfig, task: &Task, device: &Device) -> Result<Self, String> {
        if let Some(at) = config.hidden.iter().position(|&width| width == 0) {
            return Err(format!("expected widths of at least 1, found 0 in `hidden`, position {at}"));
        }
        let mut width = task.features();
        let hidden = (config.hidden.iter())
            .map(|&next| LinearConfig::new(std::mem::replace(&mut width, next), next).init(device))
            .collect();
        let output = LinearConfig::new(width, task.classes).init(device);
        Ok(Self { hidden, output })
    }

    fn forward(&self, input: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
        let mut x = input;
        for (i, layer) in self.hidden.iter().enumerate() {
            x = relu(layer.forward(x));
            x = tap.at(&format!("hidden{}", i + 1), x);
        }
        self.output.forward(x)
    }
}
