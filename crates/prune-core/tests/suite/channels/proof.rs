//! What is refused, what is compared, and what cannot be.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, relu, sigmoid, softmax, tanh};
use burn::tensor::{Device, Distribution, Tensor};
use kd_graph::{Axis, Sites, axes, capture};
use prune_core::{
    Channels, Comparison, Cut, Error, Limits, Random, Slice, Weights, absent_equals_removed, apply, cut_of,
    mask_equals_remove, plan_axes, predict, run_without, score_axis, verify_cut,
};

use crate::nets::{ConvNet, images, plan, share};

/// A cut of [`ConvNet`] by hand, with the channels that conv2 reads given apart from those that conv1 writes.
fn by_hand(writes: &[usize], reads: &[usize]) -> Cut {
    let slice =
        |path: &str, dim, keep: &[usize]| Slice { path: path.into(), dim, size: 4, keep: keep.to_vec() };
    let mut slices = vec![slice("conv1.weight", 0, writes), slice("conv2.weight", 1, reads)];
    for vector in ["conv1.bias", "norm1.gamma", "norm1.beta", "norm1.running_mean", "norm1.running_var"] {
        slices.push(slice(vector, 0, writes));
    }
    Cut::new(slices).unwrap()
}

#[test]
fn a_cut_that_does_not_belong_together_is_refused() {
    let net = ConvNet::new(4, 3, &Device::flex());
    let graph = net.graph();
    assert!(predict(&graph, &by_hand(&[0, 2], &[0, 2])).is_ok());
    for (writes, reads, complaint) in [
        (vec![0, 2], vec![0, 1], "its input and its weight's input channels keep different units"),
        (vec![0, 2], vec![1], "its input keeps 2 units, its weight's input channels 1 units"),
        (vec![0, 1, 2, 3], vec![1], "its input keeps all units, its weight's input channels 1 units"),
    ] {
        let error = predict(&graph, &by_hand(&writes, &reads)).unwrap_err().to_string();
        assert!(error.contains("conv2.weight") && error.contains(complaint), "{error}");
    }
    let slice =
        |path: &str, dim, size| Cut::new([Slice { path: path.into(), dim, size, keep: vec![0] }]).unwrap();
    for (cut, complaint) in [
        (slice("conv1.weight", 2, 3), "positions would be removed"),
        (slice("conv1.weight", 0, 4), "its weight keeps 1 units, its bias all units"),
        (slice("conv3.weight", 0, 4), "cut names `conv3.weight`, which the module does not have"),
        (slice("conv1.weight", 4, 4), "`conv1.weight` has no dimension 4, its rank is 4"),
        (slice("conv1.weight", 0, 9), "cut was made for size 9 of dimension 0 of `conv1.weight`, found 4"),
    ] {
        let error = predict(&graph, &cut).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    let head = |path: &str, dim| Slice { path: path.into(), dim, size: 10, keep: (0..9).collect() };
    let classes = Cut::new([head("head.weight", 1), head("head.bias", 0)]).unwrap();
    let error = predict(&graph, &classes).unwrap_err().to_string();
    assert!(error.contains("units of the model's output would be removed"), "{error}");
}

#[test]
fn a_difference_is_an_error_with_its_size() {
    let device = Device::default();
    let net = ConvNet::new(4, 3, &device);
    let graph = net.graph();
    let cut = by_hand(&[0, 2], &[0, 2]);
    let x = images(4, &device);
    // A forward pass that depends on a width, as a plain number in a module would make it.
    let odd = |net: &ConvNet| net.forward(x.clone()) * net.conv1.weight.dims()[0] as f32;
    let comparison = mask_equals_remove(&net, &graph, &cut, odd).unwrap();
    let Err(Error::MaskDiffers { max_abs, scale, .. }) = comparison.check() else { panic!("{comparison:?}") };
    // Twice the output against four times: half of the largest.
    assert!((max_abs / scale - 0.5).abs() < 1e-4, "{max_abs} {scale}");
    let broken = |net: &ConvNet| net.forward(x.clone()) * f32::NAN;
    let error = mask_equals_remove(&net, &graph, &cut, broken).unwrap_err();
    assert_eq!(error, Error::OutputNotFinite { model: "silenced" });
    // A module that was not cut is not what the plan promised.
    let error =
        verify_cut(&net, &graph, &cut, ConvNet::EXAMPLE, |net: &ConvNet, x, _| net.forward(x)).unwrap_err();
    let expected = "shape of `conv1.weight` of the cut module is [4, 1, 3, 3], planned [2, 1, 3, 3]";
    assert_eq!(error.to_string(), expected);
    // The right shapes, and more work than planned.
    let small = apply(net, &cut).unwrap();
    let twice = |net: &ConvNet, x: Tensor<4>, _: &mut Sites| net.forward(x.clone()) + net.forward(x);
    let error = verify_cut(&small, &graph, &cut, ConvNet::EXAMPLE, twice).unwrap_err();
    let macs = ConvNet::macs(2, 3);
    let expected = format!("multiply-accumulates of the cut module is {}, planned {macs}", 2 * macs);
    assert_eq!(error.to_string(), expected);
}

/// Two linear layers with something between them.
#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    norm: LayerNorm,
    second: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(5, 9).init(device),
            norm: LayerNormConfig::new(9).init(device),
            second: LinearConfig::new(9, 3).init(device),
        }
    }
}

/// What stands between the two layers.
type Between = fn(&Mlp, Tensor<2>) -> Tensor<2>;

/// Prunes a third of an MLP's hidden units and compares.
fn compare_mlp(between: Between) -> Comparison {
    let device = Device::default();
    let mlp = Mlp::new(&device);
    let forward = |mlp: &Mlp, x| mlp.second.forward(between(mlp, mlp.first.forward(x)));
    let graph = capture(&mlp, [1, 5], |mlp: &Mlp, x, _| forward(mlp, x)).unwrap();
    let plan = plan(&mlp, &graph, Channels::Sparsity(share(0.34)), Limits::default()).unwrap();
    assert_eq!(plan.axes.iter().map(|axis| axis.keep.len()).collect::<Vec<_>>(), [6], "{:?}", plan.whole);
    let x = Tensor::random([32, 5], Distribution::Normal(0.0, 1.0), &device);
    let small = apply(mlp.clone(), &plan.cut).unwrap();
    assert_eq!(forward(&small, x.clone()).dims(), [32, 3]);
    verify_cut(&small, &graph, &plan.cut, [1, 5], |mlp: &Mlp, x, _| forward(mlp, x)).unwrap();
    mask_equals_remove(&mlp, &graph, &plan.cut, |mlp| forward(mlp, x.clone())).unwrap()
}

#[test]
fn operations_that_keep_zero_are_compared() {
    for between in [
        |_: &Mlp, x| relu(x),
        |_: &Mlp, x| gelu(x),
        |_: &Mlp, x| tanh(x),
        |_: &Mlp, x: Tensor<2>| x.clone() * sigmoid(x),
        |_: &Mlp, x: Tensor<2>| x.mul_scalar(3.0).abs(),
        |_: &Mlp, x: Tensor<2>| x.mul_scalar(3.0).int().float(),
        |_: &Mlp, x: Tensor<2>| relu(x.clone()) - x.neg(),
        |_: &Mlp, x: Tensor<2>| x.clone() / x.abs().add_scalar(1.0),
    ] {
        let comparison = compare_mlp(between);
        assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
    }
}

#[test]
fn operations_that_make_something_of_zero_are_silenced_where_they_are_read() {
    for between in [
        |_: &Mlp, x| sigmoid(x),
        |_: &Mlp, x: Tensor<2>| x.exp(),
        |_: &Mlp, x: Tensor<2>| x.add_scalar(1.0),
        |_: &Mlp, x: Tensor<2>| x.clone() + sigmoid(x),
        |_: &Mlp, x: Tensor<2>| x.clone() - sigmoid(x),
        |_: &Mlp, x: Tensor<2>| x.equal_elem(0.0).float(),
        |_: &Mlp, x: Tensor<2>| x.clone().equal(x.abs()).float(),
        |_: &Mlp, x: Tensor<2>| x.clone().greater_equal(x).float(),
        |_: &Mlp, x: Tensor<2>| x.clone().mask_fill(x.lower_elem(0.5), 3.0),
    ] {
        let comparison = compare_mlp(between);
        assert!(comparison.check().unwrap() <= 1e-5, "{comparison:?}");
    }
}

#[test]
fn operations_that_read_all_units_are_named() {
    let cases: [(Between, &str); 4] = [
        (|_, x| x.clone() / x, "a division by zero makes them no number"),
        (|_, x| x.clone() * x.abs().log(), "logarithm of zero is infinite"),
        (|_, x| softmax(x, 1), "softmax"),
        (|mlp, x| mlp.norm.forward(x), "averages over the removed units"),
    ];
    for (between, complaint) in cases {
        let comparison = compare_mlp(between);
        let Comparison::NotComparable { reasons } = &comparison else {
            panic!("{complaint}: {comparison:?}")
        };
        assert!(reasons.iter().any(|reason| reason.contains(complaint)), "{reasons:?}");
        assert!(matches!(comparison.check(), Err(Error::NotComparable { .. })));
    }
}

#[test]
fn operations_that_read_all_units_are_compared_with_units_absent() {
    let device = Device::default();
    let x = Tensor::<2>::random([8, 5], Distribution::Normal(0.0, 1.0), &device);
    let cases: [Between; 4] = [
        |_, x| softmax(x, 1),
        |mlp, x| mlp.norm.forward(x),
        |_, x| x.clone() - x.mean_dim(1),
        |_, x| x.clone() / x,
    ];
    for between in cases {
        let mlp = Mlp::new(&device);
        let forward = |mlp: &Mlp, x| mlp.second.forward(between(mlp, mlp.first.forward(x)));
        let graph = capture(&mlp, [1, 5], |mlp: &Mlp, x, _| forward(mlp, x)).unwrap();
        let hidden = axes(&graph).into_iter().find(|axis| axis.pinned.is_none()).unwrap();
        let cut = cut_of(&graph, [(&hidden, [0, 2, 3, 5, 8].as_slice())]).unwrap();
        let compare = |removed: &Cut| {
            let remove = |mlp| apply(mlp, removed);
            absent_equals_removed(&mlp, remove, &graph, &cut, x.clone(), forward).unwrap().check()
        };
        assert!(compare(&cut).unwrap() <= 1e-5);
        // As many units, but others.
        let other = cut_of(&graph, [(&hidden, [1, 2, 4, 6, 7].as_slice())]).unwrap();
        assert!(matches!(compare(&other), Err(Error::MaskDiffers { .. })));
        let Some(group) = cut.across().next() else { continue };
        assert_eq!(
            (group.path.as_str(), group.dim, group.operations.len()),
            ("first.weight", 1, 1),
            "{cut:?}"
        );
    }
}

#[test]
fn what_has_no_definition_with_absent_units_is_named() {
    let device = Device::default();
    let mlp = Mlp::new(&device);
    let forward = |mlp: &Mlp, x: Tensor<2>| mlp.second.forward(mlp.norm.forward(mlp.first.forward(x.sin())));
    let graph = capture(&mlp, [1, 5], |mlp: &Mlp, x, _| forward(mlp, x)).unwrap();
    let cut = Cut::default();
    let x = Tensor::<2>::ones([2, 5], &device);
    let found = absent_equals_removed(&mlp, Ok, &graph, &cut, x, forward).unwrap();
    let Comparison::NotComparable { reasons } = found else { panic!("{found:?}") };
    assert_eq!(reasons, ["`sin` has no definition with absent elements"]);
    let wrong = run_without(&graph_of(&mlp), &Weights::read(&mlp), &cut, (&[2, 4], &[0.0; 8])).unwrap_err();
    assert!(wrong.to_string().contains("the input is [2, 4], the graph's [2, 5]"), "{wrong}");
}

fn graph_of(mlp: &Mlp) -> kd_graph::Graph {
    capture(mlp, [1, 5], |mlp: &Mlp, x, _| mlp.second.forward(mlp.first.forward(x))).unwrap()
}

#[test]
fn any_random_cut_of_any_width_is_proven() {
    let device = Device::default();
    for (seed, width1, width2, sparsity) in
        [(1, 2, 2, 0.5), (2, 3, 9, 0.3), (3, 16, 4, 0.7), (4, 5, 5, 0.2), (5, 7, 3, 0.9), (6, 9, 13, 0.45)]
    {
        let net = ConvNet::new(width1, width2, &device);
        let graph = net.graph();
        let weights = Weights::read(&net);
        let score = |axis: &Axis| score_axis(&Random { seed, unit: None }, &graph, axis, &weights);
        let target = Channels::Sparsity(share(sparsity));
        let plan = plan_axes(&graph, &axes(&graph), score, target, Limits::default()).unwrap();
        let x = images(4, &device);
        let comparison = mask_equals_remove(&net, &graph, &plan.cut, |net| net.forward(x.clone())).unwrap();
        assert!(comparison.check().unwrap() <= 1e-5, "seed {seed}: {comparison:?}");
        let small = apply(net, &plan.cut).unwrap();
        verify_cut(&small, &graph, &plan.cut, ConvNet::EXAMPLE, |net: &ConvNet, x, _| net.forward(x))
            .unwrap();
    }
}
