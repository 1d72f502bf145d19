//! Masks that tighten while a student trains: which weights, scored how, and when.
//!
//! A [`Sparsifier`] joins a pattern, a criterion and a [`When`]. The loop asks it before a step, where masks are recomputed
//! and rounds begin again, and behind the backward pass, where it takes what its scores are made of. What it remembers in
//! between is the loop's to keep ([`Memory`]); everything else follows from the step.

mod calendar;
mod choose;
mod look;
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
use kd_deploy::{Array, Weights};
use kd_graph::Axis;
use prune_core::{Criterion, Needs, Pattern};

pub use self::calendar::Calendar;
pub use self::look::{Calibration, check_inputs};
pub use self::memory::{Kind, Memory};
pub use self::parts::Part;
use self::seen::Seen;
pub use self::shape::{Hybrid, Shape};
pub use self::when::{
    Early, Exponential, Growing, Iterative, LotteryTicket, Movement, OneShot, Rewind, Scores, SoftMovement,
    WHENS, Way, When,
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
