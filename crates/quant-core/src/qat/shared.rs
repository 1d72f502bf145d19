//! Shared weights: a few centroids are parameters, and every weight is one of them.
//!
//! Han et al. 2016, "Deep Compression", arXiv 1510.00149, section 3.

use burn::tensor::{Int, Tensor};

/// W = centroids\[codes\]: `[count]` and codes of any shape give a weight of that shape.
///
/// ∂L/∂c_k = Σ ∂L/∂W over the weights whose code is k, so that training moves centroids and never a weight to another
/// one. Codes come from [`kmeans`](crate::ptq::kmeans); every one is below `count`.
pub fn shared_weight<const D: usize>(centroids: Tensor<1>, codes: Tensor<D, Int>) -> Tensor<D> {
    let dims = codes.dims();
    let len = codes.shape().num_elements();
    centroids.select(0, codes.reshape([len])).reshape(dims)
}
