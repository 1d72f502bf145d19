//! One short case for each operation that a graph knows.

use burn::module::Module;
use burn::nn::conv::{Conv1dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig};
use burn::nn::pool::{AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig};
use burn::nn::{EmbeddingConfig, LayerNormConfig, LinearConfig, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::activation::{
    gelu, hard_sigmoid, leaky_relu, log_softmax, relu, relu6, sigmoid, silu, softmax,
};
use burn::tensor::module::{adaptive_avg_pool1d, interpolate, max_pool2d};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, Int, Tensor};
use kd_graph::{Binary, Dim, Graph, Op, Unary, capture};

use crate::nets::bare;

fn graph<M: Module, const D: usize>(
    module: &M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<2>,
) -> Graph {
    capture(module, shape, |module, x, _| forward(module, x)).unwrap()
}

fn ops<const D: usize>(shape: [usize; D], forward: impl Fn(Tensor<D>) -> Tensor<2>) -> Vec<Op> {
    graph(&bare(), shape, |_, x| forward(x)).nodes.into_iter().map(|node| node.op).collect()
}

fn first<const D: usize>(shape: [usize; D], forward: impl Fn(Tensor<D>) -> Tensor<2>) -> Op {
    ops(shape, forward).remove(0)
}

type OfOne = fn(Tensor<2>) -> Tensor<2>;
type OfTwo = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;

#[test]
fn functions_of_one_element() {
    let cases: [(OfOne, Op); 16] = [
        (relu, Op::Unary(Unary::Relu)),
        (|x| x.clamp_min(0.0), Op::Unary(Unary::Relu)),
        (gelu, Op::Unary(Unary::Gelu)),
        (sigmoid, Op::Unary(Unary::Sigmoid)),
        (Tensor::tanh, Op::Unary(Unary::Tanh)),
        (Tensor::exp, Op::Unary(Unary::Exp)),
        (Tensor::log, Op::Unary(Unary::Log)),
        (Tensor::sqrt, Op::Unary(Unary::Sqrt)),
        (Tensor::abs, Op::Unary(Unary::Abs)),
        (Tensor::neg, Op::Unary(Unary::Neg)),
        (Tensor::erf, Op::Unary(Unary::Erf)),
        (|x| x + 2.0, Op::Scalar(Binary::Add, 2.0)),
        (|x| x - 2.0, Op::Scalar(Binary::Sub, 2.0)),
        (|x| x * 2.0, Op::Scalar(Binary::Mul, 2.0)),
        (|x| x / 2.0, Op::Scalar(Binary::Div, 2.0)),
        (|x| x.powf_scalar(0.5), Op::Unary(Unary::Sqrt)),
    ];
    for (forward, expected) in cases {
        assert_eq!(ops([1, 4], forward), [expected]);
    }
}

#[test]
fn functions_made_of_others() {
    assert_eq!(ops([1, 4], silu), [Op::Unary(Unary::Sigmoid), Op::Binary(Binary::Mul)]);
    assert_eq!(ops([1, 4], |x| x.powi_scalar(2)), [Op::Binary(Binary::Mul)]);
    assert_eq!(ops([1, 4], |x| x.powf_scalar(3.0)), vec![Op::Binary(Binary::Mul); 2]);
    assert_eq!(ops([1, 4], Tensor::recip), [Op::Binary(Binary::Div)]);
}

#[test]
fn functions_of_two_values() {
    let cases: [(OfTwo, Binary); 4] = [
        (|x, y| x + y, Binary::Add),
        (|x, y| x - y, Binary::Sub),
        (|x, y| x * y, Binary::Mul),
        (|x, y| x / y, Binary::Div),
    ];
    for (forward, expected) in cases {
        assert_eq!(ops([1, 4], |x| forward(x.clone(), x)), [Op::Binary(expected)]);
    }
}

#[test]
fn whole_numbers_and_truth_values_are_floats() {
    assert_eq!(ops([1, 4], |x| x.int().float()), [Op::Unary(Unary::Truncate)]);
    let is_two = ops([1, 4], |x| x.int().equal_elem(2).float());
    assert_eq!(is_two, [Op::Unary(Unary::Truncate), Op::Scalar(Binary::Equal, 2.0)]);
    assert_eq!(ops([1, 4], |x| x.clone().equal(x).int().float()), [Op::Binary(Binary::Equal)]);
}

#[test]
fn along_an_axis() {
    assert_eq!(ops([1, 4], |x| softmax(x, 1)), [Op::Softmax(1)]);
    assert_eq!(ops([1, 4], |x| log_softmax(x, 1)), [Op::LogSoftmax(1)]);
    assert_eq!(ops([1, 4], |x| x.mean_dim(1)), [Op::MeanDim(1)]);
    assert_eq!(ops([1, 4], |x| x.sum_dim(1)), [Op::SumDim(1)]);
    assert_eq!(first([1, 4, 3], |x: Tensor<3>| x.mean_dim(2).flatten(1, 2)), Op::MeanDim(2));
}

#[test]
fn moving_elements() {
    assert_eq!(ops([1, 2, 3], |x: Tensor<3>| x.flatten::<2>(1, 2)), [Op::Reshape]);
    assert_eq!(first([1, 2, 3], |x: Tensor<3>| x.swap_dims(1, 2).flatten(1, 2)), Op::Permute(vec![0, 2, 1]));
    assert_eq!(
        first([1, 2, 3], |x: Tensor<3>| x.permute([2, 0, 1]).flatten(1, 2)),
        Op::Permute(vec![2, 0, 1])
    );
    assert_eq!(ops([1, 4], |x| Tensor::cat(vec![x.clone(), x], 1)), [Op::Concat(1)]);
    assert_eq!(ops([1, 4], |x| x.repeat_dim(1, 3)), [Op::Concat(1)]);
    assert_eq!(ops([1, 4], |x| x.narrow(1, 1, 2)), [Op::Slice(vec![(0, usize::MAX), (1, 3)])]);
    // The first example of a batch is the same one in every batch.
    assert_eq!(ops([1, 4], |x| x.narrow(0, 0, 1)), [Op::Slice(vec![(0, 1), (0, 4)])]);
    let expanded = graph(&bare(), [1, 1], |_, x: Tensor<2>| {
        let [batch, _] = x.dims();
        x.expand([batch, 5])
    });
    assert_eq!(expanded.nodes[0].op, Op::Expand);
    assert_eq!(expanded.value(expanded.outputs[0]).shape, [Dim::Batch(1), Dim::Fixed(5)]);
}

#[test]
fn batches_merged_with_other_dimensions() {
    let graph = graph(&bare(), [1, 3, 4], |_, x: Tensor<3>| x.flatten::<2>(0, 1));
    assert_eq!(graph.value(graph.outputs[0]).shape, [Dim::Batch(3), Dim::Fixed(4)]);
    assert_eq!(graph.shape(graph.outputs[0], 2), [6, 4]);
}

#[test]
fn windows() {
    let device = Device::default();
    let conv = Conv1dConfig::new(4, 6, 3)
        .with_stride(2)
        .with_dilation(2)
        .with_groups(2)
        .with_padding(PaddingConfig1d::Explicit(1, 2))
        .init(&device);
    let found = graph(&conv, [1, 4, 9], |conv, x: Tensor<3>| conv.forward(x).flatten(1, 2));
    let Op::Conv { window, groups } = &found.nodes[0].op else { panic!("{found}") };
    assert_eq!(
        (window.kernel[0], window.stride[0], window.padding[0], window.dilation[0]),
        (3, 2, (1, 2), 2)
    );
    assert_eq!((*groups, found.nodes[0].inputs.len()), (2, 3));

    let pool = MaxPool1dConfig::new(3).with_stride(2).with_padding(PaddingConfig1d::Explicit(1, 1)).init();
    let op = first([1, 2, 9], |x: Tensor<3>| pool.forward(x).flatten(1, 2));
    let Op::MaxPool { window, ceil: false } = &op else { panic!("{op:?}") };
    assert_eq!(
        (window.kernel[0], window.stride[0], window.padding[0], window.dilation[0]),
        (3, 2, (1, 1), 1)
    );

    let op = first([1, 2, 9, 9], |x: Tensor<4>| {
        max_pool2d(x, MaxPoolOptions::new([2, 3]).with_stride([2, 3]).with_ceil_mode(true)).flatten(1, 3)
    });
    let Op::MaxPool { window, ceil: true } = &op else { panic!("{op:?}") };
    assert_eq!((window.kernel.as_slice(), window.stride.as_slice()), (&[2, 3][..], &[2, 3][..]));

    let pool = AvgPool1dConfig::new(3).with_stride(3).with_count_include_pad(false).init();
    let op = first([1, 2, 9], |x: Tensor<3>| pool.forward(x).flatten(1, 2));
    assert!(
        matches!(&op, Op::AvgPool { window, count_pad: false, ceil: false } if window.stride == [3]),
        "{op:?}"
    );

    let pool = AvgPool2dConfig::new([2, 2]).with_strides([2, 2]);
    let pool = pool.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init();
    let op = first([1, 2, 8, 8], |x: Tensor<4>| pool.forward(x).flatten(1, 3));
    assert!(
        matches!(&op, Op::AvgPool { window, count_pad: true, .. } if window.padding == [(1, 1); 2]),
        "{op:?}"
    );

    let op = first([1, 2, 9], |x: Tensor<3>| adaptive_avg_pool1d(x, 3).flatten(1, 2));
    assert_eq!(op, Op::AdaptiveAvgPool { output: vec![3] });
}

#[test]
fn products_and_norms() {
    assert_eq!(ops([1, 4], |x| x.clone().matmul(x.transpose())), [Op::Permute(vec![1, 0]), Op::Matmul]);

    let norm = LayerNormConfig::new(4).with_epsilon(1e-3).init(&Device::default());
    let found = graph(&norm, [1, 4], |norm, x: Tensor<2>| norm.forward(x));
    assert_eq!((&found.nodes[0].op, found.nodes[0].inputs.len()), (&Op::LayerNorm { epsilon: 1e-3 }, 3));

    let layer = LinearConfig::new(4, 2).with_bias(false).init(&Device::default());
    let found = graph(&layer, [1, 3, 4], |layer, x: Tensor<3>| layer.forward(x).flatten(1, 2));
    assert_eq!((&found.nodes[0].op, found.nodes[0].inputs.len()), (&Op::Linear, 2));
    assert_eq!(kd_graph::macs(&found), 3 * 4 * 2);
}

#[test]
fn comparisons_and_masks() {
    type Compare = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
    let cases: [(Compare, Binary); 4] = [
        (|x, y| x.greater(y).float(), Binary::Greater),
        (|x, y| x.greater_equal(y).float(), Binary::GreaterEqual),
        (|x, y| x.lower(y).float(), Binary::Lower),
        (|x, y| x.lower_equal(y).float(), Binary::LowerEqual),
    ];
    for (forward, expected) in cases {
        assert_eq!(ops([1, 4], |x: Tensor<2>| forward(x.clone(), x)), [Op::Binary(expected)]);
    }
    let scalar = |op, value| Op::Scalar(op, value);
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.greater_elem(2.0).float()), [scalar(Binary::Greater, 2.0)]);
    assert_eq!(
        ops([1, 4], |x: Tensor<2>| x.lower_equal_elem(2.0).float()),
        [scalar(Binary::LowerEqual, 2.0)]
    );
    let not = [scalar(Binary::GreaterEqual, 2.0), scalar(Binary::Equal, 0.0)];
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.greater_equal_elem(2.0).bool_not().float()), not);
    let or = |x: Tensor<2>| x.clone().lower_elem(2.0).bool_or(x.greater_elem(3.0)).float();
    let either = [Op::Binary(Binary::Add), scalar(Binary::Greater, 0.0)];
    assert_eq!(ops([1, 4], or)[2..], either);
    let and = |x: Tensor<2>| x.clone().lower_elem(2.0).bool_and(x.greater_elem(3.0)).float();
    assert_eq!(ops([1, 4], and)[2..], [Op::Binary(Binary::Mul)]);
    let unequal = [Op::Binary(Binary::Equal), scalar(Binary::Equal, 0.0)];
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.clone().not_equal(x).float()), unequal);
    let unequal = [scalar(Binary::Equal, 2.0), scalar(Binary::Equal, 0.0)];
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.not_equal_elem(2.0).float()), unequal);
    // Whole numbers compare as floats do.
    let whole = [Op::Unary(Unary::Truncate), scalar(Binary::Sub, 1.0), scalar(Binary::Lower, 2.0)];
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.int().sub_scalar(1).lower_elem(2).float()), whole);

    let filled = graph(&bare(), [1, 4], |_, x: Tensor<2>| x.clone().mask_fill(x.lower_elem(0.0), 9.0));
    let node = &filled.nodes[1];
    assert_eq!(node.op, Op::Where);
    assert_eq!((node.inputs[0], node.inputs[2]), (filled.nodes[0].output, filled.inputs[0]));
    assert_eq!(filled.value(node.inputs[1]).origin, kd_graph::Origin::Constant(vec![9.0]));
    let chosen =
        graph(&bare(), [1, 4], |_, x: Tensor<2>| x.clone().mask_where(x.clone().lower_elem(0.0), x.neg()));
    let node = chosen.nodes.last().unwrap();
    assert_eq!((&node.op, node.inputs[2]), (&Op::Where, chosen.inputs[0]));
    assert_eq!(chosen.producer(node.inputs[1]).unwrap().op, Op::Unary(Unary::Neg));
}

#[test]
fn the_largest_and_selected_rows() {
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.topk(3, 1)), [Op::TopK(1)]);
    assert_eq!(ops([1, 4], |x: Tensor<2>| x.max_dim(1)), [Op::TopK(1)]);
    let layer = LinearConfig::new(4, 3).with_bias(false).init(&Device::default());
    let found = graph(&layer, [1, 3], |layer, x: Tensor<2>| {
        let numbers = Tensor::<1, Int>::from_ints([2, 0, 1], &x.device());
        x.matmul(layer.weight.val().select(0, numbers))
    });
    assert_eq!(found.nodes[0].op, Op::Embedding);
    assert_eq!(found.param(found.nodes[0].inputs[0]).unwrap().path, "weight");
}

#[test]
fn clamps() {
    let infinite = f64::INFINITY;
    for (forward, min, max) in [
        ((|x| x.clamp(-1.0, 2.0)) as OfOne, -1.0, 2.0),
        (|x| x.clamp_min(0.5), 0.5, infinite),
        (|x| x.clamp_max(0.5), -infinite, 0.5),
        (relu6, 0.0, 6.0),
    ] {
        assert_eq!(ops([1, 4], forward), [Op::Clamp { min, max }]);
    }
    let scaled =
        [Op::Scalar(Binary::Mul, 0.25), Op::Scalar(Binary::Add, 0.5), Op::Clamp { min: 0.0, max: 1.0 }];
    assert_eq!(ops([1, 4], |x: Tensor<2>| hard_sigmoid(x, 0.25, 0.5)), scaled);
    let relu = Op::Unary(Unary::Relu);
    let leaky =
        [relu.clone(), Op::Unary(Unary::Neg), relu, Op::Scalar(Binary::Mul, 0.25), Op::Binary(Binary::Sub)];
    assert_eq!(ops([1, 4], |x: Tensor<2>| leaky_relu(x, 0.25)), leaky);
}

#[test]
fn resizing() {
    let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_output_size([8, 6]);
    let found = first([1, 2, 4, 4], |x: Tensor<4>| interpolate(x, options.clone()).flatten(1, 3));
    assert_eq!(found, Op::Resize { output: vec![8, 6], mode: "bilinear, aligned at corners".into() });
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
    let found = first([1, 2, 4, 4], |x: Tensor<4>| interpolate(x, options.clone()).flatten(1, 3));
    assert_eq!(found, Op::Resize { output: vec![8, 8], mode: "nearest".into() });
}

#[test]
fn transposed_convolutions() {
    let layer = ConvTranspose2dConfig::new([2, 4], [2, 3]).with_stride([2, 2]).with_groups(2);
    let layer = layer.with_padding([0, 1]).with_padding_out([1, 0]).init(&Device::default());
    let found = graph(&layer, [1, 2, 4, 5], |layer, x: Tensor<4>| layer.forward(x).flatten(1, 3));
    let Op::ConvTranspose { window, extra, groups: 2 } = &found.nodes[0].op else { panic!("{found}") };
    assert_eq!((window.kernel.as_slice(), window.stride.as_slice()), (&[2, 3][..], &[2, 2][..]));
    assert_eq!((window.padding.as_slice(), extra.as_slice()), (&[(0, 0), (1, 1)][..], &[1, 0][..]));
    assert_eq!(found.nodes[0].inputs.len(), 3);
    // Each of 20 places of 2 channels meets the 2·2·3 weights of its own.
    assert_eq!(kd_graph::macs(&found), 20 * 2 * (2 * 2 * 3));
    let layer = ConvTranspose1dConfig::new([2, 3], 2).init(&Device::default());
    let found = graph(&layer, [1, 2, 4], |layer, x: Tensor<3>| layer.forward(x).flatten(1, 2));
    assert!(matches!(found.nodes[0].op, Op::ConvTranspose { groups: 1, .. }), "{found}");
}

#[test]
fn embeddings_of_positions() {
    let table = EmbeddingConfig::new(5, 4).init(&Device::default());
    let found = graph(&table, [1, 4], |table, x: Tensor<2>| {
        let positions = Tensor::<1, Int>::arange(0..3, &x.device()).unsqueeze::<2>();
        x + table.forward(positions).mean_dim(1).flatten::<2>(1, 2)
    });
    assert!(found.nodes.iter().any(|node| node.op == Op::Embedding), "{found}");
    assert!(!found.nodes.iter().any(|node| matches!(node.op, Op::Opaque(_))), "{found}");
}

#[test]
fn embeddings_of_the_input() {
    let table = EmbeddingConfig::new(5, 3).init(&Device::default());
    let found = graph(&table, [1, 4], |table, x: Tensor<2>| table.forward(x.int()).flatten(1, 2));
    let ops: Vec<&Op> = found.nodes.iter().map(|node| &node.op).collect();
    assert_eq!(ops, [&Op::Unary(Unary::Truncate), &Op::Embedding, &Op::Reshape]);
    assert_eq!(found.value(found.nodes[1].output).shape, [Dim::Batch(1), Dim::Fixed(4), Dim::Fixed(3)]);
    assert_eq!((kd_graph::macs(&found), kd_graph::params(&found)), (0, 15));
}

#[test]
fn what_is_not_understood_keeps_its_name() {
    let opaque = |name: &str| Op::Opaque(name.into());
    assert_eq!(first([1, 4], |x: Tensor<2>| x.flip([1])), opaque("flip"));
    assert_eq!(first([1, 4], |x: Tensor<2>| x.cos()), opaque("cos"));
    assert_eq!(first([1, 4], |x: Tensor<2>| x.cumsum(1)), opaque("cum_sum"));
    let random = |x: Tensor<2>| x.random_like(burn::tensor::Distribution::Default) + x;
    assert_eq!(first([1, 4], random), opaque("random"));
}
