//! What a model is to the trainer: a plain Burn module that forwards its input through a [`Tap`].
//!
//! A model never learns whether it is a teacher, a student, pruned or quantized. It takes widths from its own
//! weights' shapes, never from its configuration, so that a pruned one runs unchanged.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kd_core::Tap;
use kd_graph::{Graph, Sites};
use prune_core::Cut;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;
use crate::prune::provable::difference;

/// What a data set asks of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Shape of one example, such as `[1, 28, 28]`.
    pub input: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

impl Task {
    /// Numbers in one example.
    pub fn features(&self) -> usize {
        self.input.iter().product()
    }
}

/// A classifier that recipes can name and the trainer can train, compress and export.
///
/// Sites are named by one line each, `let x = tap.at("block1", x);`, after the operations that belong together
/// on an integer engine: convolution, batch norm, activation. The input has a site of its own, `input`, which
/// the trainer adds. Every convolution or linear layer must read a site, at most with pooling, reshaping or
/// permuting between: that is where its input is quantized.
pub trait Model: Module + Debug + Send + Sync + 'static {
    /// Tensor that the model reads: `Tensor<4>` for images, `Tensor<2>` for plain features.
    type Input: Input;
    /// What a recipe says about the model. Derive it with `rename_all = "kebab-case"` and `deny_unknown_fields`.
    type Config: DeserializeOwned + Serialize + Clone + Debug + Send + Sync + 'static;

    /// One line for `kd list models`.
    const ABOUT: &'static str;

    /// Builds the model on a device.
    ///
    /// # Errors
    ///
    /// A clause that says what about the configuration or the task does not fit, such as
    /// `expected images [channels, height, width], found [64]`.
    fn build(config: &Self::Config, task: &Task, device: &Device) -> Result<Self, String>;

    /// The number of tokens that it knows, for a model that looks up whole numbers from 0 to below it; a run refuses
    /// data with any other number.
    fn vocabulary(_config: &Self::Config) -> Option<usize> {
        None
    }

    /// Drops the element at a dotted path of the module, `layers.2`, from the `Vec` that holds it, for stages that take out
    /// residual blocks or experts; whether there is one. A model that derives [`SyncShape`](kd_nn::SyncShape) writes
    /// `SyncShape::remove_element(self, path)`. Without this, such stages refuse the model.
    fn remove_element(&mut self, _path: &str) -> bool {
        false
    }

    /// Logits `[batch, classes]` of a batch.
    fn forward(&self, input: Self::Input, tap: &mut Tap<'_>) -> Tensor<2>;
}

/// A tensor that a batch of examples can be turned into.
pub trait Input: Clone + Send + 'static {
    /// The batch `rows` `[batch, features]` as the model wants it; `shape` is the shape of one example.
    fn from_rows(rows: Tensor<2>, shape: &[usize]) -> Self;

    /// Shape of one example as the model reads it, without the batch.
    fn example(shape: &[usize]) -> Vec<usize>;

    /// The graph of `model`'s forward pass on this kind of input.
    ///
    /// # Errors
    ///
    /// What [`kd_graph::capture`] returns.
    fn capture<M: Model<Input = Self>>(model: &M, task: &Task) -> Result<Graph, kd_graph::Error>;

    /// What a cut of `model` changes on `input` that it should not, as
    /// [`difference`] measures it.
    ///
    /// # Errors
    ///
    /// What that returns.
    fn verify_cut<M: Model<Input = Self>>(
        model: &M,
        graph: &Graph,
        cut: &Cut,
        input: Self,
    ) -> Result<f64, Error>;
}

/// The name of the site that the trainer puts on every model's input.
pub const INPUT_SITE: &str = "input";

macro_rules! inputs {
    ($($rank:literal),*) => {$(
        impl Input for Tensor<$rank> {
            fn from_rows(rows: Tensor<2>, shape: &[usize]) -> Self {
                let [batch, _] = rows.dims();
                let example = Self::example(shape);
                let mut dims = [batch; $rank];
                dims[1..].copy_from_slice(&example);
                rows.reshape(dims)
            }

            fn example(shape: &[usize]) -> Vec<usize> {
                // Leading dimensions of size one fill up, trailing ones merge: [1, 28, 28] is [784] at rank 2.
                let wanted = $rank - 1;
                let mut example = vec![1; wanted];
                if shape.len() <= wanted {
                    example[wanted - shape.len()..].copy_from_slice(shape);
                } else {
                    example[..wanted - 1].copy_from_slice(&shape[..wanted - 1]);
                    example[wanted - 1] = shape[wanted - 1..].iter().product();
                }
                example
            }

            fn capture<M: Model<Input = Self>>(model: &M, task: &Task) -> Result<Graph, kd_graph::Error> {
                let mut dims = [1; $rank];
                dims[1..].copy_from_slice(&Self::example(&task.input));
                kd_graph::capture(model, dims, |model, input: Tensor<$rank>, sites| {
                    sites.mark(INPUT_SITE, &input);
                    let mut marks = Marks(sites);
                    model.forward(input, &mut Tap::none().with_rewrite(&mut marks))
                })
            }

            fn verify_cut<M: Model<Input = Self>>(
                model: &M,
                graph: &Graph,
                cut: &Cut,
                input: Self,
            ) -> Result<f64, Error> {
                let forward = |model: &M, input| model.forward(input, &mut Tap::none());
                difference(model, graph, cut, input, forward)
            }
        }
    )*};
}

inputs!(2, 3, 4);

/// Carries the names that a model gives its sites into the captured graph.
struct Marks<'a>(&'a mut Sites);

impl kd_core::Rewrite for Marks<'_> {
    fn rewrite(&mut self, site: &str, x: kd_core::Feature) -> kd_core::Feature {
        match &x {
            kd_core::Feature::D1(x) => self.0.mark(site, x),
            kd_core::Feature::D2(x) => self.0.mark(site, x),
            kd_core::Feature::D3(x) => self.0.mark(site, x),
            kd_core::Feature::D4(x) => self.0.mark(site, x),
        }
        x
    }
}
