//! Losses, fake-quantization, codecs and masks.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use burn::tensor::Tensor;
use criterion::{Criterion, criterion_group, criterion_main};
use kd_benches::{BATCH, device, labels, tensor, values};
use kd_core::Temperature;
use kd_core::loss::{Kl, LabelSmoothing, cross_entropy, hint, kl};
use prune_core::{Inputs, Magnitude, Matrix, Unit};
use quant_core::{
    Layout, Observer, ObserverSpec, QParams, Scheme, fake_quant, fake_quant_scalar, quantize, weight_scale,
};

/// Waits for the device: a queue of operations is no result.
fn finish<const D: usize>(tensor: Tensor<D>) {
    std::hint::black_box(tensor.into_data());
}

fn losses(c: &mut Criterion) {
    let device = device().autodiff();
    let temperature = Temperature::new(4.0).expect("above 0");
    for (batch, classes) in [(BATCH, 10), (1024, 1000)] {
        let student = tensor::<2>([batch, classes], &device).require_grad();
        let teacher = tensor::<2>([batch, classes], &device).mul_scalar(0.5).without_autodiff();
        let targets = labels(batch, classes, &device);
        c.bench_function(&format!("kd/cross-entropy/{batch}x{classes}"), |b| {
            b.iter(|| {
                let loss = cross_entropy(student.clone(), &targets, LabelSmoothing::default());
                finish(student.grad(&loss.expect("shapes fit").backward()).expect("a gradient"));
            });
        });
        c.bench_function(&format!("kd/kl/{batch}x{classes}"), |b| {
            b.iter(|| {
                let loss = kl(student.clone(), teacher.clone(), &Kl::new(temperature)).expect("shapes fit");
                finish(student.grad(&loss.backward()).expect("a gradient"));
            });
        });
    }
    let student = tensor::<4>([BATCH, 16, 14, 14], &device).require_grad();
    let teacher = tensor::<4>([BATCH, 16, 14, 14], &device).without_autodiff();
    c.bench_function("kd/hint/128x16x14x14", |b| {
        b.iter(|| {
            let loss = hint(student.clone(), teacher.clone()).expect("shapes fit");
            finish(student.grad(&loss.backward()).expect("a gradient"));
        });
    });
}

fn rounding(c: &mut Criterion) {
    let plain = device();
    let autodiff = plain.clone().autodiff();
    let activations = tensor::<4>([BATCH, 16, 28, 28], &plain);
    c.bench_function("quant/fake-quant/activations/1605632", |b| {
        b.iter(|| finish(fake_quant_scalar(activations.clone(), 0.01, -128, -128, 127)));
    });
    let tracked = tensor::<4>([BATCH, 16, 28, 28], &autodiff).require_grad();
    c.bench_function("quant/fake-quant/activations-with-gradient/1605632", |b| {
        b.iter(|| {
            let y = fake_quant_scalar(tracked.clone(), 0.01, -128, -128, 127);
            finish(tracked.grad(&y.sum().backward()).expect("a gradient"));
        });
    });
    let scheme: Scheme = "int8 channel narrow".parse().expect("a scheme");
    let (symmetry, limits) = scheme.grid().expect("an integer scheme");
    let weight = tensor::<4>([64, 64, 5, 5], &plain);
    c.bench_function("quant/fake-quant/weight/102400", |b| {
        b.iter(|| {
            let (scale, zero) = weight_scale(weight.clone(), Some(0), symmetry, limits);
            finish(fake_quant(weight.clone(), scale, zero, -127, 127));
        });
    });
    let x = values(1 << 20);
    let layout = Layout::tensor(&[1 << 20]);
    let qparams = QParams { scale: vec![1.0 / 127.0], zero_point: vec![0], qmin: -127, qmax: 127 };
    c.bench_function("quant/quantize/1Mi", |b| b.iter(|| quantize(&x, &layout, &qparams)));
    c.bench_function("quant/observe/1Mi", |b| {
        b.iter(|| {
            let mut observer = Observer::new(ObserverSpec::MinMax);
            observer.observe(&x, &layout).expect("finite numbers");
            observer
        });
    });
}

fn masks(c: &mut Criterion) {
    let x = values(512 * 512);
    let matrix = Matrix::from_weight("weight", &[512, 512], &x, 0).expect("it fits");
    let scores = prune_core::Criterion::scores(&Magnitude::default(), &Inputs::new(&matrix), Unit::Element);
    let scores = scores.expect("finite scores");
    c.bench_function("prune/magnitude/512x512", |b| {
        b.iter(|| prune_core::Criterion::scores(&Magnitude::default(), &Inputs::new(&matrix), Unit::Element));
    });
    let patterns = [
        ("unstructured", r#"{"unstructured":{"sparsity":0.9}}"#),
        ("n-m", r#"{"n-m":{"keep":2,"of":4}}"#),
        ("block", r#"{"block":{"rows":4,"columns":1,"sparsity":0.5}}"#),
    ];
    for (name, pattern) in patterns {
        let pattern: prune_core::Pattern = serde_json::from_str(pattern).expect("a pattern");
        c.bench_function(&format!("prune/mask/{name}/512x512"), |b| {
            b.iter(|| prune_core::mask(&pattern, &scores, 512, 512));
        });
    }
}

criterion_group!(numbers, losses, rounding, masks);
criterion_main!(numbers);
