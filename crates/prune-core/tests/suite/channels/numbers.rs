//! Plain numbers in a graph that follow a cut: bounds of slices, and how often a value is repeated.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use kd_graph::{Axis, Graph, Op, Origin, axes, capture};
use prune_core::{Error, Prediction, cut_of, predict};

/// Two layers of width six and one that reads six.
#[derive(Module, Debug)]
struct Net {
    a: Linear,
    b: Linear,
    head: Linear,
}

fn graph(head: usize, forward: impl Fn(&Net, Tensor<2>) -> Tensor<2>) -> Graph {
    let layer = |from, to| LinearConfig::new(from, to).with_bias(false).init(&Device::flex());
    let net = Net { a: layer(4, 6), b: layer(4, 6), head: layer(head, 3) };
    capture(&net, [1, 4], |net, x, _| net.head.forward(forward(net, x))).unwrap()
}

/// The graph without all but these units of the axis that `path` has along dimension 1 from `first` on.
fn without(graph: &Graph, path: &str, first: usize, keep: &[usize]) -> Result<Prediction, Error> {
    let axes = axes(graph);
    let has = |axis: &&Axis| {
        axis.members.iter().any(|it| it.path == path && it.dim == 1 && it.index[0].contains(&first))
    };
    predict(graph, &cut_of(graph, [(axes.iter().find(has).unwrap(), keep)])?)
}

fn slices(graph: &Graph) -> Vec<(usize, usize)> {
    let ranges = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Slice(ranges) => Some(ranges[1]),
        _ => None,
    });
    ranges.collect()
}

#[test]
fn bounds_of_slices_follow() {
    let graph = graph(4, |net, x| {
        let x = net.a.forward(x);
        x.clone().narrow(1, 0, 4).tanh() * x.clone().narrow(1, 2, 4)
    });
    // Both parts are of one tensor and overlap, so that every second unit goes together.
    let cut = without(&graph, "a.weight", 0, &[1]).unwrap();
    assert_eq!(slices(&graph), [(0, 4), (2, 6)]);
    assert_eq!(slices(&cut.graph), [(0, 2), (1, 3)]);
    assert_eq!(cut.graph.params[0].shape, [4, 3]);

    let halves = self::graph(3, |net, x| {
        let x = net.a.forward(x);
        x.clone().narrow(1, 0, 3) * x.narrow(1, 3, 3)
    });
    let cut = without(&halves, "a.weight", 0, &[0, 2]).unwrap();
    assert_eq!(slices(&cut.graph), [(0, 2), (2, 4)]);
}

#[test]
fn repeated_values_are_as_long_as_what_they_meet() {
    let graph = graph(6, |net, x| {
        let [batch, _] = x.dims();
        let state = Tensor::<2>::zeros([batch, 6], &x.device());
        let half = Tensor::<2>::full([1, 6], 0.5, &x.device());
        (net.a.forward(x) + state) * half
    });
    let cut = without(&graph, "a.weight", 0, &[0, 5]).unwrap();
    let sizes = |graph: &Graph| -> Vec<usize> {
        let constant = |value: &&kd_graph::Value| matches!(value.origin, Origin::Constant(_));
        graph.values.iter().filter(constant).map(|value| value.shape[1].at(1)).collect()
    };
    assert_eq!((sizes(&graph), sizes(&cut.graph)), (vec![1, 6], vec![1, 2]));
    let expanded = cut.graph.nodes.iter().find(|node| node.op == Op::Expand).unwrap();
    assert_eq!(cut.graph.value(expanded.output).shape[1].at(1), 2);
    assert!(cut.incomparable.is_empty(), "{:?}", cut.incomparable);
}

#[test]
fn what_would_be_left_empty_or_too_short_is_refused() {
    let graph = graph(2, |net, x| net.a.forward(x).topk(2, 1));
    let error = without(&graph, "a.weight", 0, &[3]).unwrap_err().to_string();
    assert!(error.contains("the largest 2 of 1 units would be taken"), "{error}");
    let cut = without(&graph, "a.weight", 0, &[1, 2, 3]).unwrap();
    assert!(cut.incomparable[0].contains("chooses among the removed units"), "{:?}", cut.incomparable);
}
