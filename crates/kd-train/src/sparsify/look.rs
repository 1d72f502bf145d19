//! What criteria read beyond weights: gathered over training batches before masks are made, and remembered as sums.

use burn::tensor::Device;
use kd_deploy::Array;
use prune_core::{Criterion, Needs, Pattern, Removes, Unstructured};

use super::seen::Seen;
use super::{Kind, Masks, Memory, Shape, Sparsifier, masked};
use crate::error::Error;
use crate::network::Network;
use crate::prune::gather::{self, Lesson};
use crate::ptq::Batches;

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

impl Sparsifier {
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
    pub(super) fn sweep(
        &self,
        masks: &mut Masks,
        student: &mut dyn Network,
        calibration: &Calibration<'_, '_>,
    ) -> Result<(), Error> {
        let Some(seen) = &self.seen else { return Ok(()) };
        let Shape::Each(pattern) = &self.shape else {
            let (criterion, pattern) = (self.criterion.name().to_owned(), self.shape.to_string());
            let expected = Removes::Sweep.patterns();
            return Err(prune_core::Error::Pattern { criterion, pattern, expected }.into());
        };
        let (tighter, left) =
            seen.swept(student, (self.criterion.as_ref(), pattern), &self.floor, calibration.batches)?;
        student.set_weights(&left);
        masks.extend(tighter);
        student.remask(masks.clone());
        Ok(())
    }

    /// Remembers what the criterion reads of layers' inputs, and how sparse it wants each layer to be.
    pub(super) fn look(
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
    pub(super) fn updates(&self) -> bool {
        self.seen.is_some() && self.criterion.needs() == Needs::InputProducts
    }
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
