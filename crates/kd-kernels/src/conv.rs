//! Convolution in one and two dimensions: forward, gradient of the input, gradient of the weight and bias.
//!
//! `y[n, o, i, j] = bias[o] + Σ_c,a,b w[o, c, a, b] · x[n, c, i·s₀ − p₀ + a·d₀, j·s₁ − p₁ + b·d₁]`, with `c` over the
//! channels of `o`'s group and `x` zero outside (cross-correlation, as in every framework). One dimension is two
//! with a height of one.
//!
//! Both gradients and the forward pass have two layouts to choose from, see [`Layout`].

mod channels;
mod gather;
mod images;
mod pixels;
pub mod reference;
mod weight;

use crate::Isa;
use gather::Gather;
pub(crate) use images::even;

/// Shape of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Examples.
    pub batch: usize,
    /// Channels of the input and of the output; both are multiples of `groups`.
    pub channels: [usize; 2],
    /// Groups of channels that see only each other.
    pub groups: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Zeros before and after the input's height and width.
    pub padding: [(usize, usize); 2],
    /// Steps between the kernel's taps.
    pub dilation: [usize; 2],
}

/// What of a tensor stands side by side in a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One pixel of as many images as a vector has lanes: good for any number of channels, wasteful for small batches.
    Images,
    /// Output channels of one pixel: good where there are many of them, whatever the batch.
    Channels,
    /// Neighbouring pixels of one plane: for kernels of one by one without stride and padding, where nothing needs to
    /// be copied. Other shapes take [`Images`](Self::Images) instead.
    Pixels,
}

impl Conv {
    /// A convolution of one group, stride and dilation one, without padding.
    pub fn new(batch: usize, channels: [usize; 2], input: [usize; 2], kernel: [usize; 2]) -> Self {
        Self {
            batch,
            channels,
            groups: 1,
            input,
            kernel,
            stride: [1; 2],
            padding: [(0, 0); 2],
            dilation: [1; 2],
        }
    }

    /// Height and width of the output; zero where the kernel does not fit the padded input.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|d| {
            let padded = self.input[d] + self.padding[d].0 + self.padding[d].1;
            let reach = (self.kernel[d] - 1) * self.dilation[d] + 1;
            if padded < reach { 0 } else { (padded - reach) / self.stride[d] + 1 }
        })
    }

    /// Numbers of the input `[batch, in, height, width]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.channels[0] * self.input[0] * self.input[1]
    }

    /// Numbers of the output `[batch, out, height, width]`.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.batch * self.channels[1] * height * width
    }

    /// Numbers of the weight `[out, in / groups, height, width]`.
    pub fn weight_len(&self) -> usize {
        self.channels[1] * self.group()[0] * self.kernel[0] * self.kernel[1]
    }

    /// Input and output channels of a group.
    fn group(&self) -> [usize; 2] {
        self.channels.map(|c| c / self.groups)
    }

    /// Multiply-accumulates of the forward pass, and of each gradient.
    fn macs(&self) -> usize {
        self.output_len() * self.group()[0] * self.kernel[0] * self.kernel[1]
    }

    /// Less work than this is not worth waking other threads for: some 20 µs.
    fn parallel(&self) -> bool {
        self.macs() > 1 << 20
    }

    fn check(&self, x: Option<usize>, weight: Option<usize>, y: Option<usize>) {
        let fits = self.groups > 0 && self.channels.iter().all(|c| c.is_multiple_of(self.groups));
        assert!(fits, "expected channels that {} groups divide, found {:?}", self.groups, self.channels);
        let positive = [self.kernel, self.stride, self.dilation].iter().flatten().all(|&n| n > 0);
        assert!(positive, "expected kernel, stride and dilation of at least 1, found {self:?}");
        for (what, found, expected) in [
            ("the input", x, self.input_len()),
            ("the weight", weight, self.weight_len()),
            ("the output", y, self.output_len()),
        ] {
            if let Some(found) = found {
                assert_eq!(found, expected, "numbers of {what} of {self:?}");
            }
        }
    }
}

impl Layout {
    /// The faster layout for the forward pass, or with `backward` for the gradient of the input.
    pub fn choose(isa: Isa, shape: &Conv, backward: bool) -> Self {
        // Lanes that hold nothing decide; otherwise the layouts are equally fast. One Zen 4 core with AVX-512, GFLOP/s,
        // by `cargo xtask bench conv/`: 16 to 32 channels 5×5, batch 128: images 109, channels 104; 6 to 10 channels:
        // 105 and 65; depthwise: 20 and 3; one image of 32 channels: 7 and 96. 64 to 128 channels 1×1: pixels 97,
        // images 76, channels 77.
        let [from, to] = shape.group();
        let lanes = isa.lanes();
        let waste = |n: usize| (n.div_ceil(lanes) * lanes) as f64 / n.max(1) as f64;
        match if backward { from } else { to } {
            _ if pixels::fits(shape) => Self::Pixels,
            channels if waste(channels) < waste(shape.batch) => Self::Channels,
            _ => Self::Images,
        }
    }
}

/// `y`, the output `[batch, out, height, width]`.
///
/// # Panics
///
/// If a slice has another length than the shape says, a stride, dilation or kernel is zero, or the groups do not
/// divide the channels; so do the other functions of this module.
pub fn forward(isa: Isa, shape: &Conv, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    forward_in(isa, Layout::choose(isa, shape, false), shape, x, weight, bias)
}

/// [`forward`] in a layout of the caller's choice.
///
/// # Panics
///
/// As [`forward`].
pub fn forward_in(
    isa: Isa,
    layout: Layout,
    shape: &Conv,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    shape.check(Some(x.len()), Some(weight.len()), None);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), shape.channels[1], "numbers of the bias of {shape:?}");
    }
    run(isa, layout, false, shape, x, weight, bias)
}

/// Gradient of the input `[batch, in, height, width]` from that of the output.
///
/// # Panics
///
/// As [`forward`].
pub fn grad_input(isa: Isa, shape: &Conv, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    grad_input_in(isa, Layout::choose(isa, shape, true), shape, dy, weight)
}

/// [`grad_input`] in a layout of the caller's choice.
///
/// # Panics
///
/// As [`forward`].
pub fn grad_input_in(isa: Isa, layout: Layout, shape: &Conv, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    shape.check(None, Some(weight.len()), Some(dy.len()));
    run(isa, layout, true, shape, dy, weight, None)
}

fn run(
    isa: Isa,
    layout: Layout,
    backward: bool,
    shape: &Conv,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if layout == Layout::Pixels && pixels::fits(shape) {
        return pixels::run(isa, shape, backward, x, weight, bias);
    }
    let gather = if backward { Gather::backward(shape) } else { Gather::forward(shape) };
    match layout {
        Layout::Channels => channels::run(isa, &gather, shape.parallel(), x, weight, bias),
        Layout::Images | Layout::Pixels => images::run(isa, &gather, shape.parallel(), x, weight, bias),
    }
}

/// Gradients of the weight `[out, in / groups, height, width]` and of the bias `[out]` from that of the output.
///
/// # Panics
///
/// As [`forward`].
pub fn grad_weight(isa: Isa, shape: &Conv, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    shape.check(Some(x.len()), None, Some(dy.len()));
    if pixels::fits(shape) { pixels::grad_weight(isa, shape, x, dy) } else { weight::run(isa, shape, x, dy) }
}
