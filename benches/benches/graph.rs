//! Capture, coupled axes, plans and cuts.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use kd_benches::{device, student, student_module, teacher};
use prune_core::{Channels, Limits, Magnitude, Share, Weights, plan_channels};

fn graph(c: &mut Criterion) {
    let device = device();
    let network = teacher(&device);
    let graph = network.graph().expect("it can be captured");
    c.bench_function("graph/capture/teacher", |b| b.iter(|| network.graph()));
    c.bench_function("graph/macs/teacher", |b| b.iter(|| kd_graph::macs(&graph)));
    c.bench_function("graph/axes/teacher", |b| b.iter(|| kd_graph::axes(&graph)));

    let small = student(&device);
    let graph = small.graph().expect("it can be captured");
    let weights = Weights::read(&student_module(&device));
    let target = Channels::Macs(Share::new(0.4).expect("a share"));
    let plan = || plan_channels(&graph, &weights, &Magnitude::default(), target, Limits::default());
    c.bench_function("prune/plan/student", |b| b.iter(plan));
    let cut = plan().expect("a plan").cut;
    c.bench_function("prune/cut/student", |b| b.iter(|| small.cut(&cut)));
}

criterion_group!(graphs, graph);
criterion_main!(graphs);
