//! Where quantizers go.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor};
use kd_graph::{Error, Graph, Op, Sites, ValueId, capture, placements};

use crate::nets::{Cnn, Mlp, bare};

/// `site: operations that read it`, by index among the operations that multiply.
fn listed(graph: &Graph) -> Vec<String> {
    let multiplies = |op: &Op| matches!(op, Op::Conv { .. } | Op::Linear | Op::Matmul);
    let layers: Vec<usize> = (0..graph.nodes.len()).filter(|&i| multiplies(&graph.nodes[i].op)).collect();
    let number = |node: &usize| layers.iter().position(|layer| layer == node).unwrap().to_string();
    let found = placements(graph).unwrap();
    found
        .iter()
        .map(|p| format!("{}: {}", p.site, p.consumers.iter().map(number).collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn every_layer_reads_a_site() {
    assert_eq!(listed(&Mlp::graph()), ["input: 0", "hidden1: 1", "hidden2: 2"]);
    // The convolutional one does not mark its input, and pools and flattens behind its sites.
    assert_eq!(listed(&Cnn::graph()), ["input: 0", "block1: 1", "block2: 2", "hidden: 3"]);
    let graph = Cnn::graph();
    let value = |name: &str| graph.sites.iter().find(|(site, _)| site == name).unwrap().1;
    let values: Vec<ValueId> = placements(&graph).unwrap().iter().map(|placement| placement.value).collect();
    assert_eq!(values, [graph.inputs[0], value("block1"), value("block2"), value("hidden")]);
}

fn place(forward: impl Fn(Tensor<2>, &mut Sites) -> Tensor<2>) -> Result<Vec<String>, Error> {
    let graph = capture(&bare(), [1, 4], |_, x: Tensor<2>, sites| forward(x, sites)).unwrap();
    placements(&graph).map(|_| listed(&graph))
}

#[test]
fn one_value_may_feed_several_products_on_both_sides() {
    let found = place(|x, sites| {
        let y = relu(x.clone());
        sites.mark("y", &y);
        let gram = y.clone().transpose().matmul(y.clone());
        sites.mark("gram", &gram);
        y.matmul(gram)
    });
    assert_eq!(found.unwrap(), ["y: 0 1", "gram: 1"]);
}

#[test]
fn token_ids_are_not_rounded() {
    let net = Words {
        table: EmbeddingConfig::new(5, 3).init(&Device::default()),
        output: LinearConfig::new(3, 2).init(&Device::default()),
    };
    let graph = capture(&net, [1, 4], |net: &Words, ids: Tensor<2>, sites| {
        sites.mark("input", &ids);
        let x = net.table.forward(ids.int());
        sites.mark("embed", &x);
        net.output.forward(x).mean_dim(1).flatten(1, 2)
    });
    assert_eq!(listed(&graph.unwrap()), ["embed: 0"]);
}

#[derive(Module, Debug)]
struct Words {
    table: Embedding,
    output: Linear,
}

#[test]
fn data_without_a_site_is_an_error_that_names_the_layer_and_the_sites() {
    let graph = capture(&Mlp::new(&Device::default()), [1, 6], |net: &Mlp, x, sites| {
        sites.mark("elsewhere", &x);
        net.forward(sigmoid(x), &mut Sites::default())
    });
    let error = placements(&graph.unwrap()).unwrap_err();
    let expected =
        Error::NoSite { operation: "`linear` of `a.weight`".into(), sites: vec!["elsewhere".into()] };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("sites there are: `elsewhere`"), "{error}");
}
