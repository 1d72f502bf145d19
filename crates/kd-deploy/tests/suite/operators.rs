//! Each operation that the graph knows, captured from Burn and run by the engines, against Burn itself.

use crate::common::{Random, assert_close, engines, floats, on_disk, weights, with_weights};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, AvgPool2dConfig, MaxPool2dConfig};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{
    BatchNorm, BatchNormConfig, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    PaddingConfig2d,
};
use burn::tensor::activation::{gelu, hard_sigmoid, leaky_relu, log_softmax, relu, sigmoid, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use kd_deploy::{Error, QuantPlan, Weights, onnx};
use kd_graph::Op;

/// No parameters.
type Plain = Option<Linear>;

/// Captures the forward pass, runs its model at two batch sizes, and returns the operators that it has.
#[track_caller]
fn check<M: Module, const D: usize>(
    module: M,
    example: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<2>,
) -> Vec<String> {
    let mut random = Random(3);
    let weights: Weights = weights(&module)
        .into_iter()
        .map(|(path, a)| {
            let mut fresh = random.array(a.shape());
            if path.ends_with("running_var") {
                let positive: Vec<f32> = fresh.data().iter().map(|x| x * x + 0.1).collect();
                fresh = kd_deploy::Array::new(a.shape(), positive).unwrap();
            }
            (path, fresh)
        })
        .collect();
    let module = with_weights(module, &weights);
    let graph = kd_graph::capture(&module, example, |module, x, _| forward(module, x)).unwrap();
    let opaque = graph.nodes.iter().find(|node| matches!(node.op, Op::Opaque(_)));
    assert_eq!(opaque, None, "the graph describes everything");
    let model = onnx::lower(&graph, &weights, None).unwrap();
    let file = on_disk(&model);
    for engine in engines() {
        let mut session = engine.load(&file.path, 1).unwrap();
        for batch in [1, 3] {
            let mut shape = example;
            shape[0] = batch;
            let input = random.array(&shape);
            let x = Tensor::<D>::from_data(TensorData::new(input.data().to_vec(), shape), &Device::flex());
            let expected = floats(forward(&module, x).into_data());
            let found = session.run(input.data(), &shape).unwrap();
            assert_close(&found, &expected, 2e-5, &format!("{} at batch {batch}", engine.name()));
        }
    }
    onnx::operators(&model).unwrap().into_keys().collect()
}

fn plain<const D: usize>(example: [usize; D], forward: impl Fn(Tensor<D>) -> Tensor<2>) -> Vec<String> {
    check(Plain::None, example, |_, x| forward(x))
}

fn images(forward: impl Fn(Tensor<4>) -> Tensor<4>) -> Vec<String> {
    plain([1, 2, 6, 6], |x| forward(x).flatten(1, 3))
}

#[test]
fn functions_of_one_element() {
    let positive = |x: Tensor<2>| x.abs() + 0.5;
    assert_eq!(plain([1, 5], relu), ["Relu"]);
    assert_eq!(plain([1, 5], sigmoid), ["Sigmoid"]);
    assert_eq!(plain([1, 5], |x| x.tanh()), ["Tanh"]);
    assert_eq!(plain([1, 5], |x| x.exp()), ["Exp"]);
    assert_eq!(plain([1, 5], |x| positive(x).log()), ["Abs", "Add", "Log"]);
    assert_eq!(plain([1, 5], |x| positive(x).sqrt()), ["Abs", "Add", "Sqrt"]);
    assert_eq!(plain([1, 5], |x| x.erf()), ["Erf"]);
    assert_eq!(plain([1, 5], |x| x.neg()), ["Neg"]);
    assert_eq!(plain([1, 5], gelu), ["Add", "Div", "Erf", "Mul"]);
}

#[test]
fn arithmetic_of_two_values_and_with_numbers() {
    plain([1, 5], |x| x.clone() + x.exp());
    plain([1, 5], |x| x.clone() - x.exp());
    plain([1, 5], |x| x.clone() * x.exp());
    plain([1, 5], |x| x.clone() / (x.exp() + 0.1));
    plain([1, 5], |x| ((x + 3.0) * 0.7 - 1.5) / 0.3);
    // Broadcasting, against a constant that is not the same everywhere.
    plain([1, 3], |x| {
        let row = Tensor::<1>::from_floats([1.0, -2.0, 0.5], &x.device());
        x * row.unsqueeze()
    });
}

#[test]
fn whole_numbers_and_truth_values() {
    // Towards zero on both sides of it.
    assert_eq!(plain([1, 5], |x| (x * 4.0).int().float()), ["Cast", "Mul"]);
    assert_eq!(plain([1, 9], |x| (x * 4.0).int().equal_elem(1).float()), ["Cast", "Equal", "Mul"]);
    assert_eq!(plain([1, 9], |x| relu(x.clone()).equal(x).float()), ["Cast", "Equal", "Relu"]);
    assert_eq!(plain([1, 9], |x| relu(x.clone()).greater(x).float()), ["Cast", "Greater", "Relu"]);
    assert_eq!(
        plain([1, 9], |x| relu(x.clone()).greater_equal(x).float()),
        ["Cast", "GreaterOrEqual", "Relu"]
    );
    assert_eq!(plain([1, 9], |x| x.lower_elem(0.3).float()), ["Cast", "Less"]);
    assert_eq!(plain([1, 9], |x| x.lower_equal_elem(0.3).float()), ["Cast", "LessOrEqual"]);
}

#[test]
fn masks() {
    let masked = |x: Tensor<2>| x.clone().mask_fill(x.lower_elem(0.3), 2.0);
    assert_eq!(plain([1, 9], masked), ["Cast", "Less", "Where"]);
    assert_eq!(plain([1, 9], |x: Tensor<2>| x.max_dim(1)), ["ReduceMax"]);
    let both = |x: Tensor<2>| x.clone().lower_elem(0.5).bool_and(x.not_equal_elem(0.0)).float();
    assert_eq!(plain([1, 9], both), ["Cast", "Equal", "Less", "Mul"]);
    let chosen = |x: Tensor<2>| x.clone().mask_where(x.clone().greater_elem(0.0), x.abs());
    assert_eq!(plain([1, 9], chosen), ["Abs", "Cast", "Greater", "Where"]);
    // Of a causal attention.
    plain([1, 3, 4], |x: Tensor<3>| {
        let later = Tensor::<2, burn::tensor::Bool>::tril_mask([3, 3], 0, &x.device());
        let scores = x.clone().matmul(x.clone().swap_dims(1, 2));
        let scores = scores.mask_fill(later.unsqueeze(), f32::NEG_INFINITY);
        softmax(scores, 2).matmul(x).flatten(1, 2)
    });
}

#[test]
fn rows_that_the_input_names() {
    let table = EmbeddingConfig::new(9, 3).init(&Device::flex());
    let named = check(table.clone(), [1, 4], |table, x: Tensor<2>| {
        table.forward((x * 4.0 + 4.5).int()).flatten(1, 2)
    });
    assert_eq!(named, ["Add", "Cast", "Gather", "Mul", "Reshape"]);
    // The numbers have another reader, and the positions are the model's own.
    check(table, [1, 4], |table, x: Tensor<2>| {
        let ids = (x * 4.0 + 4.5).int();
        let present = ids.clone().equal_elem(0).float().neg() + 1.0;
        let positions = table.weight.val().narrow(0, 0, 4).unsqueeze();
        let [batch, length] = present.dims();
        ((table.forward(ids) + positions) * present.reshape([batch, length, 1])).flatten(1, 2)
    });
}

#[test]
fn reductions_and_softmax() {
    assert_eq!(plain([1, 4, 3], |x| x.mean_dim(1).flatten(1, 2)), ["ReduceMean", "Reshape"]);
    assert_eq!(plain([1, 4, 3], |x| x.sum_dim(2).flatten(1, 2)), ["ReduceSum", "Reshape"]);
    assert_eq!(plain([1, 6], |x| softmax(x, 1)), ["Softmax"]);
    assert_eq!(plain([1, 6], |x| log_softmax(x, 1)), ["LogSoftmax"]);
    plain([1, 4, 3], |x| softmax(x, 1).flatten(1, 2));
}

#[test]
fn shapes() {
    assert_eq!(plain([1, 2, 3], |x| x.swap_dims(1, 2).flatten(1, 2)), ["Reshape", "Transpose"]);
    assert_eq!(plain([1, 6], |x| x.narrow(1, 1, 3)), ["Slice"]);
    plain([1, 6], |x| Tensor::cat(vec![x.clone(), x.exp()], 1));
    // The batch merges with another dimension, and parts from it.
    plain([1, 4, 3], |x| {
        let [batch, t, d] = x.dims();
        x.reshape([batch * t, d]).exp().reshape([batch, t * d])
    });
    // A row for each example, its number open.
    let operators = check(row(), [1, 4, 3], |row, x| {
        let [batch, ..] = x.dims();
        let row = row.row.val().expand([batch, 1, 3]);
        Tensor::cat(vec![row, x], 1).flatten(1, 2)
    });
    assert!(operators.contains(&"Expand".to_owned()), "{operators:?}");
    plain([1, 1, 3], |x| {
        let [batch, _, d] = x.dims();
        x.expand([batch, 2, d]).flatten(1, 2)
    });
}

#[derive(Module, Debug)]
struct Row {
    row: Param<Tensor<3>>,
}

fn row() -> Row {
    Row { row: Param::from_tensor(Tensor::zeros([1, 1, 3], &Device::flex())) }
}

#[test]
fn pooling() {
    images(|x| MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(x));
    let pad = PaddingConfig2d::Explicit(1, 1, 1, 1);
    images(|x| MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(pad.clone()).init().forward(x));
    images(|x| MaxPool2dConfig::new([2, 3]).with_strides([1, 2]).with_dilation([2, 1]).init().forward(x));
    for counted in [false, true] {
        images(|x| {
            let pool = AvgPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(pad.clone());
            pool.with_count_include_pad(counted).init().forward(x)
        });
    }
    let global = images(|x| AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x));
    assert_eq!(global, ["GlobalAveragePool", "Reshape"]);
    let halves = images(|x| AdaptiveAvgPool2dConfig::new([2, 3]).init().forward(x));
    assert_eq!(halves, ["AveragePool", "Reshape"]);
}

#[test]
fn convolutions() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([2, 4], [3, 2])
        .with_stride([2, 1])
        .with_dilation([1, 2])
        .with_groups(2)
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0))
        .init(&device);
    check(conv, [1, 2, 6, 6], |conv, x| conv.forward(x).flatten(1, 3));
    let conv = Conv1dConfig::new(2, 3, 3).with_stride(2).with_bias(false).init(&device);
    check(conv, [1, 2, 9], |conv, x| conv.forward(x).flatten(1, 2));
}

#[derive(Module, Debug)]
struct Normed {
    before: BatchNorm,
    conv: Conv2d,
    after: BatchNorm,
    layer: LayerNorm,
    linear: Linear,
    last: BatchNorm,
}

#[test]
fn normalizations_fold_where_they_can() {
    let device = Device::flex();
    let module = Normed {
        before: BatchNormConfig::new(2).init(&device),
        conv: Conv2dConfig::new([2, 3], [3, 3]).with_bias(false).init(&device),
        after: BatchNormConfig::new(3).init(&device),
        layer: LayerNormConfig::new(48).init(&device),
        linear: LinearConfig::new(48, 4).init(&device),
        last: BatchNormConfig::new(4).init(&device),
    };
    let operators = check(module, [1, 2, 6, 6], |m, x| {
        let x = m.after.forward(m.conv.forward(m.before.forward(x)));
        let x = m.layer.forward(x.flatten::<2>(1, 3));
        m.last.forward(m.linear.forward(x))
    });
    assert_eq!(operators, ["BatchNormalization", "Conv", "Gemm", "LayerNormalization", "Reshape"]);
}

#[test]
fn clamps() {
    type OfOne = fn(Tensor<2>) -> Tensor<2>;
    let cases: [OfOne; 4] = [
        |x| x.clamp(-0.5, 0.25),
        |x| x.clamp_min(0.25),
        |x| x.clamp_max(-0.25),
        |x| hard_sigmoid(x, 0.5, 0.5),
    ];
    for forward in cases {
        let operators = check(Plain::None, [1, 9], |_, x| forward(x));
        assert!(operators.contains(&"Clip".to_owned()), "{operators:?}");
    }
    check(Plain::None, [1, 9], |_, x: Tensor<2>| leaky_relu(x, 0.1));
}

#[test]
fn linear_layers_on_more_than_two_axes() {
    let linear = LinearConfig::new(3, 5).init(&Device::flex());
    let operators = check(linear, [1, 4, 3], |linear, x| linear.forward(x).flatten(1, 2));
    assert_eq!(operators, ["Add", "MatMul", "Reshape"]);
}

#[test]
fn a_weight_may_be_computed_but_then_has_no_codes() {
    let conv = Conv2dConfig::new([1, 2], [2, 2]).with_bias(false).init(&Device::flex());
    let forward = |conv: &Conv2d, x: Tensor<4>| {
        let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
        conv2d(x, conv.weight.val().exp(), None, options).flatten(1, 3)
    };
    check(conv.clone(), [1, 1, 3, 3], forward);

    let graph = kd_graph::capture(&conv, [1, 1, 3, 3], |conv, x, _| forward(conv, x)).unwrap();
    let activations = [("input".to_owned(), crate::common::affine(-1.0, 1.0))].into();
    let plan = QuantPlan { activations, ..QuantPlan::default() };
    let error = onnx::lower(&graph, &weights(&conv), Some(&plan)).unwrap_err();
    assert!(error.to_string().contains("its weight is computed and not a parameter"), "{error}");
}

#[derive(Module, Debug)]
struct Shared {
    inner: Linear,
}

#[test]
fn a_layer_may_be_used_twice_and_its_weight_is_stored_once() {
    let shared = Shared { inner: LinearConfig::new(4, 4).init(&Device::flex()) };
    let weights = weights(&shared);
    let forward = |m: &Shared, x: Tensor<2>| m.inner.forward(relu(m.inner.forward(x)));
    let graph = kd_graph::capture(&shared, [1, 4], |m, x, _| forward(m, x)).unwrap();
    let model = onnx::lower(&graph, &weights, None).unwrap();
    let one = 4 * weights["inner.weight"].data().len();
    assert!(model.len() < 2 * one + 600, "{} bytes", model.len());
    check(shared, [1, 4], forward);
}

#[derive(Module, Debug)]
struct Attention {
    encoder: TransformerEncoder,
}

#[test]
fn a_transformer() {
    let config = TransformerEncoderConfig::new(8, 16, 2, 1).with_dropout(0.0);
    let module = Attention { encoder: config.init(&Device::flex()) };
    check(module, [1, 3, 8], |m, x| m.encoder.forward(TransformerEncoderInput::new(x)).flatten(1, 2));
}

#[test]
fn what_onnx_cannot_say_is_refused_by_name() {
    let graph = kd_graph::capture(&Plain::None, [1, 5], |_, x: Tensor<2>, _| x.sort(1)).unwrap();
    let error = onnx::lower(&graph, &Weights::new(), None).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().starts_with("cannot export `sort`"), "{error}");

    let graph = kd_graph::capture(&Plain::None, [1, 1, 5, 5], |_, x: Tensor<4>, _| {
        AdaptiveAvgPool2dConfig::new([2, 2]).init().forward(x).flatten(1, 3)
    });
    let error = onnx::lower(&graph.unwrap(), &Weights::new(), None).unwrap_err();
    assert!(error.to_string().contains("no multiple of the output's"), "{error}");
}
