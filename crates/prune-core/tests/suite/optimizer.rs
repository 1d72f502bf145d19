//! Optimizer state through a cut, against optimizers that work element by element: cutting before a step and after it
//! is the same.

use burn::module::{Module, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdafactorConfig, AdamWConfig, GradientsParams, LionConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use kd_nn::AdamW;
use prune_core::{Cut, Error, Ids, Slice, apply, cut_optimizer};

type Make = Box<dyn Fn() -> ModuleOptimizer>;

/// A weight that is cut in both dimensions, and one that is not cut.
#[derive(Module, Debug)]
struct Net {
    weight: Param<Tensor<2>>,
    whole: Param<Tensor<1>>,
}

const ROWS: [usize; 3] = [0, 3, 4];
const COLUMNS: [usize; 2] = [1, 2];

fn cut() -> Cut {
    let slice = |dim, size, keep: &[usize]| Slice { path: "weight".into(), dim, size, keep: keep.to_vec() };
    Cut::new([slice(0, 5, &ROWS), slice(1, 4, &COLUMNS)]).unwrap()
}

fn taken(x: &Tensor<2>) -> Tensor<2> {
    let index = |keep: &[usize]| {
        let keep: Vec<i64> = keep.iter().map(|&index| index as i64).collect();
        let count = keep.len();
        Tensor::from_data(TensorData::new(keep, [count]), &x.device())
    };
    x.clone().select(0, index(&ROWS)).select(1, index(&COLUMNS))
}

/// A step on gradients that are given numbers.
fn step(optimizer: &mut ModuleOptimizer, net: Net, gradient: &Tensor<2>) -> Net {
    let loss = (net.weight.val() * gradient.clone()).sum() + net.whole.val().sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &net);
    optimizer.step(0.01, net, gradients)
}

#[test]
fn moments_go_on_with_what_is_left() {
    let device = Device::flex().autodiff();
    let gradients: Vec<Tensor<2>> =
        (0..5).map(|_| Tensor::random([5, 4], Distribution::Normal(0.0, 1.0), &device)).collect();
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.1, nesterov: true };
    let optimizers: [(&str, Make); 4] = [
        ("adamw", Box::new(|| AdamWConfig::new().init())),
        ("our adamw", Box::new(|| AdamW { betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.1 }.into())),
        ("lion", Box::new(|| LionConfig::new().init())),
        ("sgd", Box::new(move || SgdConfig::new().with_momentum(Some(momentum.clone())).init())),
    ];
    for (name, make) in optimizers {
        let start = Net {
            weight: Param::from_tensor(Tensor::random([5, 4], Distribution::Normal(0.0, 1.0), &device)),
            whole: Param::from_tensor(Tensor::ones([3], &device)),
        };
        let mut optimizer = make();
        let mut net = start;
        for gradient in &gradients[..3] {
            net = step(&mut optimizer, net, gradient);
        }
        let before = Ids::of(&net);
        let mut small = apply(net.clone(), &cut()).unwrap();
        let record = optimizer.to_record();
        let copy = make().load_record(record);
        let mut cut_down = cut_optimizer(copy, &before, &Ids::of(&small), &cut()).unwrap();
        for gradient in &gradients[3..] {
            net = step(&mut optimizer, net, gradient);
            small = step(&mut cut_down, small, &taken(gradient));
        }
        let expected = taken(&net.weight.val()).to_data();
        assert_eq!(small.weight.val().to_data(), expected, "{name}");
        assert_eq!(small.whole.val().to_data(), net.whole.val().to_data(), "{name}");
    }
}

#[test]
fn a_state_of_another_shape_is_refused_by_name() {
    let device = Device::flex().autodiff();
    let mut optimizer = AdafactorConfig::new().init();
    let net = Net {
        weight: Param::from_tensor(Tensor::random([5, 4], Distribution::Default, &device)),
        whole: Param::from_tensor(Tensor::ones([3], &device)),
    };
    let net = step(&mut optimizer, net, &Tensor::ones([5, 4], &device));
    let small = apply(net.clone(), &cut()).unwrap();
    let refused = cut_optimizer(optimizer, &Ids::of(&net), &Ids::of(&small), &cut()).err();
    assert!(matches!(&refused, Some(Error::State { path, .. }) if path == "weight"), "{refused:?}");
}
