//! The names of attention's dimensions, and the rules that its networks need: repeated values, masks, selected rows.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor};
use kd_graph::{Axis, axes, capture};

#[derive(Module, Debug)]
struct Heads {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    table: Param<Tensor<2>>,
    stack: Param<Tensor<3>>,
}

/// Layers from five features to these widths, and back to five.
fn heads(query: usize, key: usize, value: usize, output: usize) -> Heads {
    let device = Device::default();
    let layer = |from, to| LinearConfig::new(from, to).with_bias(false).init(&device);
    Heads {
        query: layer(5, query),
        key: layer(5, key),
        value: layer(5, value),
        output: layer(output, 5),
        table: Param::from_tensor(Tensor::ones([9, 2], &device)),
        stack: Param::from_tensor(Tensor::ones([3, 5, 5], &device)),
    }
}

/// The axes but those of the model's input and output, on sequences `[4, 5]`.
fn found(net: &Heads, forward: impl Fn(&Heads, Tensor<3>) -> Tensor<3>) -> Vec<Axis> {
    let graph = capture(net, [1, 4, 5], |net, x, _| forward(net, x).flatten::<2>(1, 2)).unwrap();
    let ends = |axis: &Axis| axis.pinned.as_ref().is_some_and(|why| why.contains("put"));
    axes(&graph).into_iter().filter(|axis| !ends(axis)).collect()
}

fn kinds(axes: &[Axis]) -> Vec<String> {
    axes.iter().map(|axis| format!("{} {}", axis.kind, axis.size)).collect()
}

/// `[batch, length, heads · dims]` as `[batch, heads, length, dims]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}

fn join(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, dims] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * dims])
}

fn repeat(x: Tensor<4>, times: usize) -> Tensor<4> {
    let [batch, groups, length, dims] = x.dims();
    let x: Tensor<5> = x.unsqueeze_dim(2);
    x.expand([batch, groups, times, length, dims]).reshape([batch, groups * times, length, dims])
}

#[test]
fn heads_have_three_axes() {
    let axes = found(&heads(6, 6, 4, 4), |net, x| {
        let [query, key, value] =
            [&net.query, &net.key, &net.value].map(|layer| split(layer.forward(x.clone()), 2));
        let scores = query.matmul(key.swap_dims(2, 3)) * 0.5;
        net.output.forward(join(softmax(scores, 3).matmul(value)))
    });
    assert_eq!(kinds(&axes), ["heads 2", "qk-dims 3", "v-dims 2"]);
    assert!(axes.iter().all(|axis| axis.pinned.is_none() && axis.across.is_empty()), "{axes:?}");
}

#[test]
fn scores_may_be_scaled_masked_and_moved() {
    let axes = found(&heads(6, 6, 4, 4), |net, x| {
        let [query, key, value] =
            [&net.query, &net.key, &net.value].map(|layer| split(layer.forward(x.clone()), 2));
        let scores = query.matmul(key.swap_dims(2, 3));
        let later = Tensor::<2, Bool>::tril_mask([4, 4], 0, &x.device());
        let scores = scores.mask_fill(later.unsqueeze(), f32::NEG_INFINITY).tanh() * 30.0;
        // A row for each pair of positions, a column for each head.
        let pairs = Tensor::<1, Int>::arange(0..16, &x.device()) - 7;
        let bias = net.table.val().select(0, pairs).reshape([4, 4, 2]).permute([2, 0, 1]);
        net.output.forward(join(softmax(scores + bias.unsqueeze(), 3).matmul(value)))
    });
    assert_eq!(kinds(&axes), ["heads 2", "qk-dims 3", "v-dims 2", "rows 9"]);
    let paths: Vec<&str> = axes[0].members.iter().map(|member| member.path.as_str()).collect();
    assert_eq!(paths, ["query.weight", "key.weight", "value.weight", "output.weight", "table"]);
    assert_eq!(axes[3].pinned.as_deref(), Some("rows of an embedding"));
}

#[test]
fn repeated_keys_have_groups_and_their_queries() {
    let axes = found(&heads(12, 6, 4, 8), |net, x| {
        let query = split(net.query.forward(x.clone()), 4);
        let key = repeat(split(net.key.forward(x.clone()), 2), 2);
        let value = repeat(split(net.value.forward(x), 2), 2);
        net.output.forward(join(softmax(query.matmul(key.swap_dims(2, 3)), 3).matmul(value)))
    });
    assert_eq!(kinds(&axes), ["qk-dims 3", "kv-groups 2", "query-replicas 2", "v-dims 2"]);
    let replicas = &axes[2];
    let paths: Vec<&str> = replicas.members.iter().map(|member| member.path.as_str()).collect();
    assert_eq!(paths, ["query.weight", "output.weight"]);
    // Head 1 of each group of two.
    assert_eq!(replicas.members[0].index[1], [3, 4, 5, 9, 10, 11]);
    assert!(replicas.numbers.contains(&"an expansion to [batch, 2, 2, 4, 3]".to_owned()), "{replicas:?}");
}

#[test]
fn one_key_for_all_queries() {
    let axes = found(&heads(12, 3, 2, 8), |net, x| {
        let query = split(net.query.forward(x.clone()), 4);
        let [key, value] = [&net.key, &net.value].map(|layer| split(layer.forward(x.clone()), 1));
        net.output.forward(join(softmax(query.matmul(key.swap_dims(2, 3)), 3).matmul(value)))
    });
    assert_eq!(kinds(&axes), ["query-replicas 4", "qk-dims 3", "v-dims 2"]);
}

#[test]
fn weights_side_by_side_are_experts() {
    let axes = found(&heads(3, 5, 5, 5), |net, x| {
        let gates = softmax(net.query.forward(x.clone()), 2).permute([2, 0, 1]).unsqueeze_dim::<4>(3);
        let each = x.unsqueeze_dim::<4>(0).matmul(net.stack.val().unsqueeze_dim(1));
        let mixed: Tensor<3> = (each * gates).sum_dim(0).squeeze_dim(0);
        net.output.forward(mixed)
    });
    assert_eq!(kinds(&axes), ["experts 3", "width 5"]);
    assert_eq!(
        axes[0].members.iter().map(|member| &member.path).collect::<Vec<_>>(),
        ["query.weight", "stack"]
    );
    let across: Vec<&str> = axes[0].across.iter().map(|it| it.split(' ').next().unwrap()).collect();
    assert_eq!(across, ["`softmax`", "`sum_dim`"]);
}

#[test]
fn ranks_of_the_largest_are_no_units() {
    let axes = found(&heads(4, 5, 5, 2), |net, x| net.output.forward(net.query.forward(x).topk(2, 2)));
    assert_eq!(kinds(&axes), ["width 4", "width 2"]);
    assert_eq!((axes[0].pinned.as_deref(), axes[0].across.as_slice()), (None, &["`topk`".to_owned()][..]));
    assert_eq!(axes[1].pinned.as_deref(), Some("ranks of a top-k"));
}

#[test]
fn equal_numbers_are_as_many_as_the_model_wants() {
    // A state of zeros, as a recurrent network starts from.
    let net = heads(5, 7, 5, 7);
    let axes = found(&net, |net, x| {
        let [batch, length, _] = x.dims();
        let zeros = Tensor::zeros([batch, length, 7], &x.device());
        net.output.forward((net.key.forward(x) + zeros).tanh())
    });
    assert_eq!(kinds(&axes), ["width 7"]);
    let number = "an expansion to [batch, 4, 7]".to_owned();
    assert_eq!((&axes[0].pinned, &axes[0].numbers), (&None, &vec![number]));

    let axes = found(&net, |net, x| {
        let half = Tensor::full([1, 1, 7], 0.5, &x.device());
        net.output.forward(net.key.forward(x) * half)
    });
    assert_eq!((&axes[0].pinned, &axes[0].numbers), (&None, &vec!["the size 7 of a constant".to_owned()]));
}

#[test]
fn what_is_pinned_is_not_taken_apart() {
    let device = Device::default();
    let table = Param::from_tensor(Tensor::<3>::ones([1, 4, 5], &device));
    let graph = capture(&Places { table }, [1, 4, 5], |net: &Places, x: Tensor<3>, _| {
        let x = x * net.table.val();
        (x.clone().narrow(1, 0, 3) + x.narrow(1, 1, 3)).flatten(1, 2)
    });
    let found = axes(&graph.unwrap());
    assert_eq!(found.iter().map(|axis| axis.size).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn units_that_are_taken_one_by_one_stay() {
    let axes = found(&heads(2, 5, 5, 5), |net, x| {
        let gates = softmax(net.query.forward(x.clone()), 2);
        let gate = |at| gates.clone().narrow(2, at, 1);
        net.output.forward(x.clone() * gate(0) + x.tanh() * gate(1))
    });
    assert_eq!(kinds(&axes), ["width 2"]);
    assert_eq!(axes[0].pinned.as_deref(), Some("each of its units is taken by itself"));
    assert_eq!(axes[0].members[0].index, [[0], [1]]);
}

#[derive(Module, Debug)]
struct Places {
    table: Param<Tensor<3>>,
}
