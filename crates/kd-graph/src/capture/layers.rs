//! Operations that Burn hands to a device whole: layers and activations.

use burn::backend::ir::{ActivationOperationIr, InterpolateModeIr, ModuleOperationIr, TensorIr};

use super::recorder::Recorder;
use crate::graph::{Binary, Op, Unary, Window};

impl Recorder<'_> {
    pub(super) fn module(&mut self, operation: &ModuleOperationIr) -> bool {
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

    pub(super) fn activation(&mut self, operation: &ActivationOperationIr) -> bool {
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
}

fn window(kernel: &[usize], stride: &[usize], padding: &[(usize, usize)], dilation: &[usize]) -> Window {
    Window {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: dilation.to_vec(),
    }
}
