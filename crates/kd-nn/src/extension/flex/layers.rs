//! Convolution, batch norm and pooling.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn::tensor::Shape;
use kd_kernels::{Conv, Isa, Pool, conv, norm, pool};

use super::super::{Layers, NormOptions, Pooling};
use super::{Flat, affine, norm_shape, numbers, record, tensor};

fn conv_shape(x: &Flat, shape: &Conv) -> Shape {
    let ([rows, cols], rank) = (shape.output(), x.layout().shape().num_dims());
    match rank {
        3 => Shape::new([shape.batch, shape.channels[1], cols]),
        _ => Shape::new([shape.batch, shape.channels[1], rows, cols]),
    }
}

fn pool_shape(x: &Flat, shape: &Pool) -> Shape {
    let (old, [rows, cols]) = (x.layout().shape(), shape.output());
    Shape::new([old[0], old[1], rows, cols])
}

impl Layers for Flex {
    fn kd_conv(x: Flat, weight: Flat, shape: Conv) -> Flat {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = conv::forward(Isa::best(), &shape, numbers(&x), numbers(&weight), None);
        tensor(y, conv_shape(&x, &shape))
    }

    fn kd_conv_bias(x: Flat, weight: Flat, bias: Flat, shape: Conv) -> Flat {
        let [x, weight, bias] = [x, weight, bias].map(|x| x.to_contiguous());
        let y = conv::forward(Isa::best(), &shape, numbers(&x), numbers(&weight), Some(numbers(&bias)));
        tensor(y, conv_shape(&x, &shape))
    }

    fn kd_norm_train(x: Flat, gamma: Flat, beta: Flat, options: NormOptions) -> (Flat, Flat, Flat) {
        let (x, gamma, beta) = (x.to_contiguous(), gamma.to_contiguous(), beta.to_contiguous());
        let shape = norm_shape(&x);
        let (y, moments) = norm::train(Isa::best(), &shape, numbers(&x), affine(&gamma, &beta, options));
        (
            tensor(y, x.layout().shape().clone()),
            tensor(moments.mean, [shape.channels]),
            tensor(moments.variance, [shape.channels]),
        )
    }

    fn kd_pool(x: Flat, shape: Pool, pooling: Pooling) -> Flat {
        let x = x.to_contiguous();
        let y = match pooling {
            Pooling::Max => pool::max(Isa::best(), &shape, numbers(&x)).0,
            Pooling::Average { count_padding } => pool::average(&shape, numbers(&x), count_padding),
        };
        let to = pool_shape(&x, &shape);
        tensor(y, to)
    }
}

impl<C: CheckpointStrategy> Layers for Autodiff<Flex, C> {
    fn kd_conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: Conv) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = Flex::kd_conv(x.clone(), weight.clone(), shape);
        record::<_, _, C, 2>(ConvGrad, [x_node, weight_node], (x, weight, shape), y)
    }

    fn kd_conv_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Conv,
    ) -> FloatTensor<Self> {
        let [(x, x_node), (weight, weight_node), (bias, bias_node)] =
            [x, weight, bias].map(|x| x.into_parts());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = Flex::kd_conv_bias(x.clone(), weight.clone(), bias, shape);
        record::<_, _, C, 3>(ConvGrad, [x_node, weight_node, bias_node], (x, weight, shape), y)
    }

    fn kd_norm_train(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (gamma, gamma_node), (beta, beta_node)) =
            (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (x, gamma, beta) = (x.to_contiguous(), gamma.to_contiguous(), beta.to_contiguous());
        let (y, mean, variance) = Flex::kd_norm_train(x.clone(), gamma.clone(), beta.clone(), options);
        let state = (x, gamma, beta, mean.clone(), variance.clone(), options);
        let y = record::<_, _, C, 3>(NormGrad, [x_node, gamma_node, beta_node], state, y);
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn kd_pool(x: FloatTensor<Self>, shape: Pool, pooling: Pooling) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = x.to_contiguous();
        let (y, place) = match pooling {
            Pooling::Max => pool::max(Isa::best(), &shape, numbers(&x)),
            Pooling::Average { count_padding } => {
                (pool::average(&shape, numbers(&x), count_padding), Vec::new())
            }
        };
        let y = tensor(y, pool_shape(&x, &shape));
        let state = (x.layout().shape().clone(), Arc::new(place), shape, pooling);
        record::<_, _, C, 1>(PoolGrad, [node], state, y)
    }
}

#[derive(Debug)]
struct ConvGrad;

impl<const N: usize> Backward<Flex, N> for ConvGrad {
    type State = (Flat, Flat, Conv);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, weight, shape) = ops.state;
        if let Some(node) = &ops.parents[0] {
            let dx = conv::grad_input(Isa::best(), &shape, numbers(&dy), numbers(&weight));
            grads.register::<Flex>(node.id, tensor(dx, x.layout().shape().clone()));
        }
        if ops.parents[1..].iter().any(Option::is_some) {
            let (dw, db) = conv::grad_weight(Isa::best(), &shape, numbers(&x), numbers(&dy));
            if let Some(node) = &ops.parents[1] {
                grads.register::<Flex>(node.id, tensor(dw, weight.layout().shape().clone()));
            }
            if let Some(Some(node)) = ops.parents.get(2) {
                grads.register::<Flex>(node.id, tensor(db, [shape.channels[1]]));
            }
        }
    }
}

#[derive(Debug)]
struct NormGrad;

impl Backward<Flex, 3> for NormGrad {
    type State = (Flat, Flat, Flat, Flat, Flat, NormOptions);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, beta, mean, variance, options) = ops.state;
        let moments = norm::Moments { mean: numbers(&mean).to_vec(), variance: numbers(&variance).to_vec() };
        let shape = norm_shape(&x);
        let affine = affine(&gamma, &beta, options);
        let found = norm::backward(Isa::best(), &shape, numbers(&x), &moments, affine, numbers(&dy));
        let [x_node, gamma_node, beta_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, tensor(found.x, x.layout().shape().clone()));
        }
        if let Some(node) = gamma_node {
            grads.register::<Flex>(node.id, tensor(found.gamma, [shape.channels]));
        }
        if let Some(node) = beta_node {
            grads.register::<Flex>(node.id, tensor(found.beta, [shape.channels]));
        }
    }
}

#[derive(Debug)]
struct PoolGrad;

impl Backward<Flex, 1> for PoolGrad {
    type State = (Shape, Arc<Vec<f32>>, Pool, Pooling);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (to, place, shape, pooling) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = match pooling {
                Pooling::Max => pool::max_backward(Isa::best(), &shape, numbers(&dy), &place),
                Pooling::Average { count_padding } => {
                    pool::average_backward(&shape, numbers(&dy), count_padding)
                }
            };
            grads.register::<Flex>(node.id, tensor(dx, to));
        }
    }
}
