//! The one place that knows Burn's backend extensions: how tensors of the `flex` device reach [`kd_kernels`], and in
//! `flex/` how gradients come back.
//!
//! An extension's operation panics on a device that it does not list, so layers ask [`own`] first. A backward pass is
//! written by hand for each operation; its state holds tensors, which are shared and not copied.

#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DispatchDevice, backend_extension};
use burn::tensor::{DType, Tensor};
use kd_kernels::{Conv, Pool, optim};

use crate::Kernels;

/// Whether work on this tensor goes to our kernels: it is of 32-bit floats on the `flex` device, with or without
/// autodiff, and nobody asked for Burn's kernels.
pub(crate) fn own<const D: usize>(x: &Tensor<D>) -> bool {
    fn flex(device: &DispatchDevice) -> bool {
        match device {
            #[cfg(feature = "flex")]
            DispatchDevice::Flex(_) => true,
            DispatchDevice::Autodiff(device) => flex(device),
            #[allow(unreachable_patterns, reason = "what else there is depends on features")]
            _ => false,
        }
    }
    Kernels::current() == Kernels::Own && x.dtype() == DType::F32 && flex(x.device().as_dispatch())
}

/// How pooling sums up a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    Max,
    Average { count_padding: bool },
}

/// What a batch norm adds to its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormOptions {
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
}

/// Operations of a forward pass, differentiable.
#[backend_extension(Autodiff: cfg(feature = "flex"), Flex: cfg(feature = "flex"))]
pub(crate) trait Layers: Backend {
    fn kd_conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: Conv) -> FloatTensor<Self>;

    fn kd_conv_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Conv,
    ) -> FloatTensor<Self>;

    /// Output, mean and biased variance; the latter two carry no gradient.
    fn kd_norm_train(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn kd_pool(x: FloatTensor<Self>, shape: Pool, pooling: Pooling) -> FloatTensor<Self>;
}

/// Operations on rows and on single numbers, differentiable.
#[backend_extension(Autodiff: cfg(feature = "flex"), Flex: cfg(feature = "flex"))]
pub(crate) trait Rows: Backend {
    /// Over the last dimension.
    fn kd_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kd_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Over the last dimension.
    fn kd_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

/// Operations without gradients.
#[backend_extension(Flex: cfg(feature = "flex"))]
pub(crate) trait Plain: Backend {
    fn kd_norm_apply(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// The parameter after a step without momentum.
    fn kd_sgd(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        rule: optim::Sgd,
    ) -> FloatTensor<Self>;

    /// The parameter and the velocity after a step; the first one does not read the velocity.
    fn kd_sgd_momentum(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        first: bool,
        rule: optim::Sgd,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The parameter and both moments after a step.
    fn kd_adam(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: optim::Adam,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The parameter and the momentum after a step.
    fn kd_lion(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        momentum: FloatTensor<Self>,
        rule: optim::Lion,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}
