//! Residual blocks and experts that are elements of lists: which can go, and that nothing else changes when they do.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, sigmoid, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use kd_graph::{Graph, capture};
use kd_nn::SyncShape;
use prune_core::{
    Blocks, Element, ElementCut, ElementKind, ElementPlan, Error, Limits, Magnitude, Share, Weights,
    plan_elements, remove_elements, score_element, verify_elements,
};

fn linear(from: usize, to: usize) -> Linear {
    LinearConfig::new(from, to).init(&Device::flex())
}

/// `relu(x + norm(outer(relu(inner(x)))))`, with a shortcut where the width changes.
#[derive(Module, Debug, SyncShape)]
struct Block {
    inner: Linear,
    outer: Linear,
    norm: BatchNorm,
    shortcut: Option<Linear>,
}

impl Block {
    fn new(from: usize, hidden: usize, to: usize) -> Self {
        Self {
            inner: linear(from, hidden),
            outer: linear(hidden, to),
            norm: BatchNormConfig::new(to).init(&Device::flex()),
            shortcut: (from != to).then(|| linear(from, to)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.outer.forward(relu(self.inner.forward(x.clone())));
        let x = self.shortcut.as_ref().map_or(x.clone(), |shortcut| shortcut.forward(x));
        relu(self.norm.forward(y) + x)
    }
}

/// Lists within a list, of which some blocks change the width.
#[derive(Module, Debug, SyncShape)]
struct Net {
    stem: Linear,
    stages: Vec<Stage>,
    head: Linear,
    #[sync(self.stages.iter().map(|stage| stage.blocks.len()).sum())]
    depth: usize,
}

#[derive(Module, Debug, SyncShape)]
struct Stage {
    blocks: Vec<Block>,
}

impl Net {
    fn new() -> Self {
        let stages = vec![
            Stage { blocks: vec![Block::new(6, 8, 6), Block::new(6, 9, 6), Block::new(6, 10, 6)] },
            Stage { blocks: vec![Block::new(6, 7, 5), Block::new(5, 11, 5)] },
        ];
        Self { stem: linear(4, 6), stages, head: linear(5, 3), depth: 5 }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let blocks = self.stages.iter().flat_map(|stage| &stage.blocks);
        self.head.forward(blocks.fold(x, |x, block| block.forward(x)))
    }
}

fn graph_of(net: &Net) -> Graph {
    capture(net, [1, 4], |net, x, _| net.forward(x)).unwrap()
}

/// By the order of names.
fn in_order(element: &Element, _: &ElementCut) -> Result<f64, Error> {
    Ok(element.path.bytes().map(f64::from).sum())
}

fn plan(graph: &Graph, target: Blocks, limits: Limits) -> Result<ElementPlan, Error> {
    plan_elements(graph, ElementKind::Layers, in_order, target, limits, |_| false)
}

fn count(count: usize) -> Blocks {
    Blocks::Count(std::num::NonZeroUsize::new(count).unwrap())
}

fn paths(cut: &ElementCut) -> Vec<&str> {
    cut.elements.iter().map(|element| element.path.as_str()).collect()
}

#[test]
fn blocks_that_keep_the_width_can_go_and_silence_tells_no_difference() {
    let net = Net::new();
    let graph = graph_of(&net);
    let input = Tensor::<2>::random([9, 4], Distribution::Default, &Device::flex());
    let limits = Limits { min_units: 1, ..Limits::default() };
    let plan = plan(&graph, count(3), limits).unwrap();
    assert_eq!(plan.candidates, 4);
    assert_eq!(paths(&plan.cut), ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.1"]);
    assert_eq!(plan.cut.elements[0].params.len(), 8, "{:?}", plan.cut.elements[0].params);
    let whole: Vec<_> = plan.whole.iter().map(|whole| (whole.path.as_str(), whole.reason.as_str())).collect();
    assert!(
        whole.contains(&(
            "stages.1.blocks.0",
            "`stages.1.blocks.0.inner.weight` is read in no residual branch"
        ))
    );

    let take = |net: &mut Net, path: &str| net.remove_element(path);
    let forward = |net: &Net| net.forward(input.clone());
    let capture = |net: &Net| capture(net, [1, 4], |net, x, _| net.forward(x));
    let compared = verify_elements(&net, &graph, &plan.cut, take, capture, forward).unwrap();
    assert!(compared.check().unwrap() <= 1e-6);

    // The receipt is read and done again on a network of the first one's shape; numbers follow on demand.
    let text = serde_json::to_string(&plan.cut).unwrap();
    let read: ElementCut = serde_json::from_str(&text).unwrap();
    let mut small = remove_elements(net.clone(), &read, take).unwrap();
    small.sync_shape(&kd_nn::ShapeCut::new(&|_, _| None));
    assert_eq!((small.depth, small.stages[0].blocks.len(), small.stages[1].blocks.len()), (2, 1, 1));
    assert_eq!(small.stages[0].blocks[0].inner.weight.dims(), [6, 10]);
    assert_eq!(prune_core::Cost::of(&capture(&small).unwrap()), plan.after);
}

#[test]
fn a_target_is_met_by_few_and_limits_hold() {
    let graph = graph_of(&Net::new());
    let share = |value| Share::new(value).unwrap();
    let planned = |target, limits| plan(&graph, target, limits);
    let plain = Limits::default();
    assert_eq!(paths(&planned(Blocks::Sparsity(share(0.5)), plain).unwrap().cut).len(), 2);
    let half = planned(Blocks::Macs(share(0.2)), plain).unwrap();
    let saved = |plan: &ElementPlan| plan.before.macs - plan.after.macs;
    assert!(saved(&half) * 5 >= half.before.macs);
    let one_less = planned(count(half.cut.elements.len() - 1), plain).unwrap();
    assert!(saved(&one_less) * 5 < half.before.macs);

    let error = |target, limits| planned(target, limits).unwrap_err();
    // One block of the second list changes the width and stays for the other one.
    assert_eq!(
        error(count(4), plain),
        Error::TooFewElements { kind: ElementKind::Layers, wanted: 4, most: 3 }
    );
    assert!(planned(count(3), Limits { max_share: Some(share(0.5)), ..plain }).is_err());
    assert!(matches!(error(Blocks::Macs(share(0.99)), plain), Error::MacsUnreachable { .. }));
    let nothing =
        plan_elements(&graph, ElementKind::Layers, in_order, count(1), plain, |path| path.contains("outer"));
    let text = nothing.unwrap_err().to_string();
    let first =
        "no residual blocks can go: `stages.0.blocks.0`: `stages.0.blocks.0.outer.weight` is pinned; ";
    assert!(text.starts_with(first), "{text}");
    let nan = |_: &Element, _: &ElementCut| Ok::<_, Error>(f64::NAN);
    let nan = plan_elements(&graph, ElementKind::Layers, nan, count(1), plain, |_| false);
    assert_eq!(nan.unwrap_err(), Error::ScoreNaN { index: 0 });
}

#[test]
fn a_criterion_says_what_an_element_of_any_width_is_worth() {
    let mut net = Net::new();
    let block = &mut net.stages[0].blocks[1];
    for layer in [&mut block.inner, &mut block.outer] {
        layer.weight = layer.weight.clone().map(|weight| weight.mul_scalar(0.01));
    }
    let (graph, weights) = (graph_of(&net), Weights::read(&net));
    let score =
        |element: &Element, _: &ElementCut| score_element(&Magnitude::default(), &graph, element, &weights);
    let plan =
        plan_elements(&graph, ElementKind::Layers, score, count(1), Limits::default(), |_| false).unwrap();
    assert_eq!(paths(&plan.cut), ["stages.0.blocks.1"]);
    let [inner, outer] = ["inner", "outer"].map(|layer| {
        weights
            .get(&format!("stages.0.blocks.1.{layer}.weight"))
            .unwrap()
            .values
            .iter()
            .map(|x| x.abs())
            .sum::<f64>()
    });
    assert!((plan.scores[0] - (inner + outer) / 108.0).abs() < 1e-12);
}

/// Experts with a layer each, weighted by a router.
#[derive(Module, Debug, SyncShape)]
struct Mixture {
    stem: Linear,
    router: Linear,
    experts: Vec<Linear>,
    head: Linear,
}

impl Mixture {
    fn new(bias: bool) -> Self {
        let router = LinearConfig::new(6, 4).with_bias(bias).init(&Device::flex());
        let experts = [6; 4].map(|width| linear(width, 6));
        Self { stem: linear(4, 6), router, experts: experts.into(), head: linear(6, 3) }
    }

    /// `gate` makes weights of scores, `turned` counts outputs of the router from the back.
    fn forward(&self, x: Tensor<2>, gate: fn(Tensor<2>) -> Tensor<2>, turned: bool) -> Tensor<2> {
        let x = self.stem.forward(x);
        let gates = gate(self.router.forward(x.clone()));
        let mut mixed = x.clone();
        for (at, expert) in self.experts.iter().enumerate() {
            let at = if turned { self.experts.len() - 1 - at } else { at };
            mixed = mixed + relu(expert.forward(x.clone())) * gates.clone().narrow(1, at, 1);
        }
        self.head.forward(mixed)
    }
}

/// The plan to take two experts out, and what the proof says.
fn two_experts(
    net: &Mixture,
    gate: fn(Tensor<2>) -> Tensor<2>,
    turned: bool,
) -> Result<(ElementPlan, f64), Error> {
    let forward = move |net: &Mixture, x: Tensor<2>| net.forward(x, gate, turned);
    let capture = |net: &Mixture| capture(net, [1, 4], |net, x, _| forward(net, x));
    let graph = capture(net)?;
    let order = |element: &Element, _: &ElementCut| {
        Ok::<_, Error>(if element.path == "experts.1" || element.path == "experts.2" { 0.0 } else { 1.0 })
    };
    let plan = plan_elements(&graph, ElementKind::Experts, order, count(2), Limits::default(), |_| false)?;
    let input = Tensor::<2>::random([9, 4], Distribution::Default, &Device::flex());
    let take = |net: &mut Mixture, path: &str| net.remove_element(path);
    let compared =
        verify_elements(net, &graph, &plan.cut, take, capture, |net| forward(net, input.clone()))?.check()?;
    Ok((plan, compared))
}

#[test]
fn experts_go_with_their_outputs_of_the_router() {
    let net = Mixture::new(true);
    let gates: [fn(Tensor<2>) -> Tensor<2>; 2] = [|scores| softmax(scores, 1), sigmoid];
    for gate in gates {
        let (plan, difference) = two_experts(&net, gate, false).unwrap();
        assert!(difference <= 1e-6, "{difference}");
        assert_eq!(paths(&plan.cut), ["experts.2", "experts.1"]);
        assert_eq!(plan.cut.cut.keep("router.weight", 1), Some([0, 3].as_slice()));
        assert_eq!(plan.cut.cut.keep("router.bias", 0), Some([0, 3].as_slice()));
        assert_eq!(plan.before.macs - plan.after.macs, 2 * 36 + 2 * 6);
    }
    let small = two_experts(&net, gates[0], false).unwrap().0.cut;
    let small = remove_elements(net, &small, |net, path| net.remove_element(path)).unwrap();
    assert_eq!((small.experts.len(), small.router.weight.dims()), (2, [6, 2]));
}

#[test]
fn experts_that_belong_to_other_outputs_are_found_out() {
    let softmax: fn(Tensor<2>) -> Tensor<2> = |scores| softmax(scores, 1);
    // Of four experts from the back, the second and third are each other's.
    let mut net = Mixture::new(true);
    net.experts.truncate(4);
    let wrong = two_experts(&net, softmax, true);
    // Both outputs go with both experts here: taking one alone shows it.
    assert!(wrong.is_ok());
    let graph = capture(&net, [1, 4], |net, x, _| net.forward(x, softmax, true)).unwrap();
    let first = |element: &Element, _: &ElementCut| {
        Ok::<_, Error>(if element.path == "experts.1" { 0.0 } else { 1.0 })
    };
    let plan =
        plan_elements(&graph, ElementKind::Experts, first, count(1), Limits::default(), |_| false).unwrap();
    let input = Tensor::<2>::random([9, 4], Distribution::Default, &Device::flex());
    let compared = verify_elements(
        &net,
        &graph,
        &plan.cut,
        |net, path| net.remove_element(path),
        |net| capture(net, [1, 4], |net, x, _| net.forward(x, softmax, true)),
        |net| net.forward(input.clone(), softmax, true),
    );
    assert!(matches!(compared.unwrap().check(), Err(Error::MaskDiffers { .. })));
}

#[test]
fn without_a_bias_no_proof_and_no_cut() {
    let softmax: fn(Tensor<2>) -> Tensor<2> = |scores| softmax(scores, 1);
    let error = two_experts(&Mixture::new(false), softmax, false).unwrap_err().to_string();
    assert!(error.contains("its router has no bias"), "{error}");
}

#[test]
fn a_module_that_drops_nothing_is_refused_by_name() {
    let net = Net::new();
    let graph = graph_of(&net);
    let cut = plan(&graph, count(1), Limits::default()).unwrap().cut;
    let error = remove_elements(net, &cut, |_, _| false).unwrap_err();
    assert_eq!(error, Error::NoElement { path: "stages.0.blocks.0".into() });
}

/// Variants and what is in front of them are part of a path.
#[derive(Module, Debug, SyncShape)]
enum Choice {
    Deep(Stage),
    Flat(Linear),
}

#[test]
fn paths_lead_through_variants_and_options() {
    let stage = Stage { blocks: vec![Block::new(2, 2, 2), Block::new(2, 3, 2)] };
    let mut modules = Some(vec![Choice::Deep(stage), Choice::Flat(linear(2, 2))]);
    assert!(!modules.remove_element("0.Flat.blocks.0"));
    assert!(!modules.remove_element("1.Flat.weight.0"));
    assert!(!modules.remove_element("0.Deep.blocks.2"));
    assert!(modules.remove_element("0.Deep.blocks.0"));
    let Some([Choice::Deep(stage), Choice::Flat(_)]) = modules.as_deref() else { panic!("{modules:?}") };
    assert_eq!(stage.blocks[0].inner.weight.dims(), [2, 3]);
    assert!(modules.remove_element("1") && !None::<Vec<Choice>>.remove_element("0"));
}
