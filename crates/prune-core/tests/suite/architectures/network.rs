//! A network of any layers in any order.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, sigmoid, silu, softmax, tanh};
use kd_nn::conv::Conv2d;
use kd_nn::{BatchNorm, GroupNorm, LayerNorm, Linear};

use super::layers::pooled;

/// Layers by kind, and the steps that apply them to values counted from the input.
#[derive(Module, Debug)]
pub(super) struct Net {
    pub(super) convs: Vec<Conv2d>,
    pub(super) norms: Vec<BatchNorm>,
    pub(super) layer_norms: Vec<LayerNorm>,
    pub(super) group_norms: Vec<GroupNorm>,
    pub(super) linears: Vec<Linear>,
    pub(super) scales: Vec<Param<Tensor<1>>>,
    pub(super) head: Linear,
    #[module(skip)]
    pub(super) steps: Vec<Step>,
    #[module(skip)]
    pub(super) ends: Vec<usize>,
    #[module(skip)]
    pub(super) flatten: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Conv {
        layer: usize,
        x: usize,
    },
    Norm {
        layer: usize,
        x: usize,
    },
    LayerNorm {
        layer: usize,
        x: usize,
    },
    GroupNorm {
        layer: usize,
        x: usize,
    },
    Linear {
        layer: usize,
        x: usize,
    },
    Scale {
        layer: usize,
        x: usize,
    },
    /// Two 1×1 convolutions between the mean over places and a gate.
    Squeeze {
        reduce: usize,
        expand: usize,
        x: usize,
    },
    Function {
        which: usize,
        x: usize,
    },
    Shuffle {
        groups: usize,
        x: usize,
    },
    Add {
        a: usize,
        b: usize,
    },
    Mul {
        a: usize,
        b: usize,
    },
    Concat {
        a: usize,
        b: usize,
    },
}

pub(super) const SIDE: usize = 3;
pub(super) const INPUTS: usize = 2;

impl Net {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut values = vec![x];
        for step in &self.steps {
            values.push(self.step(*step, |at| values[at].clone()));
        }
        let ends = self.ends.iter().map(|&end| values[end].clone()).collect();
        let x = Tensor::cat(ends, 1);
        self.head.forward(if self.flatten { x.flatten(1, 3) } else { pooled(x) })
    }

    pub(super) fn step(&self, step: Step, value: impl Fn(usize) -> Tensor<4>) -> Tensor<4> {
        let last = |x: Tensor<4>| x.permute([0, 2, 3, 1]);
        let first = |x: Tensor<4>| x.permute([0, 3, 1, 2]);
        match step {
            Step::Conv { layer, x } => self.convs[layer].forward(value(x)),
            Step::Norm { layer, x } => self.norms[layer].forward(value(x)),
            Step::LayerNorm { layer, x } => first(self.layer_norms[layer].forward(last(value(x)))),
            Step::GroupNorm { layer, x } => self.group_norms[layer].forward(value(x)),
            Step::Linear { layer, x } => first(self.linears[layer].forward(last(value(x)))),
            Step::Scale { layer, x } => {
                value(x) * self.scales[layer].val().unsqueeze::<4>().permute([0, 3, 1, 2])
            }
            Step::Squeeze { reduce, expand, x } => {
                let mean = value(x).mean_dim(2).mean_dim(3);
                let gate = self.convs[expand].forward(relu(self.convs[reduce].forward(mean)));
                value(x) * sigmoid(gate)
            }
            Step::Function { which, x } => match which {
                0 => relu(value(x)),
                1 => gelu(value(x)),
                2 => tanh(value(x)),
                3 => silu(value(x)),
                4 => sigmoid(value(x)),
                5 => softmax(value(x), 1),
                6 => value(x).clamp(-1.0, 1.0),
                // A gate for places, from the mean over channels.
                _ => value(x) * sigmoid(value(x).mean_dim(1)),
            },
            Step::Shuffle { groups, x } => {
                let [batch, channels, height, width] = value(x).dims();
                value(x)
                    .reshape([batch, groups, channels / groups, height, width])
                    .swap_dims(1, 2)
                    .reshape([batch, channels, height, width])
            }
            Step::Add { a, b } => value(a) + value(b),
            Step::Mul { a, b } => value(a) * value(b),
            Step::Concat { a, b } => Tensor::cat(vec![value(a), value(b)], 1),
        }
    }
}
