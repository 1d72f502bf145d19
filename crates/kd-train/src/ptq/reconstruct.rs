//! A block of a model's layers rounded by what the block puts out.
//!
//! A part of a module cannot be run alone, so the whole network runs: in front of the block with the weights that are
//! rounded already (or in floats), in the block with weights between two codes, and a tap takes the block's output. Only
//! the block is differentiated, since only its weights are tracked; the rest costs a forward pass a step.

use std::collections::BTreeMap;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::{Feature, Rewrite, Tap};
use quant_core::ptq::{self, Brecq, Matrix, Quantized, Targets, block_error};
use serde::Serialize;

use super::Batches;
use super::blocks::Block;
use super::layers::{Kind, Layer};
use super::method::{Objective, Rounding};
use super::round::{Rounded, grid, rounded};
use crate::error::Error;
use crate::network::Network;

/// Weights of a block, and the network that they belong to.
pub(super) struct Job<'a> {
    /// The block.
    pub(super) block: &'a Block,
    /// Those of its layers that are rounded together, with their weights and schemes.
    pub(super) layers: Vec<(&'a Layer, Vec<f32>, quant_core::Scheme)>,
    /// The network whose inputs the block gets.
    pub(super) network: &'a dyn Network,
    /// The network whose outputs it should have.
    pub(super) float: &'a dyn Network,
}

/// A block's errors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockReport {
    /// The site of its output, or `output`.
    pub name: String,
    /// Σ F (block(Ŵ) − y)² / Σ F y² over the calibration set, y what the float block puts out, with codes rounded to
    /// nearest.
    pub before: f64,
    /// The same with the codes that were learned.
    pub after: f64,
}

/// Codes for each layer of a job, and the block's errors; whether the nearest codes stayed.
pub(super) fn reconstruct(
    job: &Job<'_>,
    rounding: &Rounding,
    knobs: &Brecq,
    objective: Objective,
    batches: &Batches<'_>,
) -> Result<(Vec<Rounded>, BlockReport, bool), Error> {
    let live = Live::new(job, objective, batches)?;
    let device = live.rows.device();
    let mut starts = Vec::with_capacity(job.layers.len());
    let mut weights = Vec::with_capacity(job.layers.len());
    for (layer, matrix, scheme) in &job.layers {
        let named = |source| Error::WeightTensor { name: layer.name.clone(), source };
        let weight = Matrix::new("weight", layer.rows, layer.columns, matrix).map_err(named)?;
        let nearest = ptq::rtn(weight, &grid(scheme, rounding)?).map_err(named)?;
        weights.push(ptq::BlockWeight::new(weight, nearest.clone()).map_err(named)?);
        starts.push(nearest);
    }
    let before = block_error(&starts, &live, knobs.batch, &device)?;
    let count: usize = job.layers.iter().map(|(layer, ..)| layer.len()).sum();
    let knobs = Brecq { lambda: knobs.lambda * before / count.max(1) as f64, ..*knobs };
    let done = ptq::brecq(&weights, &live, &knobs, &device)?;
    let share = |error: f64| if error == 0.0 { 0.0 } else { error / live.energy };
    let report = BlockReport {
        name: job.block.name().to_owned(),
        before: share(done.before),
        after: share(done.after),
    };
    let pairs = job.layers.iter().zip(&done.quantized);
    let layers =
        pairs.map(|((layer, _, scheme), codes): (_, &Quantized)| rounded(layer, codes, rounding, scheme));
    Ok((layers.collect::<Result<_, _>>()?, report, done.kept))
}

/// A block in its network, with the calibration set.
struct Live<'a> {
    job: &'a Job<'a>,
    /// Differentiable, with nothing of its own to train and statistics that stay.
    tracked: Box<dyn Network>,
    /// Of all examples.
    rows: Tensor<2>,
    targets: Tensor<2>,
    fisher: Option<Tensor<2>>,
    /// Mean over examples of Σ F y².
    energy: f64,
}

impl<'a> Live<'a> {
    fn new(job: &'a Job<'a>, objective: Objective, batches: &Batches<'_>) -> Result<Self, Error> {
        let frozen = |network: &dyn Network| {
            let mut network = network.training();
            network.freeze_statistics();
            network.set_trains(&|_| false);
            network
        };
        let site = job.block.site.as_deref();
        let float = (objective == Objective::Fisher).then(|| frozen(job.float));
        let (mut rows, mut targets, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches() {
            targets.push(output(job.float, batch.rows.clone(), site)?);
            if let Some(float) = &float {
                gradients.push(gradient(float.as_ref(), batch.rows.clone(), &batch.classes, site)?);
            }
            rows.push(batch.rows);
        }
        if rows.is_empty() {
            return Err(quant_core::Error::NothingSeen.into());
        }
        let targets = Tensor::cat(targets, 0);
        let fisher = (!gradients.is_empty()).then(|| {
            let sizes = Tensor::cat(gradients, 0).abs();
            let mean = f64::from(sizes.clone().mean().into_scalar::<f32>()).max(f64::from(f32::MIN_POSITIVE));
            let weight = sizes.div_scalar(mean).add_scalar(1.0);
            weight.clone() * weight
        });
        let squares = targets.clone() * targets.clone();
        let weighted = match &fisher {
            Some(fisher) => squares * fisher.clone(),
            None => squares,
        };
        // By rows first: a sum over millions of numbers depends on threads.
        let sums = weighted.sum_dim(1).into_data();
        let examples = targets.dims()[0] as f64;
        let energy = sums.iter::<f32>().map(f64::from).sum::<f64>() / examples;
        let tracked = frozen(job.network);
        Ok(Self { job, tracked, rows: Tensor::cat(rows, 0), targets, fisher, energy })
    }

    fn pick(&self, of: &Tensor<2>, samples: &[usize]) -> Tensor<2> {
        let at: Vec<i32> = samples.iter().map(|&sample| sample as i32).collect();
        of.clone().select(0, Tensor::<1, Int>::from_data(TensorData::new(at, [samples.len()]), &of.device()))
    }
}

impl ptq::Block<2> for Live<'_> {
    type Error = Error;

    fn samples(&self) -> usize {
        self.rows.dims()[0]
    }

    fn outputs(&self, weights: &[Tensor<2>], samples: &[usize]) -> Result<Tensor<2>, Error> {
        let own = |((layer, ..), weight): (&(&Layer, Vec<f32>, _), &Tensor<2>)| {
            let flat = match layer.kind {
                Kind::Conv(_) | Kind::Left => weight.clone(),
                Kind::Linear | Kind::Right => weight.clone().transpose(),
            };
            (layer.path.clone(), flat.flatten::<1>(0, 1))
        };
        let tensors: BTreeMap<String, Tensor<1>> = self.job.layers.iter().zip(weights).map(own).collect();
        let rows = self.pick(&self.rows, samples);
        let site = self.job.block.site.as_deref();
        if weights.iter().any(Tensor::is_tracked) {
            output(self.tracked.with_tensors(&tensors).as_ref(), rows.autodiff(), site)
        } else {
            output(self.job.network.with_tensors(&tensors).as_ref(), rows, site)
        }
    }

    fn targets(&self, samples: &[usize]) -> Result<Targets<2>, Error> {
        let fisher = self.fisher.as_ref().map(|fisher| self.pick(fisher, samples));
        Ok(Targets { outputs: self.pick(&self.targets, samples), fisher })
    }
}

/// What a network shows at a site, or puts out, a row an example.
fn output(network: &dyn Network, rows: Tensor<2>, site: Option<&str>) -> Result<Tensor<2>, Error> {
    let mut tap = Tap::wanting(site);
    let logits = network.forward(rows, &mut tap);
    let Some(site) = site else { return Ok(logits) };
    let features = tap.into_features();
    match features.get(site) {
        Some(feature) => Ok(feature.clone().rows()),
        None => Err(Error::SiteNotReached { site: site.to_owned() }),
    }
}

/// ∂L/∂y of each example, L the cross entropy of its label, y what the network shows at a site.
fn gradient(
    network: &dyn Network,
    rows: Tensor<2>,
    classes: &[u32],
    site: Option<&str>,
) -> Result<Tensor<2>, Error> {
    let device: Device = rows.device().autodiff();
    let labels: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let labels: Tensor<2, Int> = Tensor::from_data(TensorData::new(labels, [classes.len(), 1]), &device);
    let mut leaf = Leaf { site, found: None };
    let mut logits = network.forward(rows.autodiff(), &mut Tap::none().with_rewrite(&mut leaf));
    if site.is_none() {
        logits = logits.without_autodiff().autodiff().require_grad();
        leaf.found = Some(Feature::from(logits.clone()));
    }
    let Some(leaf) = leaf.found else {
        return Err(Error::SiteNotReached { site: site.unwrap_or_default().to_owned() });
    };
    let gradients = log_softmax(logits, 1).gather(1, labels).neg().sum().backward();
    Ok(leaf.gradient(&gradients).rows().without_autodiff())
}

/// Cuts the graph at a site and keeps what goes on from there.
struct Leaf<'a> {
    site: Option<&'a str>,
    found: Option<Feature>,
}

impl Rewrite for Leaf<'_> {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        if self.site != Some(site) {
            return x;
        }
        let leaf = x.require_grad();
        self.found = Some(leaf.clone());
        leaf
    }
}
