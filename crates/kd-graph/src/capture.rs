//! Recording a module's forward pass with Burn's capture device.
//!
//! The only file that knows the capture device and Burn's intermediate representation; both are young and
//! change between Burn's versions. Facts that it rests on:
//!
//! - A tensor belongs to one recording. Parameters are moved onto the device inside the recording and found
//!   again by the id of their tensor.
//! - Clones of a module share the running statistics of batch norm, and moving one moves both. `valid()` makes
//!   statistics of its own, so the caller's module stays where it is.
//! - A process can have 65 536 capture devices in its life and a device one recording at a time: devices go back
//!   to a pool, also after a panic, which ends the recording but not the device.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use burn::backend::Capture;
use burn::backend::ir::{
    ActivationOperationIr, BaseOperationIr, BinaryOpIr, BoolOperationIr, FloatOperationIr, IntOperationIr,
    InterpolateModeIr, ModuleOperationIr, NumericOperationIr, OperationIr, ScalarIr, SliceOpIr, TensorId,
    TensorIr,
};
use burn::module::{Module, ModuleVisitor, Param as BurnParam};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::draft::{Contents, Draft, DraftOrigin, DraftValue, merge};
use crate::error::Error;
use crate::graph::{Binary, Graph, Node, Op, Param, Unary, ValueId, Window};

/// Batch sizes of the two recordings. Any two different sizes do; these are no sizes of a model, which keeps
/// error messages readable.
const BATCHES: [usize; 2] = [7, 11];

/// The graph of `module`'s forward pass in inference: batch norm with running statistics, no dropout.
///
/// `example` is the shape of the input with the batch first; the batch entry is ignored, since two different
/// batch sizes are recorded and compared. No kernel runs. Reparameterized parameters are materialized first,
/// and the module may be on any device, with autodiff or without; it is not changed. `forward` marks the values
/// that the model names through [`Sites::mark`]. It may itself call `capture`.
///
/// # Errors
///
/// [`Error::Forward`] where the forward pass panics, as it does when it reads values of tensors;
/// [`Error::BatchDependent`] where batches of different sizes are treated differently; [`Error::Foreign`] and
/// [`Error::Recording`] where the result or a site does not come from the input. An operation that the graph
/// cannot describe is no error here: it becomes [`Op::Opaque`].
pub fn capture<M: Module, const D: usize>(
    module: &M,
    example: [usize; D],
    forward: impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
) -> Result<Graph, Error> {
    let [first, second] = BATCHES;
    merge(record(module, example, first, &forward)?, record(module, example, second, &forward)?)
}

/// The named values of a forward pass that is being recorded.
#[derive(Debug, Default)]
pub struct Sites {
    marks: Vec<(String, TensorId)>,
    foreign: Option<String>,
}

impl Sites {
    /// Gives the value `x` the name `site`. One name may be given to several values, and one value several names.
    pub fn mark<const D: usize>(&mut self, site: &str, x: &Tensor<D>) {
        match id(x) {
            Some(id) => self.marks.push((site.to_owned(), id)),
            None => self.foreign = self.foreign.take().or(Some(format!("site `{site}`"))),
        }
    }
}

fn record<M: Module, const D: usize>(
    module: &M,
    mut example: [usize; D],
    batch: usize,
    forward: &impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
) -> Result<Draft, Error> {
    if let Some(size) = example.first_mut() {
        *size = batch;
    }
    let borrowed = Borrowed::new();
    let device = borrowed.device();
    let mut sites = Sites::default();
    let mut params = Params::default();
    let mut ends = (None, None);
    let run = AssertUnwindSafe(|| {
        device.capture_scope(|scope| {
            let module = module.valid().materialize().to_device(device);
            module.visit(&mut params);
            let input = Tensor::<D>::from_data(TensorData::zeros::<f32, _>(example), device);
            let input_id = id(&input);
            let output = forward(&module, input, &mut sites);
            ends = (input_id, id(&output));
            scope.complete(ends.0, ends.1)
        })
    });
    let recorded = catch_unwind(run).map_err(|panic| Error::Forward { message: message(panic.as_ref()) })?;
    if let Some(what) = sites.foreign {
        return Err(Error::Foreign { what });
    }
    let (Some(input), Some(output)) = ends else {
        return Err(Error::Foreign { what: "the output".into() });
    };
    let recorded = recorded.map_err(|error| Error::Recording { reason: error.to_string() })?;
    let mut recorder = Recorder::new(&params, &recorded.values, batch, input);
    for operation in &recorded.graph.operations {
        recorder.operation(operation);
    }
    Ok(recorder.finish(params.params, output, sites.marks))
}

/// The id of a tensor of the recording.
fn id<const D: usize>(x: &Tensor<D>) -> Option<TensorId> {
    x.clone().try_into_primitive::<Capture>().ok().map(|tensor| tensor.id())
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

/// A capture device that goes back to the pool.
struct Borrowed(Option<Device>);

static IDLE: Mutex<Vec<Device>> = Mutex::new(Vec::new());

impl Borrowed {
    fn new() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(idle.unwrap_or_else(Device::capture)))
    }

    fn device(&self) -> &Device {
        self.0.as_ref().expect("given back only at the end")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}

/// Parameters and running statistics in visiting order, with the ids of their tensors.
#[derive(Default)]
struct Params {
    names: Vec<String>,
    layers: Vec<String>,
    params: Vec<Param>,
    ids: Vec<Option<TensorId>>,
}

impl ModuleVisitor for Params {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.layers.push(container.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.pop();
        self.layers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &BurnParam<Tensor<D>>) {
        let value = param.val();
        let layer = self.layers.iter().rev().find_map(|layer| layer.strip_prefix("Struct:"));
        // Running statistics are visited like parameters; only their field tells them apart.
        let buffer = self.names.last().is_some_and(|name| name == "running_mean" || name == "running_var");
        self.params.push(Param {
            path: self.names.join("."),
            layer: layer.unwrap_or_default().to_owned(),
            shape: value.dims().to_vec(),
            buffer,
        });
        self.ids.push(id(&value));
    }
}

/// Turns recorded operations into a draft.
struct Recorder<'a> {
    data: &'a BTreeMap<TensorId, TensorData>,
    params: HashMap<TensorId, usize>,
    known: HashMap<TensorId, ValueId>,
    batch: usize,
    values: Vec<DraftValue>,
    nodes: Vec<Node>,
}

impl<'a> Recorder<'a> {
    fn new(params: &Params, data: &'a BTreeMap<TensorId, TensorData>, batch: usize, input: TensorId) -> Self {
        let ids = params.ids.iter().enumerate().filter_map(|(index, &id)| Some((id?, index))).collect();
        let mut recorder =
            Self { data, params: ids, known: HashMap::new(), batch, values: Vec::new(), nodes: Vec::new() };
        let shape = data.get(&input).map(|data| data.shape().to_vec()).unwrap_or_default();
        let value = recorder.push(shape, DraftOrigin::Input);
        recorder.known.insert(input, value);
        recorder
    }

    fn finish(mut self, params: Vec<Param>, output: TensorId, marks: Vec<(String, TensorId)>) -> Draft {
        let output = self.leaf(output);
        let mut sites: Vec<(String, ValueId)> = Vec::new();
        for (name, id) in marks {
            let site = (name, self.leaf(id));
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        let input = ValueId(0);
        Draft { batch: self.batch, params, values: self.values, nodes: self.nodes, input, output, sites }
    }

    fn push(&mut self, shape: Vec<usize>, origin: DraftOrigin) -> ValueId {
        self.values.push(DraftValue { shape, origin });
        ValueId(self.values.len() - 1)
    }

    fn node(&mut self, op: Op, inputs: Vec<ValueId>, shape: Vec<usize>) -> ValueId {
        let output = self.push(shape, DraftOrigin::Node);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// The value behind a tensor: the result of an operation, or else a parameter or a constant.
    fn leaf(&mut self, id: TensorId) -> ValueId {
        if let Some(&value) = self.known.get(&id) {
            return value;
        }
        let data = self.data.get(&id);
        let shape = data.map(|data| data.shape().to_vec()).unwrap_or_default();
        let value = match (self.params.get(&id), data.and_then(contents)) {
            (Some(&index), _) => self.push(shape, DraftOrigin::Param(index)),
            (None, Some(contents)) => self.push(shape, DraftOrigin::Constant(contents)),
            (None, None) => self.node(Op::Opaque("data".into()), Vec::new(), shape),
        };
        self.known.insert(id, value);
        value
    }

    fn emit<'t>(&mut self, op: Op, inputs: impl IntoIterator<Item = &'t TensorIr>, out: &TensorIr) {
        let inputs = inputs.into_iter().map(|tensor| self.leaf(tensor.id)).collect();
        let value = self.node(op, inputs, out.shape.to_vec());
        self.known.insert(out.id, value);
    }

    fn emit_constant(&mut self, value: f32, out: &TensorIr) {
        let value = self.push(out.shape.to_vec(), DraftOrigin::Constant(Contents::Uniform(value)));
        self.known.insert(out.id, value);
    }

    fn opaque(&mut self, operation: &OperationIr) {
        let name = operation_name(operation);
        for out in operation.outputs() {
            self.emit(Op::Opaque(name.clone()), operation.inputs(), out);
        }
    }

    fn operation(&mut self, operation: &OperationIr) {
        let done = match operation {
            OperationIr::Init(_) | OperationIr::Drop(_) => true,
            OperationIr::Module(op) => self.module(op),
            OperationIr::Activation(op) => self.activation(op),
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
                self.base(op)
            }
            OperationIr::NumericFloat(_, op) => self.numeric(op),
            OperationIr::NumericInt(_, op) if same_for_integers(op) => self.numeric(op),
            OperationIr::Float(_, op) => self.float(op),
            // Integers and truth values are floats in the graph already.
            OperationIr::Bool(op) if self.logic(op) => true,
            OperationIr::Int(IntOperationIr::IntoFloat(op))
            | OperationIr::Bool(BoolOperationIr::IntoFloat(op) | BoolOperationIr::IntoInt(op)) => {
                let value = self.leaf(op.input.id);
                self.known.insert(op.out.id, value);
                true
            }
            _ => false,
        };
        if !done {
            self.opaque(operation);
        }
    }

    /// Truth is one and falsehood zero.
    fn logic(&mut self, operation: &BoolOperationIr) -> bool {
        match operation {
            BoolOperationIr::Not(op) => self.emit(Op::Scalar(Binary::Equal, 0.0), [&op.input], &op.out),
            BoolOperationIr::And(op) => self.binary(Binary::Mul, op),
            BoolOperationIr::Or(op) => {
                let inputs = vec![self.leaf(op.lhs.id), self.leaf(op.rhs.id)];
                let shape = op.out.shape.to_vec();
                let either = self.node(Op::Binary(Binary::Add), inputs, shape.clone());
                let value = self.node(Op::Scalar(Binary::Greater, 0.0), vec![either], shape);
                self.known.insert(op.out.id, value);
            }
            _ => return false,
        }
        true
    }

    fn module(&mut self, operation: &ModuleOperationIr) -> bool {
        match operation {
            ModuleOperationIr::Conv1d(op) => {
                let (stride, padding, dilation) =
                    (&op.options.stride, &op.options.padding, &op.options.dilation);
                let window = window(&op.weight.shape.to_vec()[2..], stride, padding, dilation);
                let inputs = [&op.x, &op.weight].into_iter().chain(&op.bias);
                self.emit(Op::Conv { window, groups: op.options.groups }, inputs, &op.out);
            }
            ModuleOperationIr::Conv2d(op) => {
                let (stride, padding, dilation) =
                    (&op.options.stride, &op.options.padding, &op.options.dilation);
                let window = window(&op.weight.shape.to_vec()[2..], stride, padding, dilation);
                let inputs = [&op.x, &op.weight].into_iter().chain(&op.bias);
                self.emit(Op::Conv { window, groups: op.options.groups }, inputs, &op.out);
            }
            ModuleOperationIr::ConvTranspose1d(op) => {
                let pad = op.options.padding.map(|pad| (pad, pad));
                let kernel = &op.weight.shape.to_vec()[2..];
                let window = window(kernel, &op.options.stride, &pad, &op.options.dilation);
                let extra = op.options.padding_out.to_vec();
                let inputs = [&op.x, &op.weight].into_iter().chain(&op.bias);
                self.emit(Op::ConvTranspose { window, extra, groups: op.options.groups }, inputs, &op.out);
            }
            ModuleOperationIr::ConvTranspose2d(op) => {
                let pad = op.options.padding.map(|pad| (pad, pad));
                let kernel = &op.weight.shape.to_vec()[2..];
                let window = window(kernel, &op.options.stride, &pad, &op.options.dilation);
                let extra = op.options.padding_out.to_vec();
                let inputs = [&op.x, &op.weight].into_iter().chain(&op.bias);
                self.emit(Op::ConvTranspose { window, extra, groups: op.options.groups }, inputs, &op.out);
            }
            ModuleOperationIr::Linear(op) => {
                self.emit(Op::Linear, [&op.x, &op.weight].into_iter().chain(&op.bias), &op.out);
            }
            ModuleOperationIr::BatchNorm(op) => {
                let inputs = [&op.x, &op.gamma, &op.beta, &op.mean, &op.variance];
                self.emit(Op::BatchNorm { epsilon: op.epsilon.elem() }, inputs, &op.out);
            }
            ModuleOperationIr::LayerNorm(op) => {
                let inputs = [&op.input, &op.gamma].into_iter().chain(&op.beta);
                self.emit(Op::LayerNorm { epsilon: op.epsilon.elem() }, inputs, &op.out);
            }
            ModuleOperationIr::MaxPool1d(op) => {
                let padding = [(op.padding, op.padding)];
                let window = window(&[op.kernel_size], &[op.stride], &padding, &[op.dilation]);
                self.emit(Op::MaxPool { window, ceil: op.ceil_mode }, [&op.x], &op.out);
            }
            ModuleOperationIr::MaxPool2d(op) => {
                let window = window(&op.kernel_size, &op.stride, &op.padding.map(|p| (p, p)), &op.dilation);
                self.emit(Op::MaxPool { window, ceil: op.ceil_mode }, [&op.x], &op.out);
            }
            ModuleOperationIr::AvgPool1d(op) => {
                let window = window(&[op.kernel_size], &[op.stride], &[(op.padding, op.padding)], &[1]);
                let pool = Op::AvgPool { window, count_pad: op.count_include_pad, ceil: op.ceil_mode };
                self.emit(pool, [&op.x], &op.out);
            }
            ModuleOperationIr::AvgPool2d(op) => {
                let window = window(&op.kernel_size, &op.stride, &op.padding.map(|p| (p, p)), &[1, 1]);
                let pool = Op::AvgPool { window, count_pad: op.count_include_pad, ceil: op.ceil_mode };
                self.emit(pool, [&op.x], &op.out);
            }
            ModuleOperationIr::AdaptiveAvgPool1d(op) => {
                self.emit(Op::AdaptiveAvgPool { output: vec![op.output_size] }, [&op.x], &op.out);
            }
            ModuleOperationIr::AdaptiveAvgPool2d(op) => {
                self.emit(Op::AdaptiveAvgPool { output: op.output_size.to_vec() }, [&op.x], &op.out);
            }
            ModuleOperationIr::Interpolate(op) => {
                let mut mode = format!("{:?}", op.options.mode).to_lowercase();
                let nearest =
                    matches!(op.options.mode, InterpolateModeIr::Nearest | InterpolateModeIr::NearestExact);
                if op.options.align_corners && !nearest {
                    mode += ", aligned at corners";
                }
                self.emit(Op::Resize { output: op.output_size.to_vec(), mode }, [&op.x], &op.out);
            }
            ModuleOperationIr::Embedding(op) => self.emit(Op::Embedding, [&op.weights, &op.indices], &op.out),
            _ => return false,
        }
        true
    }

    fn activation(&mut self, operation: &ActivationOperationIr) -> bool {
        let (op, input, out) = match operation {
            ActivationOperationIr::LeakyRelu(op) => {
                self.leaky_relu(&op.lhs, op.rhs.elem(), &op.out);
                return true;
            }
            ActivationOperationIr::HardSigmoid(op) => {
                let shape = op.out.shape.to_vec();
                let x = self.leaf(op.tensor.id);
                let x = self.node(Op::Scalar(Binary::Mul, op.alpha.elem()), vec![x], shape.clone());
                let x = self.node(Op::Scalar(Binary::Add, op.beta.elem()), vec![x], shape.clone());
                let x = self.node(Op::Clamp { min: 0.0, max: 1.0 }, vec![x], shape);
                self.known.insert(op.out.id, x);
                return true;
            }
            ActivationOperationIr::Relu(op) => (Op::Unary(Unary::Relu), &op.input, &op.out),
            ActivationOperationIr::Gelu(op) => (Op::Unary(Unary::Gelu), &op.input, &op.out),
            ActivationOperationIr::Sigmoid(op) => (Op::Unary(Unary::Sigmoid), &op.input, &op.out),
            ActivationOperationIr::Softmax(op) => (Op::Softmax(op.axis), &op.input, &op.out),
            ActivationOperationIr::LogSoftmax(op) => (Op::LogSoftmax(op.axis), &op.input, &op.out),
            _ => return false,
        };
        self.emit(op, [input], out);
        true
    }

    /// Operations that are the same for floats, integers and booleans: they move elements or compare them.
    fn base(&mut self, operation: &BaseOperationIr) -> bool {
        match operation {
            BaseOperationIr::Reshape(op) => self.emit(Op::Reshape, [&op.input], &op.out),
            BaseOperationIr::Expand(op) => self.emit(Op::Expand, [&op.input], &op.out),
            BaseOperationIr::Permute(op) => self.emit(Op::Permute(op.axes.clone()), [&op.input], &op.out),
            BaseOperationIr::SwapDims(op) => {
                let mut axes: Vec<usize> = (0..op.out.shape.to_vec().len()).collect();
                axes.swap(op.dim1, op.dim2);
                self.emit(Op::Permute(axes), [&op.input], &op.out);
            }
            BaseOperationIr::Cat(op) => self.emit(Op::Concat(op.dim), &op.tensors, &op.out),
            BaseOperationIr::RepeatDim(op) if op.tensor.shape.to_vec()[op.dim] == 1 => {
                self.emit(Op::Expand, [&op.tensor], &op.out);
            }
            BaseOperationIr::RepeatDim(op) => {
                self.emit(Op::Concat(op.dim), std::iter::repeat_n(&op.tensor, op.times), &op.out);
            }
            BaseOperationIr::Slice(op) => {
                let Some(ranges) = ranges(op) else { return false };
                self.emit(Op::Slice(ranges), [&op.tensor], &op.out);
            }
            BaseOperationIr::Equal(op) => self.binary(Binary::Equal, op),
            BaseOperationIr::EqualElem(op) => self.scalar(Binary::Equal, &op.lhs, op.rhs, &op.out),
            BaseOperationIr::NotEqual(op) => {
                self.unequal(Op::Binary(Binary::Equal), &[&op.lhs, &op.rhs], &op.out)
            }
            BaseOperationIr::NotEqualElem(op) => {
                self.unequal(Op::Scalar(Binary::Equal, op.rhs.elem()), &[&op.lhs], &op.out);
            }
            BaseOperationIr::MaskWhere(op) => {
                self.emit(Op::Where, [&op.mask, &op.value, &op.tensor], &op.out);
            }
            BaseOperationIr::MaskFill(op) => {
                let shape = vec![1; op.out.shape.to_vec().len()];
                let value = self.push(shape, DraftOrigin::Constant(Contents::Uniform(op.value.elem())));
                let inputs = vec![self.leaf(op.mask.id), value, self.leaf(op.tensor.id)];
                let value = self.node(Op::Where, inputs, op.out.shape.to_vec());
                self.known.insert(op.out.id, value);
            }
            // Rows of a matrix are looked up as those of an embedding are.
            BaseOperationIr::Select(op) if op.dim == 0 && op.tensor.shape.to_vec().len() == 2 => {
                self.emit(Op::Embedding, [&op.tensor, &op.indices], &op.out);
            }
            BaseOperationIr::Zeros(op) => self.emit_constant(0.0, &op.out),
            BaseOperationIr::Ones(op) => self.emit_constant(1.0, &op.out),
            _ => return false,
        }
        true
    }

    fn numeric(&mut self, operation: &NumericOperationIr) -> bool {
        match operation {
            NumericOperationIr::Add(op) => self.binary(Binary::Add, op),
            NumericOperationIr::Sub(op) => self.binary(Binary::Sub, op),
            NumericOperationIr::Mul(op) => self.binary(Binary::Mul, op),
            NumericOperationIr::Div(op) => self.binary(Binary::Div, op),
            NumericOperationIr::AddScalar(op) => self.scalar(Binary::Add, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::SubScalar(op) => self.scalar(Binary::Sub, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::MulScalar(op) => self.scalar(Binary::Mul, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::DivScalar(op) => self.scalar(Binary::Div, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::Greater(op) => self.binary(Binary::Greater, op),
            NumericOperationIr::GreaterEqual(op) => self.binary(Binary::GreaterEqual, op),
            NumericOperationIr::Lower(op) => self.binary(Binary::Lower, op),
            NumericOperationIr::LowerEqual(op) => self.binary(Binary::LowerEqual, op),
            NumericOperationIr::GreaterElem(op) => self.scalar(Binary::Greater, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::GreaterEqualElem(op) => {
                self.scalar(Binary::GreaterEqual, &op.lhs, op.rhs, &op.out);
            }
            NumericOperationIr::LowerElem(op) => self.scalar(Binary::Lower, &op.lhs, op.rhs, &op.out),
            NumericOperationIr::LowerEqualElem(op) => {
                self.scalar(Binary::LowerEqual, &op.lhs, op.rhs, &op.out);
            }
            NumericOperationIr::TopK(op) | NumericOperationIr::MaxDim(op) => {
                self.emit(Op::TopK(op.axis), [&op.input], &op.out)
            }
            NumericOperationIr::Abs(op) => self.emit(Op::Unary(Unary::Abs), [&op.input], &op.out),
            NumericOperationIr::Neg(op) => self.emit(Op::Unary(Unary::Neg), [&op.input], &op.out),
            NumericOperationIr::Full(op) => self.emit_constant(op.value.elem(), &op.out),
            NumericOperationIr::MeanDim(op) => self.emit(Op::MeanDim(op.axis), [&op.input], &op.out),
            NumericOperationIr::SumDim(op) => self.emit(Op::SumDim(op.axis), [&op.input], &op.out),
            NumericOperationIr::SumDims(op) if !op.axes.is_empty() => {
                let mut value = self.leaf(op.input.id);
                for &axis in &op.axes {
                    let mut shape = self.values[value.0].shape.clone();
                    shape[axis] = 1;
                    value = self.node(Op::SumDim(axis), vec![value], shape);
                }
                self.known.insert(op.out.id, value);
            }
            NumericOperationIr::ClampMin(op) if op.rhs.elem::<f64>() == 0.0 => {
                self.emit(Op::Unary(Unary::Relu), [&op.lhs], &op.out);
            }
            NumericOperationIr::Clamp(op) => {
                self.emit(Op::Clamp { min: op.min.elem(), max: op.max.elem() }, [&op.tensor], &op.out);
            }
            NumericOperationIr::ClampMin(op) => {
                self.emit(Op::Clamp { min: op.rhs.elem(), max: f64::INFINITY }, [&op.lhs], &op.out);
            }
            NumericOperationIr::ClampMax(op) => {
                self.emit(Op::Clamp { min: f64::NEG_INFINITY, max: op.rhs.elem() }, [&op.lhs], &op.out);
            }
            NumericOperationIr::PowiScalar(op) => return self.power(&op.lhs, op.rhs, &op.out),
            _ => return false,
        }
        true
    }

    fn float(&mut self, operation: &FloatOperationIr) -> bool {
        match operation {
            FloatOperationIr::Matmul(op) => self.emit(Op::Matmul, [&op.lhs, &op.rhs], &op.out),
            FloatOperationIr::Exp(op) => self.emit(Op::Unary(Unary::Exp), [&op.input], &op.out),
            FloatOperationIr::Log(op) => self.emit(Op::Unary(Unary::Log), [&op.input], &op.out),
            FloatOperationIr::Sqrt(op) => self.emit(Op::Unary(Unary::Sqrt), [&op.input], &op.out),
            FloatOperationIr::Tanh(op) => self.emit(Op::Unary(Unary::Tanh), [&op.input], &op.out),
            FloatOperationIr::Erf(op) => self.emit(Op::Unary(Unary::Erf), [&op.input], &op.out),
            FloatOperationIr::IntoInt(op) => self.emit(Op::Unary(Unary::Truncate), [&op.input], &op.out),
            FloatOperationIr::Recip(op) => {
                let shape = op.out.shape.to_vec();
                let one = self.push(vec![1; shape.len()], DraftOrigin::Constant(Contents::Uniform(1.0)));
                let input = self.leaf(op.input.id);
                let value = self.node(Op::Binary(Binary::Div), vec![one, input], shape);
                self.known.insert(op.out.id, value);
            }
            FloatOperationIr::PowfScalar(op) => return self.power(&op.lhs, op.rhs, &op.out),
            _ => return false,
        }
        true
    }

    /// What is not as `equal` says.
    fn unequal(&mut self, equal: Op, inputs: &[&TensorIr], out: &TensorIr) {
        let inputs = inputs.iter().map(|tensor| self.leaf(tensor.id)).collect();
        let shape = out.shape.to_vec();
        let same = self.node(equal, inputs, shape.clone());
        let value = self.node(Op::Scalar(Binary::Equal, 0.0), vec![same], shape);
        self.known.insert(out.id, value);
    }

    fn binary(&mut self, binary: Binary, op: &BinaryOpIr) {
        self.emit(Op::Binary(binary), [&op.lhs, &op.rhs], &op.out);
    }

    fn scalar(&mut self, binary: Binary, lhs: &TensorIr, rhs: ScalarIr, out: &TensorIr) {
        self.emit(Op::Scalar(binary, rhs.elem()), [lhs], out);
    }

    /// `relu(x) − slope · relu(−x)`
    fn leaky_relu(&mut self, x: &TensorIr, slope: f64, out: &TensorIr) {
        let shape = out.shape.to_vec();
        let x = self.leaf(x.id);
        let above = self.node(Op::Unary(Unary::Relu), vec![x], shape.clone());
        let below = self.node(Op::Unary(Unary::Neg), vec![x], shape.clone());
        let below = self.node(Op::Unary(Unary::Relu), vec![below], shape.clone());
        let below = self.node(Op::Scalar(Binary::Mul, slope), vec![below], shape.clone());
        let value = self.node(Op::Binary(Binary::Sub), vec![above, below], shape);
        self.known.insert(out.id, value);
    }

    /// Square and cube as products, square root; other powers are opaque.
    fn power(&mut self, base: &TensorIr, exponent: ScalarIr, out: &TensorIr) -> bool {
        let exponent: f64 = exponent.elem();
        let input = self.leaf(base.id);
        let shape = out.shape.to_vec();
        let mul = Op::Binary(Binary::Mul);
        let value = if exponent == 2.0 {
            self.node(mul, vec![input, input], shape)
        } else if exponent == 3.0 {
            let square = self.node(mul.clone(), vec![input, input], shape.clone());
            self.node(mul, vec![square, input], shape)
        } else if exponent == 0.5 {
            self.node(Op::Unary(Unary::Sqrt), vec![input], shape)
        } else {
            return false;
        };
        self.known.insert(out.id, value);
        true
    }
}

/// Whether an operation of whole numbers is what it is for floats, which hold those of the graph exactly. A division is
/// not.
fn same_for_integers(operation: &NumericOperationIr) -> bool {
    use NumericOperationIr as It;
    matches!(
        operation,
        It::Full(_)
            | It::Add(_)
            | It::Sub(_)
            | It::Mul(_)
            | It::Neg(_)
            | It::Abs(_)
            | It::AddScalar(_)
            | It::SubScalar(_)
            | It::MulScalar(_)
            | It::Greater(_)
            | It::GreaterEqual(_)
            | It::Lower(_)
            | It::LowerEqual(_)
            | It::GreaterElem(_)
            | It::GreaterEqualElem(_)
            | It::LowerElem(_)
            | It::LowerEqualElem(_)
    )
}

fn window(kernel: &[usize], stride: &[usize], padding: &[(usize, usize)], dilation: &[usize]) -> Window {
    Window {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: dilation.to_vec(),
    }
}

/// A range for every dimension, if all steps are one.
fn ranges(op: &SliceOpIr) -> Option<Vec<(usize, usize)>> {
    let sizes = op.tensor.shape.to_vec();
    let ranges = sizes.iter().enumerate().map(|(d, &size)| match op.ranges.get(d) {
        None => Some((0, size)),
        Some(slice) => (slice.step == 1).then(|| (slice.to_range(size).start, slice.to_range(size).end)),
    });
    ranges.collect()
}

/// What a constant holds as 32-bit floats; `None` where they cannot hold it.
fn contents(data: &TensorData) -> Option<Contents> {
    /// Integers up to this size are floats too.
    const EXACT: i64 = 1 << 24;
    let dtype = data.dtype();
    if dtype.is_int() || dtype.is_uint() {
        let wide: Vec<i64> = data.clone().convert_dtype(DType::I64).try_to_vec().ok()?;
        if wide.iter().any(|value| !(-EXACT..=EXACT).contains(value)) {
            return None;
        }
    } else if !dtype.is_float() && !dtype.is_bool() {
        return None;
    }
    let values: Vec<f32> = data.clone().convert_dtype(DType::F32).try_to_vec().ok()?;
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| value.to_bits() == first.to_bits()) => {
            Some(Contents::Uniform(*first))
        }
        _ => Some(Contents::Data(values)),
    }
}

/// Burn's name of an operation in snake case, such as `conv_transpose2d`.
fn operation_name(operation: &OperationIr) -> String {
    if let OperationIr::Custom(custom) = operation {
        return custom.id.clone();
    }
    // `Category(Name(…))` or `Category(dtype, Name(…))`.
    let text = format!("{operation:?}");
    let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner);
    let name = inner.split(['(', '{']).next().unwrap_or(inner);
    let name = name.rsplit(", ").next().unwrap_or(name).trim_end_matches([')', ' ']);
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
