//! The networks whose training is measured against other programs, by name.
//!
//! `tools/bench/pytorch.py` has the same ones; a test below holds the names together, and `cargo xtask bench train`
//! the numbers of parameters.

use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::loss::{LabelSmoothing, cross_entropy};
use kd_core::{Error, Tap};
use kd_train::model::{Model, Task};
use kd_train::models::{
    ConvNet, ConvNetConfig, DsCnn, DsCnnConfig, Mlp, MlpConfig, ResNet, ResNetConfig, Transformer,
    TransformerConfig,
};
use kd_train::network::{Built, Network, seeded};
use kd_train::optimizer;
use kd_train::recipe::OptimizerSpec;

use crate::{labels, values};

/// All names, in the order of the table.
pub const NETWORKS: [&str; 6] = ["mlp", "teacher", "student", "resnet-20", "ds-cnn", "transformer"];

/// So low that thousands of steps on one batch change no activation from used to unused: numbers stay normal.
const RATE: f64 = 1e-6;

/// A network in training, with a batch that is in memory.
pub struct Training {
    network: Box<dyn Network>,
    optimizer: ModuleOptimizer,
    rows: Tensor<2>,
    targets: Tensor<1, Int>,
}

impl Training {
    /// Builds a network on a plain device, from a fixed seed; `None` where [`NETWORKS`] does not have the name.
    pub fn new(name: &str, device: &Device) -> Option<Self> {
        Self::with_batch(name, batch(name), device)
    }

    /// The same with as many examples in a batch.
    pub fn with_batch(name: &str, batch: usize, device: &Device) -> Option<Self> {
        let network = build(name, device)?.training();
        let autodiff = device.clone().autodiff();
        let Task { classes, .. } = network.task();
        let targets = labels(batch, *classes, &autodiff);
        let features = network.task().features();
        let numbers = match name {
            "transformer" => sequences(batch, features),
            _ => values(batch * features),
        };
        let rows = Tensor::from_data(TensorData::new(numbers, [batch, features]), &autodiff);
        let optimizer = optimizer::build(&OptimizerSpec::AdamW(Default::default()));
        Some(Self { network, optimizer, rows, targets })
    }

    /// Trainable numbers.
    pub fn parameters(&self) -> usize {
        let entries = self.network.entries();
        entries
            .iter()
            .filter(|entry| !entry.is_buffer())
            .map(|entry| entry.shape.iter().product::<usize>())
            .sum()
    }

    /// Examples of a step.
    pub fn batch(&self) -> usize {
        self.targets.dims()[0]
    }

    /// Forward pass, cross entropy, backward pass, AdamW; the loss is not read out.
    ///
    /// # Errors
    ///
    /// What [`cross_entropy`] returns.
    pub fn step(&mut self) -> Result<Tensor<1>, Error> {
        let logits = self.network.forward(self.rows.clone(), &mut Tap::none());
        let loss = cross_entropy(logits, &self.targets, LabelSmoothing::default())?;
        let mut gradients = loss.backward();
        let own = self.network.gradients(&mut gradients);
        self.network.step(&mut self.optimizer, RATE, own);
        Ok(loss)
    }
}

fn batch(name: &str) -> usize {
    match name {
        "resnet-20" | "ds-cnn" => 64,
        "transformer" => 32,
        _ => 128,
    }
}

/// An untrained network, from a fixed seed; `None` where [`NETWORKS`] does not have the name.
pub fn build(name: &str, device: &Device) -> Option<Box<dyn Network>> {
    let digits = Task { input: vec![1, 28, 28], classes: 10 };
    let images = Task { input: vec![3, 32, 32], classes: 10 };
    let text = Task { input: vec![64], classes: 26 };
    // Teacher and student are those of `configs/mnist.toml`.
    let convnet = |channels: [usize; 2], hidden| ConvNetConfig {
        channels: channels.to_vec(),
        kernel: 5,
        hidden,
        norm: true,
    };
    let network = match name {
        "mlp" => fixed::<Mlp>("mlp", &MlpConfig { hidden: vec![512, 512] }, &digits, device),
        "teacher" => fixed::<ConvNet>("convnet", &convnet([16, 32], 128), &digits, device),
        "student" => fixed::<ConvNet>("convnet", &convnet([6, 10], 32), &digits, device),
        "resnet-20" => fixed::<ResNet>("resnet", &ResNetConfig { depth: 20, width: 16 }, &images, device),
        "ds-cnn" => {
            let config = DsCnnConfig {
                stem: 32,
                stem_stride: 1,
                channels: vec![64, 64, 128, 128],
                strides: vec![2, 1, 2, 1],
            };
            fixed::<DsCnn>("ds-cnn", &config, &images, device)
        }
        "transformer" => {
            let config =
                TransformerConfig { width: 128, layers: 4, heads: 4, feed_forward: 512, vocabulary: 256 };
            fixed::<Transformer>("transformer", &config, &text, device)
        }
        _ => return None,
    };
    Some(network)
}

fn fixed<M: Model>(
    model: &'static str,
    config: &M::Config,
    task: &Task,
    device: &Device,
) -> Box<dyn Network> {
    seeded(device, 1, || Built::<M>::build(model, config, task, device)).expect("it fits the task")
}

/// Bytes from 1 to 255 with padding, which is 0, behind them; row `r` is `r mod length/2` shorter than `length`.
fn sequences(batch: usize, length: usize) -> Vec<f32> {
    let byte = |x: f32| 1.0 + ((x + 1.0) * 127.0).floor();
    let mut ids: Vec<f32> = values(batch * length).into_iter().map(byte).collect();
    for (row, ids) in ids.chunks_mut(length).enumerate() {
        ids[length - row % (length / 2)..].fill(0.0);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The opponent.
    const PYTORCH: &str = include_str!("../../tools/bench/pytorch.py");

    #[test]
    fn pytorch_has_the_same_names() {
        let table =
            PYTORCH.split_once("\nNETWORKS = {\n").expect("a table").1.split_once("\n}").expect("its end").0;
        let names: Vec<&str> = table.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
        assert_eq!(names, NETWORKS);
    }

    #[test]
    fn parameters_are_as_many_as_pytorch_counts() {
        // `sum(p.numel() for p in model.parameters())` of the networks in `tools/bench/pytorch.py`.
        let counted = [669_706, 215_418, 17_724, 272_474, 36_874, 837_658];
        for (name, counted) in NETWORKS.into_iter().zip(counted) {
            let training = Training::new(name, &crate::device()).expect("a name of the table");
            assert_eq!(training.parameters(), counted, "{name}");
        }
        assert!(Training::new("lenet", &crate::device()).is_none());
    }

    #[test]
    fn a_step_learns_from_the_batch() {
        let mut training = Training::new("student", &crate::device()).expect("a name of the table");
        let mut losses = (0..6).map(|_| training.step().expect("shapes fit").into_scalar::<f32>());
        let first = losses.next().expect("six steps");
        let last = losses.next_back().expect("six steps");
        assert!((1.0..4.0).contains(&first), "an untrained network is near ln 10: {first}");
        assert!(last < first, "{first} {last}");
    }

    #[test]
    fn sequences_end_in_padding() {
        let ids = sequences(4, 8);
        let lengths: Vec<usize> =
            ids.chunks(8).map(|row| row.iter().take_while(|&&id| id > 0.0).count()).collect();
        assert_eq!(lengths, [8, 7, 6, 5]);
        assert!(ids.iter().all(|id| (0.0..=255.0).contains(id) && id.fract() == 0.0));
    }
}
