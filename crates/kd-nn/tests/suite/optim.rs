//! Optimizers against Burn's: parameters after steps, and records that load into each other.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, LionConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, Tolerance};
use kd_nn::{Adam, AdamW, Lion, Sgd};

fn pairs() -> Vec<(&'static str, ModuleOptimizer, ModuleOptimizer)> {
    let momentum = |nesterov| Some(MomentumConfig { momentum: 0.9, dampening: 0.1, nesterov });
    let decay = Some(WeightDecayConfig::new(0.05));
    let sgd = Sgd { weight_decay: 0.05, momentum: 0.9, dampening: 0.1, nesterov: false };
    vec![
        (
            "sgd",
            Sgd { weight_decay: 0.0, momentum: 0.0, dampening: 0.0, nesterov: false }.into(),
            SgdConfig::new().init(),
        ),
        (
            "momentum",
            sgd.into(),
            SgdConfig::new().with_weight_decay(decay.clone()).with_momentum(momentum(false)).init(),
        ),
        (
            "nesterov",
            Sgd { nesterov: true, ..sgd }.into(),
            SgdConfig::new().with_weight_decay(decay.clone()).with_momentum(momentum(true)).init(),
        ),
        (
            "adam",
            Adam { betas: [0.9, 0.99], epsilon: 1e-5, weight_decay: 0.05 }.into(),
            AdamConfig::new().with_beta_2(0.99).with_weight_decay(decay).init(),
        ),
        (
            "adam-w",
            AdamW { betas: [0.9, 0.99], epsilon: 1e-5, weight_decay: 0.05 }.into(),
            AdamWConfig::new().with_beta_2(0.99).with_weight_decay(0.05).init(),
        ),
        (
            "lion",
            Lion { betas: [0.9, 0.99], weight_decay: 0.05 }.into(),
            LionConfig::new().with_weight_decay(0.05).init(),
        ),
    ]
}

fn step(optimizer: &mut ModuleOptimizer, layer: Linear, x: &Tensor<2>) -> Linear {
    let gradients = layer.forward(x.clone()).powi_scalar(2).mean().backward();
    let gradients = GradientsParams::from_grads(gradients, &layer);
    optimizer.step(0.01, layer, gradients)
}

#[test]
fn steps_and_records_are_burns() {
    let device = Device::default().autodiff();
    device.seed(1);
    let x = Tensor::<2>::random([16, 40], Distribution::Default, &device);
    let start = LinearConfig::new(40, 30).init(&device);
    for (name, mut ours, mut burns) in pairs() {
        let (mut a, mut b) = (start.clone(), start.clone());
        for _ in 0..5 {
            (a, b) = (step(&mut ours, a, &x), step(&mut burns, b, &x));
        }
        let near = Tolerance::absolute(1e-5);
        a.weight.to_data().assert_approx_eq::<f32>(&b.weight.to_data(), near);
        // Each goes on from the other's record.
        let exchanged = (ours.to_record(), burns.to_record());
        let (mut ours, mut burns) = (ours.load_record(exchanged.1), burns.load_record(exchanged.0));
        for _ in 0..3 {
            (a, b) = (step(&mut ours, a, &x), step(&mut burns, b, &x));
        }
        let (a, b) = (a.valid().weight.to_data(), b.valid().weight.to_data());
        a.assert_approx_eq::<f32>(&b, Tolerance::absolute(2e-5));
        assert!(a != start.weight.to_data(), "{name} changes nothing");
    }
}
