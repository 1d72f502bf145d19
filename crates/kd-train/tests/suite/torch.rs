//! A teacher that PyTorch trained, and our files read back by name.
use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_train::models::{ConvNet, ConvNetConfig};
use kd_train::network::{Built, Network};
use kd_train::{Task, weights};

fn network(classes: usize) -> Box<dyn Network> {
    let config = ConvNetConfig { channels: vec![9, 9], kernel: 3, hidden: 9, norm: true };
    let task = Task { input: vec![1, 8, 8], classes };
    Built::<ConvNet>::build("convnet", &config, &task, &Device::flex()).unwrap()
}

fn file() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_convnet.safetensors")
}

#[test]
fn weights_that_pytorch_made_give_its_logits_whatever_the_widths_in_the_recipe() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/torch_convnet.json")).unwrap();
    let floats = |key: &str| -> Vec<f32> {
        golden[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let mut network = network(10);
    weights::load(network.as_mut(), &file()).unwrap();
    let x = Tensor::<2>::from_data(TensorData::new(floats("x"), [5, 64]), &Device::flex());
    let found: Vec<f32> = network.forward(x, &mut Tap::none()).into_data().try_to_vec().unwrap();
    let expected = floats("logits");
    let most = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    for (a, b) in expected.iter().zip(&found) {
        assert!((a - b).abs() <= 1e-5 * most, "expected {a}, found {b}");
    }

    // And back: the same names, shapes and bits as PyTorch's own file, but for its step counters.
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("model.safetensors");
    weights::save(network.as_ref(), &own).unwrap();
    let theirs = kd_deploy::safetensors::read(&file()).unwrap();
    assert_eq!(kd_deploy::safetensors::read(&own).unwrap().arrays, theirs.arrays);
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_the_reason() {
    let error = weights::load(network(7).as_mut(), &file()).unwrap_err();
    assert_eq!(error.code(), "checkpoint::classes");
    assert!(error.to_string().ends_with("expected a model of 7 classes, found one of 10"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.safetensors");
    std::fs::write(&broken, b"no safetensors").unwrap();
    assert_eq!(weights::load(network(10).as_mut(), &broken).unwrap_err().code(), "checkpoint::unusable");

    let mut arrays = kd_deploy::safetensors::read(&file()).unwrap().arrays;
    arrays.remove("hidden.bias");
    kd_deploy::safetensors::write(&broken, &arrays, &Default::default()).unwrap();
    let error = weights::load(network(10).as_mut(), &broken).unwrap_err();
    assert!(error.to_string().contains("expected a parameter `hidden.bias`"), "{error}");

    let missing = weights::resolve(&folder.path().join("nothing")).unwrap_err();
    assert_eq!(missing.code(), "checkpoint::missing");
}
