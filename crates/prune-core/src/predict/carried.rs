//! Where units of an axis are in the activations that a model shows: which sites hold them, and at which indices.

use std::collections::BTreeMap;

use kd_graph::{Axis, Dim, Graph};

use super::flow::Flow;
use crate::{Error, cut_of};

/// A dimension of an activation that holds units of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The site.
    pub site: String,
    /// The dimension; the batch is dimension 0.
    pub dim: usize,
    /// For each unit of the axis, the indices along the dimension that go with it, ascending, as many for each.
    pub index: Vec<Vec<usize>>,
}

/// The sites that hold units of `axis`, found by following a cut of each unit through the graph.
///
/// Sites whose first dimension is not the batch are left out: their activations have no examples.
///
/// # Errors
///
/// An axis of another graph, or one whose units cannot be cut one by one: [`Error::Misfit`].
pub fn carriers(graph: &Graph, axis: &Axis) -> Result<Vec<Carrier>, Error> {
    let mut found = BTreeMap::<(String, usize), Vec<Vec<usize>>>::new();
    for unit in 0..axis.size {
        for (place, gone) in gone(graph, axis, unit)? {
            found.entry(place).or_insert_with(|| vec![Vec::new(); axis.size])[unit] = gone;
        }
    }
    let even = |index: &Vec<Vec<usize>>| index.iter().all(|it| it.len() == index[0].len());
    let carrier = |((site, dim), index)| Carrier { site, dim, index };
    Ok(found.into_iter().filter(|(_, index)| even(index)).map(carrier).collect())
}

/// The sites and dimensions that hold units of `axis`, without their indices.
///
/// # Errors
///
/// As [`carriers`].
pub fn sites_of(graph: &Graph, axis: &Axis) -> Result<Vec<(String, usize)>, Error> {
    Ok(gone(graph, axis, 0)?.into_keys().collect())
}

/// What goes of activations without one unit, by site and dimension. A site that is reached twice is one.
fn gone(graph: &Graph, axis: &Axis, unit: usize) -> Result<BTreeMap<(String, usize), Vec<usize>>, Error> {
    let keep: Vec<usize> = (0..axis.size).filter(|&other| other != unit).collect();
    let cut = cut_of(graph, [(axis, keep.as_slice())])?;
    let flow = Flow::run(graph, &cut)?;
    let mut found = BTreeMap::new();
    for (site, value) in &graph.sites {
        if graph.value(*value).shape.first() != Some(&Dim::Batch(1)) {
            continue;
        }
        for (dim, units) in flow.values[value.0].iter().enumerate().skip(1) {
            if let Some(keep) = &units.keep {
                let stays = |index: &usize| keep.binary_search(index).is_ok();
                let gone = (0..flow.size(*value, dim)).filter(|at| !stays(at)).collect();
                found.insert((site.clone(), dim), gone);
            }
        }
    }
    Ok(found)
}
