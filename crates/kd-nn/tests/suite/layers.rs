//! Layers against Burn's own: outputs, gradients, running statistics, records.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, Param, RunningState};
use burn::nn as theirs;
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, Tolerance};
use kd_nn::conv::{Conv1dConfig, Conv2dConfig};
use kd_nn::pool::{AvgPool2dConfig, MaxPool2dConfig};
use kd_nn::{BatchNormConfig, GroupNormConfig, Kernels, LayerNormConfig, LinearConfig, activation};

fn close(what: &str, ours: &TensorData, theirs: &TensorData) {
    assert_eq!(ours.shape(), theirs.shape(), "{what}");
    // 1e-4 of the largest.
    let largest = theirs.iter::<f32>().fold(0.0f32, |most, x| most.max(x.abs()));
    let near = Tolerance::absolute(1e-4 * largest.max(1.0));
    ours.assert_approx_eq::<f32>(theirs, near);
}

/// Seeds belong to the process: who draws weights meanwhile would take numbers that another test counts on.
fn alone() -> MutexGuard<'static, ()> {
    static DRAWING: Mutex<()> = Mutex::new(());
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads Burn's layer's record into ours.
fn load<M: Module, T: Module>(ours: M, theirs: &T) -> M {
    ours.load_record(theirs.clone().into_record())
}

#[test]
fn convolutions_equal_burns_in_value_and_gradient() {
    let _alone = alone();
    let device = Device::default().autodiff();
    device.seed(1);
    let same = PaddingConfig2d::Same;
    let around = PaddingConfig2d::Explicit(1, 2, 0, 1);
    for (channels, groups, kernel, stride, dilation, padding, input) in [
        ([1, 6], 1, [5, 5], [1, 1], [1, 1], same.clone(), [17, 14, 14]),
        ([6, 10], 2, [3, 2], [2, 1], [1, 2], around, [3, 9, 11]),
        ([8, 8], 8, [3, 3], [1, 1], [1, 1], same, [5, 7, 7]),
        ([12, 20], 1, [1, 1], [1, 1], [1, 1], PaddingConfig2d::Valid, [4, 6, 5]),
        ([3, 4], 1, [3, 3], [3, 2], [2, 1], PaddingConfig2d::Valid, [2, 12, 9]),
    ] {
        for bias in [false, true] {
            let config = theirs::conv::Conv2dConfig::new(channels, kernel)
                .with_groups(groups)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding.clone())
                .with_bias(bias);
            let burns = config.init(&device);
            let ours = Conv2dConfig::new(channels, kernel)
                .with_groups(groups)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding.clone())
                .with_bias(bias)
                .init(&device);
            let ours = load(ours, &burns);
            let [batch, height, width] = input;
            let x = Tensor::<4>::random([batch, channels[0], height, width], Distribution::Default, &device)
                .require_grad();
            let (y, expected) = (ours.forward(x.clone()), burns.forward(x.clone()));
            close("output", &y.to_data(), &expected.to_data());
            // Weights of outputs that differ, so that no error cancels.
            let scale = Tensor::random(y.dims(), Distribution::Default, &device);
            let found = (y * scale.clone()).sum().backward();
            let wanted = (expected * scale).sum().backward();
            let of = |grads, x: &Tensor<4>| x.grad(grads).expect("a gradient").to_data();
            close("input", &of(&found, &x), &of(&wanted, &x));
            close("weight", &of(&found, &ours.weight.val()), &of(&wanted, &burns.weight.val()));
            if let (Some(a), Some(b)) = (&ours.bias, &burns.bias) {
                let (a, b) = (a.val().grad(&found), b.val().grad(&wanted));
                close("bias", &a.expect("a gradient").to_data(), &b.expect("a gradient").to_data());
            }
        }
    }
}

#[test]
fn one_dimension_equals_burns() {
    let _alone = alone();
    let device = Device::default().autodiff();
    device.seed(2);
    let config = theirs::conv::Conv1dConfig::new(6, 8, 5)
        .with_groups(2)
        .with_stride(2)
        .with_padding(PaddingConfig1d::Explicit(2, 1));
    let burns = config.init(&device);
    let ours = Conv1dConfig::new(6, 8, 5)
        .with_groups(2)
        .with_stride(2)
        .with_padding(PaddingConfig1d::Explicit(2, 1))
        .init(&device);
    let ours = load(ours, &burns);
    let x = Tensor::<3>::random([9, 6, 33], Distribution::Default, &device).require_grad();
    let (y, expected) = (ours.forward(x.clone()), burns.forward(x.clone()));
    close("output", &y.to_data(), &expected.to_data());
    let (found, wanted) = (y.powi_scalar(2).sum().backward(), expected.powi_scalar(2).sum().backward());
    let of = |grads| x.grad(grads).expect("a gradient").to_data();
    close("input", &of(&found), &of(&wanted));
}

#[test]
fn batch_norm_equals_burns_in_training_and_in_inference() {
    let _alone = alone();
    let device = Device::default().autodiff();
    for with_relu in [false, true] {
        device.seed(3);
        let burns = theirs::BatchNormConfig::new(5).init(&device);
        let ours = load(BatchNormConfig::new(5).init(&device), &burns);
        let run = |x: Tensor<4>| if with_relu { ours.forward_relu(x) } else { ours.forward(x) };
        let expect = |x: Tensor<4>| {
            let y = burns.forward(x);
            if with_relu { burn::tensor::activation::relu(y) } else { y }
        };
        for _ in 0..3 {
            let x = Tensor::<4>::random([8, 5, 6, 7], Distribution::Normal(1.0, 2.0), &device).require_grad();
            let scale = Tensor::random([8, 5, 6, 7], Distribution::Default, &device);
            let (y, expected) = (run(x.clone()), expect(x.clone()));
            close("output", &y.to_data(), &expected.to_data());
            let found = (y * scale.clone()).sum().backward();
            let wanted = (expected * scale).sum().backward();
            let of = |grads| x.grad(grads).expect("a gradient").to_data();
            close("input", &of(&found), &of(&wanted));
            for (a, b) in [(&ours.gamma, &burns.gamma), (&ours.beta, &burns.beta)] {
                let (a, b) = (a.val().grad(&found), b.val().grad(&wanted));
                close("parameter", &a.expect("a gradient").to_data(), &b.expect("a gradient").to_data());
            }
        }
        let x = Tensor::<4>::random([8, 5, 6, 7], Distribution::Default, &Device::default());
        let (ours, burns) = (ours.clone().valid(), burns.clone().valid());
        let (mean, wanted) = (ours.running_mean.value(), burns.running_mean.value());
        close("running mean", &mean.to_data(), &wanted.to_data());
        let (variance, wanted) = (ours.running_var.value(), burns.running_var.value());
        close("running variance", &variance.to_data(), &wanted.to_data());
        let y = if with_relu { ours.forward_relu(x.clone()) } else { ours.forward(x.clone()) };
        let expected = burns.forward(x);
        let expected = if with_relu { burn::tensor::activation::relu(expected) } else { expected };
        close("inference", &y.to_data(), &expected.to_data());
    }
}

#[test]
fn pooling_equals_burns() {
    let _alone = alone();
    let device = Device::default().autodiff();
    device.seed(4);
    for (kernel, stride, padding) in [
        ([2, 2], [2, 2], PaddingConfig2d::Valid),
        ([3, 3], [2, 2], PaddingConfig2d::Explicit(1, 1, 1, 1)),
        ([3, 2], [1, 1], PaddingConfig2d::Valid),
    ] {
        let x = Tensor::<4>::random([3, 4, 9, 35], Distribution::Default, &device).require_grad();
        let pairs: [[Tensor<4>; 2]; 2] = [
            [
                MaxPool2dConfig::new(kernel)
                    .with_strides(stride)
                    .with_padding(padding.clone())
                    .init()
                    .forward(x.clone()),
                theirs::pool::MaxPool2dConfig::new(kernel)
                    .with_strides(stride)
                    .with_padding(padding.clone())
                    .init()
                    .forward(x.clone()),
            ],
            [
                AvgPool2dConfig::new(kernel)
                    .with_strides(stride)
                    .with_padding(padding.clone())
                    .init()
                    .forward(x.clone()),
                theirs::pool::AvgPool2dConfig::new(kernel)
                    .with_strides(stride)
                    .with_padding(padding.clone())
                    .init()
                    .forward(x.clone()),
            ],
        ];
        for [y, expected] in pairs {
            close("output", &y.to_data(), &expected.to_data());
            let (found, wanted) =
                (y.powi_scalar(2).sum().backward(), expected.powi_scalar(2).sum().backward());
            let of = |grads| x.grad(grads).expect("a gradient").to_data();
            close("input", &of(&found), &of(&wanted));
        }
    }
}

#[test]
fn rows_equal_burns() {
    let _alone = alone();
    use burn::tensor::activation as theirs_activation;
    let device = Device::default().autodiff();
    device.seed(9);
    let x = Tensor::<3>::random([7, 9, 33], Distribution::Normal(0.5, 2.0), &device).require_grad();
    let scale = Tensor::random([7, 9, 33], Distribution::Default, &device);
    let burns = theirs::LayerNormConfig::new(33).init(&device);
    let ours = load(LayerNormConfig::new(33).init(&device), &burns);
    for (what, y, expected) in [
        ("softmax", activation::softmax(x.clone(), 2), theirs_activation::softmax(x.clone(), 2)),
        ("softmax over another", activation::softmax(x.clone(), 1), theirs_activation::softmax(x.clone(), 1)),
        ("gelu", activation::gelu(x.clone()), theirs_activation::gelu(x.clone())),
        ("layer norm", ours.forward(x.clone()), burns.forward(x.clone())),
    ] {
        close(what, &y.to_data(), &expected.to_data());
        let found = (y * scale.clone()).sum().backward();
        let wanted = (expected * scale.clone()).sum().backward();
        let of = |grads| x.grad(grads).expect("a gradient").to_data();
        close(what, &of(&found), &of(&wanted));
        if what == "layer norm" {
            let (a, b) = (ours.gamma.val().grad(&found), burns.gamma.val().grad(&wanted));
            close("γ", &a.expect("a gradient").to_data(), &b.expect("a gradient").to_data());
            let (a, b) = (ours.beta.as_ref().expect("β").val(), burns.beta.as_ref().expect("β").val());
            let (a, b) = (a.grad(&found), b.grad(&wanted));
            close("β", &a.expect("a gradient").to_data(), &b.expect("a gradient").to_data());
        }
    }
}

#[test]
fn a_linear_layer_over_sequences_equals_burns() {
    let _alone = alone();
    let device = Device::default().autodiff();
    device.seed(10);
    let burns = theirs::LinearConfig::new(12, 20).init(&device);
    let ours = load(LinearConfig::new(12, 20).init(&device), &burns);
    let x = Tensor::<3>::random([5, 7, 12], Distribution::Default, &device).require_grad();
    let scale = Tensor::random([5, 7, 20], Distribution::Default, &device);
    let (y, expected) = (ours.forward(x.clone()), burns.forward(x.clone()));
    close("output", &y.to_data(), &expected.to_data());
    let (found, wanted) = ((y * scale.clone()).sum().backward(), (expected * scale).sum().backward());
    let of = |grads| x.grad(grads).expect("a gradient").to_data();
    close("input", &of(&found), &of(&wanted));
    let (a, b) = (ours.weight.val().grad(&found), burns.weight.val().grad(&wanted));
    close("weight", &a.expect("a gradient").to_data(), &b.expect("a gradient").to_data());
}

#[test]
fn records_load_both_ways() {
    let _alone = alone();
    let device = Device::default();
    device.seed(5);
    let burns = theirs::conv::Conv2dConfig::new([3, 4], [3, 3]).init(&device);
    let ours = load(Conv2dConfig::new([3, 4], [3, 3]).init(&device), &burns);
    ours.weight.to_data().assert_eq(&burns.weight.to_data(), true);
    let other = load(theirs::conv::Conv2dConfig::new([3, 4], [3, 3]).init(&device), &ours);
    other.weight.to_data().assert_eq(&burns.weight.to_data(), true);
    let mut norm = theirs::BatchNormConfig::new(3).init(&device);
    norm.running_mean = RunningState::new(Tensor::from_data([1.0, 2.0, 3.0], &device));
    let ours = load(BatchNormConfig::new(3).init(&device), &norm);
    assert_eq!(ours.running_mean.value_sync().to_data(), TensorData::from([1.0f32, 2.0, 3.0]));
}

#[test]
fn layers_start_with_the_weights_that_burns_would() {
    let _alone = alone();
    let device = Device::default();
    device.seed(6);
    let burns = theirs::conv::Conv2dConfig::new([3, 4], [3, 3]).init(&device).weight.to_data();
    device.seed(6);
    let ours = Conv2dConfig::new([3, 4], [3, 3]).init(&device).weight.to_data();
    ours.assert_eq(&burns, true);
}

#[test]
fn the_kernels_are_ours_unless_a_scope_says_otherwise() {
    let _alone = alone();
    let device = Device::default();
    device.seed(7);
    let conv = Conv2dConfig::new([16, 16], [3, 3]).init(&device);
    let x = Tensor::<4>::random([17, 16, 9, 9], Distribution::Default, &device);
    let ours = conv.forward(x.clone()).to_data();
    let burns = {
        let _guard = Kernels::Burn.scope();
        conv.forward(x.clone()).to_data()
    };
    // They add in different orders: equal bits would mean that only one of them ran.
    assert_ne!(ours, burns);
    close("output", &ours, &burns);
    assert_eq!(conv.forward(x).to_data(), ours);
}

#[test]
fn not_a_number_comes_out_where_burns_comes_out() {
    let _alone = alone();
    let device = Device::default();
    device.seed(8);
    let mut numbers: Vec<f32> = (0..3 * 2 * 36).map(|i| (i % 7) as f32 - 3.0).collect();
    (numbers[5], numbers[100]) = (f32::NAN, f32::INFINITY);
    let x = Tensor::<4>::from_data(TensorData::new(numbers, [3, 2, 6, 6]), &device);
    let burns =
        theirs::conv::Conv2dConfig::new([2, 3], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
    let ours =
        load(Conv2dConfig::new([2, 3], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device), &burns);
    let kind = |x: f32| (x.is_nan(), x.is_infinite());
    let kinds = |y: Tensor<4>| y.to_data().iter::<f32>().map(kind).collect::<Vec<_>>();
    assert_eq!(kinds(ours.forward(x.clone())), kinds(burns.forward(x.clone())));
    let pool = MaxPool2dConfig::new([2, 2]).init().forward(x.clone());
    assert_eq!(kinds(pool), kinds(theirs::pool::MaxPool2dConfig::new([2, 2]).init().forward(x.clone())));
    let relu =
        burn::tensor::activation::relu(theirs::BatchNormConfig::new(2).init(&device).forward(x.clone()));
    assert_eq!(kinds(BatchNormConfig::new(2).init(&device).forward_relu(x)), kinds(relu));
}

#[test]
fn a_layer_whose_channels_were_removed_goes_on() {
    let _alone = alone();
    let device = Device::default();
    let mut conv = Conv2dConfig::new([8, 8], [3, 3]).with_groups(8).init(&device);
    conv.weight = conv.weight.map(|weight| weight.narrow(0, 0, 5));
    conv.bias = conv.bias.map(|bias| bias.map(|bias| bias.narrow(0, 0, 5)));
    assert_eq!(conv.forward(Tensor::<4>::ones([2, 5, 6, 6], &device)).dims(), [2, 5, 4, 4]);
}

#[test]
fn group_norm_equals_burns_and_follows_its_channels() {
    let device = Device::default().autodiff();
    let mut burns = theirs::GroupNormConfig::new(2, 6).init(&device);
    let mut ours = GroupNormConfig::new(2, 6).init(&device);
    let values = |scale: f32| Tensor::<1, Int>::arange(0..6, &device).float() * scale + 0.5;
    (ours.gamma, ours.beta) = (Param::from_tensor(values(0.3)), Param::from_tensor(values(-0.2)));
    (burns.gamma, burns.beta) = (Some(ours.gamma.clone()), Some(ours.beta.clone()));
    let x = Tensor::<1, Int>::arange(0..3 * 6 * 5 * 4, &device)
        .float()
        .mul_scalar(0.7)
        .sin()
        .reshape([3, 6, 5, 4]);
    let (a, b) = (ours.forward(x.clone()), burns.forward(x.clone()));
    close("group norm", &a.to_data(), &b.to_data());
    let (a, b) = ((a.clone() * a).sum().backward(), (b.clone() * b).sum().backward());
    let grad = |gradients| ours.gamma.val().grad(gradients).unwrap().into_data();
    close("its gradient", &grad(&a), &grad(&b));
    // Two of three channels of each group: the layer is that of four channels.
    let keep = Tensor::<1, Int>::from_data([0, 2, 3, 5], &device);
    ours.gamma = ours.gamma.map(|gamma| gamma.select(0, keep.clone()));
    ours.beta = ours.beta.map(|beta| beta.select(0, keep.clone()));
    assert_eq!(ours.forward(x.select(1, keep)).dims(), [3, 4, 5, 4]);
}
