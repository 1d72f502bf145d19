//! Forward and backward pass of every loss, at sizes of training.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use kd_benches::device;
use kd_benches::losses::{Case, Sizes};
use kd_core::loss::TABLE;

fn losses(c: &mut Criterion) {
    let device = device();
    for row in TABLE {
        let case = Case::new(row, &Sizes::TRAINING);
        let label = case.label();
        // Only for what is measured: all inputs together are gigabytes.
        let job = LazyCell::new(|| case.job(&device).unwrap_or_else(|error| panic!("{label}: {error}")));
        let (name, shape) = label.split_once('/').unwrap_or((&label, ""));
        let mut group = c.benchmark_group(format!("loss/{name}"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        group.bench_function(shape, |b| {
            b.iter_batched(
                || job.named.clone(),
                |named| {
                    let found = job.evaluate(named).unwrap_or_else(|error| panic!("{label}: {error}"));
                    found.value.device().sync().expect("the device answers");
                    found
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(all, losses);
criterion_main!(all);
