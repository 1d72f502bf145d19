//! The receipt, and the surgery on modules in every state that training leaves them in.

use burn::module::{Module, ModuleVisitor, Param, ParamId, Reparameterization, Reparameterizer};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, LinearLayout};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor};
use proptest::prelude::*;
use prune_core::{Across, Cut, Error, Slice, Weights, apply};
use serde_json::json;

#[derive(Module, Debug)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([1, 6], [3, 3]).init(device),
            norm: BatchNormConfig::new(6).init(device),
            head: LinearConfig::new(6, 4).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.norm.forward(self.conv.forward(x));
        let pooled: Tensor<2> = x.mean_dim(2).mean_dim(3).flatten(1, 3);
        self.head.forward(pooled)
    }

    fn train_one_step(self, x: &Tensor<4>) -> Self {
        let loss = self.forward(x.clone()).powf_scalar(2.0).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &self);
        SgdConfig::new().init().step(0.1, self, gradients)
    }
}

fn slice(path: &str, dim: usize, size: usize, keep: &[usize]) -> Slice {
    Slice { path: path.into(), dim, size, keep: keep.to_vec() }
}

/// Removes channels 0, 2 and 5 of [`Net`].
fn channels() -> Cut {
    let keep = [1, 3, 4];
    let mut slices = vec![slice("conv.weight", 0, 6, &keep), slice("head.weight", 0, 6, &keep)];
    for vector in ["conv.bias", "norm.gamma", "norm.beta", "norm.running_mean", "norm.running_var"] {
        slices.push(slice(vector, 0, 6, &keep));
    }
    Cut::new(slices).unwrap()
}

fn images(device: &Device) -> Tensor<4> {
    Tensor::random([8, 1, 7, 7], Distribution::Normal(0.5, 2.0), device)
}

/// Asserts that `cut` has the values of `full` at the kept indices of every tensor.
fn assert_taken<M: Module>(full: &M, cut: &M, receipt: &Cut) {
    let (full, cut) = (Weights::read(full), Weights::read(cut));
    for (path, weight) in full.iter() {
        let keeps: Vec<Vec<usize>> = (0..weight.shape.len())
            .map(|dim| {
                receipt.keep(path, dim).map_or_else(|| (0..weight.shape[dim]).collect(), <[usize]>::to_vec)
            })
            .collect();
        let mut values = Vec::new();
        for flat in 0..weight.values.len() {
            let mut rest = flat;
            let inside = (0..weight.shape.len()).rev().all(|dim| {
                let index = rest % weight.shape[dim];
                rest /= weight.shape[dim];
                keeps[dim].contains(&index)
            });
            if inside {
                values.push(weight.values[flat]);
            }
        }
        let taken = cut.get(path).unwrap();
        assert_eq!(taken.shape, keeps.iter().map(Vec::len).collect::<Vec<_>>(), "{path}");
        assert_eq!(taken.values, values, "{path}");
    }
}

/// Id, gradient requirement and autodiff of every parameter and buffer, in visiting order.
#[derive(Default)]
struct States(Vec<(ParamId, bool, bool)>);

impl ModuleVisitor for States {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        self.0.push((param.id, value.is_require_grad(), value.is_autodiff()));
    }
}

fn states(net: &Net) -> Vec<(ParamId, bool, bool)> {
    let mut states = States::default();
    net.visit(&mut states);
    states.0
}

#[test]
fn a_plain_module_is_cut_and_runs() {
    let device = Device::default();
    let net = Net::new(&device);
    let cut = apply(net.clone(), &channels()).unwrap();
    assert_taken(&net, &cut, &channels());
    assert_eq!(cut.forward(images(&device)).dims(), [8, 4]);
    assert!(states(&cut).iter().all(|&(_, _, autodiff)| !autodiff));
}

#[test]
fn a_module_in_training_stays_in_training() {
    let device = Device::default().autodiff();
    let x = images(&device);
    let mut net = Net::new(&device).train_one_step(&x);
    net.head = net.head.no_grad();
    let before = states(&net);
    let cut = apply(net.clone(), &channels()).unwrap();
    assert_taken(&net, &cut, &channels());
    let after = states(&cut);
    let kinds = |states: &[(ParamId, bool, bool)]| states.iter().map(|&(_, a, b)| (a, b)).collect::<Vec<_>>();
    assert_eq!(kinds(&before), kinds(&after));
    assert!(kinds(&after).contains(&(false, true)) && kinds(&after).contains(&(true, true)));
    assert!(cut.norm.training.is_enabled());
    // It learns on, and its running statistics too.
    let mean = cut.norm.running_mean.value_sync().into_data();
    let weight = cut.conv.weight.val().into_data();
    let cut = cut.train_one_step(&x);
    assert_ne!(cut.conv.weight.val().into_data(), weight);
    assert_ne!(cut.norm.running_mean.value_sync().into_data(), mean);
    assert_eq!(cut.norm.running_mean.value_sync().dims(), [3]);
}

#[test]
fn the_pending_update_of_running_statistics_is_cut_too() {
    let device = Device::default().autodiff();
    let net = Net::new(&device);
    // One forward pass in training leaves an update of the old size behind.
    net.forward(images(&device));
    let pending = net.valid().norm.running_mean.value().into_data().try_to_vec::<f32>().unwrap();
    let cut = apply(net, &channels()).unwrap();
    let taken = cut.norm.running_mean.value_sync().into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(taken, [pending[1], pending[3], pending[4]]);
    assert_ne!(taken, [0.0; 3]);
    assert_eq!(cut.forward(images(&device)).dims(), [8, 4]);
}

#[test]
fn clones_of_the_module_are_not_touched() {
    for device in [Device::default(), Device::default().autodiff()] {
        let net = Net::new(&device);
        let clone = net.clone();
        let before = Weights::read(&clone);
        apply(net, &channels()).unwrap();
        assert_eq!(Weights::read(&clone), before);
        assert_eq!(clone.forward(images(&device)).dims(), [8, 4]);
    }
}

#[test]
fn a_cut_validation_module_trains_as_it_was_configured() {
    let device = Device::default().autodiff();
    let mut net = Net::new(&device);
    net.conv = net.conv.no_grad();
    let cut = apply(net.valid(), &channels()).unwrap();
    assert!(!cut.norm.training.is_enabled());
    assert!(states(&cut).iter().all(|&(_, require_grad, autodiff)| !require_grad && !autodiff));
    let cut = cut.train();
    assert!(cut.norm.training.is_enabled());
    let kinds: Vec<bool> = states(&cut).iter().map(|&(_, require_grad, _)| require_grad).collect();
    // conv.weight, conv.bias, gamma, beta, running mean and variance, head.weight, head.bias
    assert_eq!(kinds, [false, false, true, true, false, false, true, true]);
}

#[test]
fn a_mixed_module_keeps_each_part_where_it_was() {
    let device = Device::default().autodiff();
    let mut net = Net::new(&device);
    net.head = net.head.valid();
    let cut = apply(net, &channels()).unwrap();
    let autodiff: Vec<bool> = states(&cut).iter().map(|&(_, _, autodiff)| autodiff).collect();
    assert_eq!(autodiff, [true, true, true, true, true, true, false, false]);
}

#[test]
fn what_is_cut_gets_a_fresh_id_and_the_rest_keeps_its_own() {
    let net = Net::new(&Device::default());
    let cut = apply(net.clone(), &channels()).unwrap();
    for (old, new) in [
        (net.conv.weight.id, cut.conv.weight.id),
        (net.norm.gamma.id, cut.norm.gamma.id),
        (net.head.weight.id, cut.head.weight.id),
    ] {
        assert_ne!(old, new);
    }
    assert_eq!(net.head.bias.unwrap().id, cut.head.bias.unwrap().id);
}

#[test]
fn a_transposed_layout_still_saves_and_loads() {
    let device = Device::flex();
    let linear = LinearConfig::new(3, 4).with_layout(LinearLayout::Col).init(&device);
    let receipt = Cut::new([slice("weight", 1, 4, &[0, 3])]).unwrap();
    let bias = Cut::new([slice("bias", 0, 4, &[0, 3])]).unwrap();
    let cut = apply(linear, &receipt.compose(&bias).unwrap()).unwrap();
    let fresh = LinearConfig::new(3, 2).with_layout(LinearLayout::Col).init(&device);
    let loaded = fresh.load_record(cut.clone().into_record());
    assert_eq!(Weights::read(&loaded), Weights::read(&cut));
}

#[test]
fn the_receipt_turns_a_fresh_network_into_the_shape_of_the_pruned_one() {
    let device = Device::default();
    let pruned = apply(Net::new(&device), &channels()).unwrap();
    let written = serde_json::to_string(&channels()).unwrap();
    let receipt: Cut = serde_json::from_str(&written).unwrap();
    assert_eq!(receipt, channels());
    let fresh = apply(Net::new(&device), &receipt).unwrap();
    let loaded = fresh.try_load_record(pruned.clone().into_record()).unwrap();
    assert_eq!(Weights::read(&loaded), Weights::read(&pruned));
}

#[test]
fn the_receipt_lists_slices_in_order() {
    let cut =
        Cut::new([slice("b", 1, 4, &[0, 2]), slice("b", 0, 3, &[0, 1, 2]), slice("a", 0, 2, &[1])]).unwrap();
    // What keeps everything is not listed.
    let slices = json!([
        { "path": "a", "dim": 0, "size": 2, "keep": [1] },
        { "path": "b", "dim": 1, "size": 4, "keep": [0, 2] },
    ]);
    let written = json!({ "slices": slices, "across": [] });
    assert_eq!(serde_json::to_value(&cut).unwrap(), written);
    assert_eq!(serde_json::from_value::<Cut>(written).unwrap(), cut);
    // Receipts of earlier versions: without the list of groups, and as a bare list.
    assert_eq!(serde_json::from_value::<Cut>(json!({ "slices": slices })).unwrap(), cut);
    assert_eq!(serde_json::from_value::<Cut>(slices).unwrap(), cut);
    assert_eq!(cut.keep("b", 1), Some([0, 2].as_slice()));
    assert_eq!(cut.keep("b", 0), None);
    assert!(!cut.is_empty() && Cut::default().is_empty());
}

#[test]
fn the_receipt_names_groups_that_a_norm_runs_over() {
    let group = |path: &str, dim, operations: &[&str]| Across {
        path: path.into(),
        dim,
        operations: operations.iter().map(ToString::to_string).collect(),
    };
    let first = Cut::new([slice("b", 1, 4, &[0, 2])]).unwrap();
    let first = first.with_across([group("b", 1, &["softmax"]), group("a", 0, &["mean"])]);
    let second = Cut::new([slice("b", 1, 2, &[1])]).unwrap().with_across([group("b", 1, &["layer_norm"])]);
    let both = first.compose(&second).unwrap();
    let named: Vec<Across> = both.across().collect();
    assert_eq!(named, [group("a", 0, &["mean"]), group("b", 1, &["layer_norm", "softmax"])]);
    let written = serde_json::to_value(&both).unwrap();
    assert_eq!(
        written["across"][1],
        json!({ "path": "b", "dim": 1, "operations": ["layer_norm", "softmax"] })
    );
    assert_eq!(serde_json::from_value::<Cut>(written).unwrap(), both);
    assert!(Cut::default().with_across([group("a", 0, &["mean"])]).is_empty(), "it removes nothing");
    let unknown = json!({ "slices": [], "groups": [] });
    assert!(
        serde_json::from_value::<Cut>(unknown).unwrap_err().to_string().contains("unknown field `groups`")
    );
    let error = serde_json::from_value::<Cut>(json!("all")).unwrap_err();
    assert!(error.to_string().contains("an object with `slices`, or a list of slices"), "{error}");
}

#[test]
fn receipts_that_cannot_be_are_refused() {
    for (slices, complaint) in [
        (vec![slice("a", 0, 4, &[])], "cut of `a` keeps none of the 4 units of dimension 0"),
        (
            vec![slice("a", 0, 4, &[1, 4])],
            "cut of `a` keeps unit 4 of dimension 0, expected ascending units below 4",
        ),
        (vec![slice("a", 0, 4, &[2, 1])], "keeps unit 1"),
        (vec![slice("a", 0, 4, &[2, 2])], "keeps unit 2"),
        (vec![slice("a", 0, 4, &[2]), slice("a", 0, 4, &[3])], "cut lists dimension 0 of `a` twice"),
    ] {
        let error = Cut::new(slices.clone()).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
        let read = serde_json::from_value::<Cut>(serde_json::to_value(&slices).unwrap());
        assert!(read.unwrap_err().to_string().contains(complaint));
    }
    let error = serde_json::from_value::<Cut>(json!([{ "path": "a", "dim": 0, "keep": [0] }])).unwrap_err();
    assert!(error.to_string().contains("missing field `size`"), "{error}");
}

#[test]
fn a_cut_that_does_not_fit_names_the_place() {
    let device = Device::default();
    for (wrong, complaint) in [
        (slice("conv.weights", 0, 6, &[0]), "cut names `conv.weights`, which the module does not have"),
        (slice("norm.gamma", 1, 6, &[0]), "`norm.gamma` has no dimension 1, its rank is 1"),
        (
            slice("head.weight", 0, 7, &[0]),
            "cut was made for size 7 of dimension 0 of `head.weight`, found 6; was it applied already?",
        ),
    ] {
        let error = apply(Net::new(&device), &Cut::new([wrong]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), complaint);
    }
    let once = apply(Net::new(&device), &channels()).unwrap();
    assert!(matches!(apply(once, &channels()), Err(Error::Size { expected: 6, found: 3, .. })));
}

#[derive(Module, Debug)]
struct Halved {
    // A parameter of its own, so that the traversal has something to find.
    unused: Param<Tensor<1>>,
}

impl Reparameterization for Halved {
    const NAME: &'static str = "halved";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base.mul_scalar(0.5)
    }
}

struct Halve;

impl Reparameterizer for Halve {
    type Reparam = Halved;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Halved>) {
        let halved = || Halved { unused: Param::from_tensor(Tensor::zeros([1], &param.lazy_device())) };
        let reparam = (path == "conv.weight").then(halved);
        (param, reparam)
    }
}

#[test]
fn a_reparameterized_parameter_is_folded_in_first() {
    let device = Device::default();
    let net = Net::new(&device);
    let halved = net.clone().apply_reparameterization(Halve);
    let error = apply(halved.clone(), &channels()).unwrap_err();
    assert_eq!(error, Error::Reparameterized { path: "conv.weight".into(), name: "halved".into() });
    // Elsewhere in the module it does no harm, and is still there.
    let head = Cut::new([slice("head.weight", 1, 4, &[0, 1]), slice("head.bias", 0, 4, &[0, 1])]).unwrap();
    let cut = apply(halved.clone(), &head).unwrap();
    assert!(cut.conv.weight.reparameterization::<Halved>().is_some());
    // Weights are read as the forward pass sees them.
    let (full, half) = (Weights::read(&net), Weights::read(&halved));
    let halves: Vec<f64> = full.get("conv.weight").unwrap().values.iter().map(|value| value / 2.0).collect();
    assert_eq!(half.get("conv.weight").unwrap().values, halves);
    assert_eq!(half.iter().count(), full.iter().count());
}

#[test]
fn composing_needs_sizes_that_follow_each_other() {
    let first = Cut::new([slice("a", 0, 6, &[1, 3, 4])]).unwrap();
    let second = Cut::new([slice("a", 0, 6, &[1])]).unwrap();
    let error = first.compose(&second).unwrap_err();
    assert_eq!(error, Error::Size { path: "a".into(), dim: 0, expected: 6, found: 3 });
}

#[derive(Module, Debug)]
struct Two {
    a: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
}

fn two() -> Two {
    let device = Device::flex();
    let values = |count| Tensor::arange(0..count, &device).float();
    Two { a: Param::from_tensor(values(63).reshape([9, 7])), b: Param::from_tensor(values(9)) }
}

/// Two keep lists, one after the other, of a dimension of `size`; empty second ones stand for no cut.
fn one_after_the_other(size: usize) -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let all: Vec<usize> = (0..size).collect();
    prop::sample::subsequence(all, 1..=size).prop_flat_map(|first| {
        let rest: Vec<usize> = (0..first.len()).collect();
        let count = rest.len();
        (Just(first), prop::sample::subsequence(rest, 1..=count))
    })
}

proptest! {
    #[test]
    fn a_composed_cut_is_one_cut_after_the_other(
        rows in one_after_the_other(9),
        columns in one_after_the_other(7),
        vector in one_after_the_other(9),
    ) {
        let lists = [("a", 0, 9, rows), ("a", 1, 7, columns), ("b", 0, 9, vector)];
        let first = lists.iter().map(|(path, dim, size, (first, _))| slice(path, *dim, *size, first));
        let first = Cut::new(first).unwrap();
        let second = lists.iter().map(|(path, dim, _, (first, second))| slice(path, *dim, first.len(), second));
        let second = Cut::new(second).unwrap();
        let once = apply(two(), &first.compose(&second).unwrap()).unwrap();
        let twice = apply(apply(two(), &first).unwrap(), &second).unwrap();
        prop_assert_eq!(Weights::read(&once), Weights::read(&twice));
    }
}
