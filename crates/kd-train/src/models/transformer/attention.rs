//! Multi-head self-attention whose heads can be removed.
//!
//! Queries, keys, values and the output have a linear layer each, so that a head is a block of columns in three
//! weights and a block of rows in the fourth. Only the width of a head is a number of its own; how many there are
//! follows from the queries' width, and so a module that lost some runs unchanged.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_nn::activation::softmax;
use kd_nn::{Linear, LinearConfig, SyncShape};

/// `softmax(Q·Kᵀ/√d + mask)·V` in each head, then a linear layer over all heads: Vaswani et al., "Attention Is All You
/// Need", 2017, arXiv:1706.03762, section 3.2. Equal to `torch.nn.MultiheadAttention`, whose `in_proj_weight` holds
/// the rows of `query`, `key` and `value` one after the other.
#[derive(Module, Debug, SyncShape)]
pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Width `d` of a head's queries and keys.
    head_width: usize,
}

impl Attention {
    /// Attention over vectors of `width` in `heads` heads, of which `width` must be a multiple.
    pub(super) fn new(width: usize, heads: usize, device: &Device) -> Self {
        let linear = || LinearConfig::new(width, width).init(device);
        Self { query: linear(), key: linear(), value: linear(), output: linear(), head_width: width / heads }
    }

    /// `x [batch, length, width]`; `mask [batch, 1, 1, length]` is added to the scores of every query, very negative
    /// at positions that none may look at.
    pub(super) fn forward(&self, x: Tensor<3>, mask: Tensor<4>, site: &str, tap: &mut Tap<'_>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let query = tap.at(&format!("{site}.query"), self.query.forward(x.clone()));
        let key = tap.at(&format!("{site}.key"), self.key.forward(x.clone()));
        let value = tap.at(&format!("{site}.value"), self.value.forward(x));

        let heads = query.dims()[2] / self.head_width;
        let split = |x: Tensor<3>| {
            let width = x.dims()[2] / heads;
            x.reshape([batch, length, heads, width]).swap_dims(1, 2)
        };
        let scores = split(query).matmul(split(key).swap_dims(2, 3));
        let scale = (self.head_width as f64).sqrt().recip();
        let probabilities = softmax(scores.mul_scalar(scale) + mask, 3);
        let probabilities = tap.at(&format!("{site}.probabilities"), probabilities);

        let mixed = probabilities.matmul(split(value));
        let width = heads * mixed.dims()[3];
        let mixed = mixed.swap_dims(1, 2).reshape([batch, length, width]);
        self.output.forward(tap.at(&format!("{site}.attention"), mixed))
    }
}
