//! Costs counted by hand.

use kd_graph::{Graph, Op, activation_bytes, macs, macs_with, node_macs, node_params, params};

use crate::nets::{Cnn, Mlp, Residual};

fn check(graph: &Graph, layers: &[u64], parameters: u64) {
    let costs: Vec<u64> =
        graph.nodes.iter().map(|node| node_macs(graph, node)).filter(|&cost| cost > 0).collect();
    assert_eq!(costs, layers, "{graph}");
    assert_eq!(macs(graph), layers.iter().sum::<u64>());
    assert_eq!(macs_with(graph, |param| param.shape.clone()), macs(graph));
    assert_eq!(params(graph), parameters);
}

#[test]
fn multilayer_perceptron() {
    check(&Mlp::graph(), &[6 * 5, 5 * 4, 4 * 3], 6 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3);
}

#[test]
fn convolutions_with_batch_norm_and_flatten() {
    let conv1 = 4 * 8 * 8 * 9;
    let conv2 = 6 * 4 * 4 * 4 * 9;
    // Running statistics are no parameters: 2·4 and 2·6 for the norms.
    let parameters = 4 * 9 + 2 * 4 + 6 * 4 * 9 + 6 + 2 * 6 + 24 * 5 + 5 + 5 * 3 + 3;
    check(&Cnn::graph(), &[conv1, conv2, 24 * 5, 5 * 3], parameters);
}

#[test]
fn residual_and_depthwise() {
    let stem = 6 * 36 * 2 * 9;
    let (depthwise, pointwise) = (6 * 36 * 9, 6 * 36 * 6);
    let parameters = 6 * 2 * 9 + 6 + 6 * 9 + 6 * 6 + 2 * 6 + 6 * 4 + 4;
    check(&Residual::graph(), &[stem, depthwise, pointwise, 6 * 4], parameters);
}

#[test]
fn cost_of_other_shapes() {
    let graph = Cnn::graph();
    // Two of the four channels of the first convolution are gone.
    let cut = |path: &str| match path {
        "conv1.weight" => Some(vec![2, 1, 3, 3]),
        "conv2.weight" => Some(vec![6, 2, 3, 3]),
        _ => None,
    };
    let shape = |param: &kd_graph::Param| cut(&param.path).unwrap_or_else(|| param.shape.clone());
    assert_eq!(macs_with(&graph, shape), 2 * 64 * 9 + 6 * 16 * 2 * 9 + 120 + 15);
}

#[test]
fn padding_and_stride_count_as_taps_of_the_output() {
    let graph = Cnn::graph();
    let Op::Conv { window, groups } = &graph.nodes[0].op else { panic!("{graph}") };
    assert_eq!(
        (window.kernel.as_slice(), window.padding.as_slice(), *groups),
        (&[3, 3][..], &[(1, 1); 2][..], 1)
    );
    assert_eq!(graph.shape(graph.nodes[0].output, 1), [1, 4, 8, 8]);
}

#[test]
fn bytes_of_activations_are_those_of_each_result() {
    let graph = Cnn::graph();
    let bytes: Vec<u64> = graph.nodes.iter().map(|node| activation_bytes(&graph, node)).collect();
    let (first, pooled, second) = (4 * 8 * 8 * 4, 4 * 4 * 4 * 4, 6 * 4 * 4 * 4);
    let expected =
        [first, first, first, pooled, second, second, second, 6 * 2 * 2 * 4, 24 * 4, 5 * 4, 5 * 4, 3 * 4];
    assert_eq!(bytes, expected, "{graph}");
}

#[test]
fn parameters_of_operations_add_up_to_those_of_the_network() {
    for graph in [Mlp::graph(), Cnn::graph(), Residual::graph()] {
        let each = (0..graph.nodes.len()).map(|index| node_params(&graph, index));
        assert_eq!(each.sum::<u64>(), params(&graph), "{graph}");
    }
}
