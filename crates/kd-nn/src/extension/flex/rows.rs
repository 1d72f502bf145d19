//! Softmax and layer norm over the last dimension, and GELU.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use kd_kernels::{Isa, gelu, layer_norm, softmax};

use super::super::Rows;
use super::{Flat, numbers, record, tensor};

/// Length of the last dimension.
fn last(x: &Flat) -> usize {
    x.layout().shape().as_slice().last().copied().unwrap_or(1)
}

fn like(numbers: Vec<f32>, x: &Flat) -> Flat {
    tensor(numbers, x.layout().shape().clone())
}

impl Rows for Flex {
    fn kd_softmax(x: Flat) -> Flat {
        let x = x.to_contiguous();
        like(softmax::forward(Isa::best(), last(&x), numbers(&x)), &x)
    }

    fn kd_gelu(x: Flat) -> Flat {
        let x = x.to_contiguous();
        like(gelu::forward(Isa::best(), numbers(&x)), &x)
    }

    fn kd_layer_norm(x: Flat, gamma: Flat, beta: Flat, epsilon: f64) -> Flat {
        let [x, gamma, beta] = [x, gamma, beta].map(|x| x.to_contiguous());
        let beta = Some(numbers(&beta));
        like(layer_norm::forward(Isa::best(), numbers(&x), numbers(&gamma), beta, epsilon).y, &x)
    }
}

impl<C: CheckpointStrategy> Rows for Autodiff<Flex, C> {
    fn kd_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = Flex::kd_softmax(x);
        record::<_, _, C, 1>(SoftmaxGrad, [node], y.clone(), y)
    }

    fn kd_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = x.to_contiguous();
        let y = Flex::kd_gelu(x.clone());
        record::<_, _, C, 1>(GeluGrad, [node], x, y)
    }

    fn kd_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let [(x, x_node), (gamma, gamma_node), (beta, beta_node)] = [x, gamma, beta].map(|x| x.into_parts());
        let [x, gamma, beta] = [x, gamma, beta].map(|x| x.to_contiguous());
        let shift = Some(numbers(&beta));
        let found = layer_norm::forward(Isa::best(), numbers(&x), numbers(&gamma), shift, epsilon);
        let rows = [found.mean.len()];
        let y = like(found.y, &x);
        let state = (x, gamma, tensor(found.mean, rows), tensor(found.scale, rows));
        record::<_, _, C, 3>(LayerNormGrad, [x_node, gamma_node, beta_node], state, y)
    }
}

#[derive(Debug)]
struct SoftmaxGrad;

impl Backward<Flex, 1> for SoftmaxGrad {
    type State = Flat;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let y = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = softmax::backward(Isa::best(), last(&y), numbers(&y), numbers(&dy));
            grads.register::<Flex>(node.id, like(dx, &y));
        }
    }
}

#[derive(Debug)]
struct GeluGrad;

impl Backward<Flex, 1> for GeluGrad {
    type State = Flat;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let x = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, like(gelu::backward(Isa::best(), numbers(&x), numbers(&dy)), &x));
        }
    }
}

#[derive(Debug)]
struct LayerNormGrad;

impl Backward<Flex, 3> for LayerNormGrad {
    type State = (Flat, Flat, Flat, Flat);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, mean, scale) = ops.state;
        let [mean, scale] = [&mean, &scale].map(numbers);
        let found =
            layer_norm::backward(Isa::best(), numbers(&x), numbers(&gamma), mean, scale, numbers(&dy));
        let [x_node, gamma_node, beta_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, like(found.x, &x));
        }
        if let Some(node) = gamma_node {
            grads.register::<Flex>(node.id, like(found.gamma, &gamma));
        }
        if let Some(node) = beta_node {
            grads.register::<Flex>(node.id, like(found.beta, &gamma));
        }
    }
}
