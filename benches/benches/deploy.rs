//! Lowering, files, and the latency of exported models on the engine that is built in.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use kd_benches::{device, student, teacher, values};
use kd_deploy::{Engine, Tract, onnx, safetensors};
use kd_train::weights::{masked, params};

fn deploy(c: &mut Criterion) {
    let device = device();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, network) in [("teacher", teacher(&device)), ("student", student(&device))] {
        let graph = network.graph().expect("it can be captured");
        let weights = masked(network.as_ref());
        c.bench_function(&format!("export/onnx/{name}"), |b| b.iter(|| onnx::lower(&graph, &weights, None)));
        let params = params(&network.entries());
        let arrays = safetensors::to_torch(&params, &weights).expect("every weight is there");
        c.bench_function(&format!("export/safetensors/{name}"), |b| {
            b.iter(|| safetensors::encode(&arrays, &Default::default()));
        });
        let file = folder.path().join(format!("{name}.onnx"));
        std::fs::write(&file, onnx::lower(&graph, &weights, None).expect("it has a lowering"))
            .expect("written");
        let mut session = Tract.load(&file, 1).expect("tract reads it");
        let input = values(32 * 784);
        for batch in [1, 32] {
            c.bench_function(&format!("latency/tract/{name}/batch-{batch}"), |b| {
                b.iter(|| session.run(&input[..batch * 784], &[batch, 1, 28, 28]));
            });
        }
    }
}

criterion_group!(artifacts, deploy);
criterion_main!(artifacts);
