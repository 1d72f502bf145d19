//! A transformer encoder that classifies sequences of bytes or other tokens.

mod attention;

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_nn::activation::gelu;
use kd_nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig, SyncShape};
use serde::{Deserialize, Serialize};

use self::attention::Attention;
use crate::model::{Model, Task};

/// The id that fills up short sequences.
const PADDING: i32 = 0;

/// What is added to the scores of padding: far below any score, so that `exp` makes it zero, and finite, so that a
/// sequence of padding alone has no 0/0.
const FAR_BELOW: f64 = -1e9;

/// Standard deviation of initial embeddings, that of BERT (Devlin et al., 2019, arXiv:1810.04805).
const EMBEDDING_STD: f64 = 0.02;

/// `transformer = { width = 128, layers = 4, heads = 4, feed-forward = 512 }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TransformerConfig {
    /// Width of a token's vector, a multiple of `heads`.
    pub width: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Heads of a layer's attention.
    pub heads: usize,
    /// Hidden width of a layer's feed-forward part.
    pub feed_forward: usize,
    /// Number of token ids: those of the data are whole numbers below it, and 0 is padding.
    #[serde(default = "bytes")]
    pub vocabulary: usize,
}

fn bytes() -> usize {
    256
}

/// Token and position embeddings (site `embed`), encoder layers (`layer1`, `layer2`, …), the mean over all positions
/// but padding, layer norm (`pooled`) and a linear classifier.
///
/// A layer normalizes first ("pre-norm"): `x + attention(norm1(x))`, then `x + output(gelu(hidden(norm2(x))))`, after
/// Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745. It equals
/// `torch.nn.TransformerEncoderLayer` with `norm_first = True`, `activation = "gelu"` and no dropout. Layer norm behind
/// the mean instead of before it is that of masked autoencoders (He et al., 2021, arXiv:2111.06377, `fc_norm`).
///
/// Sites of layer `n`: `layern.norm1`, `.query`, `.key`, `.value`, `.probabilities` `[batch, heads, length, length]`,
/// `.attention` (the heads side by side), `.norm2`, `.hidden`, and `layern` for its result.
///
/// Padding is masked in attention and left out of the mean: however much of it follows a sequence, the logits are the
/// same. A sequence of nothing but padding has the logits of an average of zero.
#[derive(Module, Debug, SyncShape)]
pub struct Transformer {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm: LayerNorm,
    output: Linear,
}

#[derive(Module, Debug, SyncShape)]
struct Layer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    hidden: Linear,
    output: Linear,
}

impl Model for Transformer {
    type Input = Tensor<2>;
    type Config = TransformerConfig;
    const ABOUT: &'static str = "embeddings, pre-norm encoder layers with masked attention, mean, linear classifier; width, layers, heads, feed-forward, vocabulary";

    fn build(config: &TransformerConfig, task: &Task, device: &Device) -> Result<Self, String> {
        let &[length] = task.input.as_slice() else {
            return Err(format!(
                "expected sequences of token ids [length], found examples of shape {:?}",
                task.input
            ));
        };
        let &TransformerConfig { width, layers, heads, feed_forward, vocabulary } = config;
        let sizes = [
            ("width", width, 1),
            ("layers", layers, 1),
            ("heads", heads, 1),
            ("feed-forward", feed_forward, 1),
            // Padding and something else.
            ("vocabulary", vocabulary, 2),
        ];
        if let Some((name, found, least)) = sizes.into_iter().find(|&(_, size, least)| size < least) {
            return Err(format!("expected `{name}` of at least {least}, found {found}"));
        }
        if !width.is_multiple_of(heads) {
            return Err(format!("expected a `width` that is a multiple of `heads` = {heads}, found {width}"));
        }
        let embedding = |rows| {
            EmbeddingConfig::new(rows, width)
                .with_initializer(Initializer::Normal { mean: 0.0, std: EMBEDDING_STD })
                .init(device)
        };
        let norm = || LayerNormConfig::new(width).init(device);
        let layer = |_| Layer {
            norm1: norm(),
            attention: Attention::new(width, heads, device),
            norm2: norm(),
            hidden: LinearConfig::new(width, feed_forward).init(device),
            output: LinearConfig::new(feed_forward, width).init(device),
        };
        Ok(Self {
            tokens: embedding(vocabulary),
            positions: embedding(length),
            layers: (0..layers).map(layer).collect(),
            norm: norm(),
            output: LinearConfig::new(width, task.classes).init(device),
        })
    }

    fn vocabulary(config: &TransformerConfig) -> Option<usize> {
        Some(config.vocabulary)
    }

    fn remove_element(&mut self, path: &str) -> bool {
        SyncShape::remove_element(self, path)
    }

    fn forward(&self, input: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
        let [batch, length] = input.dims();
        let ids = input.int();
        let padding = ids.clone().equal_elem(PADDING).float();
        let x = self.tokens.forward(ids) + self.positions.weight.val().unsqueeze();
        let mut x = tap.at("embed", x);

        let mask = padding.clone().mul_scalar(FAR_BELOW).reshape([batch, 1, 1, length]);
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, mask.clone(), &format!("layer{}", i + 1), tap);
        }
        let x = self.norm.forward(mean(x, padding));
        self.output.forward(tap.at("pooled", x))
    }
}

impl Layer {
    fn forward(&self, x: Tensor<3>, mask: Tensor<4>, site: &str, tap: &mut Tap<'_>) -> Tensor<3> {
        let normed = tap.at(&format!("{site}.norm1"), self.norm1.forward(x.clone()));
        let x = x + self.attention.forward(normed, mask, site, tap);
        let normed = tap.at(&format!("{site}.norm2"), self.norm2.forward(x.clone()));
        let hidden = tap.at(&format!("{site}.hidden"), gelu(self.hidden.forward(normed)));
        tap.at(site, x + self.output.forward(hidden))
    }
}

/// Mean of `x [batch, length, width]` over the positions at which `padding [batch, length]` is 0, of 0 where there
/// is none.
fn mean(x: Tensor<3>, padding: Tensor<2>) -> Tensor<2> {
    let [batch, length, width] = x.dims();
    let present = (padding.neg() + 1.0).reshape([batch, length, 1]);
    // At least 1; counts are whole, so that this leaves the others as they are.
    let count = relu(present.clone().sum_dim(1) - 1.0) + 1.0;
    ((x * present).sum_dim(1) / count).reshape([batch, width])
}
