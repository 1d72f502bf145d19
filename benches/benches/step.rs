//! A whole training step, and what it is made of.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use kd_benches::networks::Training;
use kd_benches::{BATCH, device, labels, student, teacher, tensor};
use kd_core::loss::{Kl, LabelSmoothing, cross_entropy, kl};
use kd_core::{Tap, Temperature};
use kd_train::network::Network;
use kd_train::optimizer;
use kd_train::recipe::OptimizerSpec;

fn rows(device: &Device) -> Tensor<2> {
    tensor([BATCH, 784], device)
}

fn steps(c: &mut Criterion) {
    let plain = device();
    let autodiff = plain.clone().autodiff();
    let rows = rows(&autodiff);
    let targets = labels(BATCH, 10, &autodiff);
    for (name, network) in [("teacher", teacher(&plain)), ("student", student(&plain))] {
        let inference = network.inference();
        let plain_rows = rows.clone().without_autodiff();
        c.bench_function(&format!("step/forward/{name}"), |b| {
            b.iter(|| inference.forward(plain_rows.clone(), &mut Tap::none()).into_data());
        });
        let mut network = network.training();
        let mut optimizer = optimizer::build(&OptimizerSpec::default());
        c.bench_function(&format!("step/train/{name}"), |b| {
            b.iter(|| {
                let logits = network.forward(rows.clone(), &mut Tap::none());
                let loss = cross_entropy(logits, &targets, LabelSmoothing::default()).expect("shapes fit");
                learn(network.as_mut(), &mut optimizer, loss);
            });
        });
    }
    let from = teacher(&plain).inference();
    let mut network = student(&plain).training();
    let mut optimizer = optimizer::build(&OptimizerSpec::default());
    let knobs = Kl::new(Temperature::new(4.0).expect("above 0"));
    c.bench_function("step/distill/student", |b| {
        b.iter(|| {
            let taught = from.forward(rows.clone().without_autodiff(), &mut Tap::none());
            let logits = network.forward(rows.clone(), &mut Tap::none());
            learn(network.as_mut(), &mut optimizer, kl(logits, taught, &knobs).expect("shapes fit"));
        });
    });
}

/// Small batches of the larger networks, so that a row takes seconds; `cargo xtask bench train` has whole ones.
const LARGER: [(&str, usize); 3] = [("resnet-20", 8), ("ds-cnn", 16), ("transformer", 8)];

fn larger(c: &mut Criterion) {
    let plain = device();
    let mut group = c.benchmark_group("step/train");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for (name, batch) in LARGER {
        let mut training = Training::with_batch(name, batch, &plain).expect("a name of the table");
        group.bench_function(format!("{name}/batch-{batch}"), |b| {
            b.iter(|| training.step().expect("shapes fit").into_data());
        });
    }
    group.finish();
}

fn learn(network: &mut dyn Network, optimizer: &mut burn::optim::ModuleOptimizer, loss: Tensor<1>) {
    let mut gradients = loss.backward();
    let own = network.gradients(&mut gradients);
    network.step(optimizer, 1e-6, own);
    std::hint::black_box(loss.into_data());
}

criterion_group!(training, steps, larger);
criterion_main!(training);
