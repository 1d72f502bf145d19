//! Pictures: a box an operation, an arrow an activation, and costs that add up.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_graph::{Graph, Sites, activation_bytes, capture, dot, macs, node_macs, node_params, params, svg};

#[derive(Module, Debug)]
struct Residual {
    first: Conv2d,
    second: Conv2d,
    head: Linear,
}

impl Residual {
    fn forward(&self, x: Tensor<4>, sites: &mut Sites) -> Tensor<2> {
        let x = self.first.forward(x);
        let x = x.clone() + relu(self.second.forward(x));
        sites.mark("block", &x);
        self.head.forward(x.flatten(1, 3))
    }
}

fn graph() -> Graph {
    let device = Device::flex();
    let conv =
        |from, to| Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
    let net =
        Residual { first: conv(1, 4), second: conv(4, 4), head: LinearConfig::new(4 * 36, 3).init(&device) };
    capture(&net, [2, 1, 6, 6], Residual::forward).unwrap()
}

#[test]
fn costs_of_operations_add_up() {
    let graph = graph();
    let nodes = || graph.nodes.iter().enumerate();
    assert_eq!(nodes().map(|(index, _)| node_params(&graph, index)).sum::<u64>(), params(&graph));
    assert_eq!(nodes().map(|(_, node)| node_macs(&graph, node)).sum::<u64>(), macs(&graph));
    let first = &graph.nodes[0];
    assert_eq!((node_params(&graph, 0), activation_bytes(&graph, first)), (4 * 9 + 4, 4 * 4 * 36));
}

#[test]
fn a_picture_has_a_box_an_operation_and_an_arrow_an_activation() {
    let graph = graph();
    let arrows: usize = graph
        .nodes
        .iter()
        .map(|node| node.inputs.iter().filter(|&&id| graph.param(id).is_none()).count())
        .sum::<usize>()
        + graph.outputs.len();
    let boxes = graph.inputs.len() + graph.nodes.len() + graph.outputs.len();

    let text = dot(&graph);
    assert_eq!(text.matches(" -> ").count(), arrows);
    assert_eq!(text.matches("[label=\"").count(), boxes + arrows);
    assert!(text.starts_with("digraph {\n") && text.ends_with("}\n"), "{text}");
    for part in
        ["first.weight and 1 more", "@block", "1296 MACs, 40 parameters, 576 bytes out", "[batch, 1, 6, 6]"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }

    let picture = svg(&graph);
    // Two more of each are the marker's and the background's.
    assert_eq!(picture.matches("<rect ").count(), boxes + 1);
    assert_eq!(picture.matches("<path d").count(), arrows + 1);
    // The residual connection bends around what it skips.
    assert_eq!(picture.matches(" C ").count(), 1);
    assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
}
