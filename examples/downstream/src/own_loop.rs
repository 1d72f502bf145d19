//! Losses and schedules of `kd-core` in a training loop of one's own: no recipe, no run directory, no command line.
//!
//! ```console
//! $ cargo run -p downstream --bin own-loop
//! ```
//!
//! It should print an agreement with the teacher of at least 90 %.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::process::ExitCode;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use kd_core::loss::{Kl, kl};
use kd_core::{Progress, Schedule, Temperature};

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

impl Net {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(8, width).init(device),
            output: LinearConfig::new(width, 4).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(x)))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(agreement) if agreement >= 0.9 => {
            println!("agreement with the teacher: {:.1} %", agreement * 100.0);
            ExitCode::SUCCESS
        }
        Ok(agreement) => {
            println!("agreement with the teacher: {:.1} %, expected at least 90 %", agreement * 100.0);
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The share of fresh inputs on which the student chooses the teacher's class.
fn run() -> Result<f64, kd_core::Error> {
    let device = Device::default();
    device.seed(5);
    let teacher = Net::new(64, &device);
    let mut student = Net::new(16, &device.clone().autodiff());
    let mut optimizer = AdamConfig::new().init();
    let rate = Schedule::cosine(1e-2, 1e-4)?;
    let knobs = Kl::new(Temperature::new(2.0)?);
    let steps = 400;
    for step in 0..steps {
        let x = inputs(step, &device);
        let taught = teacher.forward(x.clone());
        let loss = kl(student.forward(x.autodiff()), taught, &knobs)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &student);
        student = optimizer.step(rate.at(Progress::of(step, steps)), student, gradients);
    }
    let x = inputs(steps, &device);
    let chosen = |net: &Net| net.forward(x.clone()).argmax(1);
    let same = chosen(&teacher).equal(chosen(&student.valid())).float().mean().into_scalar::<f32>();
    Ok(f64::from(same))
}

/// 256 inputs that differ from step to step, by a formula.
fn inputs(step: usize, device: &Device) -> Tensor<2> {
    let value = |i: usize| ((step * 2048 + i) as f32 * 12.9898).sin() * 2.0;
    Tensor::from_data(TensorData::new((0..2048).map(value).collect::<Vec<_>>(), [256, 8]), device)
}
