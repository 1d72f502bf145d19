//! What a stage owes to those before it: masks hold and shapes stay, unless it says that it changes them.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::network::Network;
use crate::sparsify::Masks;
use crate::weights;

/// What a student was when a stage got it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    shapes: BTreeMap<String, Vec<usize>>,
    masks: Masks,
}

impl Kept {
    /// What is to be kept of a network.
    pub(crate) fn of(network: &dyn Network) -> Self {
        let shapes = network.entries().into_iter().map(|entry| (entry.path, entry.shape)).collect();
        Self { shapes, masks: network.compression().masks.clone() }
    }

    /// Holds what a stage left against it. Every masked weight, the stage's own included, is exactly 0 where it is stored
    /// and in the weight that is in force, rounded or not.
    ///
    /// # Errors
    ///
    /// [`Error::NotKept`], which names the weight.
    pub(crate) fn check(&self, stage: &str, network: &dyn Network) -> Result<(), Error> {
        let broken = |path: &str, expected: String, found: String| Error::NotKept {
            stage: stage.into(),
            path: path.into(),
            expected,
            found,
        };
        for entry in network.entries() {
            if let Some(shape) = self.shapes.get(&entry.path).filter(|shape| **shape != entry.shape) {
                return Err(broken(&entry.path, format!("shape {shape:?}"), format!("{:?}", entry.shape)));
            }
        }
        let masks = &network.compression().masks;
        for (path, before) in &self.masks {
            let now = masks.get(path).map(Vec::as_slice).unwrap_or_default();
            let stays = |(index, keep): (usize, &bool)| *keep || now.get(index) == Some(&false);
            if let Some((index, _)) = before.iter().enumerate().find(|&place| !stays(place)) {
                return Err(broken(path, format!("element {index} masked"), "no mask there".into()));
            }
        }
        let (stored, in_force) = (weights::masked(network), network.materialized().weights());
        for (path, keep) in masks {
            for (what, weights) in [("stored", &stored), ("in force", &in_force)] {
                let values = weights.get(path).map(kd_deploy::Array::data).unwrap_or_default();
                let lost = |&(_, (&keep, &value)): &(usize, (&bool, &f32))| !keep && value != 0.0;
                if let Some((index, (_, value))) = keep.iter().zip(values).enumerate().find(lost) {
                    return Err(broken(
                        path,
                        format!("element {index}, {what}, masked and 0"),
                        value.to_string(),
                    ));
                }
            }
        }
        Ok(())
    }
}
