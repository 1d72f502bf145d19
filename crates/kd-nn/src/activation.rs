//! Activations by Burn's names.

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn::tensor::activation as theirs;

use crate::extension::{Rows, own};

/// `exp(x − max x) / Σ exp(x − max x)` along a dimension, as [`burn::tensor::activation::softmax`].
///
/// Ours is over the last dimension; over another one it is Burn's everywhere.
pub fn softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    match own(&x) && dim + 1 == D {
        true => Tensor::from_dispatch(Dispatch::kd_softmax(x.into_dispatch())),
        false => theirs::softmax(x, dim),
    }
}

/// `x · Φ(x)`, as [`burn::tensor::activation::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match own(&x) {
        true => Tensor::from_dispatch(Dispatch::kd_gelu(x.into_dispatch())),
        false => theirs::gelu(x),
    }
}
