//! Transformers on tokens.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::activation::{gelu, relu, silu, tanh};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::attention::{
    Attention, FeedForward, Projection, attend, attention_groups, join, linear, norm, plain, split, table,
};
use super::table::Architecture;

fn embedding(rows: usize, width: usize) -> Embedding {
    EmbeddingConfig::new(rows, width).init(&Device::flex())
}

/// `0, 1, …, length − 1` as `[1, length]`.
fn count(x: &Tensor<2>) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..x.dims()[1] as i64, &x.device()).unsqueeze()
}

/// Fills the scores of later keys.
fn causal(scores: Tensor<4>) -> Tensor<4> {
    let [_, _, length, _] = scores.dims();
    let later = Tensor::<2, Bool>::tril_mask([length, length], 0, &scores.device());
    scores.mask_fill(later.unsqueeze(), f32::NEG_INFINITY)
}

/// The value of the last token.
fn last(x: Tensor<3>) -> Tensor<2> {
    let [batch, length, width] = x.dims();
    x.narrow(1, length - 1, 1).reshape([batch, width])
}

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

/// LLaMA (Touvron et al. 2023): root mean square norms, rotated queries and keys, several queries for each key and value,
/// a gated hidden layer.
#[derive(Module, Debug)]
struct Llama {
    tokens: Embedding,
    norm1: RmsNorm,
    query: Linear,
    key: Projection,
    value: Projection,
    output: Linear,
    norm2: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    norm: RmsNorm,
    head: Linear,
}

/// Turns pairs `(i, i + dims/2)` by an angle of position and `i`, of tables for dims as they were made.
fn rotate(x: Tensor<4>, dims: usize) -> Tensor<4> {
    let [_, _, length, width] = x.dims();
    let half = dims / 2;
    let angle = |at: usize| (at / half) as f32 / 10_f32.powi((at % half) as i32);
    let turn = |f: fn(f32) -> f32| {
        let values: Vec<f32> = (0..length * half).map(|at| f(angle(at))).collect();
        Tensor::<4>::from_data(TensorData::new(values, [1, 1, length, half]), &x.device())
    };
    let (cos, sin) = (turn(f32::cos), turn(f32::sin));
    let (a, b) = (x.clone().narrow(3, 0, width / 2), x.narrow(3, width / 2, width / 2));
    Tensor::cat(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], 3)
}

/// Every key and value as often as there are queries for it.
fn repeat(x: Tensor<4>, times: usize) -> Tensor<4> {
    let [batch, groups, length, dims] = x.dims();
    let x: Tensor<5> = x.unsqueeze_dim(2);
    x.expand([batch, groups, times, length, dims]).reshape([batch, groups * times, length, dims])
}

#[test]
fn grouped_queries_with_swiglu() {
    let rms = || RmsNormConfig::new(8).init(&Device::flex());
    let net = Llama {
        tokens: embedding(11, 8),
        norm1: rms(),
        query: plain(8, 24),
        key: Projection::new(8, 2, 4),
        value: Projection::new(8, 2, 5),
        output: plain(30, 8),
        norm2: rms(),
        gate: plain(8, 12),
        up: plain(8, 12),
        down: plain(12, 8),
        norm: rms(),
        head: plain(8, 11),
    };
    Architecture::new(net, [1, 5], |net: &Llama, x| {
        let x = net.tokens.forward(x.int());
        let y = net.norm1.forward(x.clone());
        let [_, groups, dims] = net.key.weight.dims();
        let heads = net.query.weight.dims()[1] / dims;
        let query = rotate(split(net.query.forward(y.clone()), heads), 4);
        let key = repeat(rotate(net.key.forward(y.clone()), 4), heads / groups);
        let value = repeat(net.value.forward(y), heads / groups);
        let x = x + net.output.forward(join(attend(query, key, value, 0.5, causal)));
        let y = net.norm2.forward(x.clone());
        let x = x + net.down.forward(silu(net.gate.forward(y.clone())) * net.up.forward(y));
        net.head.forward(last(net.norm.forward(x)))
    })
    .tokens(11)
    .check(
        // Rotation ties dimension i to i + 2, and its tables are constants of the network.
        "rows 11: tokens.weight:0; pinned: rows of an embedding
         embedding 8: tokens.weight:1 norm{,1,2}.gamma:0 {query,key,value,gate,up}.weight:0 {output,down}.weight:1
            head.weight:0; across: mean_dim
         kv-groups 2: query.weight:1:0/12x12@1 {key,value}.weight:1 {key,value}.bias:0 output.weight:0:0/15x15@1
         query-replicas 3: query.weight:1:0/4x4@1x2@12 output.weight:0:0/5x5@1x2@15
         qk-dims 2: query.weight:1:0/1x2@2x6@4 key.weight:2:0/1x2@2 key.bias:1:0/1x2@2; pinned: a constant
         v-dims 5: value.weight:2 value.bias:1 output.weight:0:0/1x6@5
         width 12: {gate,up}.weight:1 down.weight:0
         width 11: head.weight:1; pinned: dimension 1 of the model's output",
        "norm1.* query.* key.* value.* output.*
         norm2.* gate.* up.* down.*",
    );
}

/// One key and value for all queries (Shazeer 2019): all numbers follow from the linear layers' sizes.
#[derive(Module, Debug)]
struct MultiQuery {
    tokens: Embedding,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    head: Linear,
}

#[test]
fn multi_query() {
    let net = MultiQuery {
        tokens: embedding(11, 8),
        query: linear(8, 12),
        key: linear(8, 4),
        value: linear(8, 5),
        output: linear(15, 8),
        head: linear(8, 11),
    };
    Architecture::new(net, [1, 5], |net: &MultiQuery, x| {
        let x = net.tokens.forward(x.int());
        let heads = net.query.weight.dims()[1] / net.key.weight.dims()[1];
        let query = split(net.query.forward(x.clone()), heads);
        let key = split(net.key.forward(x.clone()), 1);
        let value = split(net.value.forward(x.clone()), 1);
        let x = x + net.output.forward(join(attend(query, key, value, 0.5, causal)));
        net.head.forward(last(x))
    })
    .tokens(11)
    .check(
        "rows 11: tokens.weight:0; pinned: rows of an embedding
         embedding 8: tokens.weight:1 {query,key,value}.weight:0 output.weight:1 output.bias:0 head.weight:0
         query-replicas 3: query.weight:1:0/4x4@1 query.bias:0:0/4x4@1 output.weight:0:0/5x5@1
         qk-dims 4: query.weight:1:0/1x3@4 query.bias:0:0/1x3@4 key.weight:1 key.bias:0
         v-dims 5: value.weight:1 value.bias:0 output.weight:0:0/1x3@5
         width 11: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "query.* key.* value.* output.*",
    );
}

/// One layer for the gate and for what it lets through, taken apart (as in PaLM and in ModernBERT), without attention.
#[derive(Module, Debug)]
struct Gated {
    stem: Linear,
    both: Linear,
    down: Linear,
    head: Linear,
}

#[test]
fn gate_and_values_in_one_layer() {
    let net = Gated { stem: linear(4, 8), both: linear(8, 10), down: linear(5, 8), head: linear(8, 3) };
    Architecture::new(net, [1, 4], |net: &Gated, x| {
        let x = relu(net.stem.forward(x));
        let parts = net.both.forward(x.clone()).chunk(2, 1);
        let y = gelu(parts[0].clone()) * parts[1].clone();
        net.head.forward(x + net.down.forward(y))
    })
    .check(
        "width 4: stem.weight:0; pinned: dimension 1 of the model's input
         embedding 8: stem.weight:1 stem.bias:0 both.weight:0 down.weight:1 down.bias:0 head.weight:0
         width 5: both.weight:1:0/1x2@5 both.bias:0:0/1x2@5 down.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "both.* down.*",
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

/// An encoder and a decoder of different widths (Vaswani et al. 2017): the decoder's second attention reads the
/// encoder's result.
#[derive(Module, Debug)]
struct Translator {
    source: Embedding,
    source_places: Param<Tensor<3>>,
    encoder: Attention,
    encoder_norm1: LayerNorm,
    encoder_mlp: FeedForward,
    encoder_norm2: LayerNorm,
    target: Embedding,
    target_places: Param<Tensor<3>>,
    decoder: Attention,
    decoder_norm1: LayerNorm,
    cross: Attention,
    decoder_norm2: LayerNorm,
    decoder_mlp: FeedForward,
    decoder_norm3: LayerNorm,
    head: Linear,
}

#[test]
fn cross_attention() {
    let net = Translator {
        source: embedding(9, 6),
        source_places: table([1, 4, 6]),
        encoder: Attention::new(6, 6, 2, [3, 4]),
        encoder_norm1: norm(6),
        encoder_mlp: FeedForward::new(6, 10),
        encoder_norm2: norm(6),
        target: embedding(9, 8),
        target_places: table([1, 3, 8]),
        decoder: Attention::new(8, 8, 3, [2, 5]),
        decoder_norm1: norm(8),
        cross: Attention::new(8, 6, 2, [5, 3]),
        decoder_norm2: norm(8),
        decoder_mlp: FeedForward::new(8, 12),
        decoder_norm3: norm(8),
        head: linear(8, 9),
    };
    let groups = [
        "rows 9: source.weight:0; pinned: rows of an embedding
         rows 9: target.weight:0; pinned: rows of an embedding
         positions 4: source_places:1; pinned: model's input; across: softmax
         positions 3: target_places:1; pinned: model's input; across: softmax
         embedding 6: source.weight:1 source_places:2 encoder.{query,key,value}.weight:0 encoder.output.weight:1
            encoder.output.bias:0 encoder_norm{1,2}.{gamma,beta}:0 encoder_mlp.up.weight:0 encoder_mlp.down.weight:1
            encoder_mlp.down.bias:0 cross.{key,value}.weight:0; across: layer_norm
         embedding 8: target.weight:1 target_places:2 decoder.{query,key,value}.weight:0 decoder.output.weight:1
            decoder.output.bias:0 decoder_norm{1,2,3}.{gamma,beta}:0 cross.query.weight:0 cross.output.weight:1
            cross.output.bias:0 decoder_mlp.up.weight:0 decoder_mlp.down.weight:1 decoder_mlp.down.bias:0
            head.weight:0; across: layer_norm
        ",
        &attention_groups("encoder", 2, [3, 4]),
        &attention_groups("decoder", 3, [2, 5]),
        &attention_groups("cross", 2, [5, 3]),
        "width 10: encoder_mlp.up.weight:1 encoder_mlp.up.bias:0 encoder_mlp.down.weight:0
         width 12: decoder_mlp.up.weight:1 decoder_mlp.up.bias:0 decoder_mlp.down.weight:0
         width 9: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
    ];
    Architecture::new(net, [1, 7], |net: &Translator, x| {
        let ids = x.int();
        let (source, target) = (ids.clone().narrow(1, 0, 4), ids.narrow(1, 4, 3));
        let x = net.source.forward(source) + net.source_places.val();
        let y = net.encoder.forward(x.clone(), x.clone(), |scores| scores);
        let x = net.encoder_norm1.forward(x + y);
        let memory = net.encoder_norm2.forward(x.clone() + net.encoder_mlp.forward(x));
        let x = net.target.forward(target) + net.target_places.val();
        let y = net.decoder.forward(x.clone(), x.clone(), causal);
        let x = net.decoder_norm1.forward(x + y);
        let y = net.cross.forward(x.clone(), memory, |scores| scores);
        let x = net.decoder_norm2.forward(x + y);
        let x = net.decoder_norm3.forward(x.clone() + net.decoder_mlp.forward(x));
        net.head.forward(last(x))
    })
    .tokens(9)
    .check(
        &groups.concat(),
        "encoder.*
         encoder_mlp.*
         decoder.*
         cross.* encoder.* encoder_norm1.* encoder_mlp.* encoder_norm2.* source.* source_places
         decoder_mlp.*",
    );
}
