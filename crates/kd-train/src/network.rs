//! One model behind an object-safe face.
//!
//! Stages, the loop and the reports are ordinary code over `Box<dyn Network>`; the type of the model is known
//! in this file alone, so that each model is compiled once and a foreign model needs nothing but [`Model`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Gradients;
use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_deploy::Weights;
use kd_graph::Graph;
use prune_core::{Cut, ElementCut};

use crate::compress::{self, Compression, Draw};
use crate::device;
use crate::error::Error;
use crate::model::{INPUT_SITE, Input, Model, Task};
use crate::survey::{self, Entry};

/// A classifier of any type, with its weights.
pub trait Network: Send + Sync {
    /// The name under which the model is registered.
    fn model(&self) -> &'static str;

    /// What the model was built for.
    fn task(&self) -> &Task;

    /// Shape of one example as the model reads it.
    fn example(&self) -> Vec<usize>;

    /// Logits `[batch, classes]` of rows `[batch, features]`; the tap sees the input at [`INPUT_SITE`] first.
    fn forward(&self, rows: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2>;

    /// Parameters and buffers, in visiting order.
    fn entries(&self) -> Vec<Entry>;

    /// Stored values by path; masks and rounding are not applied.
    fn weights(&self) -> Weights;

    /// Puts values in where a path agrees; shapes may differ.
    fn set_weights(&mut self, weights: &Weights);

    /// A copy with tensors in the place of stored weights, by path, flat and in the weight's order; gradients flow
    /// through them.
    fn with_tensors(&self, tensors: &BTreeMap<String, Tensor<1>>) -> Box<dyn Network>;

    /// A copy on the plain device, in inference.
    fn inference(&self) -> Box<dyn Network>;

    /// A copy with masks and rounding folded into its weights, on the plain device.
    fn materialized(&self) -> Box<dyn Network>;

    /// A copy on the autodiff device, as it was configured to train.
    fn training(&self) -> Box<dyn Network>;

    /// What is done to the weights.
    fn compression(&self) -> &Compression;

    /// A copy of the stored weights on the plain device under another compression.
    fn with_compression(&self, compression: Compression) -> Box<dyn Network>;

    /// Replaces masks while training; the optimizer's state stays.
    fn remask(&mut self, masks: BTreeMap<String, Vec<bool>>);

    /// Makes masks take gradients, for [`Network::mask_gradients`].
    fn watch_masks(&mut self);

    /// Takes the gradients of masks out of those of all parameters, by the path of the weight: weight times gradient of
    /// each of its elements, those of masked ones included.
    fn mask_gradients(&self, own: &mut GradientsParams) -> Weights;

    /// Adds the gradient of a penalty `by/2 · Σ w²` over the weights' elements that are 1 in `condemned`.
    fn penalize(&self, own: &mut GradientsParams, condemned: &Weights, by: f64);

    /// Adds the gradient of a penalty `by · Σ|γ|` over the scales of all batch norms: `by` times their signs.
    fn shrink_scales(&self, own: &mut GradientsParams, by: f64);

    /// Replaces what outputs of rounded weights are multiplied by before rounding ([`Compression::factors`]); 1 where a
    /// weight is not named.
    fn set_factors(&mut self, factors: BTreeMap<String, Vec<f32>>);

    /// Gradients of this network's parameters, taken out of `gradients`.
    fn gradients(&self, gradients: &mut Gradients) -> GradientsParams;

    /// One optimizer step.
    fn step(&mut self, optimizer: &mut ModuleOptimizer, rate: f64, gradients: GradientsParams);

    /// Scales of rounded weights that train, beside the parameters of [`Network::entries`].
    fn scales(&self) -> Vec<Entry>;

    /// Takes the gradients of these scales out of those of all parameters.
    fn scale_gradients(&self, own: &mut GradientsParams) -> GradientsParams;

    /// Which blocks of weights that are rounded by blocks a step rounds follows from this seed.
    fn draw(&self, seed: u64);

    /// Scales gradients so that their global Euclidean norm is at most `most`.
    fn clip(&self, gradients: &mut GradientsParams, most: f64);

    /// Which parameters train, by path. Buffers are not asked about.
    fn set_trains(&mut self, trains: &dyn Fn(&str) -> bool);

    /// Batch norm uses its running statistics from now on, while training too.
    fn freeze_statistics(&mut self);

    /// The graph of the forward pass, masks and rounding folded in.
    ///
    /// # Errors
    ///
    /// An operation that cannot be captured, with its path.
    fn graph(&self) -> Result<Graph, Error>;

    /// A copy on the plain device with channels removed, masks and rounding folded in.
    ///
    /// # Errors
    ///
    /// A cut that does not fit the shapes.
    fn cut(&self, cut: &Cut) -> Result<Box<dyn Network>, Error>;

    /// The largest difference of logits between removing the channels of `cut` and silencing them, or computing without
    /// them, relative to the largest logit, on `rows`; an error where the two cannot be compared or differ.
    ///
    /// # Errors
    ///
    /// A cut that does not fit, or outputs that differ.
    fn verify_cut(&self, cut: &Cut, rows: Tensor<2>) -> Result<f64, Error>;

    /// A copy on the plain device without the elements of `cut`, masks and rounding folded in.
    ///
    /// # Errors
    ///
    /// Elements that the model cannot drop.
    fn without(&self, cut: &ElementCut) -> Result<Box<dyn Network>, Error>;

    /// The largest difference of logits between dropping elements and silencing them, relative to the largest logit, on
    /// `rows`; an error where they differ, or where the network without them is not the predicted one.
    ///
    /// # Errors
    ///
    /// Elements that the network cannot do without or that the model cannot drop, or outputs that differ.
    fn verify_without(&self, cut: &ElementCut, rows: Tensor<2>) -> Result<f64, Error>;

    /// Paths of the elements that were dropped since the model was built, in the order in which it was done, each by the
    /// name that it had then.
    fn dropped(&self) -> &[String];

    /// Drops elements by path, one after the other.
    ///
    /// # Errors
    ///
    /// The first that the model does not have or cannot drop; those before it are gone.
    fn drop_elements(&mut self, paths: &[String]) -> Result<(), Error>;
}

/// A model of known type, with what it was built from.
#[derive(Debug, Clone)]
pub struct Built<M> {
    name: &'static str,
    task: Task,
    // Absent only while an optimizer step has it.
    module: Option<M>,
    compression: Compression,
    draw: Draw,
    dropped: Vec<String>,
}

impl<M: Model> Built<M> {
    /// Builds a model; its initial weights are drawn from the device's stream.
    ///
    /// # Errors
    ///
    /// What [`Model::build`] says.
    pub fn build(
        name: &'static str,
        config: &M::Config,
        task: &Task,
        device: &Device,
    ) -> Result<Box<dyn Network>, String> {
        let module = M::build(config, task, device)?;
        Ok(Box::new(Self {
            name,
            task: task.clone(),
            module: Some(module),
            compression: Compression::default(),
            draw: Draw::default(),
            dropped: Vec::new(),
        }))
    }

    fn module(&self) -> &M {
        self.module.as_ref().expect("a step puts the module back")
    }

    fn with_module(&self, module: M, compression: Compression) -> Box<dyn Network> {
        Box::new(self.with(module, compression))
    }

    fn with(&self, module: M, compression: Compression) -> Self {
        let (task, draw, dropped) = (self.task.clone(), self.draw.clone(), self.dropped.clone());
        Self { name: self.name, task, module: Some(module), compression, draw, dropped }
    }

    fn map(&mut self, f: impl FnOnce(M) -> M) {
        self.module = self.module.take().map(f);
    }

    fn plain(&self) -> M {
        self.module().valid().materialize()
    }

    /// The plain module and an input where sums are f32's: a graphics card multiplies matrices in fewer bits, and what is
    /// compared to 1e-5 differs by 6e-5 there.
    fn exact(&self, rows: Tensor<2>) -> (M, M::Input) {
        let device = device::exact();
        (self.plain().to_device(&device), M::Input::from_rows(rows.to_device(&device), &self.task.input))
    }
}

impl<M: Model> Network for Built<M> {
    fn model(&self) -> &'static str {
        self.name
    }

    fn task(&self) -> &Task {
        &self.task
    }

    fn example(&self) -> Vec<usize> {
        M::Input::example(&self.task.input)
    }

    fn forward(&self, rows: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
        let rows = tap.at(INPUT_SITE, rows);
        self.module().forward(M::Input::from_rows(rows, &self.task.input), tap)
    }

    fn entries(&self) -> Vec<Entry> {
        survey::survey(self.module())
    }

    fn weights(&self) -> Weights {
        // `valid` first: it settles the pending update of running statistics.
        survey::read(&self.module().valid())
    }

    fn set_weights(&mut self, weights: &Weights) {
        self.map(|module| survey::write(module, weights));
    }

    fn with_tensors(&self, tensors: &BTreeMap<String, Tensor<1>>) -> Box<dyn Network> {
        self.with_module(survey::lend(self.module().clone(), tensors), self.compression.clone())
    }

    fn inference(&self) -> Box<dyn Network> {
        self.with_module(self.module().valid(), self.compression.clone())
    }

    fn materialized(&self) -> Box<dyn Network> {
        self.with_module(self.plain(), Compression::default())
    }

    fn training(&self) -> Box<dyn Network> {
        self.with_module(self.module().valid().train(), self.compression.clone())
    }

    fn compression(&self) -> &Compression {
        &self.compression
    }

    fn with_compression(&self, compression: Compression) -> Box<dyn Network> {
        // `plain` folds masks and rounding in; the stored values go back under the new compression.
        let stored = survey::read(&self.module().valid());
        let module = survey::write(self.plain(), &stored);
        self.with_module(compress::attach(module, &compression, &self.draw), compression)
    }

    fn remask(&mut self, masks: BTreeMap<String, Vec<bool>>) {
        self.map(|module| compress::remask(module, &masks));
        self.compression.masks = masks;
    }

    fn watch_masks(&mut self) {
        self.map(compress::watch);
    }

    fn mask_gradients(&self, own: &mut GradientsParams) -> Weights {
        let masks = survey::masks(self.module()).into_iter();
        masks
            .filter_map(|entry| {
                let weight = entry.path.strip_suffix(compress::MASK)?.to_owned();
                Some((weight, survey::to_array(own.remove::<1>(entry.id)?)))
            })
            .collect()
    }

    fn penalize(&self, own: &mut GradientsParams, condemned: &Weights, by: f64) {
        let place = survey::Place::default();
        self.module().visit(&mut Penalty { place, gradients: own, condemned, by });
    }

    fn shrink_scales(&self, own: &mut GradientsParams, by: f64) {
        let place = survey::Place::default();
        self.module().visit(&mut Shrink { place, gradients: own, by });
    }

    fn set_factors(&mut self, factors: BTreeMap<String, Vec<f32>>) {
        if !(self.compression.factors.is_empty() && factors.is_empty()) {
            self.map(|module| compress::refactor(module, &factors));
            self.compression.factors = factors;
        }
    }

    fn gradients(&self, gradients: &mut Gradients) -> GradientsParams {
        GradientsParams::from_module(gradients, self.module())
    }

    fn step(&mut self, optimizer: &mut ModuleOptimizer, rate: f64, gradients: GradientsParams) {
        self.map(|module| optimizer.step(rate, module, gradients));
    }

    fn scales(&self) -> Vec<Entry> {
        survey::scales(self.module())
    }

    fn scale_gradients(&self, own: &mut GradientsParams) -> GradientsParams {
        let ids = self.scales().into_iter().map(|entry| entry.id);
        let mut taken = GradientsParams::new();
        for id in ids {
            if let Some(gradient) = own.remove::<1>(id) {
                taken.register::<1>(id, gradient);
            }
        }
        taken
    }

    fn draw(&self, seed: u64) {
        self.draw.store(seed, std::sync::atomic::Ordering::Relaxed);
    }

    fn clip(&self, gradients: &mut GradientsParams, most: f64) {
        let mut squares = Squares { gradients, sum: 0.0 };
        self.module().visit(&mut squares);
        let norm = squares.sum.sqrt();
        if norm > most {
            self.module().visit(&mut Scale { gradients, factor: most / norm });
        }
    }

    fn set_trains(&mut self, trains: &dyn Fn(&str) -> bool) {
        self.map(|module| survey::require_grad(module, trains));
    }

    fn freeze_statistics(&mut self) {
        self.map(|module| module.map(&mut FreezeFlags));
    }

    fn graph(&self) -> Result<Graph, Error> {
        Ok(M::Input::capture(&self.plain(), &self.task)?)
    }

    fn cut(&self, cut: &Cut) -> Result<Box<dyn Network>, Error> {
        Ok(self.with_module(prune_core::apply(self.plain(), cut)?, Compression::default()))
    }

    fn verify_cut(&self, cut: &Cut, rows: Tensor<2>) -> Result<f64, Error> {
        let (module, input) = self.exact(rows);
        M::Input::verify_cut(&module, &self.graph()?, cut, input)
    }

    fn without(&self, cut: &ElementCut) -> Result<Box<dyn Network>, Error> {
        let module = prune_core::remove_elements(self.plain(), cut, M::remove_element)?;
        let mut network = self.with(module, Compression::default());
        network.dropped.extend(cut.order().into_iter().map(str::to_owned));
        Ok(Box::new(network))
    }

    fn verify_without(&self, cut: &ElementCut, rows: Tensor<2>) -> Result<f64, Error> {
        let (module, input) = self.exact(rows);
        let forward = |module: &M| module.forward(input.clone(), &mut Tap::none());
        let capture = |module: &M| M::Input::capture(module, &self.task);
        let graph = self.graph()?;
        let compared =
            prune_core::verify_elements(&module, &graph, cut, M::remove_element, capture, forward)?;
        Ok(compared.check()?)
    }

    fn dropped(&self) -> &[String] {
        &self.dropped
    }

    fn drop_elements(&mut self, paths: &[String]) -> Result<(), Error> {
        for path in paths {
            if !self.module.as_mut().is_some_and(|module| M::remove_element(module, path)) {
                return Err(prune_core::Error::NoElement { path: path.clone() }.into());
            }
            self.dropped.push(path.clone());
        }
        Ok(())
    }
}

/// Builds under a seed. The device's stream of random numbers belongs to the process, so builds take turns, and
/// parameters, which Burn draws when they are first read, are all drawn before the turn ends.
///
/// # Errors
///
/// What `build` returns.
pub fn seeded<E>(
    device: &Device,
    seed: u64,
    build: impl FnOnce() -> Result<Box<dyn Network>, E>,
) -> Result<Box<dyn Network>, E> {
    with_seed(device, seed, || {
        let network = build()?;
        network.weights();
        Ok(network)
    })
}

/// Runs `draw` while the device's stream of random numbers starts at `seed` and is nobody else's.
pub(crate) fn with_seed<T>(device: &Device, seed: u64, draw: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    draw()
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sum += f64::from(gradient.square().sum().into_scalar::<f32>());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register::<D>(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

struct Penalty<'a> {
    place: survey::Place,
    gradients: &'a mut GradientsParams,
    condemned: &'a Weights,
    by: f64,
}

impl ModuleVisitor for Penalty<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(condemned) = self.condemned.get(&self.place.path()) else { return };
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let weight = param.base().without_autodiff();
            let ones = TensorData::new(condemned.data().to_vec(), weight.dims());
            let condemned = Tensor::from_data(ones, &weight.device());
            let penalty = (weight * condemned).mul_scalar(self.by);
            self.gradients.register::<D>(param.id, gradient + penalty);
        }
    }
}

/// The penalty of Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519.
struct Shrink<'a> {
    place: survey::Place,
    gradients: &'a mut GradientsParams,
    by: f64,
}

impl ModuleVisitor for Shrink<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.place.layer() != "BatchNorm" || !self.place.path().ends_with("gamma") {
            return;
        }
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let penalty = param.base().without_autodiff().sign().mul_scalar(self.by);
            self.gradients.register::<D>(param.id, gradient + penalty);
        }
    }
}

struct FreezeFlags;

impl ModuleMapper for FreezeFlags {
    fn map_flag(&mut self, flag: Param<burn::module::Flag>) -> Param<burn::module::Flag> {
        flag.with_value(false)
    }
}
