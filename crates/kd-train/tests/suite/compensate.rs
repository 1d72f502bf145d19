//! Biases that take over what removed channels gave: exact where the channels were constant, better where they were not.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::Tap;
use kd_deploy::Array;
use kd_graph::{Axis, Graph};
use kd_train::Task;
use kd_train::batches::Batch;
use kd_train::models::{ConvNet, ConvNetConfig, Mlp, MlpConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::prune::compensate::compensate;
use kd_train::prune::follow;
use prune_core::{Cut, cut_of};

fn task() -> Task {
    Task { input: vec![1, 8, 8], classes: 4 }
}

fn rows(count: usize) -> Tensor<2> {
    let values: Vec<f32> =
        (0..count * 64).map(|i| (i as f32 * 0.37).sin() + 0.5 * (i as f32 * 0.011).cos()).collect();
    Tensor::from_data(TensorData::new(values, [count, 64]), &Device::flex())
}

fn batch(count: usize) -> Batch {
    let labels: Tensor<1, Int> =
        Tensor::from_data(TensorData::new(vec![0_i32; count], [count]), &Device::flex());
    Batch { rows: rows(count), labels, classes: vec![0; count] }
}

/// Removes the first units of the first axis that can be cut.
fn first_units(network: &dyn Network, graph: &Graph, removed: usize) -> (Axis, Cut) {
    let axes = follow::axes(network, graph);
    let axis = axes.into_iter().find(|axis| axis.pinned.is_none() && axis.size > removed).unwrap();
    let keep: Vec<usize> = (removed..axis.size).collect();
    let cut = cut_of(graph, [(&axis, keep.as_slice())]).unwrap();
    (axis, cut)
}

fn logits(network: &dyn Network) -> Vec<f32> {
    network.inference().forward(rows(40), &mut Tap::none()).into_data().try_to_vec().unwrap()
}

/// Sets what writes the first units to zero, and their bias or shift to a constant above zero.
fn make_constant(network: &mut Box<dyn Network>, axis: &Axis, units: usize) {
    let mut weights = network.weights();
    for member in &axis.members {
        let array = &weights[&member.path];
        let constant = match member.path.rsplit('.').next() {
            Some("bias" | "beta") => 0.7,
            Some("weight") if member.dim == usize::from(array.shape().len() == 2) => 0.0,
            _ => continue,
        };
        let inner: usize = array.shape()[member.dim + 1..].iter().product();
        let unit = |at: usize| at / inner % array.shape()[member.dim];
        let value = |(at, &x): (usize, &f32)| if unit(at) < units { constant } else { x };
        let values: Vec<f32> = array.data().iter().enumerate().map(value).collect();
        let array = Array::new(array.shape().to_vec(), values).unwrap();
        weights.insert(member.path.clone(), array);
    }
    network.set_weights(&weights);
}

/// Largest difference of logits from the whole network's, plainly cut and compensated.
fn differences(network: &mut Box<dyn Network>, graph: &Graph, cut: &Cut) -> (f32, f32) {
    let whole = logits(network.as_ref());
    let difference = |network: &dyn Network| {
        let found = logits(network.cut(cut).unwrap().as_ref());
        found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let plain = difference(network.as_ref());
    let (weights, without) = compensate(network.as_ref(), graph, cut, [batch(40)].into_iter()).unwrap();
    assert_eq!(without, 0);
    network.set_weights(&weights);
    (plain, difference(network.as_ref()))
}

#[test]
fn constant_units_leave_no_trace() {
    let device = Device::flex();
    let config = MlpConfig { hidden: vec![20, 12] };
    let mut network = seeded(&device, 4, || Built::<Mlp>::build("mlp", &config, &task(), &device)).unwrap();
    let graph = network.graph().unwrap();
    let (axis, cut) = first_units(network.as_ref(), &graph, 5);
    make_constant(&mut network, &axis, 5);
    let (plain, compensated) = differences(&mut network, &graph, &cut);
    assert!(plain > 1e-2 && compensated < 1e-5, "{plain} and {compensated}");
}

#[test]
fn running_means_take_over_where_there_is_no_bias() {
    let device = Device::flex();
    let config = ConvNetConfig { channels: vec![8, 6], kernel: 1, hidden: 10, norm: true };
    let build = || Built::<ConvNet>::build("convnet", &config, &task(), &device);
    let mut network = seeded(&device, 4, build).unwrap();
    let graph = network.graph().unwrap();
    let (axis, cut) = first_units(network.as_ref(), &graph, 3);
    make_constant(&mut network, &axis, 3);
    let (plain, compensated) = differences(&mut network, &graph, &cut);
    assert!(plain > 1e-2 && compensated < 1e-5, "{plain} and {compensated}");
}
