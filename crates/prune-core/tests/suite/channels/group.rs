//! Members, reduction and normalization of a coupled group, against sums by hand.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_graph::{Axis, Graph, axes, capture};
use prune_core::{
    Activations, BnScale, Criterion, Error, Evidence, Fpgm, Gathers, Group, GroupFisher, Lamp, Magnitude,
    Members, Norm, Normalization, Obd, Random, Reduction, Samples, Snip, Taylor, Weights, carriers,
    score_group, sites_of,
};

use crate::nets::{conv, norm};

/// Two branches that are summed, each with batch norm, flattened for a linear layer: a unit has a row of each convolution,
/// a scale of each norm and four inputs of the head.
#[derive(Module, Debug)]
struct Sum {
    left: Conv2d,
    left_norm: BatchNorm,
    right: Conv2d,
    right_norm: BatchNorm,
    head: Linear,
}

impl Sum {
    fn new(device: &Device) -> Self {
        Self {
            left: conv(2, 5, 1, device),
            left_norm: norm(5, device),
            right: conv(2, 5, 1, device),
            right_norm: norm(5, device),
            head: LinearConfig::new(20, 3).init(device),
        }
    }

    fn graph(&self) -> Graph {
        capture(self, [1, 2, 2, 2], |net: &Self, x: Tensor<4>, sites| {
            let left = net.left_norm.forward(net.left.forward(x.clone()));
            let sum = relu(left + net.right_norm.forward(net.right.forward(x)));
            sites.mark("sum", &sum);
            let flat = sum.flatten::<2>(1, 3);
            sites.mark("flat", &flat);
            net.head.forward(flat)
        })
        .unwrap()
    }
}

fn channels(graph: &Graph) -> Axis {
    axes(graph).into_iter().find(|axis| axis.size == 5 && axis.pinned.is_none()).unwrap()
}

/// Σ over the slices of unit `unit` of `score`, for each parameter that has some: left, right, their scales, the head.
fn members(weights: &Weights, unit: usize, score: impl Fn(&str, usize) -> f64) -> [f64; 5] {
    let of = |path: &str, slice: &dyn Fn(usize) -> bool| {
        let count = weights.get(path).unwrap().values.len();
        (0..count).filter(|&at| slice(at)).map(|at| score(path, at)).sum()
    };
    let rows = weights.get("left.weight").unwrap().values.len() / 5;
    [
        of("left.weight", &|at| at / rows == unit),
        of("right.weight", &|at| at / rows == unit),
        of("left_norm.gamma", &|at| at == unit),
        of("right_norm.gamma", &|at| at == unit),
        // `[20, 3]`, four positions a channel.
        of("head.weight", &|at| at / 3 / 4 == unit),
    ]
}

fn near(found: &[f64], expected: impl IntoIterator<Item = f64>) {
    let expected: Vec<f64> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-9), "{found:?} is not {expected:?}");
    }
}

/// Numbers in the shapes of weights, different everywhere.
fn noise(weights: &Weights) -> Weights {
    Weights::from_arrays(weights.iter().map(|(path, weight)| {
        let start = path.len() as f64;
        let values = (0..weight.values.len()).map(|at| (start + 1.7 * at as f64).sin());
        (path.to_owned(), weight.shape.clone(), values.collect::<Vec<f64>>())
    }))
}

#[test]
fn every_member_counts_as_its_criterion_says() {
    let net = Sum::new(&Device::flex());
    let (graph, weights) = (net.graph(), Weights::read(&net));
    let (axis, gradients) = (channels(&graph), noise(&weights));
    let evidence = Evidence::new(&weights).with_gradients(&gradients).with_squares(&gradients);
    let plain = Group { normalization: Normalization::None, ..Group::default() };
    let score = |criterion: &dyn Criterion, group: Group| {
        score_group(criterion, &graph, &axis, &evidence, group).unwrap()
    };
    let w = |path: &str, at: usize| weights.get(path).unwrap().values[at];
    let g = |path: &str, at: usize| gradients.get(path).unwrap().values[at];
    let each =
        |score: &dyn Fn(&str, usize) -> f64| (0..5).map(|u| members(&weights, u, score)).collect::<Vec<_>>();

    for (p, exponent) in [(Norm::L1, 1), (Norm::L2, 2)] {
        let all = each(&|path, at| w(path, at).abs().powi(exponent));
        let magnitude = Magnitude { p, unit: None };
        near(&score(&magnitude, plain), all.iter().map(|it| it.iter().sum::<f64>() / 5.0));
        let sum = Group { reduction: Reduction::Sum, ..plain };
        near(&score(&magnitude, sum), all.iter().map(|it| it.iter().sum()));
        let max = Group { reduction: Reduction::Max, ..plain };
        near(&score(&magnitude, max), all.iter().map(|it| it.iter().copied().fold(0.0, f64::max)));
        let writing = Group { members: Members::Writing, ..plain };
        near(&score(&magnitude, writing), all.iter().map(|it| (it[0] + it[1]) / 2.0));
        let mean = all.iter().flatten().sum::<f64>() / 25.0;
        near(&score(&magnitude, Group::default()), all.iter().map(|it| it.iter().sum::<f64>() / 5.0 / mean));
    }
    // Batch norm has no say in what is made of gradients.
    let without_norms =
        |all: &[[f64; 5]]| all.iter().map(|it| (it[0] + it[1] + it[4]) / 3.0).collect::<Vec<_>>();
    let products = each(&|path, at| (w(path, at) * g(path, at)).abs());
    near(&score(&Taylor::default(), plain), without_norms(&products));
    near(&score(&Snip::default(), plain), without_norms(&products));
    near(&score(&Snip { normalize: true, unit: None }, plain), without_norms(&products));
    let curvature = each(&|path, at| 0.5 * w(path, at).powi(2) * g(path, at));
    near(&score(&Obd::default(), plain), without_norms(&curvature));
    let scales = each(&|path, at| w(path, at).abs());
    near(&score(&BnScale {}, plain), scales.iter().map(|it| (it[2] + it[3]) / 2.0));
    near(&score(&BnScale {}, Group { members: Members::Writing, ..plain }), score(&BnScale {}, plain));
    // A criterion without a say about readers has the same scores with and without them.
    for criterion in [&Random::default() as &dyn Criterion, &Fpgm {}] {
        near(&score(criterion, plain), score(criterion, Group { members: Members::Writing, ..plain }));
    }
    // LAMP compares groups by itself: the largest has 1.
    let squares = each(&|path, at| w(path, at).powi(2));
    let means: Vec<f64> = squares.iter().map(|it| it.iter().sum::<f64>() / 5.0).collect();
    let lamp = |&it: &f64| it / means.iter().filter(|&&other| other >= it).sum::<f64>();
    near(&score(&Lamp::default(), Group::default()), means.iter().map(lamp));
}

#[test]
fn activations_count_at_every_site_that_holds_them() {
    let net = Sum::new(&Device::flex());
    let (graph, weights) = (net.graph(), Weights::read(&net));
    let axis = channels(&graph);
    let found: Vec<_> = carriers(&graph, &axis).unwrap();
    let places: Vec<_> = found.iter().map(|it| (it.site.as_str(), it.dim)).collect();
    assert_eq!(places, [("flat", 1), ("sum", 1)]);
    assert_eq!(found[1].index, (0..5).map(|unit| vec![unit]).collect::<Vec<_>>());
    assert_eq!(found[0].index[2], [8, 9, 10, 11]);
    let sites = sites_of(&graph, &axis).unwrap();
    assert_eq!(sites, [("flat".to_owned(), 1), ("sum".to_owned(), 1)]);

    // Effects of two examples; those of a flattened site belong to their channel.
    let sum: Vec<f64> = (0..10).map(f64::from).collect();
    let flat: Vec<f64> = (0..40).map(|at| f64::from(at) / 8.0).collect();
    let mut activations = Activations::new();
    activations.insert(("sum".into(), 1), Samples::new("sum", &[2, 5], &sum).unwrap());
    activations.insert(("flat".into(), 1), Samples::new("flat", &[2, 20], &flat).unwrap());
    let evidence = Evidence::new(&weights).with_activations(&activations);
    let plain = Group { normalization: Normalization::None, ..Group::default() };
    let fisher = score_group(&GroupFisher {}, &graph, &axis, &evidence, plain).unwrap();
    let effect = |example: usize, unit: usize| {
        let at = example * 20 + unit * 4;
        sum[example * 5 + unit] + flat[at..at + 4].iter().sum::<f64>()
    };
    near(&fisher, (0..5).map(|unit| (effect(0, unit).powi(2) + effect(1, unit).powi(2)) / 2.0));
    assert_eq!(GroupFisher {}.gathers(), Gathers::Effects);
    let missing = score_group(&GroupFisher {}, &graph, &axis, &Evidence::new(&weights), plain);
    assert_eq!(missing.unwrap_err().to_string(), "the criterion reads `activations`, which is not there");
    let elsewhere = Activations::new();
    let evidence = Evidence::new(&weights).with_activations(&elsewhere);
    let unseen = score_group(&GroupFisher {}, &graph, &axis, &evidence, plain).unwrap_err();
    assert_eq!(unseen, Error::Unwritten { path: "left.weight".into(), criterion: "group-fisher".into() });
    assert_eq!(unseen.to_string(), "`group-fisher` finds nothing to score on the axis of `left.weight`");
}

#[test]
fn gradients_that_were_not_gathered_are_missed() {
    let net = Sum::new(&Device::flex());
    let (graph, weights) = (net.graph(), Weights::read(&net));
    let axis = channels(&graph);
    let score = |criterion: &dyn Criterion| {
        score_group(criterion, &graph, &axis, &Evidence::new(&weights), Group::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(score(&Taylor::default()), "the criterion reads `left.weight.grad`, which is not there");
    assert_eq!(score(&Obd::default()), "the criterion reads `left.weight.grads`, which is not there");
}
