//! What criteria of coupled channels read beside weights, gathered over calibration batches before anything is cut:
//! gradients of the stage's own objective, its teacher on, or numbers of the activations at the model's sites.
//!
//! The student is the one that would be shipped: batch norm uses its running statistics, masks are folded in. Examples
//! stream through; what is kept is as large as the weights, or a number for each example and channel.
//!
//! What silencing a channel changes of an example's loss is the gradient of a mask of ones, `[examples, channels]`, that
//! the activation is multiplied with: no gradient of an activation is stored.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Gradients, Tensor};
use kd_core::{Connectors, EachRank, Feature, Objective, Observed, Progress, Rewrite, Tap, View};
use kd_graph::{Axis, Graph};
use prune_core::{Activations, Criterion, Evidence, Gathers, Norm, Samples, Weights, sites_of};

use crate::batches::Batch;
use crate::connect;
use crate::error::Error;
use crate::fit::observe;
use crate::network::Network;
use crate::survey::{gradient, to_array};

/// What a loss is made of.
#[derive(Clone, Copy)]
pub struct Lesson<'a> {
    /// What is learned from.
    pub objective: &'a Objective,
    /// The teacher, in inference, where the objective needs one.
    pub teacher: Option<&'a dyn Network>,
    /// What joins features.
    pub connectors: &'a Connectors,
}

/// What was gathered; empty where the criterion looks at weights alone.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    gradients: Option<Weights>,
    squares: Option<Weights>,
    activations: Option<Activations>,
}

/// A site and a dimension of its activation.
type Place = (String, usize);

impl Gathered {
    /// The same beside the weights.
    pub fn evidence<'a>(&'a self, weights: &'a Weights) -> Evidence<'a> {
        let mut evidence = Evidence::new(weights);
        if let Some(gradients) = &self.gradients {
            evidence = evidence.with_gradients(gradients);
        }
        if let Some(squares) = &self.squares {
            evidence = evidence.with_squares(squares);
        }
        if let Some(activations) = &self.activations {
            evidence = evidence.with_activations(activations);
        }
        evidence
    }
}

/// Gathers what `criterion` reads of `axes` of the network's `graph`, over `batches` of the plain device.
///
/// Gradients are means over batches; squares and effects are those of single examples. Effects take the loss for a mean
/// over the batch's examples, as the objectives of this program are unless a knob says `sum`: another factor orders
/// nothing anew.
///
/// # Errors
///
/// What the objective says, and gradients or activations that are not finite.
pub fn gather(
    network: &dyn Network,
    (graph, axes): (&Graph, &[Axis]),
    criterion: &dyn Criterion,
    lesson: Lesson<'_>,
    batches: impl Iterator<Item = Batch>,
    device: &Device,
) -> Result<Gathered, Error> {
    let autodiff = device.clone().autodiff();
    let attached = |batch: Batch| batch.on(&autodiff);
    Ok(match criterion.gathers() {
        Gathers::Weights => Gathered::default(),
        Gathers::Gradients => {
            let of_batches = batches.map(attached);
            Gathered { gradients: Some(mean(network, lesson, of_batches, |g| g)?), ..Gathered::default() }
        }
        Gathers::Squares => {
            Gathered { squares: Some(squares(network, lesson, batches, device)?), ..Gathered::default() }
        }
        Gathers::Activations(norm) => {
            let places = places(graph, axes);
            let activations = magnitudes(network, &places, norm, batches)?;
            Gathered { activations: Some(activations), ..Gathered::default() }
        }
        Gathers::Effects => {
            let places = places(graph, axes);
            let activations = effects(network, &places, lesson, batches.map(attached), &autodiff)?;
            Gathered { activations: Some(activations), ..Gathered::default() }
        }
    })
}

/// The mean over single examples of each element's squared gradient, by parameters.
///
/// # Errors
///
/// As [`gather`].
pub fn squares(
    network: &dyn Network,
    lesson: Lesson<'_>,
    batches: impl Iterator<Item = Batch>,
    device: &Device,
) -> Result<Weights, Error> {
    let autodiff = device.clone().autodiff();
    let of_examples = batches.flat_map(Batch::examples).map(|example| example.on(&autodiff));
    mean(network, lesson, of_examples, |g| g * g)
}

/// The sites that hold units which may go. An axis that cannot be followed is the plan's to refuse.
fn places(graph: &Graph, axes: &[Axis]) -> BTreeSet<Place> {
    let free = axes.iter().filter(|axis| axis.pinned.is_none() && axis.size > 1);
    free.filter_map(|axis| sites_of(graph, axis).ok()).flatten().collect()
}

/// The student as its gradients are taken.
fn tracked(network: &dyn Network) -> Box<dyn Network> {
    let mut student = network.materialized().training();
    student.freeze_statistics();
    student.set_trains(&|_| true);
    student
}

impl Lesson<'_> {
    /// Gradients of the loss of a batch, as at the beginning of the stage.
    fn backward(
        &self,
        student: &dyn Network,
        batch: &Batch,
        mut rewrite: Option<&mut dyn Rewrite>,
    ) -> Result<Gradients, Error> {
        let wanted = connect::wanted(self.objective);
        let teachers: Vec<_> =
            self.teacher.iter().map(|teacher| observe(*teacher, batch, &wanted.teacher)).collect();
        let mut tap = Tap::wanting(wanted.student.iter().map(String::as_str));
        if let Some(rewrite) = rewrite.take() {
            tap = tap.with_rewrite(rewrite);
        }
        let logits = student.forward(batch.rows.clone(), &mut tap);
        let observed = Observed::new(logits).with_features(tap.into_features());
        let evaluation = self.objective.evaluate(&View {
            student: &observed,
            teachers: &teachers,
            targets: Some(&batch.labels),
            mask: None,
            progress: Progress::START,
            connectors: self.connectors,
        })?;
        Ok(evaluation.total.backward())
    }
}

/// The mean over batches of a function of each element of the gradients by parameters.
fn mean(
    network: &dyn Network,
    lesson: Lesson<'_>,
    batches: impl Iterator<Item = Batch>,
    function: fn(f64) -> f64,
) -> Result<Weights, Error> {
    let student = tracked(network);
    let entries: Vec<_> = student.entries().into_iter().filter(|entry| !entry.is_buffer()).collect();
    let mut sums: Vec<Vec<f64>> =
        entries.iter().map(|entry| vec![0.0; entry.shape.iter().product()]).collect();
    let mut count = 0.0;
    for batch in batches {
        let mut gradients = lesson.backward(student.as_ref(), &batch, None)?;
        let own = student.gradients(&mut gradients);
        for (entry, sums) in entries.iter().zip(&mut sums) {
            // A parameter that the loss does not depend on has none.
            let Some(gradient) = gradient(&own, entry) else { continue };
            let values = gradient.data().iter().map(|&g| function(f64::from(g)));
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        count += 1.0;
    }
    let means = entries.into_iter().zip(sums).map(|(entry, sums)| {
        let means: Vec<f64> = sums.into_iter().map(|sum| sum / f64::max(count, 1.0)).collect();
        (entry.path, entry.shape, means)
    });
    Ok(Weights::from_arrays(means))
}

/// Numbers of each example at each place, as they come.
#[derive(Default)]
struct Rows(BTreeMap<Place, (usize, Vec<f64>)>);

impl Rows {
    fn add(&mut self, place: &Place, rows: Tensor<2>, factor: f64) {
        let array = to_array(rows);
        let (width, values) = self.0.entry(place.clone()).or_insert_with(|| (array.shape()[1], Vec::new()));
        *width = array.shape()[1];
        values.extend(array.data().iter().map(|&x| factor * f64::from(x)));
    }

    fn samples(self) -> Result<Activations, Error> {
        let samples = |(place, (width, values)): (Place, (usize, Vec<f64>))| {
            let samples = Samples::new(&place.0, &[values.len() / width, width], &values)?;
            Ok((place, samples))
        };
        self.0.into_iter().map(samples).collect()
    }
}

/// Norms of the activations of each example at each place, over all other dimensions.
fn magnitudes(
    network: &dyn Network,
    places: &BTreeSet<Place>,
    norm: Norm,
    batches: impl Iterator<Item = Batch>,
) -> Result<Activations, Error> {
    let student = network.materialized();
    let mut rows = Rows::default();
    for batch in batches {
        let mut tap = Tap::wanting(places.iter().map(|(site, _)| site.as_str()));
        student.forward(batch.rows, &mut tap);
        let features = tap.into_features();
        for place in places {
            let found = match features.get(&place.0) {
                Some(Feature::D2(x)) => magnitude(x.clone(), place.1, norm),
                Some(Feature::D3(x)) => magnitude(x.clone(), place.1, norm),
                Some(Feature::D4(x)) => magnitude(x.clone(), place.1, norm),
                Some(Feature::D1(_)) | None => continue,
            };
            rows.add(place, found, 1.0);
        }
    }
    rows.samples()
}

fn magnitude<const D: usize>(x: Tensor<D>, dim: usize, norm: Norm) -> Tensor<2> {
    let dims = x.dims();
    let mut x = match norm {
        Norm::L1 => x.abs(),
        Norm::L2 => x.square(),
    };
    for other in (1..D).filter(|&other| other != dim) {
        x = x.mean_dim(other);
    }
    let x = x.reshape([dims[0], dims[dim]]);
    match norm {
        Norm::L1 => x,
        Norm::L2 => x.sqrt(),
    }
}

/// Σ over positions of activation times gradient of the example's loss, at each place.
fn effects(
    network: &dyn Network,
    places: &BTreeSet<Place>,
    lesson: Lesson<'_>,
    batches: impl Iterator<Item = Batch>,
    autodiff: &Device,
) -> Result<Activations, Error> {
    let student = tracked(network);
    let mut rows = Rows::default();
    for batch in batches {
        let mut masks = Masks { places, device: autodiff, leaves: BTreeMap::new() };
        let gradients = lesson.backward(student.as_ref(), &batch, Some(&mut masks))?;
        let examples = batch.classes.len() as f64;
        for (place, leaf) in &masks.leaves {
            let gradient =
                leaf.grad(&gradients).unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like());
            rows.add(place, gradient, examples);
        }
    }
    rows.samples()
}

/// Multiplies activations with masks of ones, of which gradients are taken.
struct Masks<'a> {
    places: &'a BTreeSet<Place>,
    device: &'a Device,
    leaves: BTreeMap<Place, Tensor<2>>,
}

impl Rewrite for Masks<'_> {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        let mut x = x;
        for place in self.places.iter().filter(|place| place.0 == site) {
            let dims = x.dims();
            // One mask for a site that is reached twice.
            let ones = || Tensor::<2>::ones([dims[0], dims[place.1]], self.device).require_grad();
            let leaf = &*self.leaves.entry(place.clone()).or_insert_with(ones);
            x = x.map(&mut Multiplied { leaf, dim: place.1 });
        }
        x
    }
}

struct Multiplied<'a> {
    leaf: &'a Tensor<2>,
    dim: usize,
}

impl EachRank for Multiplied<'_> {
    fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let dims = x.dims();
        let mut shape = [1; D];
        (shape[0], shape[self.dim]) = (dims[0], dims[self.dim]);
        x * self.leaf.clone().reshape(shape)
    }
}
