//! Max and average pooling in two dimensions.

use burn::backend::Dispatch;
use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::nn::PaddingConfig2d;
use burn::tensor::Tensor;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use kd_kernels::Pool;

use crate::extension::{Layers, Pooling, own};
use crate::padding;

/// As [`burn::nn::pool::MaxPool2dConfig`], field by field.
#[derive(Debug, Config)]
pub struct MaxPool2dConfig {
    /// Height and width of the window.
    pub kernel_size: [usize; 2],
    /// Steps between windows.
    #[config(default = "kernel_size")]
    pub strides: [usize; 2],
    /// Rows and columns around the input that windows may reach into.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Steps between the places of a window.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// Whether a window that does not fit counts.
    #[config(default = "false")]
    pub ceil_mode: bool,
}

/// The largest of each window, as [`burn::nn::pool::MaxPool2d`]; made by [`MaxPool2dConfig`].
///
/// Windows with a dilation, and `ceil_mode`, are Burn's everywhere.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct MaxPool2d {
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Height and width of the window.
    pub kernel_size: [usize; 2],
    /// Rows and columns around the input that windows may reach into.
    #[module(skip)]
    pub padding: PaddingConfig2d,
    /// Steps between the places of a window.
    pub dilation: [usize; 2],
    /// Whether a window that does not fit counts.
    pub ceil_mode: bool,
}

impl MaxPool2dConfig {
    /// Makes the layer.
    pub fn init(&self) -> MaxPool2d {
        MaxPool2d {
            stride: self.strides,
            kernel_size: self.kernel_size,
            padding: self.padding.clone(),
            dilation: self.dilation,
            ceil_mode: self.ceil_mode,
        }
    }
}

impl MaxPool2d {
    /// `[batch, channels, rows, columns]` from `[batch, channels, height, width]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shape = shape(&input, self.kernel_size, self.stride, &self.padding);
        if own(&input) && self.dilation == [1; 2] && !self.ceil_mode {
            return Tensor::from_dispatch(Dispatch::kd_pool(input.into_dispatch(), shape, Pooling::Max));
        }
        let [rows, cols] = shape.padding;
        max_pool2d(
            input,
            MaxPoolOptions::new(self.kernel_size)
                .with_stride(self.stride)
                .with_padding_pairs([rows, cols])
                .with_dilation(self.dilation)
                .with_ceil_mode(self.ceil_mode),
        )
    }
}

impl ModuleDisplay for MaxPool2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("kernel_size", &format!("{:?}", self.kernel_size))
            .add("stride", &format!("{:?}", self.stride))
            .add_debug_attribute("padding", &self.padding)
            .optional()
    }
}

/// As [`burn::nn::pool::AvgPool2dConfig`], field by field.
#[derive(Debug, Config)]
pub struct AvgPool2dConfig {
    /// Height and width of the window.
    pub kernel_size: [usize; 2],
    /// Steps between windows.
    #[config(default = "kernel_size")]
    pub strides: [usize; 2],
    /// Zeros around the input that windows may reach into.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Whether those zeros count in the mean.
    #[config(default = "true")]
    pub count_include_pad: bool,
    /// Whether a window that does not fit counts.
    #[config(default = "false")]
    pub ceil_mode: bool,
}

/// The mean of each window, as [`burn::nn::pool::AvgPool2d`]; made by [`AvgPool2dConfig`].
///
/// `ceil_mode` is Burn's everywhere.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AvgPool2d {
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Height and width of the window.
    pub kernel_size: [usize; 2],
    /// Zeros around the input that windows may reach into.
    #[module(skip)]
    pub padding: PaddingConfig2d,
    /// Whether those zeros count in the mean.
    pub count_include_pad: bool,
    /// Whether a window that does not fit counts.
    pub ceil_mode: bool,
}

impl AvgPool2dConfig {
    /// Makes the layer.
    pub fn init(&self) -> AvgPool2d {
        AvgPool2d {
            stride: self.strides,
            kernel_size: self.kernel_size,
            padding: self.padding.clone(),
            count_include_pad: self.count_include_pad,
            ceil_mode: self.ceil_mode,
        }
    }
}

impl AvgPool2d {
    /// `[batch, channels, rows, columns]` from `[batch, channels, height, width]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shape = shape(&input, self.kernel_size, self.stride, &self.padding);
        if own(&input) && !self.ceil_mode {
            let pooling = Pooling::Average { count_padding: self.count_include_pad };
            return Tensor::from_dispatch(Dispatch::kd_pool(input.into_dispatch(), shape, pooling));
        }
        let [rows, cols] = shape.padding;
        avg_pool2d(
            input,
            AvgPoolOptions::new(self.kernel_size)
                .with_stride(self.stride)
                .with_padding_pairs([rows, cols])
                .with_count_include_pad(self.count_include_pad)
                .with_ceil_mode(self.ceil_mode),
        )
    }
}

impl ModuleDisplay for AvgPool2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("kernel_size", &format!("{:?}", self.kernel_size))
            .add("stride", &format!("{:?}", self.stride))
            .add_debug_attribute("padding", &self.padding)
            .optional()
    }
}

fn shape(input: &Tensor<4>, kernel: [usize; 2], stride: [usize; 2], padding: &PaddingConfig2d) -> Pool {
    let [batch, channels, height, width] = input.dims();
    let padding = padding::pairs(padding, [height, width], kernel, stride);
    Pool { planes: batch * channels, input: [height, width], kernel, stride, padding }
}
