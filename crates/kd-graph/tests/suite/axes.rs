//! Coupled axes, written out by hand.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Int, Tensor};
use kd_graph::{Axis, Graph, axes, capture};

use crate::nets::{Cnn, Mlp, Residual, conv};

/// `size: path.dim path.dim×n`, where each unit has n indices, then what else is known.
fn show(axis: &Axis) -> String {
    let mut text = format!("{}:", axis.size);
    for member in &axis.members {
        let count = member.index[0].len();
        assert!(member.index.iter().all(|index| index.len() == count), "{member:?}");
        text += &format!(" {}.{}", member.path, member.dim);
        if count > 1 {
            text += &format!("×{count}");
        }
    }
    if let Some(reason) = &axis.pinned {
        text += &format!(" | pinned: {reason}");
    }
    if !axis.numbers.is_empty() {
        text += &format!(" | numbers: {}", axis.numbers.join("; "));
    }
    if !axis.across.is_empty() {
        text += &format!(" | across: {}", axis.across.join("; "));
    }
    text
}

fn check(found: &[Axis], expected: &[&str]) {
    assert_eq!(found.iter().map(show).collect::<Vec<_>>(), expected);
}

fn index<'a>(axes: &'a [Axis], path: &str, dim: usize, size: usize) -> &'a [Vec<usize>] {
    let of_size = axes.iter().filter(|axis| axis.size == size).flat_map(|axis| &axis.members);
    &of_size.into_iter().find(|member| member.path == path && member.dim == dim).unwrap().index
}

#[test]
fn multilayer_perceptron() {
    check(
        &axes(&Mlp::graph()),
        &[
            "6: a.weight.0 | pinned: dimension 1 of the model's input",
            "5: a.weight.1 a.bias.0 b.weight.0",
            "4: b.weight.1 b.bias.0 c.weight.0",
            "3: c.weight.1 c.bias.0 | pinned: dimension 1 of the model's output",
        ],
    );
}

#[test]
fn convolutions_with_batch_norm_and_flatten() {
    let found = axes(&Cnn::graph());
    let norm =
        |n: u32| format!("norm{n}.gamma.0 norm{n}.beta.0 norm{n}.running_mean.0 norm{n}.running_var.0");
    check(
        &found,
        &[
            &format!("4: conv1.weight.0 {} conv2.weight.1", norm(1)),
            &format!("6: conv2.weight.0 conv2.bias.0 {} hidden.weight.0×4", norm(2)),
            "5: hidden.weight.1 hidden.bias.0 output.weight.0",
            "3: output.weight.1 output.bias.0 | pinned: dimension 1 of the model's output",
        ],
    );
    // Channel c owns the rows of its four positions.
    let blocks: Vec<Vec<usize>> = (0..6).map(|channel| (4 * channel..4 * channel + 4).collect()).collect();
    assert_eq!(index(&found, "hidden.weight", 0, 6), blocks);
    assert_eq!(index(&found, "conv2.weight", 0, 6), (0..6).map(|channel| vec![channel]).collect::<Vec<_>>());
}

#[test]
fn residual_and_depthwise() {
    let stream = "6: stem.weight.0 stem.bias.0 depthwise.weight.0 pointwise.weight.0 pointwise.weight.1 norm.gamma.0 \
                  norm.beta.0 norm.running_mean.0 norm.running_var.0 head.weight.0 | numbers: groups of the \
                  convolution with `depthwise.weight`";
    check(
        &axes(&Residual::graph()),
        &[
            stream,
            "2: stem.weight.1 | pinned: dimension 1 of the model's input",
            "4: head.weight.1 head.bias.0 | pinned: dimension 1 of the model's output",
        ],
    );
}

#[derive(Module, Debug)]
struct Layers {
    a: Conv2d,
    b: Conv2d,
    c: Conv2d,
    pool: MaxPool2d,
    head: Linear,
}

/// a: 3 → 4, b: 3 → 2, c as given, on images [3, 4, 4]; the head as wide as its input.
fn layers(c: Conv2d, head: usize) -> Layers {
    let device = Device::default();
    Layers {
        a: conv(3, 4, 3).with_bias(false).init(&device),
        b: conv(3, 2, 3).with_bias(false).init(&device),
        c,
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        head: LinearConfig::new(head, 5).with_bias(false).init(&device),
    }
}

fn images(net: &Layers, forward: impl Fn(&Layers, Tensor<4>) -> Tensor<4>) -> Vec<Axis> {
    let graph = capture(net, [1, 3, 4, 4], |net, x, _| net.head.forward(forward(net, x).flatten::<2>(1, 3)));
    let mut found = axes(&graph.unwrap());
    // The same in all cases: the images' channels and the classes.
    found.retain(|axis| !axis.pinned.as_ref().is_some_and(|why| why.contains("put")));
    found
}

#[test]
fn concatenation() {
    let device = Device::default();
    let net = layers(conv(6, 7, 1).with_bias(false).init(&device), 7 * 4);
    let found = images(&net, |net, x| {
        let both = Tensor::cat(vec![net.a.forward(x.clone()), net.b.forward(x)], 1);
        net.pool.forward(relu(net.c.forward(both)))
    });
    check(&found, &["4: a.weight.0 c.weight.1", "2: b.weight.0 c.weight.1", "7: c.weight.0 head.weight.0×4"]);
    assert_eq!(index(&found, "c.weight", 1, 4), [[0], [1], [2], [3]]);
    assert_eq!(index(&found, "c.weight", 1, 2), [[4], [5]]);

    // Straight into a linear layer: first the blocks of one, then those of the other.
    let found = images(&layers(net.c, 6 * 16), |net, x| {
        Tensor::cat(vec![net.a.forward(x.clone()), net.b.forward(x)], 1)
    });
    check(&found, &["4: a.weight.0 head.weight.0×16", "2: b.weight.0 head.weight.0×16"]);
    assert_eq!(index(&found, "head.weight", 0, 2)[1], (80..96).collect::<Vec<_>>());
}

#[test]
fn a_slice_takes_an_axis_apart() {
    let device = Device::default();
    let net = layers(conv(3, 7, 1).with_bias(false).init(&device), 7 * 16);
    let found = images(&net, |net, x| net.c.forward(net.a.forward(x).narrow(1, 1, 3)));
    // The one channel that nothing reads has no axis: a label of one unit does not exist.
    let slice = "numbers: `slice` behind `a.weight` from 1 to 4";
    check(&found, &[&format!("3: a.weight.0 c.weight.1 | {slice}"), "7: c.weight.0 head.weight.0×16"]);
    assert_eq!(index(&found, "a.weight", 0, 3), [[1], [2], [3]]);
}

#[test]
fn a_slice_through_units_pins_them() {
    let device = Device::default();
    let net = layers(conv(3, 7, 1).with_bias(false).init(&device), 10);
    let found = images(&net, |net, x| {
        let x: Tensor<2> = net.a.forward(x).flatten(1, 3);
        x.narrow(1, 0, 10).unsqueeze_dims(&[2, 3])
    });
    let why = "pinned: a slice from 0 to 10 cuts through units";
    check(&found, &[&format!("4: a.weight.0 | {why}"), &format!("10: head.weight.0 | {why}")]);
}

#[test]
fn a_flatten_that_interleaves_a_concatenation_pins_it() {
    let device = Device::default();
    let net = layers(conv(3, 7, 1).with_bias(false).init(&device), 6 * 16);
    let found = images(&net, |net, x| {
        Tensor::cat(vec![net.a.forward(x.clone()), net.b.forward(x)], 1).permute([0, 2, 3, 1])
    });
    let why = "pinned: a reshape to [batch, 96] interleaves units";
    let expected = [("4", "a.weight.0"), ("2", "b.weight.0"), ("96", "head.weight.0")];
    check(
        &found,
        &expected.map(|(size, member)| format!("{size}: {member} | {why}")).each_ref().map(String::as_str),
    );
    // Without a concatenation, channels are the inner factor: every fourth row.
    let net = Layers { head: LinearConfig::new(64, 5).with_bias(false).init(&device), ..net };
    let found = images(&net, |net, x| net.a.forward(x).permute([0, 2, 3, 1]));
    check(&found, &["4: a.weight.0 head.weight.0×16"]);
    assert_eq!(index(&found, "head.weight", 0, 4)[1], (0..16).map(|at| 4 * at + 1).collect::<Vec<_>>());
}

#[test]
fn groups_keep_as_many_channels_each() {
    let device = Device::default();
    let net = layers(conv(4, 6, 3).with_groups(2).with_bias(false).init(&device), 6 * 16);
    let found = images(&net, |net, x| net.c.forward(net.a.forward(x)));
    check(
        &found,
        &[
            "2: a.weight.0×2 c.weight.0×3 head.weight.0×48 | numbers: groups of the convolution with `c.weight`",
            "2: a.weight.0×2 c.weight.1",
            "3: c.weight.0×2 head.weight.0×32",
        ],
    );
    assert_eq!(found[0].members[0].index, [[0, 1], [2, 3]]);
    assert_eq!(found[1].members[0].index, [[0, 2], [1, 3]]);
    assert_eq!(found[2].members[0].index, [[0, 3], [1, 4], [2, 5]]);
}

#[test]
fn transposed_convolutions_have_their_inputs_first() {
    let device = Device::default();
    let net = layers(conv(3, 7, 1).with_bias(false).init(&device), 5 * 64);
    let up = |from, to, groups| {
        let config = ConvTranspose2dConfig::new([from, to], [2, 2]).with_stride([2, 2]).with_groups(groups);
        config.init(&device)
    };
    let net = Upward { first: net.a, up: up(4, 6, 1), grouped: up(6, 4, 2), head: linear(4 * 256, 5) };
    let graph = capture(&net, [1, 3, 4, 4], |net: &Upward, x, _| {
        let x = net.grouped.forward(relu(net.up.forward(net.first.forward(x))));
        net.head.forward(x.flatten::<2>(1, 3))
    });
    let mut found = axes(&graph.unwrap());
    found.retain(|axis| !axis.pinned.as_ref().is_some_and(|why| why.contains("put")));
    let groups = "numbers: groups of the convolution with `grouped.weight`";
    check(
        &found,
        &[
            "4: first.weight.0 up.weight.0",
            &format!(
                "2: up.weight.1×3 up.bias.0×3 grouped.weight.0×3 grouped.bias.0×2 head.weight.0×512 | {groups}"
            ),
            "3: up.weight.1×2 up.bias.0×2 grouped.weight.0×2",
            "2: grouped.weight.1 grouped.bias.0×2 head.weight.0×512",
        ],
    );
}

#[derive(Module, Debug)]
struct Upward {
    first: Conv2d,
    up: ConvTranspose2d,
    grouped: ConvTranspose2d,
    head: Linear,
}

fn linear(from: usize, to: usize) -> Linear {
    LinearConfig::new(from, to).with_bias(false).init(&Device::default())
}

#[test]
fn parts_that_a_reshape_stacks_are_one_axis() {
    // Two branches side by side and shuffled: unit u of both is next to the other, and goes with it.
    let device = Device::default();
    let net = layers(conv(4, 7, 1).with_bias(false).init(&device), 8 * 16);
    let net = Layers { b: conv(3, 4, 1).with_bias(false).init(&device), ..net };
    let found = images(&net, |net, x| {
        let both = Tensor::cat(vec![net.a.forward(x.clone()), net.b.forward(x)], 1);
        both.reshape([0, 2, 4, 16]).swap_dims(1, 2).reshape([0, 8, 4, 4])
    });
    let stack = "a reshape to [batch, 2, 4, 16]";
    check(
        &found,
        &[
            &format!("4: a.weight.0 b.weight.0 head.weight.0×32 | numbers: {stack}"),
            &format!("2: head.weight.0×64 | pinned: {stack} stacks 2 parts"),
        ],
    );
    assert_eq!(index(&found, "head.weight", 0, 4)[1], (32..64).collect::<Vec<_>>());
}

#[test]
fn kinds_are_what_layers_do_with_the_units() {
    let kinds = |graph: Graph| axes(&graph).iter().map(|axis| axis.kind.to_string()).collect::<Vec<_>>();
    assert_eq!(kinds(Mlp::graph()), ["width"; 4]);
    assert_eq!(kinds(Cnn::graph()), ["channels", "channels", "width", "width"]);
    assert_eq!(kinds(Residual::graph()), ["channels", "channels", "width"]);
}

#[test]
fn a_layer_used_twice_is_one_axis() {
    let device = Device::default();
    let net = layers(conv(4, 4, 3).with_bias(false).init(&device), 64);
    let found = images(&net, |net, x| net.c.forward(relu(net.c.forward(net.a.forward(x)))));
    check(&found, &["4: a.weight.0 c.weight.0 c.weight.1 head.weight.0×16"]);
}

#[test]
fn operations_that_are_not_understood_pin_and_are_named() {
    let device = Device::default();
    let net = layers(conv(4, 7, 1).with_bias(false).init(&device), 7 * 16);
    let found = images(&net, |net, x| net.c.forward(net.a.forward(x).flip([1])));
    let why = "pinned: it meets `flip` behind `a.weight`, which is not understood";
    check(
        &found,
        &[
            &format!("4: a.weight.0 | {why}"),
            "7: c.weight.0 head.weight.0×16",
            &format!("4: c.weight.1 | {why}"),
        ],
    );
}

#[test]
fn sizes_that_do_not_factor_alike_pin() {
    let device = Device::default();
    // Groups of 2 and of 3 over the same six channels.
    let net = layers(conv(3, 6, 1).with_bias(false).init(&device), 96);
    let net = Layers {
        a: conv(6, 6, 1).with_groups(2).with_bias(false).init(&device),
        b: conv(6, 6, 1).with_groups(3).with_bias(false).init(&device),
        ..net
    };
    let found = images(&net, |net, x| net.b.forward(net.a.forward(net.c.forward(x))));
    let why = "sizes 2·3 and 3·2 must agree and do not factor alike";
    assert!(found.iter().any(|axis| axis.pinned.as_deref() == Some(why)), "{found:?}");
    assert!(
        found
            .iter()
            .filter(|axis| axis.members.iter().any(|m| m.path == "a.weight" && m.dim == 0))
            .all(|axis| axis.pinned.is_some())
    );
}

#[test]
fn constants_pin() {
    let device = Device::default();
    let net = layers(conv(3, 7, 1).with_bias(false).init(&device), 64);
    let found = images(&net, |net, x| {
        let scale = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &x.device());
        net.a.forward(x) * scale.reshape([1, 4, 1, 1])
    });
    check(&found, &["4: a.weight.0 head.weight.0×16 | pinned: a constant of the forward pass has this size"]);
}

#[derive(Module, Debug)]
struct Former {
    tokens: Embedding,
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    scale: Param<Tensor<1>>,
    head: Linear,
}

impl Former {
    fn new() -> Self {
        let device = Device::default();
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).with_bias(false).init(&device);
        Self {
            tokens: EmbeddingConfig::new(5, 8).init(&device),
            norm: LayerNormConfig::new(8).init(&device),
            query: layer(8, 12),
            key: layer(8, 12),
            value: layer(8, 6),
            output: layer(6, 8),
            scale: Param::from_tensor(Tensor::ones([8], &device)),
            head: layer(8, 5),
        }
    }

    /// Attention with three heads over five learned tokens and the input [5, 8].
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, length, _] = x.dims();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &x.device()).unsqueeze::<2>();
        let x = self.tokens.forward(positions).expand([batch, length, 8]);
        let y = self.norm.forward(x.clone());
        let heads = |x: Tensor<3>, size: usize| x.reshape([batch, length, 3, size]).swap_dims(1, 2);
        let query = heads(self.query.forward(y.clone()), 4);
        let key = heads(self.key.forward(y.clone()), 4);
        let value = heads(self.value.forward(y), 2);
        let weights = softmax(query.matmul(key.swap_dims(2, 3)) / 2.0, 3);
        let y = weights.matmul(value).swap_dims(1, 2).reshape([batch, length, 6]);
        let x = (x + self.output.forward(y)) * self.scale.val().unsqueeze::<3>();
        self.head.forward(x.mean_dim(1).flatten::<2>(1, 2))
    }
}

#[test]
fn attention_has_axes_of_heads_and_of_their_sizes() {
    let graph = capture(&Former::new(), [1, 5, 8], |net, x, _| net.forward(x)).unwrap();
    let found = axes(&graph);
    let reshape = |size: u32| format!("a reshape to [batch, 5, 3, {size}]");
    let stream = "8: tokens.weight.1 norm.gamma.0 norm.beta.0 query.weight.0 key.weight.0 value.weight.0 \
                  output.weight.1 scale.0 head.weight.0 | across: `layer_norm` of `norm.gamma`";
    check(
        &found,
        &[
            "5: tokens.weight.0 | pinned: rows of an embedding",
            stream,
            &format!(
                "3: query.weight.1×4 key.weight.1×4 value.weight.1×2 output.weight.0×2 | numbers: {}; {}",
                reshape(2),
                reshape(4)
            ),
            &format!("4: query.weight.1×3 key.weight.1×3 | numbers: {}", reshape(4)),
            &format!("2: value.weight.1×3 output.weight.0×3 | numbers: {}", reshape(2)),
            "5: head.weight.1 | pinned: dimension 1 of the model's output",
        ],
    );
}

#[test]
fn mixing_positions_is_pinned() {
    let device = Device::default();
    let mix = LinearConfig::new(16, 16).with_bias(false).init(&device);
    let graph = capture(
        &Mixer { conv: conv(1, 3, 3).init(&device), mix },
        [1, 1, 4, 4],
        |net: &Mixer, x: Tensor<4>, _| {
            let x: Tensor<3> = net.conv.forward(x).flatten(2, 3);
            (net.mix.forward(x.clone()) + x).mean_dim(2).flatten(1, 2)
        },
    );
    let found = axes(&graph.unwrap());
    check(
        &found[1..],
        &[
            "4: mix.weight.0×4 mix.weight.1×4 | pinned: positions in space, time or batch | across: `mean_dim`",
            "4: mix.weight.0×4 mix.weight.1×4 | pinned: positions in space, time or batch | across: `mean_dim`",
        ],
    );
}

#[derive(Module, Debug)]
struct Mixer {
    conv: Conv2d,
    mix: Linear,
}
