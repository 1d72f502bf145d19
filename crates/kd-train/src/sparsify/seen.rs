//! What masked layers read, for criteria that look at it: sums over calibration batches through the student as it stands,
//! its masks folded, batch norm on its running statistics.
//!
//! Inputs stream by as they do for quantization after training ([`ptq`](crate::ptq)); what is kept of them is as large as the
//! layer is wide, or the square of that.

use std::collections::BTreeMap;

use kd_deploy::{Array, Weights};
use kd_graph::Graph;
use prune_core::{Criterion, InputSums, Inputs, Matrix, Pattern, Removal, prune};

use super::{Masks, masked, within};
use crate::error::Error;
use crate::network::Network;
use crate::ptq::layers::{Kind, Layer, places};
use crate::ptq::{Batches, Squares, gather, gather_as, layers};

/// The masked layers of a network, in the order of the forward pass, all of them with inputs that can be had.
#[derive(Debug)]
pub(super) struct Seen {
    graph: Graph,
    layers: Vec<Layer>,
}

impl Seen {
    /// # Errors
    ///
    /// A network that cannot be captured, a masked layer whose inputs are out of reach.
    pub(super) fn new(network: &dyn Network, criterion: &str) -> Result<Self, Error> {
        let plain = network.materialized();
        let graph = plain.graph()?;
        let wanted: BTreeMap<String, usize> = masked(&plain.entries()).into_iter().collect();
        let all = layers(&graph);
        let obstacle = |path: &String, axis: usize| {
            let Some(layer) = all.iter().find(|layer| layer.path == *path) else {
                return Some("the forward pass does not multiply it".to_owned());
            };
            match (&layer.kind, axis) {
                (Kind::Conv(_), 0) | (Kind::Linear | Kind::Right, 1) => layer.route.as_ref().err().cloned(),
                _ => Some("the forward pass reads it from the other side".to_owned()),
            }
        };
        for (path, &axis) in &wanted {
            if let Some(reason) = obstacle(path, axis) {
                let (criterion, path) = (criterion.to_owned(), path.clone());
                return Err(Error::InputsOutOfReach { criterion, path, reason });
            }
        }
        let layers = all.into_iter().filter(|layer| wanted.contains_key(&layer.path)).collect();
        Ok(Self { graph, layers })
    }

    /// Σ x² of each column by the path of the weight, group by group.
    ///
    /// # Errors
    ///
    /// Activations that are not finite, a site that no batch has reached.
    pub(super) fn squares(
        &self,
        student: &dyn Network,
        batches: &Batches<'_>,
    ) -> Result<BTreeMap<String, Vec<f64>>, Error> {
        let layers: Vec<&Layer> = self.layers.iter().collect();
        let student = student.materialized();
        let gathered = gather_as::<Squares>(student.as_ref(), &self.graph, &layers, batches())?;
        let mut all = BTreeMap::new();
        for (layer, groups) in layers.into_iter().zip(gathered) {
            let groups = groups.filter(|groups| groups.iter().all(|group| group.rows > 0));
            let groups = groups.ok_or_else(|| unreached(layer))?;
            let sums = groups.iter().flat_map(|group| group.sums.iter().copied()).collect();
            all.insert(layer.path.clone(), sums);
        }
        Ok(all)
    }

    /// Masks by a criterion that chooses while it updates, and the weights that are left. Layers go in the order of the
    /// forward pass, and what a later one reads is what the pruned ones before it give.
    ///
    /// # Errors
    ///
    /// As [`Seen::squares`], a pattern that the criterion cannot choose by, weights that are not finite.
    pub(super) fn swept(
        &self,
        student: &dyn Network,
        (criterion, pattern): (&dyn Criterion, &Pattern),
        floor: &Masks,
        batches: &Batches<'_>,
    ) -> Result<(Masks, Weights), Error> {
        // What is masked is 0 here, as it is in force.
        let mut student = student.materialized();
        let weights = student.weights();
        let axes: BTreeMap<String, usize> = masked(&student.entries()).into_iter().collect();
        let (mut masks, mut left) = (Masks::new(), Weights::new());
        for place in places(&self.layers, 0..self.layers.len()) {
            let layers: Vec<&Layer> = place.iter().map(|&at| &self.layers[at]).collect();
            let gathered = gather(student.as_ref(), &self.graph, &layers, batches())?;
            let mut changed = Weights::new();
            for (layer, groups) in layers.into_iter().zip(gathered) {
                let groups = groups.filter(|groups| groups.iter().all(|group| group.tokens() > 0));
                let groups = groups.ok_or_else(|| unreached(layer))?;
                let products = groups.iter().flat_map(|group| group.products()).collect();
                let sums = InputSums::of_products(&layer.path, layer.columns, products)?;
                let (array, axis) = (&weights[&layer.path], axes[&layer.path]);
                let matrix = Matrix::from_weight(&layer.path, array.shape(), array.data(), axis)?;
                let there = floor.get(&layer.path).map(|floor| in_rows(floor, array, &layer.path, axis));
                let there = there.transpose()?;
                let mut inputs = Inputs::new(&matrix).with_sums(&sums);
                if let Some(there) = &there {
                    inputs = inputs.with_there(there);
                }
                let pruned = prune(criterion, Some(&Removal::Elements(*pattern)), &[inputs])?.remove(0);
                let keep = pruned.keep.unwrap_or_else(|| vec![true; matrix.values().len()]);
                let values = pruned.weight.unwrap_or_else(|| matrix.values().to_vec());
                let values = matrix.to_stored(&values)?.into_iter().map(|w| w as f32).collect::<Vec<f32>>();
                let array = Array::new(array.shape(), values).expect("the shape is the same");
                masks.insert(layer.path.clone(), within(matrix.to_stored(&keep)?, floor.get(&layer.path)));
                changed.insert(layer.path.clone(), array);
            }
            student.set_weights(&changed);
            left.extend(changed);
        }
        Ok((masks, left))
    }
}

/// Entries of a mask in the order of the weight's matrix.
pub(super) fn in_rows(keep: &[bool], weight: &Array, path: &str, axis: usize) -> Result<Vec<bool>, Error> {
    let ones: Vec<f32> = keep.iter().map(|&keep| f32::from(u8::from(keep))).collect();
    let matrix = Matrix::from_weight(path, weight.shape(), &ones, axis)?;
    Ok(matrix.values().iter().map(|&one| one != 0.0).collect())
}

fn unreached(layer: &Layer) -> Error {
    let site = layer.route.as_ref().map_or_else(|_| layer.path.clone(), |route| route.site.clone());
    Error::SiteNotReached { site }
}
