//! A program of one's own with the whole command line: its model, its loss and its data set, by name in its recipes.
//!
//! ```console
//! $ cargo run -p downstream --bin acme -- train examples/downstream/acme.toml
//! ```

use std::process::ExitCode;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor};
use kd_core::{DistillLoss, Tap, View};
use kd_datasets::{Dataset, Examples, Folders, Form, Normalization, Pixels, Source};
use kd_train::{Model, Registry, Task};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    kd_cli::main_with(
        Registry::builtin()
            .model::<AcmeNet>("acme.net")
            .loss::<AcmeLoss>("acme.loss", "squared difference of the probabilities")
            .data::<AcmeRings>("acme.rings", "points in the plane, their class the ring that they lie in"),
    )
}

/// A residual network on plain features: nothing here knows of teachers, students, cuts or rounding.
#[derive(Module, Debug)]
struct AcmeNet {
    stem: Linear,
    inner: Linear,
    outer: Linear,
    head: Linear,
}

/// `acme.net = { width = 16 }`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AcmeConfig {
    width: usize,
}

impl Model for AcmeNet {
    type Input = Tensor<2>;
    type Config = AcmeConfig;
    const ABOUT: &'static str = "a small residual network; width";

    fn build(config: &AcmeConfig, task: &Task, device: &Device) -> Result<Self, String> {
        if config.width == 0 {
            return Err("expected a `width` of at least 1, found 0".into());
        }
        let width = config.width;
        Ok(Self {
            stem: LinearConfig::new(task.features(), width).init(device),
            inner: LinearConfig::new(width, 2 * width).init(device),
            outer: LinearConfig::new(2 * width, width).init(device),
            head: LinearConfig::new(width, task.classes).init(device),
        })
    }

    fn forward(&self, input: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
        let x = tap.at("stem", relu(self.stem.forward(input)));
        let inner = tap.at("inner", relu(self.inner.forward(x.clone())));
        let x = tap.at("sum", relu(x + self.outer.forward(inner)));
        self.head.forward(x)
    }
}

/// Mean over the batch of `Σ_c (p_s[c] − p_t[c])²`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AcmeLoss {}

impl DistillLoss for AcmeLoss {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, kd_core::Error> {
        let difference =
            softmax(view.student_logits("acme.loss")?, 1) - softmax(view.teacher_logits("acme.loss")?, 1);
        Ok(difference.square().sum_dim(1).mean())
    }
}

/// Points on three rings, by a formula: no file, no randomness.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AcmeRings {
    points: usize,
    validation: usize,
}

impl Source for AcmeRings {
    fn name(&self) -> &'static str {
        "acme.rings"
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        Some(Form { shape: vec![2], classes: 3 })
    }

    fn load(&self, _folders: &Folders) -> Result<Dataset, kd_datasets::Error> {
        let rings = |points: usize, turn: f32| {
            let (mut pixels, mut labels) = (Vec::new(), Vec::new());
            for i in 0..points {
                // The golden angle spreads points evenly; the radius wobbles within its ring.
                let angle = (i as f32 + turn) * 2.399_963;
                let radius = (i % 3) as f32 + 0.5 + 0.3 * (angle * 1.7).sin();
                pixels.extend([radius * angle.cos(), radius * angle.sin()]);
                labels.push((i % 3) as u32);
            }
            Examples::new(Pixels::Floats(pixels), labels, Normalization::new(1.0, 0.0, 1.0)?)
        };
        Dataset::new("acme.rings", [2], 3, rings(self.points, 0.0)?, rings(self.points / 2, 0.5)?)
    }
}
