//! Parts that the transformers of the table share.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor};

pub(super) fn linear(inputs: usize, outputs: usize) -> Linear {
    LinearConfig::new(inputs, outputs).init(&Device::flex())
}

pub(super) fn plain(inputs: usize, outputs: usize) -> Linear {
    LinearConfig::new(inputs, outputs).with_bias(false).init(&Device::flex())
}

pub(super) fn norm(width: usize) -> LayerNorm {
    LayerNormConfig::new(width).init(&Device::flex())
}

pub(super) fn table<const D: usize>(shape: [usize; D]) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::zeros(shape, &Device::flex()))
}

/// `softmax(q·kᵀ·scale + bias)·v` of `[batch, heads, length, dims]`.
pub(super) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    scale: f64,
    bias: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale);
    softmax(bias(scores), 3).matmul(value)
}

/// `[batch, length, heads · dims]` as `[batch, heads, length, dims]`.
pub(super) fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}

/// `[batch, heads, length, dims]` as `[batch, length, heads · dims]`.
pub(super) fn join(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, dims] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * dims])
}

/// A linear layer to heads, its weight `[inputs, heads, dims]` as Flax stores it, so that shapes tell all numbers.
#[derive(Module, Debug)]
pub(super) struct Projection {
    pub(super) weight: Param<Tensor<3>>,
    pub(super) bias: Param<Tensor<2>>,
}

impl Projection {
    pub(super) fn new(inputs: usize, heads: usize, dims: usize) -> Self {
        Self { weight: table([inputs, heads, dims]), bias: table([heads, dims]) }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<4> {
        let [inputs, heads, dims] = self.weight.dims();
        let weight = self.weight.val().reshape([inputs, heads * dims]);
        let bias = self.bias.val().reshape([1, 1, heads * dims]);
        split(x.matmul(weight.unsqueeze()) + bias, heads)
    }
}

/// Attention with projections that tell their heads.
#[derive(Module, Debug)]
pub(super) struct Attention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: Linear,
    /// That of the attention as it was made.
    scale: f64,
}

impl Attention {
    /// From streams of widths `width` and `memory`, with `dims` for queries and keys, and for values.
    pub(super) fn new(width: usize, memory: usize, heads: usize, dims: [usize; 2]) -> Self {
        Self {
            query: Projection::new(width, heads, dims[0]),
            key: Projection::new(memory, heads, dims[0]),
            value: Projection::new(memory, heads, dims[1]),
            output: linear(heads * dims[1], width),
            scale: 1.0 / (dims[0] as f64).sqrt(),
        }
    }

    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        memory: Tensor<3>,
        bias: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let query = self.query.forward(x);
        let (key, value) = (self.key.forward(memory.clone()), self.value.forward(memory));
        self.output.forward(join(attend(query, key, value, self.scale, bias)))
    }
}

/// Heads, query and key dimensions, and value dimensions of [`Attention`] at `path`.
pub(super) fn attention_groups(path: &str, heads: usize, dims: [usize; 2]) -> String {
    let [qk, v] = dims;
    format!(
        "heads {heads}: {path}.{{query,key,value}}.weight:1 {path}.{{query,key,value}}.bias:0
            {path}.output.weight:0:0/{v}x{v}@1
         qk-dims {qk}: {path}.{{query,key}}.weight:2 {path}.{{query,key}}.bias:1
         v-dims {v}: {path}.value.weight:2 {path}.value.bias:1 {path}.output.weight:0:0/1x{heads}@{v}
        "
    )
}

/// Two linear layers with GELU between.
#[derive(Module, Debug)]
pub(super) struct FeedForward {
    up: Linear,
    down: Linear,
}

impl FeedForward {
    pub(super) fn new(width: usize, hidden: usize) -> Self {
        Self { up: linear(width, hidden), down: linear(hidden, width) }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(gelu(self.up.forward(x)))
    }
}

pub(super) fn embedding(rows: usize, width: usize) -> Embedding {
    EmbeddingConfig::new(rows, width).init(&Device::flex())
}

/// `0, 1, …, length − 1` as `[1, length]`.
pub(super) fn count(x: &Tensor<2>) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..x.dims()[1] as i64, &x.device()).unsqueeze()
}

/// Fills the scores of later keys.
pub(super) fn causal(scores: Tensor<4>) -> Tensor<4> {
    let [_, _, length, _] = scores.dims();
    let later = Tensor::<2, Bool>::tril_mask([length, length], 0, &scores.device());
    scores.mask_fill(later.unsqueeze(), f32::NEG_INFINITY)
}

/// The value of the last token.
pub(super) fn last(x: Tensor<3>) -> Tensor<2> {
    let [batch, length, width] = x.dims();
    x.narrow(1, length - 1, 1).reshape([batch, width])
}
