//! What a captured graph says, that capture leaves the module alone, and what it refuses.

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use kd_graph::{Dim, Error, Graph, Op, Origin, Sites, capture};

use crate::nets::{Cnn, Mlp, bare};

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.op.name()).collect()
}

#[test]
fn the_whole_graph_of_a_small_network() {
    let text = Mlp::graph().to_string();
    let expected = "\
input  %0 [batch, 6]
%3 [batch, 5] = linear  %0, a.weight, a.bias
%4 [batch, 5] = relu  %3  @hidden1
%7 [batch, 4] = linear  %4, b.weight, b.bias
%8 [batch, 4] = relu  %7  @hidden2
%11 [batch, 3] = linear  %8, c.weight, c.bias
output %11
";
    // Numbers of values are no promise; their order is.
    assert_eq!(renumbered(&text), renumbered(expected));
}

fn renumbered(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits: String = rest[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let number = seen.iter().position(|known| *known == digits).unwrap_or_else(|| {
            seen.push(digits.clone());
            seen.len() - 1
        });
        out += &format!("{}%{number}", &rest[..at]);
        rest = &rest[at + 1 + digits.len()..];
    }
    out + rest
}

#[test]
fn parameters_carry_path_layer_shape_and_whether_they_are_buffers() {
    let graph = Cnn::graph();
    let params: Vec<_> = graph
        .params
        .iter()
        .map(|p| (p.path.as_str(), p.layer.as_str(), p.shape.as_slice(), p.buffer))
        .collect();
    let expected: &[(&str, &str, &[usize], bool)] = &[
        ("conv1.weight", "Conv2d", &[4, 1, 3, 3], false),
        ("norm1.gamma", "BatchNorm", &[4], false),
        ("norm1.beta", "BatchNorm", &[4], false),
        ("norm1.running_mean", "BatchNorm", &[4], true),
        ("norm1.running_var", "BatchNorm", &[4], true),
        ("conv2.weight", "Conv2d", &[6, 4, 3, 3], false),
        ("conv2.bias", "Conv2d", &[6], false),
        ("norm2.gamma", "BatchNorm", &[6], false),
        ("norm2.beta", "BatchNorm", &[6], false),
        ("norm2.running_mean", "BatchNorm", &[6], true),
        ("norm2.running_var", "BatchNorm", &[6], true),
        ("hidden.weight", "Linear", &[24, 5], false),
        ("hidden.bias", "Linear", &[5], false),
        ("output.weight", "Linear", &[5, 3], false),
        ("output.bias", "Linear", &[3], false),
    ];
    assert_eq!(params, expected);
}

#[test]
fn operations_and_shapes_of_a_convolutional_network() {
    let graph = Cnn::graph();
    let expected = [
        "conv",
        "batch_norm",
        "relu",
        "max_pool",
        "conv",
        "batch_norm",
        "relu",
        "max_pool",
        "reshape",
        "linear",
        "relu",
        "linear",
    ];
    assert_eq!(names(&graph), expected);
    assert_eq!(
        graph.value(graph.inputs[0]).shape,
        [Dim::Batch(1), Dim::Fixed(1), Dim::Fixed(8), Dim::Fixed(8)]
    );
    assert_eq!(graph.value(graph.nodes[8].output).shape, [Dim::Batch(1), Dim::Fixed(24)]);
    assert_eq!(graph.value(graph.outputs[0]).shape, [Dim::Batch(1), Dim::Fixed(3)]);
    let sites: Vec<_> = graph
        .sites
        .iter()
        .map(|(name, id)| (name.as_str(), graph.producer(*id).unwrap().op.name()))
        .collect();
    assert_eq!(sites, [("block1", "relu"), ("block2", "relu"), ("hidden", "relu")]);
    let norm: Vec<_> =
        graph.nodes[1].inputs[1..].iter().map(|&id| graph.param(id).unwrap().path.as_str()).collect();
    assert_eq!(norm, ["norm1.gamma", "norm1.beta", "norm1.running_mean", "norm1.running_var"]);
}

#[test]
fn graphs_are_equal_wherever_and_however_often_they_are_captured() {
    let graph = Mlp::graph();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(Mlp::graph)).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), graph);
    }
    let json = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&json).unwrap(), graph);
}

#[test]
fn the_module_stays_as_it_was() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let net = Cnn::new(&device);
        let x = Tensor::<4>::ones([2, 1, 8, 8], &device);
        // Training statistics that are still pending are part of the module's state.
        net.forward(x.clone(), &mut Sites::default());
        let graph = capture(&net, [1, 1, 8, 8], Cnn::forward).unwrap();
        assert_eq!(names(&graph)[1], "batch_norm");
        assert_eq!(net.devices(), std::slice::from_ref(&device));
        let before = net.valid().forward(x.clone().without_autodiff(), &mut Sites::default()).into_data();
        capture(&net, [1, 1, 8, 8], Cnn::forward).unwrap();
        let after = net.valid().forward(x.without_autodiff(), &mut Sites::default()).into_data();
        before.assert_eq(&after, true);
    }
}

#[derive(Module, Debug)]
struct Half {
    #[module(skip)]
    factor: f64,
}

impl Reparameterization for Half {
    const NAME: &'static str = "half";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base * self.factor
    }
}

struct Attach;

impl Reparameterizer for Attach {
    type Reparam = Half;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Half>) {
        (param, path.ends_with("weight").then_some(Half { factor: 0.5 }))
    }
}

#[test]
fn reparameterizations_are_folded_in() {
    let net = Mlp::new(&Device::flex().autodiff()).apply_reparameterization(Attach);
    assert_eq!(capture(&net, [1, 6], Mlp::forward).unwrap(), Mlp::graph());
}

#[derive(Module, Debug)]
struct Dropped {
    dropout: Dropout,
    layer: Linear,
    spare: Linear,
}

#[test]
fn inference_has_no_dropout_and_unused_results_are_left_out() {
    let device = Device::flex().autodiff();
    let layer = || LinearConfig::new(3, 3).init(&device);
    let net = Dropped { dropout: DropoutConfig::new(0.5).init(), layer: layer(), spare: layer() };
    let graph = capture(&net, [1, 3], |net: &Dropped, x: Tensor<2>, _| {
        net.spare.forward(x.clone());
        net.layer.forward(net.dropout.forward(x))
    });
    let graph = graph.unwrap();
    assert_eq!(names(&graph), ["linear"]);
    assert_eq!(graph.params.len(), 4);
}

#[test]
fn a_capture_within_a_capture() {
    let graph = capture(&bare(), [1, 6], |_, x: Tensor<2>, _| {
        assert_eq!(Mlp::graph().nodes.len(), 5);
        x.tanh()
    });
    assert_eq!(names(&graph.unwrap()), ["tanh"]);
}

#[test]
fn one_value_may_have_several_sites_and_the_input_may_be_the_output() {
    let graph = capture(&bare(), [1, 2], |_, x: Tensor<2>, sites| {
        sites.mark("a", &x);
        sites.mark("b", &x);
        sites.mark("a", &x);
        x
    });
    let graph = graph.unwrap();
    assert_eq!(graph.sites, [("a".into(), graph.inputs[0]), ("b".into(), graph.inputs[0])]);
    assert_eq!(graph.outputs, graph.inputs);
}

fn error(forward: impl Fn(Tensor<2>, &mut Sites) -> Tensor<2>) -> Error {
    let error = capture(&bare(), [1, 4], |_, x: Tensor<2>, sites| forward(x, sites)).unwrap_err();
    // Nothing that a forward pass does may break the next capture.
    assert_eq!(Mlp::graph().nodes.len(), 5);
    error
}

#[test]
fn reading_values_is_refused() {
    let error = error(|x, _| {
        let largest: f32 = x.clone().max().into_scalar();
        x / largest
    });
    assert!(matches!(&error, Error::Forward { .. }), "{error}");
    assert!(error.to_string().contains("must not read values"), "{error}");
}

#[test]
fn a_panic_is_an_error_that_repeats_it() {
    let error = error(|x, _| match x.dims() {
        [_, 4] => panic!("expected {} features", 5),
        _ => x,
    });
    assert_eq!(error, Error::Forward { message: "expected 5 features".into(), behind: None });
    let error = self::error(|x, _| x.tanh().reshape([5, 5]));
    assert!(error.to_string().starts_with("the forward pass cannot be recorded behind `tanh`: "), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert_eq!(error.in_short(), "what follows `tanh` does not take the sizes that it meets");
}

#[test]
fn tensors_of_other_devices_are_refused() {
    let foreign = |_: Tensor<2>, _: &mut Sites| Tensor::<2>::zeros([1, 1], &Device::flex());
    assert_eq!(error(foreign), Error::Foreign { what: "the output".into() });
    let marked = |x: Tensor<2>, sites: &mut Sites| {
        sites.mark("elsewhere", &Tensor::<2>::zeros([1, 1], &Device::flex()));
        x
    };
    assert_eq!(error(marked), Error::Foreign { what: "site `elsewhere`".into() });
}

type Forward = fn(Tensor<2>) -> Tensor<2>;

#[test]
fn what_depends_on_the_batch_size_is_refused() {
    let cases: [(&str, Forward); 6] = [
        ("`div` is Scalar(Div, 7.0) at batch 7", |x| x.clone() / x.dims()[0] as f64),
        ("operation", |x| if x.dims()[0] > 8 { x.tanh() } else { x.exp() }),
        ("the number of operations", |x| (0..x.dims()[0]).fold(x, |x, _| x.tanh())),
        ("dimension 0 of the result of `concat` is 8 at batch 7 and 12 at batch 11", |x| {
            let row = Tensor::zeros([1, 4], &x.device());
            Tensor::cat(vec![x, row], 0)
        }),
        ("`slice`", |x| {
            let batch = x.dims()[0];
            x.narrow(0, batch - 1, 1)
        }),
        ("a constant", |x| {
            let [batch, _] = x.dims();
            let device = x.device();
            x * Tensor::<2>::from_floats([[batch as f32, 1.0, 2.0, 3.0]], &device)
        }),
    ];
    for (expected, forward) in cases {
        let error = error(|x, _| forward(x));
        assert!(matches!(&error, Error::BatchDependent { first_batch: 7, second_batch: 11, .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn constants_keep_their_values_and_follow_the_batch() {
    let graph = capture(&bare(), [1, 3], |_, x: Tensor<2>, _| {
        let [batch, _] = x.dims();
        let device = x.device();
        let shift = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device);
        let token = Tensor::<2>::full([batch, 2], 0.5, &device);
        Tensor::cat(vec![x + shift, token], 1)
    });
    let graph = graph.unwrap();
    assert_eq!(names(&graph), ["expand", "add", "concat"]);
    let constant = |id: kd_graph::ValueId| match &graph.value(id).origin {
        Origin::Constant(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(constant(graph.nodes[0].inputs[0]), [0.5]);
    assert_eq!(graph.value(graph.nodes[0].output).shape, [Dim::Batch(1), Dim::Fixed(2)]);
    assert_eq!(constant(graph.nodes[1].inputs[1]), [1.0, 2.0, 3.0]);
    assert_eq!(graph.nodes[2].op, Op::Concat(1));
}
