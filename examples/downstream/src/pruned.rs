//! A Burn module of one's own, pruned in the middle of its training, saved, and loaded by code that knows its full
//! widths alone.
//!
//! ```console
//! $ cargo run -p downstream --bin pruned -- FOLDER
//! ```
//!
//! It writes `net.bpk`, the weights in Burn's own format, and `cut.json`, the receipt, and should print that half of the
//! multiply-accumulates are left and that the loaded network computes the same, bit for bit.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use prune_core::{
    Channels, Cut, Ids, Limits, Magnitude, Share, Weights, apply, cut_optimizer, mask_equals_remove,
    plan_channels, verify_cut,
};

/// Nothing here knows of pruning. Widths are written down once, where a network is made.
#[derive(Module, Debug)]
struct Net {
    stem: Conv2d,
    norm: BatchNorm,
    inner: Conv2d,
    outer: Conv2d,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |from, to| {
            let same = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new([from, to], [3, 3]).with_padding(same).init(device)
        };
        Self {
            stem: conv(1, 16),
            norm: BatchNormConfig::new(16).init(device),
            inner: conv(16, 24),
            outer: conv(24, 16),
            head: LinearConfig::new(16 * 6 * 6, 4).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.norm.forward(self.stem.forward(x)));
        let x = x.clone() + self.outer.forward(relu(self.inner.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }
}

/// Shape of an example, with a batch of any size first.
const EXAMPLE: [usize; 4] = [1, 1, 6, 6];

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    match prune(&folder).and_then(|expected| load(&folder, &expected)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Trains, prunes, trains on, and saves; returns what the network makes of [`probe`].
fn prune(folder: &Path) -> Result<Tensor<2>, Box<dyn Error>> {
    let device = Device::default();
    device.seed(7);
    let training = device.clone().autodiff();
    let mut optimizer = AdamWConfig::new().init();
    let net = train(Net::new(&training), &mut optimizer, &training);

    // What belongs together is read off the forward pass.
    let graph = kd_graph::capture(&net, EXAMPLE, |net: &Net, x, _| net.forward(x))?;
    let half = Channels::Macs(Share::new(0.5)?);
    let limits = Limits { round_to: 2, ..Limits::default() };
    let plan = plan_channels(&graph, &Weights::read(&net), &Magnitude::default(), half, limits)?;
    println!("{} of {} multiply-accumulates are left", plan.after.macs, plan.before.macs);

    // Proven before a weight changes: silencing the channels is removing them, and what is left is what was planned.
    mask_equals_remove(&net, &graph, &plan.cut, |net| net.forward(probe(&device)))?.check()?;
    let small = apply(net.clone(), &plan.cut)?;
    verify_cut(&small, &graph, &plan.cut, EXAMPLE, |net: &Net, x, _| net.forward(x))?;

    // Training goes on, with the moments of what is left.
    let mut optimizer = cut_optimizer(optimizer, &Ids::of(&net), &Ids::of(&small), &plan.cut)?;
    let small = train(small, &mut optimizer, &training).valid();
    std::fs::write(folder.join("cut.json"), serde_json::to_string_pretty(&plan.cut)?)?;
    small.clone().save_file(folder.join("net.bpk"))?;
    Ok(small.forward(probe(&device)))
}

/// Makes a network of full width, cuts it as the receipt says, and loads the weights.
fn load(folder: &Path, expected: &Tensor<2>) -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let cut: Cut = serde_json::from_slice(&std::fs::read(folder.join("cut.json"))?)?;
    let net = apply(Net::new(&device), &cut)?.try_load_file(folder.join("net.bpk"))?;
    match net.forward(probe(&device)).into_data() == expected.to_data() {
        true => println!("loaded, and equal to the last bit"),
        false => return Err("the loaded network computes something else".into()),
    }
    Ok(())
}

/// Ten steps on noise and four classes by a formula.
fn train(mut net: Net, optimizer: &mut ModuleOptimizer, device: &Device) -> Net {
    for _ in 0..10 {
        let x = Tensor::<4>::random([16, 1, 6, 6], Distribution::Normal(0.0, 1.0), device);
        let wanted = x.clone().slice([0..16, 0..1, 0..1, 0..4]).flatten::<2>(1, 3);
        let loss = (net.forward(x) - wanted).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimizer.step(1e-3, net, gradients);
    }
    net
}

/// Eight examples by a formula, the same whenever they are asked for.
fn probe(device: &Device) -> Tensor<4> {
    let x = Tensor::<1, burn::tensor::Int>::arange(0..288, device).float();
    x.mul_scalar(0.7).sin().reshape([8, 1, 6, 6])
}
