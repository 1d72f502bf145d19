//! Masks that tighten while a student trains: which weights, scored how, and when.
//!
//! A [`Sparsifier`] joins a pattern, a criterion and a [`When`]. The loop asks it before a step, where masks are recomputed
//! and rounds begin again, and behind the backward pass, where it takes what its scores are made of. What it remembers in
//! between is the loop's to keep ([`Memory`]); everything else follows from the step.

mod calendar;
mod memory;
mod parts;
mod ranked;
mod seen;
mod shape;
mod soft;
mod trained;
mod units;
mod when;

#[cfg(test)]
mod golden;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use kd_deploy::{Array, Weights};
use kd_graph::Axis;
use prune_core::{
    Criterion, InputSums, Inputs, Matrix, Needs, Pattern, Removal, Sparsity, Unit, Unstructured, select,
};

pub use self::calendar::Calendar;
pub use self::memory::{Kind, Memory};
pub use self::parts::Part;
use self::ranked::Ranked;
use self::seen::{Seen, in_rows};
pub use self::shape::{Hybrid, Shape};
use self::units::scaled;
pub use self::when::{
    Early, Exponential, Growing, Iterative, LotteryTicket, Movement, OneShot, Rewind, Scores, SoftMovement,
    WHENS, Way, When,
};
use crate::error::Error;
use crate::gather::{self, Lesson};
use crate::network::Network;
use crate::ptq::Batches;
use crate::survey::Entry;

/// Kept elements by path, in the weights' own layout.
pub type Masks = BTreeMap<String, Vec<bool>>;

/// How masks come about in a stage.
#[derive(Debug, Clone)]
pub struct Sparsifier {
    /// Shape and final share of what is masked.
    pub shape: Shape,
    /// What has a score of its own where scores are trained, and under a hybrid shape; empty elsewhere.
    parts: Vec<Part>,
    /// What is kept; not asked where scores are trained.
    pub criterion: Arc<dyn Criterion>,
    /// When.
    pub when: When,
    /// The same in steps.
    pub calendar: Calendar,
    /// Masks of earlier stages: what is gone stays gone.
    pub floor: Masks,
    /// Where the criterion's inputs are seen; none where it looks at none.
    seen: Option<Arc<Seen>>,
}

/// What criteria are given that look beyond weights before masks are made: training batches, and what is learned from them.
#[derive(Clone, Copy)]
pub struct Calibration<'a, 'b> {
    /// The batches, as often as they are wanted.
    pub batches: &'a Batches<'b>,
    /// What a loss over them is made of.
    pub lesson: Lesson<'a>,
    /// The plain device.
    pub device: &'a Device,
}

/// What happened before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, or masks that the loop need not know of.
    On,
    /// A round begins again: moments of the optimizer belong to the last one.
    Again,
}

impl Sparsifier {
    /// A sparsifier of a network: `calendar` is that of `when`, `floor` what is masked already.
    ///
    /// # Errors
    ///
    /// A hybrid shape, or a criterion that looks at layers' inputs, on a network that cannot be captured; inputs of a layer
    /// that are out of reach; weights that are not finite.
    pub fn new(
        shape: Shape,
        criterion: Arc<dyn Criterion>,
        (when, calendar): (When, Calendar),
        network: &dyn Network,
        floor: Masks,
    ) -> Result<Self, Error> {
        let axes: Vec<Axis> = match shape {
            Shape::Each(_) => Vec::new(),
            Shape::Hybrid(_) => kd_graph::axes(&network.graph()?),
        };
        let parts = match (&shape, when.rate_of_scores()) {
            (Shape::Each(_), None) => Vec::new(),
            _ => parts::parts(&shape, &network.entries(), &network.weights(), &axes)?,
        };
        let asked = !when.is_movement() && !matches!(shape, Shape::Each(Pattern::Random(_)));
        let seen = match asked && criterion.needs().is_of_inputs() {
            true => Some(Arc::new(Seen::new(network, criterion.name())?)),
            false => None,
        };
        Ok(Self { shape, parts, criterion, when, calendar, floor, seen })
    }

    /// Before a step, or behind the last one: recomputes masks, and begins rounds again. `calibration` is for criteria that
    /// look at layers' inputs or at gradients of single examples.
    ///
    /// # Errors
    ///
    /// Weights, activations or gradients that are not finite, layers that `calibration` does not reach.
    pub fn before_step(
        &self,
        masks: &mut Masks,
        memory: &mut Memory,
        student: &mut dyn Network,
        step: usize,
        calibration: &Calibration<'_, '_>,
    ) -> Result<Turn, Error> {
        let calendar = &self.calendar;
        if calendar.anchor() == Some(step) {
            memory.keep(Kind::Anchor, student.weights());
        }
        if step == 0 && self.when.starts_at_magnitude() {
            self.start_at_magnitude(&student.weights(), memory);
        }
        if calendar.condemns_at() == Some(step) {
            self.look(memory, student, &self.floor, calibration)?;
            let kept = self.masks(&student.weights(), &student.entries(), 1.0, memory, &self.floor)?;
            memory.keep(Kind::Condemned, condemned(&kept, &self.floor));
        }
        if !calendar.acts_at(step) {
            return Ok(Turn::On);
        }
        if self.updates() {
            self.sweep(masks, student, calibration)?;
            return Ok(Turn::On);
        }
        let tighter = match &self.when {
            When::Way(Way::GrowingRegularisation(_)) => without(masks, &memory.all(Kind::Condemned)),
            // A round takes from what the one before it left.
            When::Way(Way::Iterative(_) | Way::LotteryTicket(_)) => {
                let floor = masks.clone();
                self.look(memory, student, &floor, calibration)?;
                self.tightened(student, step, memory, &floor)?
            }
            when => {
                // Masks of a curve are recomputed too often for another look.
                let looked = |kind| !memory.all(kind).is_empty();
                if !(when.is_gradual() && (looked(Kind::InputSquares) || looked(Kind::Squares))) {
                    self.look(memory, student, &self.floor, calibration)?;
                }
                self.tightened(student, step, memory, &self.floor)?
            }
        };
        masks.extend(tighter);
        student.remask(masks.clone());
        if self.criterion.needs() == Needs::Gradient {
            memory.forget(Kind::Products);
            memory.forget(Kind::Steps);
        }
        if !calendar.rewinds_at(step) {
            return Ok(Turn::On);
        }
        student.set_weights(&memory.all(Kind::Anchor));
        Ok(Turn::Again)
    }

    /// All of it at once, where nothing trains.
    ///
    /// # Errors
    ///
    /// As [`Sparsifier::before_step`].
    pub fn at_once(
        &self,
        masks: &mut Masks,
        student: &mut dyn Network,
        calibration: &Calibration<'_, '_>,
    ) -> Result<(), Error> {
        if self.updates() {
            return self.sweep(masks, student, calibration);
        }
        let mut memory = Memory::default();
        self.look(&mut memory, student, &self.floor, calibration)?;
        masks.extend(self.masks(&student.weights(), &student.entries(), 1.0, &memory, &self.floor)?);
        student.remask(masks.clone());
        Ok(())
    }

    /// Masks and weights of a criterion that changes what stays.
    fn sweep(
        &self,
        masks: &mut Masks,
        student: &mut dyn Network,
        calibration: &Calibration<'_, '_>,
    ) -> Result<(), Error> {
        let (Some(seen), Shape::Each(pattern)) = (&self.seen, &self.shape) else { return Ok(()) };
        let (tighter, left) =
            seen.swept(student, (self.criterion.as_ref(), pattern), &self.floor, calibration.batches)?;
        student.set_weights(&left);
        masks.extend(tighter);
        student.remask(masks.clone());
        Ok(())
    }

    /// Remembers what the criterion reads of layers' inputs, and how sparse it wants each layer to be.
    fn look(
        &self,
        memory: &mut Memory,
        student: &dyn Network,
        floor: &Masks,
        calibration: &Calibration<'_, '_>,
    ) -> Result<(), Error> {
        if self.criterion.needs() == Needs::Squares && !self.when.is_movement() {
            let Calibration { batches, lesson, device } = *calibration;
            let squares = gather::squares(student, lesson, batches(), device)?;
            let layers = masked(&student.entries());
            let squares = squares.iter().filter(|(path, _)| layers.iter().any(|(layer, _)| layer == path));
            let narrow = |(path, of): (&str, &prune_core::Weight)| {
                let values: Vec<f32> = of.values.iter().map(|&x| x as f32).collect();
                (path.to_owned(), Array::new(of.shape.clone(), values).expect("the shape is the same"))
            };
            memory.keep(Kind::Squares, squares.map(narrow).collect());
        }
        let (Some(seen), batches) = (&self.seen, calibration.batches) else { return Ok(()) };
        for (path, squares) in seen.squares(student, batches)? {
            memory.keep_wide(Kind::InputSquares, &path, &squares);
        }
        let Shape::Each(Pattern::Unstructured(Unstructured { sparsity, .. })) = self.shape else {
            return Ok(());
        };
        let asked = self.asked(&student.weights(), &masked(&student.entries()), memory, floor)?;
        if let Some(sparsities) = self.criterion.sparsities(sparsity, &asked.inputs()) {
            for (matrix, sparsity) in asked.matrices.iter().zip(sparsities?) {
                memory.keep_wide(Kind::Sparsity, matrix.path(), &[sparsity]);
            }
        }
        Ok(())
    }

    /// Whether the criterion changes the weights that stay.
    fn updates(&self) -> bool {
        self.seen.is_some() && self.criterion.needs() == Needs::InputProducts
    }

    /// Behind the backward pass of a step: takes the gradients of masks, adds that of a penalty.
    ///
    /// # Errors
    ///
    /// Gradients that are not finite.
    pub fn behind_backward(
        &self,
        memory: &mut Memory,
        student: &dyn Network,
        gradients: &mut GradientsParams,
        step: usize,
    ) -> Result<(), Error> {
        let penalty = self.calendar.penalty(step);
        if penalty > 0.0 {
            student.penalize(gradients, &memory.all(Kind::Condemned), penalty);
        }
        if !self.watches() {
            return Ok(());
        }
        let products = student.mask_gradients(gradients);
        if step >= self.calendar.locks() {
            return Ok(());
        }
        self.learn(memory, &products, step);
        Ok(())
    }

    /// Takes weight times gradient of a step into sums, or into scores.
    fn learn(&self, memory: &mut Memory, products: &Weights, step: usize) {
        let Some(rate) = self.when.rate_of_scores() else {
            memory.add(Kind::Products, products);
            let one = |path: &String| (path.clone(), Array::new(vec![1], vec![1.0]).expect("one number"));
            memory.add(Kind::Steps, &products.keys().map(one).collect());
            return;
        };
        for part in &self.parts {
            let sums = part.sums(|path| products.get(path).map(Array::data));
            let mut gradient: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            if let When::Way(Way::SoftMovement(soft)) = &self.when {
                let scores = trained::scores(memory, &part.name, part.count);
                let weight = soft.weight(part, &self.parts);
                soft.pull(&mut gradient, &scores, weight, self.calendar.learning(step));
            }
            trained::adam(memory, &part.name, &gradient, rate, step);
        }
    }

    /// Scores begin as the means of magnitudes.
    fn start_at_magnitude(&self, weights: &Weights, memory: &mut Memory) {
        let size = |array: &Array| array.data().iter().map(|&w| f64::from(w.abs())).collect();
        let sizes = weights.iter().map(|(path, array)| (path.clone(), size(array))).collect();
        for part in &self.parts {
            let means = part.means(&sizes);
            memory.change(Kind::Scores, &part.name, part.count, |scores| {
                scores.iter_mut().zip(means).for_each(|(score, mean)| *score = mean as f32);
            });
        }
    }

    /// What has a score of its own where scores are trained, and under a hybrid shape; empty elsewhere.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether scores are made of weight times gradient.
    pub fn watches(&self) -> bool {
        self.when.is_movement() || self.criterion.needs().is_of_training()
    }

    fn tightened(
        &self,
        student: &dyn Network,
        step: usize,
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Masks, Error> {
        let (weights, entries) = (student.weights(), student.entries());
        if let When::Way(Way::SoftMovement(soft)) = &self.when {
            let progress = self.calendar.learning(step);
            return self.by_parts(&self.floor, |part| {
                let scores = trained::scores(memory, &part.name, part.count);
                Ok(soft.keep(&scores, part.removed(1.0)?, progress)?)
            });
        }
        self.masks(&weights, &entries, self.calendar.share(step), memory, floor)
    }

    /// The masks of all convolutions and linear layers but the last one, which decides between classes and is small, at a
    /// share of the pattern's sparsity. What `floor` masks is gone, and counts as such.
    ///
    /// # Errors
    ///
    /// Weights that are not finite.
    pub fn masks(
        &self,
        weights: &Weights,
        entries: &[Entry],
        share: f64,
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Masks, Error> {
        let layers = masked(entries);
        let asked = self.asked(weights, &layers, memory, floor)?;
        let (matrices, inputs) = (&asked.matrices, asked.inputs());
        let Shape::Each(pattern) = &self.shape else {
            return self.ranked_by_parts(matrices, &inputs, share, memory, floor);
        };
        let there = layers.iter().map(|(path, axis)| {
            let ones = floor.get(path)?.iter().map(|&keep| f32::from(u8::from(keep))).collect::<Vec<f32>>();
            Some(Matrix::from_weight(path, weights[path].shape(), &ones, *axis))
        });
        let there: Vec<Option<Matrix>> = there.map(Option::transpose).collect::<Result<_, _>>()?;
        let prune = |pattern: &Pattern, there: Vec<Option<Matrix>>, inputs: &[Inputs<'_>]| {
            let pattern = scaled(pattern, share)?;
            let (criterion, moved) = (self.criterion.as_ref(), self.when.is_movement());
            let ranked = Ranked { criterion, moved, pattern: &pattern, there };
            prune_core::prune(&ranked, Some(&Removal::Elements(pattern)), inputs)
        };
        let own = matrices.iter().map(|matrix| memory.wide(Kind::Sparsity, matrix.path()));
        let pruned = match (pattern, own.collect::<Option<Vec<_>>>()) {
            (Pattern::Unstructured(unstructured), Some(own)) if !own.is_empty() => {
                let layers = inputs.iter().zip(there).zip(own);
                let of_layer = |((inputs, there), own): ((&Inputs<'_>, Option<Matrix>), Vec<f64>)| {
                    let sparsity = Sparsity::new(own[0])?;
                    let pattern = Pattern::Unstructured(Unstructured { sparsity, ..*unstructured });
                    prune(&pattern, vec![there], std::slice::from_ref(inputs))
                };
                layers.map(of_layer).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
            _ => prune(pattern, there, &inputs)?,
        };
        let mut masks = BTreeMap::new();
        for (matrix, pruned) in matrices.iter().zip(pruned) {
            let keep = pruned.keep.unwrap_or_else(|| vec![true; matrix.values().len()]);
            let keep = within(matrix.to_stored(&keep)?, floor.get(matrix.path()));
            masks.insert(matrix.path().to_owned(), keep);
        }
        Ok(masks)
    }

    /// Everything that a criterion is asked with.
    fn asked(
        &self,
        weights: &Weights,
        layers: &[(String, usize)],
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Asked, Error> {
        let mut asked = Asked::default();
        for (path, axis) in layers {
            let array = &weights[path];
            let matrix = Matrix::from_weight(path, array.shape(), array.data(), *axis)?;
            asked.gathered.push(self.gathered(path, array, *axis, memory)?);
            let squares = memory.get(Kind::Squares, path);
            let hessian = squares.map(|squares| Matrix::from_weight(path, array.shape(), squares, *axis));
            asked.hessians.push(hessian.transpose()?);
            let squares = memory.wide(Kind::InputSquares, path);
            let columns = matrix.columns();
            let sums = squares.map(|squares| InputSums::of_squares(path, columns, squares));
            asked.sums.push(sums.transpose()?);
            let there = floor.get(path).map(|floor| in_rows(floor, array, path, *axis));
            asked.there.push(there.transpose()?);
            asked.matrices.push(matrix);
        }
        Ok(asked)
    }

    /// The masks of a hybrid shape: a unit's score is the mean of its elements', or the one that was trained.
    fn ranked_by_parts(
        &self,
        matrices: &[Matrix],
        inputs: &[Inputs<'_>],
        share: f64,
        memory: &Memory,
        floor: &Masks,
    ) -> Result<Masks, Error> {
        let all = match self.when.is_movement() {
            true => {
                let negative =
                    |inputs: &Inputs<'_>| Ok(inputs.grad()?.values().iter().map(|sum| -sum).collect());
                inputs.iter().map(negative).collect::<Result<Vec<Vec<f64>>, prune_core::Error>>()?
            }
            false => self.criterion.scores_of(inputs, Unit::Element)?,
        };
        let stored = matrices
            .iter()
            .zip(all)
            .map(|(matrix, scores)| Ok((matrix.path().to_owned(), matrix.to_stored(&scores)?)));
        let elements = stored.collect::<Result<BTreeMap<_, _>, prune_core::Error>>()?;
        self.by_parts(floor, |part| {
            let mut scores = match self.when.rate_of_scores() {
                Some(_) => {
                    trained::scores(memory, &part.name, part.count).into_iter().map(f64::from).collect()
                }
                None => part.means(&elements),
            };
            for (score, there) in scores.iter_mut().zip(part.there(floor)) {
                // What is gone goes first, and counts.
                *score = if there { *score } else { f64::NEG_INFINITY };
            }
            Ok(select::keep(&scores, part.removed(share)?)?)
        })
    }

    /// Masks from what each part keeps, and without what is gone.
    fn by_parts(
        &self,
        floor: &Masks,
        keep: impl Fn(&Part) -> Result<Vec<bool>, Error>,
    ) -> Result<Masks, Error> {
        let mut masks = Masks::new();
        for part in &self.parts {
            part.mask(&keep(part)?, &mut masks);
        }
        let within = |(path, keep): (String, Vec<bool>)| {
            let keep = within(keep, floor.get(&path));
            (path, keep)
        };
        Ok(masks.into_iter().map(within).collect())
    }

    /// What training has gathered for a layer: the sums that movement ranks by, or the gradient behind them.
    fn gathered(
        &self,
        path: &str,
        weight: &Array,
        axis: usize,
        memory: &Memory,
    ) -> Result<Option<Matrix>, Error> {
        let zeros = vec![0.0; weight.data().len()];
        let sums = memory.get(Kind::Products, path).unwrap_or(&zeros);
        let values = match self.criterion.needs() {
            _ if self.when.rate_of_scores().is_some() => self.trained(path, weight.data().len(), memory),
            _ if self.when.is_movement() => sums.iter().map(|&sum| f64::from(sum)).collect(),
            Needs::Weight | Needs::Squares | Needs::InputSquares | Needs::InputProducts => return Ok(None),
            Needs::Gradient => {
                let steps = memory.get(Kind::Steps, path).map_or(1.0, |steps| steps[0]);
                by_weight(sums, weight.data(), steps)
            }
            Needs::Movement => by_weight(sums, weight.data(), 1.0),
        };
        Ok(Some(Matrix::from_weight(path, weight.shape(), &values, axis)?))
    }

    /// For each element the negative of its unit's trained score, as sums of weight times gradient are.
    fn trained(&self, path: &str, len: usize, memory: &Memory) -> Vec<f64> {
        let own = self.parts.iter().find_map(|part| Some((part, part.units(path)?)));
        let Some((part, units)) = own else { return vec![0.0; len] };
        let scores = trained::scores(memory, &part.name, part.count);
        units.iter().map(|unit| unit.map_or(0.0, |unit| -f64::from(scores[unit as usize]))).collect()
    }
}

/// What a criterion is asked with, one each for every layer.
#[derive(Default)]
struct Asked {
    matrices: Vec<Matrix>,
    gathered: Vec<Option<Matrix>>,
    hessians: Vec<Option<Matrix>>,
    sums: Vec<Option<InputSums>>,
    there: Vec<Option<Vec<bool>>>,
}

impl Asked {
    fn inputs(&self) -> Vec<Inputs<'_>> {
        let inputs = self.matrices.iter().enumerate().map(|(at, matrix)| {
            let mut inputs = Inputs::new(matrix);
            if let Some(gathered) = &self.gathered[at] {
                inputs = inputs.with_grad(gathered);
            }
            if let Some(hessian) = &self.hessians[at] {
                inputs = inputs.with_hessian(hessian);
            }
            if let Some(sums) = &self.sums[at] {
                inputs = inputs.with_sums(sums);
            }
            if let Some(there) = &self.there[at] {
                inputs = inputs.with_there(there);
            }
            inputs
        });
        inputs.collect()
    }
}

/// The gradient behind sums of weight times gradient over `steps`. Criteria of first order look at the product alone, which
/// is 0 where the weight is.
fn by_weight(sums: &[f32], weights: &[f32], steps: f32) -> Vec<f64> {
    let gradient = |(&sum, &weight): (&f32, &f32)| match weight == 0.0 {
        true => 0.0,
        false => f64::from(sum) / f64::from(steps) / f64::from(weight),
    };
    sums.iter().zip(weights).map(gradient).collect()
}

/// Whether a criterion can have what it reads of a network's layers.
///
/// # Errors
///
/// A network that cannot be captured, inputs of a layer that are out of reach.
pub fn check_inputs(network: &dyn Network, criterion: &dyn Criterion) -> Result<(), Error> {
    match criterion.needs().is_of_inputs() {
        true => Seen::new(network, criterion.name()).map(|_| ()),
        false => Ok(()),
    }
}

/// Path and output axis of the weights that are masked.
pub fn masked(entries: &[Entry]) -> Vec<(String, usize)> {
    let weights = entries.iter().filter_map(|entry| Some((entry.path.clone(), entry.output_axis()?)));
    let mut weights: Vec<_> = weights.collect();
    if weights.len() > 1 {
        weights.pop();
    }
    weights
}

/// A mask and what was gone before it.
fn within(mut keep: Vec<bool>, floor: Option<&Vec<bool>>) -> Vec<bool> {
    for (keep, &floor) in keep.iter_mut().zip(floor.into_iter().flatten()) {
        *keep &= floor;
    }
    keep
}

/// 1 where a weight goes that was not gone before.
fn condemned(kept: &Masks, floor: &Masks) -> Weights {
    let goes = |path: &String, keep: &Vec<bool>| {
        let there = |index: usize| floor.get(path).is_none_or(|floor| floor[index]);
        let ones = keep.iter().enumerate().map(|(index, &keep)| f32::from(u8::from(!keep && there(index))));
        Array::new(vec![keep.len()], ones.collect::<Vec<f32>>()).expect("one number each")
    };
    kept.iter().map(|(path, keep)| (path.clone(), goes(path, keep))).collect()
}

/// Masks from which the condemned are gone.
fn without(masks: &Masks, condemned: &Weights) -> Masks {
    let mut masks = masks.clone();
    for (path, keep) in &mut masks {
        for (keep, &gone) in keep.iter_mut().zip(condemned.get(path).into_iter().flat_map(Array::data)) {
            *keep &= gone == 0.0;
        }
    }
    masks
}
