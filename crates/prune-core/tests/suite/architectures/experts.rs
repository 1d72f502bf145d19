//! Mixtures of experts, whose weights stand in one tensor with the experts first.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softmax};

use super::attention::{FeedForward, linear, table};
use super::table::Architecture;

#[derive(Module, Debug)]
struct Mixture {
    stem: Linear,
    router: Linear,
    up: Param<Tensor<3>>,
    up_bias: Param<Tensor<3>>,
    down: Param<Tensor<3>>,
    down_bias: Param<Tensor<3>>,
    head: Linear,
}

impl Mixture {
    fn new() -> Self {
        Self {
            stem: linear(4, 6),
            router: linear(6, 4),
            up: table([4, 6, 5]),
            up_bias: table([4, 1, 5]),
            down: table([4, 5, 6]),
            down_bias: table([4, 1, 6]),
            head: linear(6, 3),
        }
    }

    /// With gates `[batch, experts]` from the router's scores.
    fn mixed(&self, x: Tensor<2>, gates: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let x = self.stem.forward(x);
        let [batch, width] = x.dims();
        let gates = gates(self.router.forward(x.clone()));
        let hidden = relu(x.clone().unsqueeze::<3>().matmul(self.up.val()) + self.up_bias.val());
        let each = hidden.matmul(self.down.val()) + self.down_bias.val();
        let mixed = (each * gates.transpose().unsqueeze_dim::<3>(2)).sum_dim(0);
        self.head.forward(x + mixed.reshape([batch, width]))
    }
}

/// Where the best are chosen.
const GROUPS: &str = "width 4: stem.weight:0; pinned: dimension 1 of the model's input
    embedding 6: stem.weight:1 stem.bias:0 router.weight:0 up:1 {down,down_bias}:2 head.weight:0
    experts 4: router.weight:1 router.bias:0 {up,up_bias,down,down_bias}:0; across: softmax, topk
    width 5: {up,up_bias}:2 down:1
    width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output";

const BLOCK: &str = "router.* up up_bias down down_bias";

/// Every expert takes part with its gate (Jacobs et al. 1991).
#[test]
fn mixture_of_experts() {
    Architecture::new(Mixture::new(), [1, 4], |net: &Mixture, x| net.mixed(x, |scores| softmax(scores, 1)))
        .check(
            "width 4: stem.weight:0; pinned: dimension 1 of the model's input
         embedding 6: stem.weight:1 stem.bias:0 router.weight:0 up:1 {down,down_bias}:2 head.weight:0
         experts 4: router.weight:1 router.bias:0 {up,up_bias,down,down_bias}:0; across: softmax
         width 5: {up,up_bias}:2 down:1
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
            BLOCK,
        );
}

/// Experts as layers of their own, each taken with its gate: which gate belongs to which is in the program.
#[derive(Module, Debug)]
struct Separate {
    stem: Linear,
    router: Linear,
    experts: Vec<FeedForward>,
    head: Linear,
}

#[test]
fn separate_experts() {
    let experts = [5, 7, 8].map(|hidden| FeedForward::new(6, hidden));
    let net =
        Separate { stem: linear(4, 6), router: linear(6, 3), experts: experts.into(), head: linear(6, 3) };
    Architecture::new(net, [1, 4], |net: &Separate, x| {
        let x: Tensor<3> = net.stem.forward(x).unsqueeze_dim(1);
        let gates = softmax(net.router.forward(x.clone()), 2);
        let each = net.experts.iter().enumerate();
        let each = each.map(|(at, expert)| expert.forward(x.clone()) * gates.clone().narrow(2, at, 1));
        let mixed = each.reduce(|sum, next| sum + next).unwrap();
        net.head.forward((x + mixed).flatten(1, 2))
    })
    .check(
        "width 4: stem.weight:0; pinned: dimension 1 of the model's input
         embedding 6: stem.weight:1 stem.bias:0 router.weight:0 experts.{0,1,2}.up.weight:0 experts.{0,1,2}.down.weight:1
            experts.{0,1,2}.down.bias:0 head.weight:0
         width 3: router.weight:1 router.bias:0; pinned: each of its units is taken by itself; across: softmax
         width 5: experts.0.up.weight:1 experts.0.up.bias:0 experts.0.down.weight:0
         width 7: experts.1.up.weight:1 experts.1.up.bias:0 experts.1.down.weight:0
         width 8: experts.2.up.weight:1 experts.2.up.bias:0 experts.2.down.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "router.* experts.*",
    );
}

/// The two experts with the largest gates take part, which sum to one (Shazeer et al. 2017, without noise).
#[test]
fn top_k_experts() {
    Architecture::new(Mixture::new(), [1, 4], |net: &Mixture, x| {
        net.mixed(x, |scores| {
            let gates = softmax(scores, 1);
            let least = gates.clone().topk(2, 1).narrow(1, 1, 1);
            let chosen = gates.clone() * gates.greater_equal(least).float();
            chosen.clone() / chosen.sum_dim(1)
        })
    })
    .check(GROUPS, BLOCK);
}

/// The same two, chosen before their gates are computed from them alone, as in Mixtral (Jiang et al. 2024).
#[test]
fn experts_chosen_by_their_scores() {
    Architecture::new(Mixture::new(), [1, 4], |net: &Mixture, x| {
        net.mixed(x, |scores| {
            let least = scores.clone().topk(2, 1).narrow(1, 1, 1);
            let beyond = scores.clone().lower(least);
            softmax(scores.mask_fill(beyond, f32::NEG_INFINITY), 1)
        })
    })
    .check(GROUPS, BLOCK);
}
