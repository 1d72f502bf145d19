//! What the integration tests share: a network, its graph and weights, and the engines of this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use kd_deploy::{ActivationPlan, Array, Engine, OnnxRuntime, Tract, WeightPlan, Weights};
use kd_graph::{Graph, Sites};
use quant_core::{Layout, Observer, ObserverSpec, QParams, Range, Scheme, fake_quant_scalar};

/// Whatever watches or rewrites the values at the sites.
pub(crate) type At<'a> = &'a mut dyn FnMut(&str, Feature) -> Feature;

/// A value at a site, of either rank.
pub(crate) enum Feature {
    D2(Tensor<2>),
    D3(Tensor<3>),
    D4(Tensor<4>),
}

impl Feature {
    /// The numbers, row-major.
    pub(crate) fn values(&self) -> Vec<f32> {
        floats(match self {
            Self::D2(x) => x.to_data(),
            Self::D3(x) => x.to_data(),
            Self::D4(x) => x.to_data(),
        })
    }

    pub(crate) fn mark(&self, site: &str, sites: &mut Sites) {
        match self {
            Self::D2(x) => sites.mark(site, x),
            Self::D3(x) => sites.mark(site, x),
            Self::D4(x) => sites.mark(site, x),
        }
    }
}

/// What training does to a value at a quantized site.
pub(crate) fn fake_quant(x: Feature, plan: &ActivationPlan) -> Feature {
    let q = &plan.qparams;
    let (s, z) = (q.scale[0], q.zero_point[0]);
    match x {
        Feature::D2(x) => Feature::D2(fake_quant_scalar(x, s, z, q.qmin, q.qmax)),
        Feature::D3(x) => Feature::D3(fake_quant_scalar(x, s, z, q.qmin, q.qmax)),
        Feature::D4(x) => Feature::D4(fake_quant_scalar(x, s, z, q.qmin, q.qmax)),
    }
}

/// Two convolutions with batch norm and two linear layers, on images of 12×12.
#[derive(Module, Debug)]
pub(crate) struct Convnet {
    pub(crate) conv1: Conv2d,
    pub(crate) norm1: BatchNorm,
    pub(crate) conv2: Conv2d,
    pub(crate) norm2: BatchNorm,
    pub(crate) linear1: Linear,
    pub(crate) linear2: Linear,
}

pub(crate) const IMAGE: [usize; 3] = [1, 12, 12];
pub(crate) const CLASSES: usize = 10;

impl Convnet {
    pub(crate) fn new(device: &Device) -> Self {
        let same = |k: usize| PaddingConfig2d::Explicit(k / 2, k / 2, k / 2, k / 2);
        Self {
            conv1: Conv2dConfig::new([1, 4], [5, 5]).with_padding(same(5)).init(device),
            norm1: BatchNormConfig::new(4).init(device),
            conv2: Conv2dConfig::new([4, 6], [3, 3]).with_padding(same(3)).with_bias(false).init(device),
            norm2: BatchNormConfig::new(6).init(device),
            linear1: LinearConfig::new(6 * 3 * 3, 16).init(device),
            linear2: LinearConfig::new(16, CLASSES).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>, at: At<'_>) -> Tensor<2> {
        let x = d4(at, "image", x);
        let x = relu(self.norm1.forward(self.conv1.forward(x)));
        let x = d4(at, "block1", x);
        let x = max_pool(x);
        let x = relu(self.norm2.forward(self.conv2.forward(x)));
        let x = d4(at, "block2", x);
        let x = max_pool(x).flatten::<2>(1, 3);
        let x = relu(self.linear1.forward(x));
        let x = d2(at, "hidden", x);
        self.linear2.forward(x)
    }
}

pub(crate) fn max_pool(x: Tensor<4>) -> Tensor<4> {
    burn::nn::pool::MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(x)
}

pub(crate) fn d2(at: At<'_>, site: &str, x: Tensor<2>) -> Tensor<2> {
    match at(site, Feature::D2(x)) {
        Feature::D2(x) => x,
        _ => panic!("the rank changed at {site}"),
    }
}

pub(crate) fn d3(at: At<'_>, site: &str, x: Tensor<3>) -> Tensor<3> {
    match at(site, Feature::D3(x)) {
        Feature::D3(x) => x,
        _ => panic!("the rank changed at {site}"),
    }
}

pub(crate) fn d4(at: At<'_>, site: &str, x: Tensor<4>) -> Tensor<4> {
    match at(site, Feature::D4(x)) {
        Feature::D4(x) => x,
        _ => panic!("the rank changed at {site}"),
    }
}

/// A network that is not at its first values: batch norms that do something, weights of different size per channel.
pub(crate) fn trained(device: &Device) -> Convnet {
    let net = Convnet::new(device);
    let mut random = Random(1);
    let mut set = Set(&mut random);
    net.map(&mut set)
}

struct Set<'a>(&'a mut Random);

impl burn::module::ModuleMapper for Set<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let random = &mut *self.0;
        param.map(|tensor| {
            let (shape, device) = (tensor.shape(), tensor.device());
            let n = shape.num_elements();
            // Positive, since running variances are among them; matrices and kernels are centred.
            let shift = if D == 1 { 0.5 } else { -0.5 };
            let size = if D == 1 { 1.0 } else { 2.0 / ((n / shape[0]) as f32).sqrt() };
            let data: Vec<f32> = (0..n).map(|_| size * (random.unit() + shift)).collect();
            Tensor::from_data(TensorData::new(data, shape), &device)
        })
    }
}

/// The graph of a network that marks its sites.
pub(crate) fn graph(net: &Convnet) -> Graph {
    let [c, h, w] = IMAGE;
    kd_graph::capture(net, [1, c, h, w], |net: &Convnet, x: Tensor<4>, sites| {
        net.forward(x, &mut |site, x| {
            x.mark(site, sites);
            x
        })
    })
    .unwrap()
}

/// Parameters and buffers of any module by path.
pub(crate) fn weights<M: Module>(module: &M) -> Weights {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    reader.weights
}

#[derive(Default)]
struct Reader {
    path: Vec<String>,
    weights: Weights,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        let array = Array::new(data.shape().to_vec(), floats(data)).unwrap();
        self.weights.insert(self.path.join("."), array);
    }
}

pub(crate) fn floats(data: TensorData) -> Vec<f32> {
    data.try_into_vec::<f32>().unwrap()
}

/// Images with the same numbers every time, about normalised.
pub(crate) fn images(n: usize, device: &Device) -> Tensor<4> {
    let [c, h, w] = IMAGE;
    let mut random = Random(7);
    let data: Vec<f32> = (0..n * c * h * w).map(|_| 4.0 * random.unit() - 1.5).collect();
    Tensor::from_data(TensorData::new(data, [n, c, h, w]), device)
}

/// A linear congruential generator: the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number in 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn array(&mut self, shape: &[usize]) -> Array {
        let n = shape.iter().product::<usize>();
        Array::new(shape, (0..n).map(|_| 2.0 * self.unit() - 1.0).collect::<Vec<_>>()).unwrap()
    }
}

#[expect(
    clippy::explicit_write,
    reason = "the test harness hides what `eprintln!` writes, and this is to be seen"
)]
fn say_once(line: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| writeln!(std::io::stderr(), "{line}").unwrap());
}

/// ONNX Runtime, where `ORT_DYLIB_PATH` says where it is; else a visible line, and what follows tests tract only.
pub(crate) fn onnxruntime() -> Option<OnnxRuntime> {
    let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) else {
        say_once("skipped: ORT_DYLIB_PATH is not set");
        return None;
    };
    Some(OnnxRuntime::open(Path::new(&path)).unwrap())
}

/// The engines of this machine.
pub(crate) fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Tract)];
    if let Some(engine) = onnxruntime() {
        engines.push(Box::new(engine));
    }
    engines
}

/// A model in a folder that goes away with it.
pub(crate) struct OnDisk {
    pub(crate) path: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn on_disk(model: &[u8]) -> OnDisk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    kd_deploy::write_atomically(&path, model).unwrap();
    OnDisk { path, folder }
}

#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "{what}: element {index} is {a}, expected {b}");
    }
}

/// The network with its batch norms folded away, as it is trained quantized.
#[derive(Module, Debug)]
pub(crate) struct Folded {
    pub(crate) conv1: Conv2d,
    pub(crate) conv2: Conv2d,
    pub(crate) linear1: Linear,
    pub(crate) linear2: Linear,
}

impl Folded {
    pub(crate) fn of(net: &Convnet, device: &Device) -> Self {
        let same = |k: usize| PaddingConfig2d::Explicit(k / 2, k / 2, k / 2, k / 2);
        let empty = Self {
            conv1: Conv2dConfig::new([1, 4], [5, 5]).with_padding(same(5)).init(device),
            conv2: Conv2dConfig::new([4, 6], [3, 3]).with_padding(same(3)).init(device),
            linear1: LinearConfig::new(6 * 3 * 3, 16).init(device),
            linear2: LinearConfig::new(16, CLASSES).init(device),
        };
        let mut folded = weights(net);
        for fold in kd_deploy::foldings(&graph(net), None).unwrap() {
            let (weight, bias) = kd_deploy::fold_batch_norm(&fold, &folded).unwrap();
            folded.insert(fold.weight.replace(".weight", ".bias"), bias);
            folded.insert(fold.weight, weight);
        }
        with_weights(empty, &folded)
    }

    pub(crate) fn forward(&self, x: Tensor<4>, at: At<'_>) -> Tensor<2> {
        let x = d4(at, "image", x);
        let x = d4(at, "block1", relu(self.conv1.forward(x)));
        let x = d4(at, "block2", relu(self.conv2.forward(max_pool(x))));
        let x = max_pool(x).flatten::<2>(1, 3);
        let x = d2(at, "hidden", relu(self.linear1.forward(x)));
        self.linear2.forward(x)
    }

    pub(crate) fn graph(&self) -> Graph {
        let [c, h, w] = IMAGE;
        kd_graph::capture(self, [1, c, h, w], |net: &Self, x: Tensor<4>, sites| {
            net.forward(x, &mut |site, x| {
                x.mark(site, sites);
                x
            })
        })
        .unwrap()
    }
}

/// The module with the parameters found under their paths.
pub(crate) fn with_weights<M: Module>(module: M, weights: &Weights) -> M {
    module.map(&mut Replace { path: Vec::new(), weights })
}

struct Replace<'a> {
    path: Vec<String>,
    weights: &'a Weights,
}

impl burn::module::ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let array = &self.weights[&self.path.join(".")];
        param.map(|old| {
            let data = TensorData::new(array.data().to_vec(), array.shape().to_vec());
            Tensor::from_data(data, &old.device())
        })
    }
}

pub(crate) fn activation(words: &str, min: f32, max: f32) -> ActivationPlan {
    let scheme: Scheme = words.parse().unwrap();
    let range = Range::new(vec![min], vec![max]).unwrap();
    ActivationPlan { scheme, qparams: QParams::from_range(&range, &scheme).unwrap() }
}

pub(crate) fn affine(min: f32, max: f32) -> ActivationPlan {
    activation("int8 tensor affine", min, max)
}

pub(crate) fn symmetric(min: f32, max: f32) -> ActivationPlan {
    activation("int8 tensor narrow", min, max)
}

pub(crate) fn unsigned(min: f32, max: f32) -> ActivationPlan {
    activation("uint8 tensor affine", min, max)
}

/// A scale for each index of the axis.
pub(crate) fn per_channel(array: &Array, axis: usize) -> WeightPlan {
    let scheme: Scheme = "int8 channel narrow".parse().unwrap();
    let layout = Layout::channel(array.shape(), axis).unwrap();
    let mut observer = Observer::new(ObserverSpec::MinMax);
    observer.observe(array.data(), &layout).unwrap();
    let qparams = QParams::from_range(observer.range().unwrap(), &scheme).unwrap();
    WeightPlan { scheme, axis: Some(axis), qparams, chosen: None }
}

/// One scale.
pub(crate) fn per_tensor(array: &Array, _: usize) -> WeightPlan {
    let scheme: Scheme = "int8 tensor narrow".parse().unwrap();
    let largest = array.data().iter().fold(0f32, |a, x| a.max(x.abs()));
    let range = Range::new(vec![-largest], vec![largest]).unwrap();
    WeightPlan { scheme, axis: None, qparams: QParams::from_range(&range, &scheme).unwrap(), chosen: None }
}
