//! Sums over what layers read, streamed batch by batch.
//!
//! Layers that read one value in the same way (queries, keys and values) share their sums. Those of different layers
//! are taken at the same time; each alone goes token by token, so that neither threads nor the size of batches change a
//! bit.

use std::collections::BTreeSet;
use std::sync::Arc;

use kd_core::Tap;
use kd_graph::Graph;
use quant_core::ptq::{InputStats, Matrix};
use rayon::prelude::*;

use super::layers::{Kind, Layer, Route};
use super::route::follow;
pub use super::unfold::Take;
use super::unfold::unfold;
use crate::batches::Batch;
use crate::error::Error;
use crate::network::Network;

/// Sums of each layer's inputs, one a group; none of a layer that is out of reach. In the order of the layers asked for.
pub type Gathered<S = InputStats> = Vec<Option<Arc<Vec<S>>>>;

/// What is kept of inputs that stream by.
pub trait Sums: Send + Sync {
    /// Sums over no rows of `columns` numbers.
    fn none(columns: usize) -> Self;

    /// Takes in rows, one after the other.
    ///
    /// # Errors
    ///
    /// Rows of another length.
    fn take(&mut self, rows: Matrix<'_>) -> Result<(), Error>;
}

impl Sums for InputStats {
    fn none(columns: usize) -> Self {
        Self::new(columns)
    }

    fn take(&mut self, rows: Matrix<'_>) -> Result<(), Error> {
        Ok(self.observe(rows)?)
    }
}

/// Σ x² of each column, for those who need no products of two columns: they take as long as the square of the columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Squares {
    /// Rows seen.
    pub rows: u64,
    /// One sum a column.
    pub sums: Vec<f64>,
}

impl Sums for Squares {
    fn none(columns: usize) -> Self {
        Self { rows: 0, sums: vec![0.0; columns] }
    }

    fn take(&mut self, rows: Matrix<'_>) -> Result<(), Error> {
        for row in rows.iter_rows() {
            self.sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
        }
        self.rows += rows.rows() as u64;
        Ok(())
    }
}

/// Streams `batches` through `network` and sums up what `layers` of its `graph` read.
///
/// # Errors
///
/// Activations that are not finite; a site that no batch has reached.
pub fn gather(
    network: &dyn Network,
    graph: &Graph,
    layers: &[&Layer],
    batches: impl Iterator<Item = Batch>,
) -> Result<Gathered, Error> {
    gather_as(network, graph, layers, batches)
}

/// The same, and what is kept of it is the caller's choice.
///
/// # Errors
///
/// As [`gather`].
pub fn gather_as<S: Sums>(
    network: &dyn Network,
    graph: &Graph,
    layers: &[&Layer],
    batches: impl Iterator<Item = Batch>,
) -> Result<Gathered<S>, Error> {
    let mut streams: Vec<Stream<'_, S>> = Vec::new();
    let mut of_layer = Vec::with_capacity(layers.len());
    for &layer in layers {
        let Ok(route) = &layer.route else {
            of_layer.push(None);
            continue;
        };
        let found = streams.iter().position(|stream| stream.serves(layer, route));
        of_layer.push(Some(found.unwrap_or(streams.len())));
        if found.is_none() {
            let stats = (0..layer.groups).map(|_| S::none(layer.columns)).collect();
            streams.push(Stream { layer, route, stats });
        }
    }
    let sites: BTreeSet<&str> = streams.iter().map(|stream| stream.route.site.as_str()).collect();
    if !sites.is_empty() {
        for batch in batches {
            let mut tap = Tap::wanting(sites.iter().copied());
            network.forward(batch.rows, &mut tap);
            let features = tap.into_features();
            // Tensors leave the device here, before threads share them.
            let seen = streams.iter().map(|stream| {
                let site = &stream.route.site;
                let feature =
                    features.get(site).ok_or_else(|| Error::SiteNotReached { site: site.clone() })?;
                Ok(follow(graph, stream.route, feature.clone()))
            });
            let seen = seen.collect::<Result<Vec<_>, Error>>()?;
            let each = streams.par_iter_mut().zip(&seen);
            each.map(|(stream, x)| stream.observe(graph, x)).collect::<Result<Vec<()>, Error>>()?;
        }
    }
    let stats: Vec<Arc<Vec<S>>> = streams.into_iter().map(|stream| Arc::new(stream.stats)).collect();
    Ok(of_layer.into_iter().map(|stream| stream.map(|at| stats[at].clone())).collect())
}

/// Hands all rows that a layer multiplies for a batch to `take`, by group; for tests and for whoever wants more than
/// sums.
///
/// # Errors
///
/// As [`gather`], and what `take` returns.
pub fn rows(
    network: &dyn Network,
    graph: &Graph,
    layer: &Layer,
    batch: Batch,
    take: &mut Take<'_, Error>,
) -> Result<(), Error> {
    let Ok(route) = &layer.route else { return Ok(()) };
    let mut tap = Tap::wanting([route.site.as_str()]);
    network.forward(batch.rows, &mut tap);
    let features = tap.into_features();
    let feature =
        features.get(&route.site).ok_or_else(|| Error::SiteNotReached { site: route.site.clone() })?;
    let x = follow(graph, route, feature.clone());
    unfold(layer, &x, &graph.shape(graph.nodes[layer.node].output, 1), take)
}

struct Stream<'a, S> {
    /// The first layer that reads it.
    layer: &'a Layer,
    route: &'a Route,
    stats: Vec<S>,
}

impl<S: Sums> Stream<'_, S> {
    fn serves(&self, layer: &Layer, route: &Route) -> bool {
        let plain = |kind: &Kind| match kind {
            Kind::Right => Kind::Linear,
            kind => kind.clone(),
        };
        let same = self.route.data == route.data && plain(&self.layer.kind) == plain(&layer.kind);
        same && (self.layer.groups, self.layer.columns) == (layer.groups, layer.columns)
    }

    fn observe(&mut self, graph: &Graph, x: &kd_deploy::Array) -> Result<(), Error> {
        let columns = self.layer.columns;
        let site = &self.route.site;
        if let Some(&value) = x.data().iter().find(|x| !x.is_finite()) {
            return Err(Error::ActivationNotFinite { site: site.clone(), value });
        }
        let out = graph.shape(graph.nodes[self.layer.node].output, 1);
        let stats = &mut self.stats;
        unfold(self.layer, x, &out, &mut |group, rows| {
            let rows = Matrix::new("inputs", rows.len() / columns, columns, rows)?;
            stats[group].take(rows)
        })
    }
}
