//! Attention with fewer keys and values than queries, and gated hidden layers.

use burn::module::Module;
use burn::nn::{Embedding, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::activation::{gelu, relu, silu};
use burn::tensor::{Device, Tensor, TensorData};

use super::attention::{Projection, attend, causal, embedding, join, last, linear, plain, split};
use super::table::Architecture;

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

/// Grouped queries alone (Ainslie et al. 2023): without rotation, queries and keys can lose dimensions too.
#[derive(Module, Debug)]
struct Grouped {
    tokens: Embedding,
    query: Linear,
    key: Projection,
    value: Projection,
    output: Linear,
    head: Linear,
}

#[test]
fn grouped_queries() {
    let net = Grouped {
        tokens: embedding(11, 8),
        query: linear(8, 24),
        key: Projection::new(8, 3, 4),
        value: Projection::new(8, 3, 5),
        output: linear(30, 8),
        head: linear(8, 11),
    };
    Architecture::new(net, [1, 5], |net: &Grouped, x| {
        let x = net.tokens.forward(x.int());
        let [_, groups, dims] = net.key.weight.dims();
        let heads = net.query.weight.dims()[1] / dims;
        let query = split(net.query.forward(x.clone()), heads);
        let key = repeat(net.key.forward(x.clone()), heads / groups);
        let value = repeat(net.value.forward(x.clone()), heads / groups);
        net.head.forward(last(x + net.output.forward(join(attend(query, key, value, 0.5, causal)))))
    })
    .tokens(11)
    .check(
        "rows 11: tokens.weight:0; pinned: rows of an embedding
         embedding 8: tokens.weight:1 {query,key,value}.weight:0 output.weight:1 output.bias:0 head.weight:0
         kv-groups 3: query.weight:1:0/8x8@1 query.bias:0:0/8x8@1 {key,value}.weight:1 {key,value}.bias:0
            output.weight:0:0/10x10@1
         query-replicas 2: query.weight:1:0/4x4@1x3@8 query.bias:0:0/4x4@1x3@8 output.weight:0:0/5x5@1x3@10
         qk-dims 4: query.weight:1:0/1x6@4 query.bias:0:0/1x6@4 key.weight:2 key.bias:1
         v-dims 5: value.weight:2 value.bias:1 output.weight:0:0/1x6@5
         width 11: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "query.* key.* value.* output.*",
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
