//! Convolution in one and two dimensions.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{Initializer, PaddingConfig1d, PaddingConfig2d, conv as theirs};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use kd_kernels::Conv;

use burn::backend::Dispatch;

use crate::extension::{Layers, own};
use crate::padding;

/// As [`burn::nn::conv::Conv2dConfig`], field by field.
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel_size: [usize; 2],
    /// Steps between outputs.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Steps between the kernel's taps.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// Groups of channels that see only each other.
    #[config(default = "1")]
    pub groups: usize,
    /// Zeros around the input.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Whether each output channel has a bias.
    #[config(default = true)]
    pub bias: bool,
    /// How weights start.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/f64::sqrt(3.0),fan_out_only:false}")]
    pub initializer: Initializer,
}

/// A convolution over `[batch, channels, height, width]`; made by [`Conv2dConfig`].
///
/// `y = w ⋆ x + b`, as [`burn::nn::conv::Conv2d`]. The number of groups is the input's channels over those of the
/// weight, at each forward pass.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Conv2d {
    /// `[channels_out, channels_in / groups, height, width]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Steps between the kernel's taps.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    #[module(skip)]
    pub padding: PaddingConfig2d,
}

impl Conv2dConfig {
    /// Makes the layer with the weights that Burn's would start with.
    ///
    /// # Panics
    ///
    /// If the groups do not divide both numbers of channels.
    pub fn init(&self, device: &Device) -> Conv2d {
        theirs::Conv2dConfig::new(self.channels, self.kernel_size)
            .with_stride(self.stride)
            .with_dilation(self.dilation)
            .with_groups(self.groups)
            .with_padding(self.padding.clone())
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
            .init(device)
            .into()
    }
}

impl From<theirs::Conv2d> for Conv2d {
    fn from(conv: theirs::Conv2d) -> Self {
        let theirs::Conv2d { weight, bias, stride, dilation, padding, .. } = conv;
        Self { weight, bias, stride, dilation, padding }
    }
}

impl Conv2d {
    /// `[batch, channels_out, rows, columns]` from `[batch, channels_in, height, width]`.
    ///
    /// # Panics
    ///
    /// If the input's channels are no multiple of the weight's.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        let ([batch, from, height, width], [to, seen, rows, cols]) = (input.dims(), weight.dims());
        let groups = groups(from, seen);
        let padding = padding::pairs(&self.padding, [height, width], [rows, cols], self.stride);
        let shape = Conv {
            batch,
            channels: [from, to],
            groups,
            input: [height, width],
            kernel: [rows, cols],
            stride: self.stride,
            padding,
            dilation: self.dilation,
        };
        if own(&input) && own(&weight) {
            return convolve(input, weight, bias, shape);
        }
        let options = ConvOptions::new_with_padding(self.stride, padding, self.dilation, groups);
        burn::tensor::module::conv2d(input, weight, bias, options)
    }
}

impl ModuleDisplay for Conv2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [to, seen, rows, cols] = self.weight.dims();
        content
            .add("ch_out", &to)
            .add("ch_in_per_group", &seen)
            .add("kernel_size", &format!("{:?}", [rows, cols]))
            .add("stride", &format!("{:?}", self.stride))
            .add("dilation", &format!("{:?}", self.dilation))
            .add_debug_attribute("padding", &self.padding)
            .optional()
    }
}

/// As [`burn::nn::conv::Conv1dConfig`], field by field.
#[derive(Config, Debug)]
pub struct Conv1dConfig {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Length of the kernel.
    pub kernel_size: usize,
    /// Steps between outputs.
    #[config(default = "1")]
    pub stride: usize,
    /// Steps between the kernel's taps.
    #[config(default = "1")]
    pub dilation: usize,
    /// Groups of channels that see only each other.
    #[config(default = "1")]
    pub groups: usize,
    /// Zeros before and after the input.
    #[config(default = "PaddingConfig1d::Valid")]
    pub padding: PaddingConfig1d,
    /// Whether each output channel has a bias.
    #[config(default = true)]
    pub bias: bool,
    /// How weights start.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/f64::sqrt(3.0),fan_out_only:false}")]
    pub initializer: Initializer,
}

/// A convolution over `[batch, channels, length]`; made by [`Conv1dConfig`]. Otherwise as [`Conv2d`].
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Conv1d {
    /// `[channels_out, channels_in / groups, length]`
    pub weight: Param<Tensor<3>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Steps between outputs.
    pub stride: usize,
    /// Steps between the kernel's taps.
    pub dilation: usize,
    /// Zeros before and after the input.
    #[module(skip)]
    pub padding: PaddingConfig1d,
}

impl Conv1dConfig {
    /// Makes the layer with the weights that Burn's would start with.
    ///
    /// # Panics
    ///
    /// If the groups do not divide both numbers of channels.
    pub fn init(&self, device: &Device) -> Conv1d {
        theirs::Conv1dConfig::new(self.channels_in, self.channels_out, self.kernel_size)
            .with_stride(self.stride)
            .with_dilation(self.dilation)
            .with_groups(self.groups)
            .with_padding(self.padding.clone())
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
            .init(device)
            .into()
    }
}

impl From<theirs::Conv1d> for Conv1d {
    fn from(conv: theirs::Conv1d) -> Self {
        let theirs::Conv1d { weight, bias, stride, dilation, padding, .. } = conv;
        Self { weight, bias, stride, dilation, padding }
    }
}

impl Conv1d {
    /// `[batch, channels_out, places]` from `[batch, channels_in, length]`.
    ///
    /// # Panics
    ///
    /// If the input's channels are no multiple of the weight's.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        let ([batch, from, length], [to, seen, kernel]) = (input.dims(), weight.dims());
        let groups = groups(from, seen);
        let padding = padding::pair(&self.padding, length, kernel, self.stride);
        let shape = Conv {
            batch,
            channels: [from, to],
            groups,
            input: [1, length],
            kernel: [1, kernel],
            stride: [1, self.stride],
            padding: [(0, 0), padding],
            dilation: [1, self.dilation],
        };
        if own(&input) && own(&weight) {
            return convolve(input, weight, bias, shape);
        }
        let options = ConvOptions::new_with_padding([self.stride], [padding], [self.dilation], groups);
        burn::tensor::module::conv1d(input, weight, bias, options)
    }
}

impl ModuleDisplay for Conv1d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [to, seen, kernel] = self.weight.dims();
        content
            .add("ch_out", &to)
            .add("ch_in_per_group", &seen)
            .add("kernel_size", &kernel)
            .add("stride", &self.stride)
            .add("dilation", &self.dilation)
            .add_debug_attribute("padding", &self.padding)
            .optional()
    }
}

fn convolve<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<D>,
    bias: Option<Tensor<1>>,
    shape: Conv,
) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::kd_conv_bias(x, weight, bias.into_dispatch(), shape),
        None => Dispatch::kd_conv(x, weight, shape),
    })
}

fn groups(from: usize, seen: usize) -> usize {
    let divides = seen > 0 && from.is_multiple_of(seen);
    assert!(divides, "expected an input whose channels are a multiple of the weight's {seen}, found {from}");
    from / seen
}
