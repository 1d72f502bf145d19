//! The float export of a real network, against Burn's own forward pass.

use crate::common::{
    CLASSES, IMAGE, assert_close, engines, floats, graph, images, on_disk, trained, weights,
};
use burn::tensor::Device;
use kd_deploy::parity::{Parity, Tolerance, run_all};
use kd_deploy::{foldings, onnx};

#[test]
fn every_engine_computes_what_burn_computes_at_any_batch_size() {
    let device = Device::flex();
    let net = trained(&device);
    let model = onnx::lower(&graph(&net), &weights(&net), None).unwrap();
    let file = on_disk(&model);
    let count = 69;
    let input = images(count, &device);
    let expected = floats(net.forward(input.clone(), &mut |_, x| x).into_data());
    let input = floats(input.into_data());
    let size: usize = IMAGE.iter().product();
    for engine in engines() {
        let mut session = engine.load(&file.path, 1).unwrap();
        for batch in [1, 32] {
            let fill = |range: std::ops::Range<usize>, into: &mut Vec<f32>| {
                into.extend_from_slice(&input[range.start * size..range.end * size]);
            };
            let found = run_all(session.as_mut(), &IMAGE, count, batch, fill).unwrap();
            let parity = Parity::of(&expected, &found, CLASSES).unwrap();
            parity.check(Tolerance::Float, "model.onnx", engine.name()).unwrap();
            assert!(parity.max_logit > 0.1, "the test has something to compare: {parity:?}");
        }
    }
}

#[test]
fn batch_norms_fold_and_linear_layers_are_gemms() {
    let device = Device::flex();
    let net = trained(&device);
    let graph = graph(&net);
    let folds: Vec<_> = foldings(&graph, None).unwrap();
    let layers: Vec<_> = folds.iter().map(|f| (f.weight.as_str(), f.gamma.as_str())).collect();
    assert_eq!(layers, [("conv1.weight", "norm1.gamma"), ("conv2.weight", "norm2.gamma")]);

    let model = onnx::lower(&graph, &weights(&net), None).unwrap();
    let operators = onnx::operators(&model).unwrap();
    let operators: Vec<_> = operators.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let expected = [("Conv", 2), ("Gemm", 2), ("MaxPool", 2), ("Relu", 3), ("Reshape", 1)];
    assert_eq!(operators, expected);
}

#[test]
fn equal_models_give_equal_bytes() {
    let device = Device::flex();
    let net = trained(&device);
    let bytes = || onnx::lower(&graph(&net), &weights(&net), None).unwrap();
    assert!(bytes() == bytes());
}

#[test]
fn a_missing_and_a_misshapen_weight_are_named() {
    let device = Device::flex();
    let net = trained(&device);
    let graph = graph(&net);
    let mut less = weights(&net);
    less.remove("linear1.bias");
    assert_eq!(
        onnx::lower(&graph, &less, None).unwrap_err().to_string(),
        "no weight `linear1.bias` among the 14 given: every parameter of the graph needs one"
    );
    let mut other = weights(&net);
    let transposed = other["linear1.weight"].transposed();
    other.insert("linear1.weight".into(), transposed);
    assert_eq!(
        onnx::lower(&graph, &other, None).unwrap_err().to_string(),
        "weight `linear1.weight`: expected shape [54, 16], found [16, 54]"
    );
}

#[test]
fn engines_report_what_is_wrong_and_go_on() {
    let device = Device::flex();
    let net = trained(&device);
    let file = on_disk(&onnx::lower(&graph(&net), &weights(&net), None).unwrap());
    let broken = on_disk(b"this is no model");
    for engine in engines() {
        let error = engine.load(&broken.path, 1).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} cannot load", engine.name())), "{error}");
        let error = engine.load(&broken.folder.path().join("none.onnx"), 1).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("none.onnx"), "{error}");

        let mut session = engine.load(&file.path, 1).unwrap();
        assert!(session.run(&[0.0; 3], &[1, 1, 12, 12]).is_err());
        assert!(session.run(&[0.0; 15], &[1, 1, 3, 5]).is_err());
        let good = session.run(&[0.0; 144], &[1, 1, 12, 12]).unwrap();
        assert_close(&good, &session.run(&[0.0; 144], &[1, 1, 12, 12]).unwrap(), 0.0, engine.name());
        assert_eq!(session.threads(), 1);
        assert!(!engine.version().is_empty());
    }
}
