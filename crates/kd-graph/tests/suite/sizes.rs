//! Sizes that the data decides, told from those that the model fixes.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::AdaptiveAvgPool2dConfig;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Int, Tensor};
use kd_graph::{Dim, Graph, Kind, Op, ValueId, axes, capture};

use crate::nets::{Cnn, Mlp, bare};

/// One line for each dimension of the input.
fn sizes(graph: &Graph) -> Vec<String> {
    let line = |input: &kd_graph::InputDim| match &input.fixed {
        None => format!("{}: {} of the data", input.dim, input.size),
        Some(why) => format!("{}: {} of the model: {why}", input.dim, input.size),
    };
    graph.input_dims.iter().map(line).collect()
}

/// The first operation with this name, its shape and the dimensions that vary.
fn first(graph: &Graph, name: &str) -> (Vec<usize>, Vec<usize>) {
    let node = graph.nodes.iter().find(|node| node.op.name() == name).unwrap();
    (graph.shape(node.output, 1), graph.value(node.output).varies.clone())
}

#[test]
fn a_perceptron_fixes_its_features() {
    let graph = Mlp::graph();
    let [line] = &sizes(&graph)[..] else { panic!("{graph}") };
    let expected = "1: 6 of the model: at 12, `linear` of `a.weight` does not take the sizes that it meets";
    assert_eq!(line, expected);
    assert!(graph.values.iter().all(|value| value.varies.is_empty()));
}

#[test]
fn a_flatten_fixes_the_image() {
    let lines = sizes(&Cnn::graph());
    for (line, start) in lines.iter().zip(["1: 1 of the model", "2: 8 of the model", "3: 8 of the model"]) {
        assert!(line.starts_with(start), "{lines:?}");
    }
    assert!(lines[1].contains("at 16, "), "{lines:?}");
}

#[derive(Module, Debug)]
struct Pooled {
    first: Conv2d,
    second: Conv2d,
    head: Linear,
}

#[test]
fn a_convolutional_network_that_pools_leaves_height_and_width_to_the_data() {
    let device = Device::default();
    let net = Pooled {
        first: Conv2dConfig::new([3, 6], [3, 3]).init(&device),
        second: Conv2dConfig::new([6, 8], [3, 3]).with_stride([2, 2]).init(&device),
        head: LinearConfig::new(8, 4).init(&device),
    };
    let graph = capture(&net, [1, 3, 12, 10], |net: &Pooled, x, _| {
        let x = relu(net.second.forward(relu(net.first.forward(x))));
        net.head.forward(AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x).flatten(1, 3))
    });
    let graph = graph.unwrap();
    let lines = sizes(&graph);
    assert!(lines[0].starts_with("1: 3 of the model: at 6, "), "{lines:?}");
    assert_eq!(lines[1..], ["2: 12 of the data", "3: 10 of the data"]);
    assert_eq!(first(&graph, "conv"), (vec![1, 6, 10, 8], vec![2, 3]));
    assert_eq!(first(&graph, "adaptive_avg_pool"), (vec![1, 8, 1, 1], vec![]));
    assert_eq!(graph.value(graph.inputs[0]).varies, [2, 3]);
    // The batch is told apart already.
    assert_eq!(graph.value(graph.inputs[0]).shape[0], Dim::Batch(1));
}

const WIDTH: usize = 8;

/// One layer of attention on tokens, causal, with or without a table of positions.
#[derive(Module, Debug)]
struct Tokens {
    table: Embedding,
    positions: Option<Param<Tensor<2>>>,
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    head: Linear,
}

impl Tokens {
    fn new(positions: Option<usize>) -> Self {
        let device = Device::default();
        let linear = |outputs| LinearConfig::new(WIDTH, outputs).init(&device);
        Self {
            table: EmbeddingConfig::new(20, WIDTH).init(&device),
            positions: positions.map(|places| Param::from_tensor(Tensor::ones([places, WIDTH], &device))),
            norm: LayerNormConfig::new(WIDTH).init(&device),
            query: linear(4),
            key: linear(4),
            value: linear(6),
            head: LinearConfig::new(6, 3).init(&device),
        }
    }

    fn forward(&self, ids: Tensor<2>) -> Tensor<2> {
        let [_, places] = ids.dims();
        let device = ids.device();
        let mut x = self.table.forward(ids.int());
        if let Some(positions) = &self.positions {
            x = x + positions.val().narrow(0, 0, places).unsqueeze();
        }
        let x = self.norm.forward(x);
        let scores = self.query.forward(x.clone()).matmul(self.key.forward(x.clone()).swap_dims(1, 2));
        // The mask of a causal model: a constant as long as the input, in both dimensions.
        let row: Tensor<2, Int> = Tensor::arange(0..places as i64, &device).unsqueeze();
        let later = row.clone().repeat_dim(0, places).greater(row.swap_dims(0, 1).repeat_dim(1, places));
        let scores = scores.mask_fill(later.unsqueeze::<3>().expand([1, places, places]), -1e9);
        let x = softmax(scores, 2).matmul(self.value.forward(x));
        self.head.forward(x.mean_dim(1).flatten(1, 2))
    }

    fn graph(&self, places: usize) -> Graph {
        capture(self, [1, places], |net: &Self, ids, _| net.forward(ids)).unwrap()
    }
}

#[test]
fn a_transformer_leaves_its_length_to_the_data() {
    let graph = Tokens::new(None).graph(5);
    assert_eq!(sizes(&graph), ["1: 5 of the data"]);
    assert_eq!(first(&graph, "embedding"), (vec![1, 5, WIDTH], vec![1]));
    assert_eq!(first(&graph, "softmax"), (vec![1, 5, 5], vec![1, 2]));
    assert_eq!(graph.value(graph.outputs[0]).varies, [0_usize; 0]);
    // Its constants are as long as the input, and nothing but positions.
    let constants = (0..graph.values.len()).map(ValueId).filter(|&id| {
        matches!(graph.value(id).origin, kd_graph::Origin::Constant(_)) && graph.shape(id, 1).contains(&5)
    });
    assert!(constants.into_iter().all(|id| !graph.value(id).varies.is_empty()), "{graph}");
}

#[test]
fn a_table_of_positions_allows_shorter_inputs() {
    let net = Tokens::new(Some(6));
    let graph = net.graph(6);
    assert_eq!(sizes(&graph), ["1: 6 of the data"], "half is tried where the double is refused");
    let places: Vec<_> =
        axes(&graph).into_iter().filter(|axis| axis.members[0].path == "positions").collect();
    assert_eq!(places.len(), 1, "rows; the width is the embedding's");
    assert_eq!((places[0].kind, places[0].pinned.is_some()), (Kind::Positions, true));
}

#[test]
fn what_is_as_long_as_the_input_is_no_unit_of_the_model() {
    // A state for each place, made by the forward pass from nothing, and a gate whose size is the model's.
    let graph = capture(&bare(), [1, 4], |_, x: Tensor<2>, _| {
        let [_, places] = x.dims();
        let state = Tensor::<2>::zeros([1, places], &x.device()).repeat_dim(0, 3);
        x + state.sum_dim(0)
    });
    let graph = graph.unwrap();
    assert_eq!(sizes(&graph), ["1: 4 of the data"]);
    assert!(graph.nodes.iter().any(|node| graph.value(node.output).varies == [1]));
}

#[test]
fn other_operations_at_another_size_are_a_refusal_that_says_which() {
    // Unrolled along the input, as recurrent layers are: the graph is that of one length.
    let graph = capture(&bare(), [1, 4], |_, x: Tensor<2>, _| {
        let steps = x.dims()[1];
        (0..steps).fold(x, |x, _| x.tanh())
    });
    assert_eq!(sizes(&graph.unwrap()), ["1: 4 of the model: at 8, the number of operations is 8 and not 4"]);
    let graph = capture(&bare(), [1, 4], |_, x: Tensor<2>, _| match x.dims()[1] {
        4 => x.tanh(),
        _ => x.exp(),
    });
    assert_eq!(sizes(&graph.unwrap()), ["1: 4 of the model: at 8, operation 0 is `exp` and not `tanh`"]);
    let graph = capture(&bare(), [1, 4], |_, x: Tensor<2>, _| match x.dims()[1] {
        4 => x.tanh(),
        size => panic!("expected 4 features,\n  found {size}"),
    });
    assert_eq!(sizes(&graph.unwrap()), ["1: 4 of the model: at 8, expected 4 features, found 8"]);
}

#[test]
fn refusals_are_equal_and_graphs_read_back() {
    let graph = Cnn::graph();
    assert!(graph.input_dims.iter().all(|input| input.fixed.is_some()));
    let json = serde_json::to_value(&graph).unwrap();
    assert_eq!(serde_json::from_value::<Graph>(json.clone()).unwrap(), graph);
    // A graph that was written before there were sizes.
    let mut old = json;
    old.as_object_mut().unwrap().remove("input_dims");
    assert!(serde_json::from_value::<Graph>(old).unwrap().input_dims.is_empty());
    assert!(graph.nodes.iter().all(|node| !matches!(node.op, Op::Opaque(_))));
}
