//! Random sequential and residual networks: axes are what a hand-kept record of the couplings says, and a cut of
//! any of them leaves a network that runs.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_graph::{Axis, Dim, axes, capture, macs, macs_with};
use proptest::prelude::*;

use crate::nets::conv;

/// What stands between the stem and the head.
#[derive(Debug, Clone, Copy)]
enum Block {
    /// A convolution to this many channels.
    Conv(usize),
    /// Two convolutions, with this many channels between, and the input added.
    Residual(usize),
    /// A convolution to this many channels, concatenated to the input.
    Dense(usize),
}

#[derive(Module, Debug)]
struct Net {
    stem: Conv2d,
    norm: BatchNorm,
    convs: Vec<Conv2d>,
    head: Linear,
    #[module(skip)]
    blocks: Vec<Block>,
}

impl Net {
    fn new(width: usize, blocks: &[Block]) -> Self {
        let device = Device::flex();
        let layer = |inputs, outputs| conv(inputs, outputs, 3).init(&device);
        let (mut now, mut convs) = (width, Vec::new());
        for &block in blocks {
            match block {
                Block::Conv(next) => convs.push(layer(std::mem::replace(&mut now, next), next)),
                Block::Residual(inner) => convs.extend([layer(now, inner), layer(inner, now)]),
                Block::Dense(more) => {
                    convs.push(layer(now, more));
                    now += more;
                }
            }
        }
        Self {
            stem: layer(2, width),
            norm: BatchNormConfig::new(width).init(&device),
            convs,
            head: LinearConfig::new(now * 9, 2).init(&device),
            blocks: blocks.to_vec(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.norm.forward(self.stem.forward(x)));
        let mut convs = self.convs.iter();
        let mut next = |x: Tensor<4>| convs.next().unwrap().forward(x);
        for block in &self.blocks {
            x = match block {
                Block::Conv(_) => relu(next(x)),
                Block::Residual(_) => {
                    let y = relu(next(x.clone()));
                    relu(next(y) + x)
                }
                Block::Dense(_) => Tensor::cat(vec![x.clone(), relu(next(x))], 1),
            };
        }
        self.head.forward(x.flatten::<2>(1, 3))
    }

    /// For each convolution's output, the name of the axis it must be: its own, or the stream it is added to.
    /// `None` where a stream of several axes is added to, so that the output has several.
    fn expected(&self) -> BTreeMap<String, Option<String>> {
        let mut expected = BTreeMap::from([("stem".to_owned(), Some("stem".to_owned()))]);
        let mut stream = vec!["stem".to_owned()];
        let mut count = 0;
        let mut name = || {
            count += 1;
            format!("convs.{}", count - 1)
        };
        for block in &self.blocks {
            let own = name();
            expected.insert(own.clone(), Some(own.clone()));
            match block {
                Block::Conv(_) => stream = vec![own],
                Block::Dense(_) => stream.push(own),
                Block::Residual(_) => {
                    let joined = if let [only] = stream.as_slice() { Some(only.clone()) } else { None };
                    expected.insert(name(), joined);
                }
            }
        }
        expected
    }
}

/// Keeps all but the first unit of an axis.
struct Cut<'a> {
    path: Vec<String>,
    axis: &'a Axis,
}

impl ModuleMapper for Cut<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let members: Vec<_> = self.axis.members.iter().filter(|member| member.path == path).collect();
        param.map(|tensor| {
            members.iter().fold(tensor, |tensor, member| {
                let gone = &member.index[0];
                let kept = (0..tensor.dims()[member.dim]).filter(|index| !gone.contains(index));
                let kept: Vec<i64> = kept.map(|index| index as i64).collect();
                let len = kept.len();
                let kept = Tensor::<1, Int>::from_data(TensorData::new(kept, [len]), &tensor.device());
                tensor.select(member.dim, kept)
            })
        })
    }
}

fn block() -> impl Strategy<Value = Block> {
    prop_oneof![
        (2..6_usize).prop_map(Block::Conv),
        (2..6_usize).prop_map(Block::Residual),
        (2..6_usize).prop_map(Block::Dense),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn axes_are_the_couplings_and_can_be_cut(
        width in 2..6_usize,
        blocks in proptest::collection::vec(block(), 0..4),
    ) {
        let net = Net::new(width, &blocks);
        let graph = capture(&net, [1, 2, 3, 3], |net, x, _| net.forward(x)).unwrap();
        let found = axes(&graph);
        let free: Vec<&Axis> = found.iter().filter(|axis| axis.pinned.is_none()).collect();

        // Every output of a convolution is covered exactly once by axes that can be cut.
        let expected = net.expected();
        let mut of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for name in expected.keys() {
            let path = format!("{name}.weight");
            let outputs = graph.params.iter().find(|param| param.path == path).unwrap().shape[0];
            let mut covered: Vec<usize> = Vec::new();
            for (at, axis) in free.iter().enumerate() {
                for member in axis.members.iter().filter(|member| member.path == path && member.dim == 0) {
                    covered.extend(member.index.iter().flatten());
                    of.entry(name.clone()).or_default().push(at);
                }
            }
            covered.sort_unstable();
            prop_assert_eq!(covered, (0..outputs).collect::<Vec<_>>(), "{}", path);
        }
        // Two outputs share an axis exactly where the record says so.
        for (name, axis) in &expected {
            let Some(axis) = axis else { continue };
            prop_assert_eq!(of[name].clone(), of[axis].clone());
            let same = expected.iter().filter(|(_, other)| other.as_ref() == Some(axis)).map(|(other, _)| other);
            for other in expected.keys().filter(|other| expected[*other].is_some()) {
                let shared = of[other] == of[name];
                prop_assert_eq!(shared, same.clone().any(|name| name == other), "{} {}", name, other);
            }
        }

        // One unit less of any axis: the module still fits together and costs what its shapes say.
        for axis in free {
            prop_assert!(axis.numbers.is_empty());
            let cut = net.valid().map(&mut Cut { path: Vec::new(), axis });
            let after = capture(&cut, [1, 2, 3, 3], |net, x, _| net.forward(x)).unwrap();
            prop_assert_eq!(&after.value(after.outputs[0]).shape, &vec![Dim::Batch(1), Dim::Fixed(2)]);
            let shapes: BTreeMap<_, _> = after.params.iter().map(|param| (&param.path, &param.shape)).collect();
            prop_assert_eq!(macs_with(&graph, |param| shapes[&param.path].clone()), macs(&after));
            prop_assert!(macs(&after) < macs(&graph));
        }
    }
}
