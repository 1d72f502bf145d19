//! Residual blocks, written out by hand.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_graph::{Graph, blocks, capture, macs, params};

use crate::nets::Residual;

#[derive(Module, Debug)]
struct Net {
    stem: Linear,
    first: Linear,
    inner: Linear,
    shared: Linear,
    head: Linear,
}

fn graph(forward: impl Fn(&Net, Tensor<2>) -> Tensor<2>) -> Graph {
    let device = Device::default();
    let layer = |from, to| LinearConfig::new(from, to).init(&device);
    let net = Net {
        stem: layer(3, 4),
        first: layer(4, 4),
        inner: layer(4, 4),
        shared: layer(4, 4),
        head: layer(4, 2),
    };
    capture(&net, [1, 3], |net, x, _| net.head.forward(forward(net, net.stem.forward(x)))).unwrap()
}

fn found(graph: &Graph) -> Vec<Vec<String>> {
    blocks(graph).into_iter().map(|block| block.params).collect()
}

#[test]
fn a_block_has_the_parameters_that_nothing_else_reads() {
    let first = ["first.weight", "first.bias"];
    let residual = graph(|net, x| relu(x.clone() + net.first.forward(x)));
    assert_eq!(found(&residual), [first]);
    // What is added may come first.
    let turned = graph(|net, x| net.first.forward(relu(x.clone())) + x);
    assert_eq!(found(&turned), [first]);
    // A layer that is needed elsewhere stays.
    let shared = graph(|net, x| {
        let x = net.shared.forward(x);
        x.clone() + net.shared.forward(net.first.forward(x))
    });
    assert_eq!(found(&shared), [first]);
    // Nothing goes where the sum is of two branches, or of a branch and a parameter.
    assert!(found(&graph(|net, x| net.first.forward(x.clone()) + net.inner.forward(x))).is_empty());
    assert!(
        found(&graph(|net, x| net.first.forward(x) + net.inner.bias.as_ref().unwrap().val().unsqueeze()))
            .is_empty()
    );
    assert!(found(&graph(|net, x| net.first.forward(x.clone()) + x.clone() * x)).is_empty());
}

#[test]
fn branches_side_by_side_are_a_block_each() {
    let layer = |name: &str| vec![format!("{name}.weight"), format!("{name}.bias")];
    let parallel = graph(|net, x| x.clone() + net.first.forward(x.clone()) + net.inner.forward(x));
    assert_eq!(found(&parallel), [layer("first"), layer("inner")]);
    // Two streams that come together are none: each has the input in it.
    let doubled = graph(|net, x| {
        let y = x.clone() + net.first.forward(x.clone());
        y + (net.inner.forward(x.clone()) + x)
    });
    assert_eq!(found(&doubled), [layer("first"), layer("inner")]);
}

#[test]
fn a_block_inside_another_comes_first() {
    let nested = graph(|net, x| {
        let y = net.first.forward(x.clone());
        x + (y.clone() + net.inner.forward(y))
    });
    let inner = vec!["inner.weight".to_owned(), "inner.bias".to_owned()];
    let mut outer = vec!["first.weight".to_owned(), "first.bias".to_owned()];
    outer.extend(inner.clone());
    assert_eq!(found(&nested), [inner, outer]);
}

#[test]
fn without_its_block_a_graph_is_that_of_the_shorter_network() {
    let long = graph(|net, x| relu(x.clone() + net.first.forward(x)));
    let short = blocks(&long)[0].removed_from(&long);
    let mut expected = graph(|_, x| relu(x));
    assert_eq!(short.to_string(), expected.to_string());
    // The recording still has the layers that no longer belong to the network.
    expected.params.retain(|param| !param.path.starts_with("first"));
    assert_eq!(short.params, expected.params);
    assert_eq!(macs(&long) - macs(&short), 16);
    assert_eq!(params(&long) - params(&short), 20);
    assert_eq!(short.inputs.len() + short.outputs.len(), 2);

    let images = Residual::graph();
    let block = &blocks(&images)[0];
    let expected = [
        "depthwise.weight",
        "pointwise.weight",
        "norm.gamma",
        "norm.beta",
        "norm.running_mean",
        "norm.running_var",
    ];
    assert_eq!(block.params, expected);
    assert!(macs(&block.removed_from(&images)) < macs(&images));
}
