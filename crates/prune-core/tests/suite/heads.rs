//! Whole heads as what goes, whichever way a model spells its attention.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use kd_graph::{Graph, Kind, axes, capture};
use prune_core::{Channels, Error, Limits, Magnitude, Share, Weights, only_heads, plan_axes, score_axis};

const DIMS: usize = 4;

/// Attention in which so many queries share keys and values; how many there are is read off the weights.
#[derive(Module, Debug)]
struct Net {
    stem: Linear,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    head: Linear,
}

impl Net {
    fn new(heads: usize, groups: usize) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(&Device::flex());
        Self {
            stem: linear(5, 8),
            query: linear(8, heads * DIMS),
            key: linear(8, groups * DIMS),
            value: linear(8, groups * DIMS),
            output: linear(heads * DIMS, 8),
            head: linear(8, 3),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = self.stem.forward(x);
        let [batch, length, _] = x.dims();
        let groups = self.key.weight.dims()[1] / DIMS;
        let each = self.query.weight.dims()[1] / DIMS / groups;
        let query = self.query.forward(x.clone()).reshape([batch, length, groups, each, DIMS]);
        let split = |x: Tensor<3>| x.reshape([batch, length, groups, 1, DIMS]).permute([0, 2, 3, 1, 4]);
        let (key, value) = (split(self.key.forward(x.clone())), split(self.value.forward(x.clone())));
        let scores = query.permute([0, 2, 3, 1, 4]).matmul(key.swap_dims(3, 4));
        let mixed = softmax(scores.mul_scalar(0.5), 4).matmul(value);
        let mixed = mixed.permute([0, 3, 1, 2, 4]).reshape([batch, length, groups * each * DIMS]);
        let x = x + self.output.forward(mixed);
        self.head.forward(x.mean_dim(1).reshape([batch, 8]))
    }
}

fn graph_of(net: &Net) -> Graph {
    capture(net, [1, 6, 5], |net, x, _| net.forward(x)).unwrap()
}

/// The kind and the sizes before and after of what half of the heads are.
fn half(net: &Net) -> Result<Vec<(Kind, usize, usize)>, Error> {
    let graph = graph_of(net);
    let mut axes = axes(&graph);
    // Widths of heads are plain numbers of the module; what follows is not asked here.
    axes.iter_mut().for_each(|axis| axis.numbers.clear());
    only_heads(&mut axes)?;
    let weights = Weights::read(net);
    let score = |axis: &kd_graph::Axis| score_axis(&Magnitude::default(), &graph, axis, &weights);
    let half = Channels::Sparsity(Share::new(0.5).unwrap());
    let plan = plan_axes(&graph, &axes, score, half, Limits::default())?;
    Ok(plan.axes.into_iter().map(|axis| (axis.kind, axis.size, axis.keep.len())).collect())
}

#[test]
fn heads_go_with_their_keys_and_values() {
    assert_eq!(half(&Net::new(4, 4)).unwrap(), [(Kind::Heads, 4, 2)]);
    // Three queries for each key: they go with it.
    assert_eq!(half(&Net::new(6, 2)).unwrap(), [(Kind::KvGroups, 2, 1)]);
    // One key for all: queries go.
    assert_eq!(half(&Net::new(4, 1)).unwrap(), [(Kind::QueryReplicas, 4, 2)]);
}

#[test]
fn where_there_are_none_it_says_so() {
    let text = half(&Net::new(1, 1)).unwrap_err().to_string();
    assert_eq!(text, "no heads can go: there are none");
    let mut axes = axes(&graph_of(&Net::new(4, 4)));
    axes.iter_mut().for_each(|axis| axis.pinned = Some("it is mine".into()));
    let text = only_heads(&mut axes).unwrap_err().to_string();
    assert_eq!(text, "no heads can go: `query.weight`: it is mine");
}
