//! What the benchmarks share: the device, the main job's models, and inputs that never change.
//!
//! `cargo xtask bench` runs them and prints a table; `BURN_DEVICE` moves those that compute on tensors to another
//! device of this build.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_train::model::{Model, Task};
use kd_train::models::{ConvNet, ConvNetConfig};
use kd_train::network::{Built, Network};

pub mod losses;
pub mod networks;
pub mod pruned;

/// Examples of a training batch.
pub const BATCH: usize = 128;

/// The device that is measured: `flex`, or what `BURN_DEVICE` names.
pub fn device() -> Device {
    let name = std::env::var("BURN_DEVICE").unwrap_or_else(|_| "flex".into());
    kd_train::device::open(&name).unwrap_or_else(|error| panic!("{error}"))
}

/// MNIST's shape.
pub fn task() -> Task {
    Task { input: vec![1, 28, 28], classes: 10 }
}

/// The teacher of the main job, untrained.
pub fn teacher(device: &Device) -> Box<dyn Network> {
    convnet([16, 32], 128, device)
}

/// Its student, untrained.
pub fn student(device: &Device) -> Box<dyn Network> {
    convnet([4, 8], 32, device)
}

/// The module inside [`student`], for what works on modules.
pub fn student_module(device: &Device) -> ConvNet {
    let config = ConvNetConfig { channels: vec![4, 8], kernel: 5, hidden: 32, norm: true };
    ConvNet::build(&config, &task(), device).expect("it fits the task")
}

fn convnet(channels: [usize; 2], hidden: usize, device: &Device) -> Box<dyn Network> {
    let config = ConvNetConfig { channels: channels.to_vec(), kernel: 5, hidden, norm: true };
    kd_train::network::seeded(device, 1, || Built::<ConvNet>::build("convnet", &config, &task(), device))
        .expect("it fits the task")
}

/// Numbers between −1 and 1 that are the same in every run.
pub fn values(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A tensor of [`values`].
pub fn tensor<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values(shape.iter().product()), shape), device)
}

/// Labels of `classes` classes in turn.
pub fn labels(batch: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = (0..batch).map(|i| (i % classes) as i32).collect();
    Tensor::from_data(TensorData::new(labels, [batch]), device)
}
