//! Masks that tighten while a student trains: which weights, scored how, and when.
//!
//! A [`Sparsifier`] joins a pattern, a criterion and a [`When`]. The loop asks it before a step, where masks are recomputed
//! and rounds begin again, and behind the backward pass, where it takes what its scores are made of. What it remembers in
//! between is the loop's to keep ([`Memory`]); everything else follows from the step.

mod calendar;
mod memory;
mod ranked;
mod soft;
mod units;
mod when;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::optim::GradientsParams;
use kd_core::Progress;
use kd_deploy::{Array, Weights};
use prune_core::{Criterion, Inputs, Matrix, Needs, Pattern, Removal, select};

pub use self::calendar::Calendar;
pub use self::memory::{Kind, Memory};
use self::ranked::Ranked;
use self::units::{scaled, units};
pub use self::when::{
    Early, Exponential, Growing, Iterative, LotteryTicket, OneShot, Rewind, SoftMovement, WHENS, Way, When,
    Window,
};
use crate::error::Error;
use crate::network::Network;
use crate::survey::Entry;

/// Kept elements by path, in the weights' own layout.
pub type Masks = BTreeMap<String, Vec<bool>>;

/// How masks come about in a stage.
#[derive(Debug, Clone)]
pub struct Sparsifier {
    /// Shape and final share of what is masked.
    pub pattern: Pattern,
    /// What is kept; not asked where scores are trained.
    pub criterion: Arc<dyn Criterion>,
    /// When.
    pub when: When,
    /// The same in steps.
    pub calendar: Calendar,
    /// Masks of earlier stages: what is gone stays gone.
    pub floor: Masks,
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
    /// Before a step, or behind the last one: recomputes masks, and begins rounds again.
    ///
    /// # Errors
    ///
    /// Weights that are not finite.
    pub fn before_step(
        &self,
        masks: &mut Masks,
        memory: &mut Memory,
        student: &mut dyn Network,
        step: usize,
    ) -> Result<Turn, Error> {
        let calendar = &self.calendar;
        if calendar.anchor() == Some(step) {
            memory.keep(Kind::Anchor, student.weights());
        }
        if calendar.condemns_at() == Some(step) {
            let kept = self.masks(&student.weights(), &student.entries(), 1.0, memory, &self.floor)?;
            memory.keep(Kind::Condemned, condemned(&kept, &self.floor));
        }
        if !calendar.acts_at(step) {
            return Ok(Turn::On);
        }
        let tighter = match &self.when {
            When::Way(Way::GrowingRegularisation(_)) => without(masks, &memory.all(Kind::Condemned)),
            // A round takes from what the one before it left.
            When::Way(Way::Iterative(_) | Way::LotteryTicket(_)) => {
                self.tightened(student, step, memory, &masks.clone())?
            }
            _ => self.tightened(student, step, memory, &self.floor)?,
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
        match &self.when {
            When::Way(Way::SoftMovement(soft)) => {
                let progress = self.calendar.learning(step);
                let entries = student.entries();
                let layers = masked(&entries);
                let shapes: BTreeMap<&String, &Vec<usize>> =
                    entries.iter().map(|entry| (&entry.path, &entry.shape)).collect();
                for (path, axis) in &layers {
                    let Some(products) = products.get(path) else { continue };
                    let shape = &shapes[path];
                    let matrix = Matrix::from_weight(path, shape, products.data(), *axis)?;
                    let gradient = units::sums(&self.pattern, &matrix);
                    soft.train(memory, path, gradient, (layers.len(), step), progress);
                }
            }
            _ => {
                memory.add(Kind::Products, &products);
                let one = |path: &String| (path.clone(), Array::new(vec![1], vec![1.0]).expect("one number"));
                memory.add(Kind::Steps, &products.keys().map(one).collect());
            }
        }
        Ok(())
    }

    /// Whether scores are made of weight times gradient.
    pub fn watches(&self) -> bool {
        self.when.is_movement() || self.criterion.needs() != Needs::Weight
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
            return self.below_threshold(soft, &weights, &entries, memory, self.calendar.learning(step));
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
        let pattern = scaled(&self.pattern, share)?;
        let layers = masked(entries);
        let matrix = |(path, axis): &(String, usize)| {
            let array = &weights[path];
            Matrix::from_weight(path, array.shape(), array.data(), *axis)
        };
        let matrices = layers.iter().map(matrix).collect::<Result<Vec<_>, _>>()?;
        let gathered = layers.iter().map(|(path, axis)| self.gathered(path, &weights[path], *axis, memory));
        let gathered = gathered.collect::<Result<Vec<_>, _>>()?;
        let there = layers.iter().map(|(path, axis)| {
            let ones = floor.get(path)?.iter().map(|&keep| f32::from(u8::from(keep))).collect::<Vec<f32>>();
            Some(Matrix::from_weight(path, weights[path].shape(), &ones, *axis))
        });
        let ranked = Ranked {
            criterion: self.criterion.as_ref(),
            moved: self.when.is_movement(),
            pattern: &pattern,
            there: there.map(Option::transpose).collect::<Result<_, _>>()?,
        };
        let inputs = matrices.iter().zip(&gathered).map(|(matrix, gathered)| {
            let inputs = Inputs::new(matrix);
            gathered.as_ref().map_or(inputs, |gathered| inputs.with_grad(gathered))
        });
        let removal = Removal::Elements(pattern);
        let pruned = prune_core::prune(&ranked, Some(&removal), &inputs.collect::<Vec<_>>())?;
        let mut masks = BTreeMap::new();
        for (matrix, pruned) in matrices.iter().zip(pruned) {
            let keep = pruned.keep.unwrap_or_else(|| vec![true; matrix.values().len()]);
            let keep = within(matrix.to_stored(&keep)?, floor.get(matrix.path()));
            masks.insert(matrix.path().to_owned(), keep);
        }
        Ok(masks)
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
            _ if self.when.is_movement() => sums.iter().map(|&sum| f64::from(sum)).collect(),
            Needs::Weight => return Ok(None),
            Needs::Gradient => {
                let steps = memory.get(Kind::Steps, path).map_or(1.0, |steps| steps[0]);
                by_weight(sums, weight.data(), steps)
            }
            Needs::Movement => by_weight(sums, weight.data(), 1.0),
        };
        Ok(Some(Matrix::from_weight(path, weight.shape(), &values, axis)?))
    }

    fn below_threshold(
        &self,
        soft: &SoftMovement,
        weights: &Weights,
        entries: &[Entry],
        memory: &Memory,
        progress: Progress,
    ) -> Result<Masks, Error> {
        let mut masks = BTreeMap::new();
        for (path, axis) in masked(entries) {
            let array = &weights[&path];
            let matrix = Matrix::from_weight(&path, array.shape(), array.data(), axis)?;
            let units = units(&self.pattern, &matrix);
            let count = units::count(&units);
            let zeros = vec![0.0; count];
            let scores = memory.get(Kind::Scores, &path).unwrap_or(&zeros);
            let most = select::removed(prune_core::Sparsity::new(self.pattern.sparsity())?, count);
            let keep = soft.keep(scores, most, progress)?;
            let keep: Vec<bool> = units.iter().map(|&unit| keep[unit]).collect();
            let keep = within(matrix.to_stored(&keep)?, self.floor.get(&path));
            masks.insert(path, keep);
        }
        Ok(masks)
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
