//! Burn's own attention layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::attention::{
    CrossAttention, CrossAttentionConfig, MhaInput, MultiHeadAttention, MultiHeadAttentionConfig,
};
use burn::tensor::Device;
use burn::tensor::activation::relu;

use super::attention::linear;
use super::table::Architecture;

/// Heads that are made from the width of the stream: three fields say how wide everything is, and the layer refuses
/// another input. Nothing of it can be cut before those fields follow; the network around it can.
#[derive(Module, Debug)]
struct Whole {
    stem: Linear,
    attention: MultiHeadAttention,
    up: Linear,
    down: Linear,
    head: Linear,
}

#[test]
fn multi_head_attention() {
    let net = Whole {
        stem: linear(4, 6),
        attention: MultiHeadAttentionConfig::new(6, 2).init(&Device::flex()),
        up: linear(6, 7),
        down: linear(7, 6),
        head: linear(6, 3),
    };
    Architecture::new(net, [1, 5, 4], |net: &Whole, x| {
        let x = net.stem.forward(x);
        let x = x.clone() + net.attention.forward(MhaInput::self_attn(x)).context;
        let x = x.clone() + net.down.forward(relu(net.up.forward(x)));
        net.head.forward(x.mean_dim(1).flatten::<2>(1, 2))
    })
    .check(
        "width 4: stem.weight:0; pinned: dimension 2 of the model's input
         embedding 6: stem.weight:1 stem.bias:0 attention.{query,key,value}.weight:0 attention.output.weight:1
            attention.output.bias:0 up.weight:0 down.weight:1 down.bias:0 head.weight:0; pinned: assert_shape!
         heads 2: attention.{query,key,value}.weight:1:0/3x3@1 attention.{query,key,value}.bias:0:0/3x3@1
            attention.output.weight:0:0/3x3@1; pinned: plain numbers
         qk-dims 3: attention.{query,key}.weight:1:0/1x2@3 attention.{query,key}.bias:0:0/1x2@3; pinned: plain numbers
         v-dims 3: attention.value.weight:1:0/1x2@3 attention.value.bias:0:0/1x2@3
            attention.output.weight:0:0/1x2@3; pinned: plain numbers
         width 7: up.weight:1 up.bias:0 down.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "attention.*
         up.* down.*",
    );
}

/// Grouped queries, in fields too; but both streams may have any width.
#[derive(Module, Debug)]
struct Crossed {
    stem: Linear,
    memory: Linear,
    attention: CrossAttention,
    head: Linear,
}

#[test]
fn cross_attention() {
    let config = CrossAttentionConfig::new(6, 5, 4, 2, 3);
    let net = Crossed {
        stem: linear(4, 6),
        memory: linear(4, 5),
        attention: config.init(&Device::flex()),
        head: linear(6, 3),
    };
    Architecture::new(net, [1, 5, 4], |net: &Crossed, x| {
        let memory = net.memory.forward(x.clone());
        let x = net.stem.forward(x);
        let x = x.clone() + net.attention.forward(x, memory, None);
        net.head.forward(x.mean_dim(1).flatten::<2>(1, 2))
    })
    .check(
        "width 4: {stem,memory}.weight:0; pinned: dimension 2 of the model's input
         embedding 6: stem.weight:1 stem.bias:0 attention.query.weight:0 attention.output.weight:1
            attention.output.bias:0 head.weight:0
         width 5: memory.weight:1 memory.bias:0 attention.{key,value}.weight:0
         kv-groups 2: attention.query.weight:1:0/6x6@1 attention.query.bias:0:0/6x6@1
            attention.{key,value}.weight:1:0/3x3@1 attention.{key,value}.bias:0:0/3x3@1
            attention.output.weight:0:0/6x6@1; pinned: plain numbers
         query-replicas 2: attention.query.weight:1:0/3x3@1x2@6 attention.query.bias:0:0/3x3@1x2@6
            attention.output.weight:0:0/3x3@1x2@6; pinned: plain numbers
         qk-dims 3: attention.query.weight:1:0/1x4@3 attention.query.bias:0:0/1x4@3
            attention.key.weight:1:0/1x2@3 attention.key.bias:0:0/1x2@3; pinned: plain numbers
         v-dims 3: attention.value.weight:1:0/1x2@3 attention.value.bias:0:0/1x2@3
            attention.output.weight:0:0/1x4@3; pinned: plain numbers
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "attention.* memory.*",
    );
}
