//! Transformers on tokens.

use burn::module::Module;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::activation::tanh;
use burn::tensor::{Int, Tensor};

use super::attention::{
    FeedForward, attend, causal, count, embedding, join, last, linear, norm, plain, split,
};
use super::table::Architecture;

/// BERT (Devlin et al. 2018): three embeddings, post-norm layers, a pooler. Attention keeps its number of heads in a field,
/// which no cut of weights reaches.
#[derive(Module, Debug)]
struct Bert {
    words: Embedding,
    places: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    layers: Vec<BertLayer>,
    pooler: Linear,
    head: Linear,
}

#[derive(Module, Debug)]
struct BertLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    norm1: LayerNorm,
    mlp: FeedForward,
    norm2: LayerNorm,
}

impl BertLayer {
    fn new(hidden: usize) -> Self {
        Self {
            query: linear(8, 6),
            key: linear(8, 6),
            value: linear(8, 8),
            output: linear(8, 8),
            heads: 2,
            norm1: norm(8),
            mlp: FeedForward::new(8, hidden),
            norm2: norm(8),
        }
    }

    fn forward(&self, x: Tensor<3>, padding: &Tensor<4>) -> Tensor<3> {
        let [query, key, value] =
            [&self.query, &self.key, &self.value].map(|layer| split(layer.forward(x.clone()), self.heads));
        let y = attend(query, key, value, 0.577, |scores| scores + padding.clone());
        let x = self.norm1.forward(x + self.output.forward(join(y)));
        self.norm2.forward(x.clone() + self.mlp.forward(x))
    }
}

#[test]
fn bert() {
    let net = Bert {
        words: embedding(11, 8),
        places: embedding(7, 8),
        segments: embedding(2, 8),
        norm: norm(8),
        layers: vec![BertLayer::new(12), BertLayer::new(10)],
        pooler: linear(8, 9),
        head: linear(9, 3),
    };
    let layer = |path: &str, hidden: usize| {
        format!(
            "heads 2: {path}.{{query,key}}.weight:1:0/3x3@1 {path}.{{query,key}}.bias:0:0/3x3@1
                {path}.value.weight:1:0/4x4@1 {path}.value.bias:0:0/4x4@1 {path}.output.weight:0:0/4x4@1
                ; pinned: plain numbers
             qk-dims 3: {path}.{{query,key}}.weight:1:0/1x2@3 {path}.{{query,key}}.bias:0:0/1x2@3
             v-dims 4: {path}.value.weight:1:0/1x2@4 {path}.value.bias:0:0/1x2@4 {path}.output.weight:0:0/1x2@4
             width {hidden}: {path}.mlp.up.weight:1 {path}.mlp.up.bias:0 {path}.mlp.down.weight:0
            "
        )
    };
    let groups = [
        "rows 11: words.weight:0; pinned: rows of an embedding
         rows 7: places.weight:0; pinned: rows of an embedding
         rows 2: segments.weight:0; pinned: rows of an embedding
         embedding 8: {words,places,segments}.weight:1 norm.{gamma,beta}:0 layers.{0,1}.norm{1,2}.{gamma,beta}:0
            layers.{0,1}.{query,key,value}.weight:0 layers.{0,1}.output.weight:1 layers.{0,1}.output.bias:0
            layers.{0,1}.mlp.up.weight:0 layers.{0,1}.mlp.down.weight:1 layers.{0,1}.mlp.down.bias:0
            pooler.weight:0; across: layer_norm
        ",
        &layer("layers.0", 12),
        &layer("layers.1", 10),
        "width 9: pooler.weight:1 pooler.bias:0 head.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
    ];
    Architecture::new(net, [1, 5], |net: &Bert, x| {
        let [batch, length] = x.dims();
        let places = count(&x);
        let segments = Tensor::<2, Int>::zeros([1, length], &x.device());
        let ids = x.int();
        let padding = ids.clone().equal_elem(0).float().mul_scalar(-1e4).reshape([batch, 1, 1, length]);
        let x = net.words.forward(ids) + net.places.forward(places) + net.segments.forward(segments);
        let x = net.norm.forward(x);
        let x = net.layers.iter().fold(x, |x, layer| layer.forward(x, &padding));
        let first = x.narrow(1, 0, 1).flatten::<2>(1, 2);
        net.head.forward(tanh(net.pooler.forward(first)))
    })
    .tokens(11)
    .check(
        &groups.concat(),
        "layers.0.query.* layers.0.key.* layers.0.value.* layers.0.output.*
         layers.0.mlp.*
         layers.1.query.* layers.1.key.* layers.1.value.* layers.1.output.*
         layers.1.mlp.*",
    );
}

/// GPT-2 (Radford et al. 2019): pre-norm layers, one layer for queries, keys and values, a causal mask. Like BERT's, its
/// number of heads is a field; the widths of the three parts follow from the two weights.
#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    places: Embedding,
    norm1: LayerNorm,
    qkv: Linear,
    output: Linear,
    heads: usize,
    norm2: LayerNorm,
    mlp: FeedForward,
    norm: LayerNorm,
    head: Linear,
}

#[test]
fn gpt() {
    let net = Gpt {
        tokens: embedding(11, 8),
        places: embedding(5, 8),
        norm1: norm(8),
        qkv: linear(8, 18),
        output: linear(6, 8),
        heads: 2,
        norm2: norm(8),
        mlp: FeedForward::new(8, 12),
        norm: norm(8),
        head: plain(8, 11),
    };
    Architecture::new(net, [1, 5], |net: &Gpt, x| {
        let places = count(&x);
        let x = net.tokens.forward(x.int()) + net.places.forward(places);
        let qkv = net.qkv.forward(net.norm1.forward(x.clone()));
        let values = net.output.weight.dims()[0];
        let each = (net.qkv.weight.dims()[1] - values) / 2;
        let part = |start, size| split(qkv.clone().narrow(2, start, size), net.heads);
        let y = attend(part(0, each), part(each, each), part(2 * each, values), 0.577, causal);
        let x = x + net.output.forward(join(y));
        let x = x.clone() + net.mlp.forward(net.norm2.forward(x));
        net.head.forward(last(net.norm.forward(x)))
    })
    .tokens(11)
    .check(
        "rows 11: tokens.weight:0; pinned: rows of an embedding
         rows 5: places.weight:0; pinned: rows of an embedding
         embedding 8: {tokens,places}.weight:1 norm{,1,2}.{gamma,beta}:0 qkv.weight:0 output.weight:1 output.bias:0
            mlp.up.weight:0 mlp.down.weight:1 mlp.down.bias:0 head.weight:0; across: layer_norm
         heads 2: qkv.weight:1:0/3x3@1x3@6 qkv.bias:0:0/3x3@1x3@6 output.weight:0:0/3x3@1; pinned: plain numbers
         qk-dims 3: qkv.weight:1:0/1x2@3x2@6 qkv.bias:0:0/1x2@3x2@6
         v-dims 3: qkv.weight:1:12/1x2@3 qkv.bias:0:12/1x2@3 output.weight:0:0/1x2@3
         width 12: mlp.up.weight:1 mlp.up.bias:0 mlp.down.weight:0
         width 11: head.weight:1; pinned: dimension 1 of the model's output",
        "norm1.* qkv.* output.*
         norm2.* mlp.*",
    );
}

/// One table for the words that come in and the scores of those that go out (Press and Wolf 2016).
#[derive(Module, Debug)]
struct Tied {
    tokens: Embedding,
    norm1: LayerNorm,
    mlp: FeedForward,
    norm: LayerNorm,
}

#[test]
fn tied_embeddings() {
    let net = Tied { tokens: embedding(11, 8), norm1: norm(8), mlp: FeedForward::new(8, 12), norm: norm(8) };
    Architecture::new(net, [1, 5], |net: &Tied, x| {
        let x = net.tokens.forward(x.int());
        let x = x.clone() + net.mlp.forward(net.norm1.forward(x));
        last(net.norm.forward(x)).matmul(net.tokens.weight.val().transpose())
    })
    .tokens(11)
    .check(
        "rows 11: tokens.weight:0; pinned: rows of an embedding
         embedding 8: tokens.weight:1 norm{,1}.{gamma,beta}:0 mlp.up.weight:0 mlp.down.weight:1 mlp.down.bias:0
            ; across: layer_norm
         width 12: mlp.up.weight:1 mlp.up.bias:0 mlp.down.weight:0",
        "norm1.* mlp.*",
    );
}
