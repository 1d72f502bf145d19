//! Transformers on images.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::attention::{
    Attention, FeedForward, attend, attention_groups, join, linear, norm, plain, split, table,
};
use super::table::Architecture;

fn patches(width: usize, size: usize) -> Conv2d {
    Conv2dConfig::new([3, width], [size, size]).with_stride([size, size]).init(&Device::flex())
}

/// Image patches as a sequence `[batch, patches, width]`.
fn sequence(x: Tensor<4>) -> Tensor<3> {
    x.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// ViT (Dosovitskiy et al. 2020): patches, a class token, learned positions, pre-norm layers.
#[derive(Module, Debug)]
struct Vit {
    patch: Conv2d,
    class: Param<Tensor<3>>,
    positions: Param<Tensor<3>>,
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Module, Debug)]
struct VitBlock {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    mlp: FeedForward,
}

impl VitBlock {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = x + self.attention.forward(y.clone(), y, |scores| scores);
        x.clone() + self.mlp.forward(self.norm2.forward(x))
    }
}

#[test]
fn vit() {
    let block = |hidden| VitBlock {
        norm1: norm(8),
        attention: Attention::new(8, 8, 2, [3, 4]),
        norm2: norm(8),
        mlp: FeedForward::new(8, hidden),
    };
    let net = Vit {
        patch: patches(8, 4),
        class: table([1, 1, 8]),
        positions: table([1, 5, 8]),
        blocks: vec![block(12), block(11)],
        norm: norm(8),
        head: linear(8, 5),
    };
    let groups = [
        "embedding 8: patch.{weight,bias}:0 {class,positions}:2 blocks.{0,1}.norm{1,2}.{gamma,beta}:0
            blocks.{0,1}.attention.{query,key,value}.weight:0 blocks.{0,1}.attention.output.weight:1
            blocks.{0,1}.attention.output.bias:0 blocks.{0,1}.mlp.up.weight:0 blocks.{0,1}.mlp.down.weight:1
            blocks.{0,1}.mlp.down.bias:0 norm.{gamma,beta}:0 head.weight:0; across: layer_norm
         channels 3: patch.weight:1; pinned: dimension 1 of the model's input
         positions 2: positions:1:1/2x2@1; pinned: positions; across: softmax
         positions 2: positions:1:1/1x2@2; pinned: positions; across: softmax
        ",
        &attention_groups("blocks.0.attention", 2, [3, 4]),
        &attention_groups("blocks.1.attention", 2, [3, 4]),
        "width 12: blocks.0.mlp.up.weight:1 blocks.0.mlp.up.bias:0 blocks.0.mlp.down.weight:0
         width 11: blocks.1.mlp.up.weight:1 blocks.1.mlp.up.bias:0 blocks.1.mlp.down.weight:0
         width 5: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
    ];
    Architecture::new(net, [1, 3, 8, 8], |net: &Vit, x| {
        let x = sequence(net.patch.forward(x));
        let [batch, _, width] = x.dims();
        let class = net.class.val().expand([batch, 1, width]);
        let x = Tensor::cat(vec![class, x], 1) + net.positions.val();
        let x = net.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = net.norm.forward(x).narrow(1, 0, 1);
        net.head.forward(x.flatten::<2>(1, 2))
    })
    .check(
        &groups.concat(),
        "blocks.0.norm1.* blocks.0.attention.*
         blocks.0.norm2.* blocks.0.mlp.*
         blocks.1.norm1.* blocks.1.attention.*
         blocks.1.norm2.* blocks.1.mlp.*",
    );
}

/// DeiT (Touvron et al. 2020): a class and a distillation token, each with its head. Attention keeps the size of a query
/// in a field and counts heads by it; values are what is left for each head.
#[derive(Module, Debug)]
struct Deit {
    patch: Conv2d,
    class: Param<Tensor<3>>,
    distillation: Param<Tensor<3>>,
    positions: Param<Tensor<3>>,
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    size: usize,
    norm2: LayerNorm,
    mlp: FeedForward,
    norm: LayerNorm,
    head: Linear,
    teacher: Linear,
}

#[test]
fn deit_with_two_tokens() {
    let net = Deit {
        patch: patches(8, 4),
        class: table([1, 1, 8]),
        distillation: table([1, 1, 8]),
        positions: table([1, 6, 8]),
        norm1: norm(8),
        query: linear(8, 9),
        key: linear(8, 9),
        value: linear(8, 9),
        output: linear(9, 8),
        size: 3,
        norm2: norm(8),
        mlp: FeedForward::new(8, 12),
        norm: norm(8),
        head: linear(8, 5),
        teacher: linear(8, 5),
    };
    Architecture::new(net, [1, 3, 8, 8], |net: &Deit, x| {
        let x = sequence(net.patch.forward(x));
        let [batch, _, width] = x.dims();
        let token = |token: &Param<Tensor<3>>| token.val().expand([batch, 1, width]);
        let x = Tensor::cat(vec![token(&net.class), token(&net.distillation), x], 1) + net.positions.val();
        let y = net.norm1.forward(x.clone());
        let heads = net.query.weight.dims()[1] / net.size;
        let [query, key, value] =
            [&net.query, &net.key, &net.value].map(|layer| split(layer.forward(y.clone()), heads));
        let x = x + net.output.forward(join(attend(query, key, value, 0.577, |scores| scores)));
        let x = x.clone() + net.mlp.forward(net.norm2.forward(x));
        let x = net.norm.forward(x);
        let token = |at, head: &Linear| head.forward(x.clone().narrow(1, at, 1).flatten::<2>(1, 2));
        (token(0, &net.head) + token(1, &net.teacher)) / 2.0
    })
    .check(
        "embedding 8: patch.{weight,bias}:0 {class,distillation,positions}:2 norm{,1,2}.{gamma,beta}:0
            {query,key,value}.weight:0 output.weight:1 output.bias:0 mlp.up.weight:0 mlp.down.weight:1 mlp.down.bias:0
            {head,teacher}.weight:0; across: layer_norm
         channels 3: patch.weight:1; pinned: dimension 1 of the model's input
         positions 2: positions:1:2/2x2@1; pinned: positions; across: softmax
         positions 2: positions:1:2/1x2@2; pinned: positions; across: softmax
         heads 3: {query,key,value}.weight:1:0/3x3@1 {query,key,value}.bias:0:0/3x3@1 output.weight:0:0/3x3@1
         qk-dims 3: {query,key}.weight:1:0/1x3@3 {query,key}.bias:0:0/1x3@3; pinned: plain numbers
         v-dims 3: value.weight:1:0/1x3@3 value.bias:0:0/1x3@3 output.weight:0:0/1x3@3
         width 12: mlp.up.weight:1 mlp.up.bias:0 mlp.down.weight:0
         width 5: {head,teacher}.weight:1 {head,teacher}.bias:0; pinned: dimension 1 of the model's output",
        "norm1.* query.* key.* value.* output.*
         norm2.* mlp.*",
    );
}

/// Windows of 2 × 2 with a table of relative positions (Liu et al. 2021), whose columns tell the number of heads. One
/// linear layer makes queries, keys and values; the output's weight tells the values' share of it.
#[derive(Module, Debug)]
struct SwinBlock {
    norm1: LayerNorm,
    qkv: Linear,
    relative: Param<Tensor<2>>,
    output: Linear,
    norm2: LayerNorm,
    mlp: FeedForward,
    /// By how much windows are shifted; no size of the network.
    shift: i64,
}

/// Side of a window.
const WINDOW: usize = 2;

impl SwinBlock {
    fn new(width: usize, hidden: usize, shift: i64) -> Self {
        Self {
            norm1: norm(width),
            qkv: linear(width, 18),
            relative: table([9, 2]),
            output: linear(6, width),
            norm2: norm(width),
            mlp: FeedForward::new(width, hidden),
            shift,
        }
    }

    /// On `[batch, height, width, channels]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        let [rows, columns] = [height / WINDOW, width / WINDOW];
        let tokens = WINDOW * WINDOW;
        let y = self.norm1.forward(x.clone());
        let y = if self.shift == 0 { y } else { y.roll(&[-self.shift, -self.shift], &[1, 2]) };
        let y = y.reshape([batch, rows, WINDOW, columns, WINDOW, channels]).permute([0, 1, 3, 2, 4, 5]);
        let y = self.attention(y.reshape([batch * rows * columns, tokens, channels]), rows * columns);
        let y = y.reshape([batch, rows, columns, WINDOW, WINDOW, channels]).permute([0, 1, 3, 2, 4, 5]);
        let y = y.reshape([batch, height, width, channels]);
        let y = if self.shift == 0 { y } else { y.roll(&[self.shift, self.shift], &[1, 2]) };
        let x = x + y;
        let y = self.norm2.forward(x.clone()).reshape([batch, height * width, channels]);
        x + self.mlp.forward(y).reshape([batch, height, width, channels])
    }

    fn attention(&self, x: Tensor<3>, windows: usize) -> Tensor<3> {
        let [_, all] = self.qkv.weight.dims();
        let [_, heads] = self.relative.dims();
        let values = self.output.weight.dims()[0];
        let each = (all - values) / 2;
        let qkv = self.qkv.forward(x);
        let part = |start, size| split(qkv.clone().narrow(2, start, size), heads);
        let (query, key, value) = (part(0, each), part(each, each), part(2 * each, values));
        let y = attend(query, key, value, 0.577, |scores| self.masked(scores + self.bias(), windows));
        self.output.forward(join(y))
    }

    /// A number for each head and pair of places, `[1, heads, tokens, tokens]`.
    fn bias(&self) -> Tensor<4> {
        let [_, heads] = self.relative.dims();
        let tokens = WINDOW * WINDOW;
        let place = |at: usize| [at / WINDOW, at % WINDOW];
        let mut pairs = Vec::new();
        for (a, b) in (0..tokens).flat_map(|a| (0..tokens).map(move |b| (place(a), place(b)))) {
            let [row, column] = [0, 1].map(|d| a[d] + WINDOW - 1 - b[d]);
            pairs.push((row * (2 * WINDOW - 1) + column) as i64);
        }
        let pairs = TensorData::new(pairs, [tokens * tokens]);
        let pairs = Tensor::<1, Int>::from_data(pairs, &self.relative.val().device());
        let bias = self.relative.val().select(0, pairs);
        bias.reshape([tokens, tokens, heads]).permute([2, 0, 1]).unsqueeze()
    }

    /// Keeps tokens apart that a shift brought into one window.
    fn masked(&self, scores: Tensor<4>, windows: usize) -> Tensor<4> {
        if self.shift == 0 {
            return scores;
        }
        let [all, heads, tokens, _] = scores.dims();
        // The last window in each direction holds tokens from both ends.
        let region = |window: usize, token: usize| {
            let side = windows.isqrt();
            let beyond = |window: usize, token: usize| window == side - 1 && token == 1;
            (beyond(window / side, token / WINDOW), beyond(window % side, token % WINDOW))
        };
        let mut mask = Vec::new();
        for window in 0..windows {
            for (a, b) in (0..tokens).flat_map(|a| (0..tokens).map(move |b| (a, b))) {
                mask.push(if region(window, a) == region(window, b) { 0.0_f32 } else { -100.0 });
            }
        }
        let mask =
            Tensor::<5>::from_data(TensorData::new(mask, [1, windows, 1, tokens, tokens]), &scores.device());
        let scores: Tensor<5> = scores.reshape([all / windows, windows, heads, tokens, tokens]);
        (scores + mask).reshape([all, heads, tokens, tokens])
    }
}

/// The groups of a [`SwinBlock`] at `path`.
fn swin_groups(path: &str, hidden: usize) -> String {
    format!(
        "heads 2: {path}.qkv.weight:1:0/3x3@1x3@6 {path}.qkv.bias:0:0/3x3@1x3@6 {path}.relative:1
            {path}.output.weight:0:0/3x3@1
         qk-dims 3: {path}.qkv.weight:1:0/1x2@3x2@6 {path}.qkv.bias:0:0/1x2@3x2@6
         v-dims 3: {path}.qkv.weight:1:12/1x2@3 {path}.qkv.bias:0:12/1x2@3 {path}.output.weight:0:0/1x2@3
         rows 9: {path}.relative:0; pinned: rows of an embedding
         width {hidden}: {path}.mlp.up.weight:1 {path}.mlp.up.bias:0 {path}.mlp.down.weight:0
        "
    )
}

/// Two stages with a merge of 2 × 2 neighbors between.
#[derive(Module, Debug)]
struct Swin {
    patch: Conv2d,
    first: Vec<SwinBlock>,
    merge_norm: LayerNorm,
    merge: Linear,
    second: SwinBlock,
    norm: LayerNorm,
    head: Linear,
}

#[test]
fn swin_like_windows() {
    let net = Swin {
        patch: patches(8, 2),
        first: vec![SwinBlock::new(8, 12, 0), SwinBlock::new(8, 11, 1)],
        merge_norm: norm(32),
        merge: plain(32, 10),
        second: SwinBlock::new(10, 13, 0),
        norm: norm(10),
        head: linear(10, 5),
    };
    let stream = |path: &str| {
        format!(
            "{path}.norm{{1,2}}.{{gamma,beta}}:0 {path}.qkv.weight:0 {path}.output.weight:1 {path}.output.bias:0
             {path}.mlp.up.weight:0 {path}.mlp.down.weight:1 {path}.mlp.down.bias:0
            "
        )
    };
    // Behind the merge, the channels of the four neighbors stand one after the other.
    let groups = [
        &format!(
            "channels 3: patch.weight:1; pinned: dimension 1 of the model's input
             embedding 8: patch.{{weight,bias}}:0 {} {} merge_norm.{{gamma,beta}}:0:0/1x4@8 merge.weight:0:0/1x4@8
                ; across: layer_norm
             embedding 10: merge.weight:1 {} norm.{{gamma,beta}}:0 head.weight:0; across: layer_norm
            ",
            stream("first.0"),
            stream("first.1"),
            stream("second"),
        ),
        &swin_groups("first.0", 12),
        &swin_groups("first.1", 11),
        &swin_groups("second", 13),
        "width 5: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
    ];
    Architecture::new(net, [1, 3, 8, 8], |net: &Swin, x| {
        let x = net.patch.forward(x).permute([0, 2, 3, 1]);
        let x = net.first.iter().fold(x, |x, block| block.forward(x));
        let [batch, height, width, channels] = x.dims();
        let x = x.reshape([batch, height / 2, 2, width / 2, 2, channels]).permute([0, 1, 3, 4, 2, 5]);
        let x = x.reshape([batch, height / 2, width / 2, 4 * channels]);
        let x = net.second.forward(net.merge.forward(net.merge_norm.forward(x)));
        let x = net.norm.forward(x).flatten::<3>(1, 2).mean_dim(1);
        net.head.forward(x.flatten::<2>(1, 2))
    })
    .check(
        &groups.concat(),
        "first.0.norm1.* first.0.qkv.* first.0.relative first.0.output.*
         first.0.norm2.* first.0.mlp.*
         first.1.norm1.* first.1.qkv.* first.1.relative first.1.output.*
         first.1.norm2.* first.1.mlp.*
         second.norm1.* second.qkv.* second.relative second.output.*
         second.norm2.* second.mlp.*",
    );
}

/// Queries, keys and values as one layer whose result is seen as `[batch, length, 3, heads, dims]`, as timm does; one
/// reshape gives all three the same dimension, so that they can only lose it together.
#[derive(Module, Debug)]
struct Fused {
    stem: Linear,
    qkv: Param<Tensor<4>>,
    output: Linear,
    head: Linear,
}

#[test]
fn fused_qkv() {
    let net =
        Fused { stem: linear(4, 8), qkv: table([8, 3, 2, 3]), output: linear(6, 8), head: linear(8, 5) };
    Architecture::new(net, [1, 6, 4], |net: &Fused, x| {
        let x = net.stem.forward(x);
        let [batch, length, width] = x.dims();
        let [_, three, heads, dims] = net.qkv.dims();
        let qkv = x.clone().matmul(net.qkv.val().reshape([width, three * heads * dims]).unsqueeze());
        let qkv = qkv.reshape([batch, length, three, heads, dims]).permute([2, 0, 3, 1, 4]);
        let part = |at| qkv.clone().narrow(0, at, 1).reshape([batch, heads, length, dims]);
        let y = attend(part(0), part(1), part(2), 0.577, |scores| scores);
        let x = x + net.output.forward(join(y));
        net.head.forward(x.mean_dim(1).flatten::<2>(1, 2))
    })
    .check(
        "width 4: stem.weight:0; pinned: dimension 2 of the model's input
         embedding 8: stem.weight:1 stem.bias:0 qkv:0 output.weight:1 output.bias:0 head.weight:0
         width 3: qkv:1; pinned: each of its units is taken by itself
         heads 2: qkv:2 output.weight:0:0/3x3@1
         qk-dims 3: qkv:3 output.weight:0:0/1x2@3
         width 5: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "qkv output.*",
    );
}
