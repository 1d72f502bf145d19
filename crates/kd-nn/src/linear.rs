//! The linear layer, which takes rows of any number of dimensions as one matrix.

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{self as theirs, Initializer, LinearLayout};
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, assert_shape};

use crate::extension::own;

/// As [`burn::nn::LinearConfig`], field by field.
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// Width of the input.
    pub d_input: usize,
    /// Width of the output.
    pub d_output: usize,
    /// Whether each output has a bias.
    #[config(default = true)]
    pub bias: bool,
    /// How weights start.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/f64::sqrt(3.0),fan_out_only:false}")]
    pub initializer: Initializer,
    /// How the weight lies in a record.
    #[config(default = "LinearLayout::Row")]
    pub layout: LinearLayout,
}

/// `y = x · w + b` over the last dimension, as [`burn::nn::Linear`]; made by [`LinearConfig`].
///
/// `[batch, length, width]` is one product of `batch · length` rows on `flex`, where Burn's layer makes `batch` small
/// ones, and as many gradients of the weight, which it then adds.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Linear {
    /// `[d_input, d_output]`
    pub weight: Param<Tensor<2>>,
    /// `[d_output]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl LinearConfig {
    /// Makes the layer with the weights that Burn's would start with.
    pub fn init(&self, device: &Device) -> Linear {
        theirs::LinearConfig::new(self.d_input, self.d_output)
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
            .with_layout(self.layout)
            .init(device)
            .into()
    }
}

impl From<theirs::Linear> for Linear {
    fn from(linear: theirs::Linear) -> Self {
        let theirs::Linear { weight, bias } = linear;
        Self { weight, bias }
    }
}

impl Linear {
    /// `[…, d_output]` from `[…, d_input]`.
    ///
    /// # Panics
    ///
    /// If the last dimension is not the layer's `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        let [d_input, d_output] = weight.dims();
        assert_shape!(input, [.., d_input]);
        if D < 3 || !own(&input) {
            return linear(input, weight, bias);
        }
        let mut shape = input.dims();
        let rows = shape[..D - 1].iter().product();
        shape[D - 1] = d_output;
        linear(input.reshape([rows, d_input]), weight, bias).reshape(shape)
    }
}

impl ModuleDisplay for Linear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_input, d_output] = self.weight.shape().dims();
        content
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("bias", &self.bias.is_some())
            .optional()
    }
}
