//! Our kernels on tensors of the `flex` device, and their backward passes.

mod layers;
mod plain;
mod rows;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Shape, TensorData};
use kd_kernels::{Norm, norm};

use super::NormOptions;

type Flat = FloatTensor<Flex>;

/// Numbers of a tensor that is contiguous.
fn numbers(x: &Flat) -> &[f32] {
    x.as_slice().expect("a contiguous tensor of 32-bit floats")
}

fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Flat {
    Flex::float_from_data(TensorData::new(numbers, shape), &Default::default())
}

/// A tensor whose numbers may be written to: contiguous from its start, copied only if it is shared.
fn writable(x: Flat) -> Flat {
    if x.is_contiguous() && x.layout().start_offset() == 0 { x } else { x.to_contiguous() }
}

fn write(x: &mut Flat) -> &mut [f32] {
    let len = x.layout().num_elements();
    &mut x.storage_mut()[..len]
}

/// Batch, channels, and what a channel of an example has.
fn norm_shape(x: &Flat) -> Norm {
    let shape = x.layout().shape();
    let (batch, channels) = (shape[0], shape[1]);
    Norm { batch, channels, inner: shape.num_elements() / (batch * channels).max(1) }
}

fn affine<'a>(gamma: &'a Flat, beta: &'a Flat, options: NormOptions) -> norm::Affine<'a> {
    norm::Affine { gamma: numbers(gamma), beta: numbers(beta), epsilon: options.epsilon, relu: options.relu }
}

/// Puts what an operation computed into the graph, with what its backward pass needs.
fn record<O, S, C, const N: usize>(
    op: O,
    nodes: [NodeGuard; N],
    state: S,
    output: Flat,
) -> FloatTensor<Autodiff<Flex, C>>
where
    O: Backward<Flex, N, State = S>,
    S: Clone + Send + std::fmt::Debug + 'static,
    C: CheckpointStrategy,
{
    match op.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
