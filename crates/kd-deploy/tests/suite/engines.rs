//! Engines on a model: degrees of optimization, and the time that a run takes.

use std::time::Duration;

use crate::common::{
    IMAGE, assert_close, engines, floats, graph, images, on_disk, onnxruntime, trained, weights,
};
use burn::tensor::Device;
use kd_deploy::engine::Optimization;
use kd_deploy::latency::{Effort, measure};
use kd_deploy::onnx;

#[test]
fn optimized_and_plain_execution_agree() {
    let Some(engine) = onnxruntime() else { return };
    let device = Device::flex();
    let net = trained(&device);
    let file = on_disk(&onnx::lower(&graph(&net), &weights(&net), None).unwrap());
    let input = floats(images(2, &device).into_data());
    let run = |optimization| {
        let mut session = engine.load_with(&file.path, 2, optimization).unwrap();
        assert_eq!(session.threads(), 2);
        session.run(&input, &[2, 1, 12, 12]).unwrap()
    };
    let plain = run(Optimization::None);
    assert_close(&run(Optimization::All), &plain, 1e-5, "all");
    assert_close(&run(Optimization::Extended), &plain, 1e-5, "extended");
}

#[test]
fn models_are_timed_in_turns_on_every_engine() {
    let device = Device::flex();
    let net = trained(&device);
    let file = on_disk(&onnx::lower(&graph(&net), &weights(&net), None).unwrap());
    let input = floats(images(4, &device).into_data());
    for engine in engines() {
        let mut sessions = [engine.load(&file.path, 1).unwrap(), engine.load(&file.path, 1).unwrap()];
        let effort = Effort { warm_up: 1, runs: 20, limit: Duration::from_secs(1) };
        let latency = measure(&mut sessions, &input, &IMAGE, 4, effort).unwrap();
        assert_eq!(latency.len(), 2);
        for latency in latency {
            assert!(latency.median > 0.0 && latency.median <= latency.p95, "{latency:?}");
        }
    }
}
