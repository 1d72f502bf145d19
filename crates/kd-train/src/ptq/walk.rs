//! A model rounded layer by layer, in the order of the forward pass, with each layer's error before and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use quant_core::Scheme;
use quant_core::ptq::{InputStats, Matrix, bias_correction, lorc};

use super::Batches;
use super::blocks::{Block, blocks, obstacle};
use super::inputs::{Gathered, gather};
use super::layers::Layer;
use super::method::{BiasSource, Method, Rounding};
use super::prepare::{Prepared, State};
use super::reconstruct::{BlockReport, Job, reconstruct};
use super::round::{Coded, Rounded, grid, round};
use super::scale::{self, Factors, apply, joints};
use crate::error::Error;
use crate::network::Network;

/// Which model a layer's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The model whose layers before are rounded already, as GPTQ does: a layer makes up for what it is given. Reads the
    /// calibration set once for each site.
    #[default]
    Sequential,
    /// The float model. Reads the calibration set once.
    Float,
}

/// What was done to a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// The weight's name in PyTorch's spelling.
    pub name: String,
    /// Its path in the module.
    pub path: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs of an output.
    pub columns: usize,
    /// How it was rounded.
    pub scheme: Scheme,
    /// ‖X(W − Ŵ)‖² / ‖XW‖² of round-to-nearest, X what the layer read when it was rounded; none out of reach.
    pub before: Option<f64>,
    /// The same of the method.
    pub after: Option<f64>,
    /// The block that it was rounded with, and the error of that.
    pub block: Option<BlockReport>,
    /// Σ w² / Σ (w − ŵ)² in decibels; infinite without an error.
    pub sqnr: f64,
    /// Bits on disk.
    pub bits: u64,
    /// The weight as it is stored.
    pub coded: Coded,
    /// A corrected bias: its name in PyTorch's spelling and its values.
    pub bias: Option<(String, Vec<f32>)>,
    /// What the method could not do here, and why.
    pub notes: Vec<String>,
}

/// A rounded model.
pub struct Walked {
    /// What was done to each layer, in the order of the forward pass.
    pub layers: Vec<LayerReport>,
    /// The network with values as codes stand for them, in inference.
    pub network: Box<dyn Network>,
    /// The float network with the same scales between layers: the same function as the one that was given.
    pub float: Box<dyn Network>,
}

impl Walked {
    /// Bits a weight over all rounded layers.
    pub fn bits_per_weight(&self) -> f64 {
        let weights: usize = self.layers.iter().map(|layer| layer.rows * layer.columns).sum();
        self.layers.iter().map(|layer| layer.bits).sum::<u64>() as f64 / weights.max(1) as f64
    }
}

/// Rounds the layers that `scheme_of` gives a scheme. Layers out of reach are rounded to nearest where the method needs
/// inputs, with a note that says so.
///
/// # Errors
///
/// A scheme that the method does not round to, weights or activations that are not finite.
pub fn walk(
    prepared: &Prepared,
    scheme_of: &dyn Fn(&Layer) -> Option<Scheme>,
    method: &Method,
    source: Source,
    batches: &Batches<'_>,
) -> Result<Walked, Error> {
    let schemes: Vec<Option<Scheme>> = prepared.layers.iter().map(scheme_of).collect();
    for scheme in schemes.iter().flatten() {
        // Before any data is read.
        if !matches!(method.rounding, Rounding::Rtn | Rounding::LlmInt8(_)) {
            grid(scheme, &method.rounding)?;
        }
    }
    let mut state = State::new(prepared.network.as_ref());
    let original = State::new(prepared.network.as_ref());
    let mut factors: Vec<Factors> = prepared.layers.iter().map(Factors::one).collect();
    let mut notes = vec![Vec::new(); prepared.layers.len()];
    rescale(prepared, &schemes, method, batches, &mut state, &mut factors, &mut notes)?;

    let float = prepared.with(&state.changes());
    let all: Vec<&Layer> = prepared.layers.iter().collect();
    let wanted = source == Source::Float || method.bias.is_some();
    let of_float = match wanted {
        true => gather(float.as_ref(), &prepared.graph, &all, batches())?,
        false => vec![None; all.len()],
    };
    let mut walker = Walker {
        prepared,
        original,
        state,
        factors,
        method,
        source,
        of_float,
        notes,
        reports: BTreeMap::new(),
    };
    match method.rounding {
        Rounding::Brecq(..) => {
            for block in blocks(&prepared.graph, &prepared.layers) {
                let rounded = walker.block(&block, &schemes, float.as_ref(), batches)?;
                walker.layers(&block.layers, &schemes, rounded, batches)?;
            }
        }
        _ => {
            let all: Vec<usize> = (0..schemes.len()).collect();
            walker.layers(&all, &schemes, BTreeMap::new(), batches)?;
        }
    }
    let network = prepared.with(&walker.state.changes());
    Ok(Walked { layers: walker.reports.into_values().collect(), network, float })
}

/// Of `layers`, those that see one value at a site, in the order of the first of them: all layers before that value are done when
/// their turn comes.
fn groups(prepared: &Prepared, layers: &[usize], schemes: &[Option<Scheme>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let seen = |at: usize| prepared.layers[at].route.as_ref().ok().map(|route| route.seen);
    for at in layers.iter().copied().filter(|&at| schemes[at].is_some()) {
        let found = seen(at).and_then(|value| groups.iter().position(|group| seen(group[0]) == Some(value)));
        match found {
            Some(group) => groups[group].push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

/// Steps that change the float model and not its function.
fn rescale(
    prepared: &Prepared,
    schemes: &[Option<Scheme>],
    method: &Method,
    batches: &Batches<'_>,
    state: &mut State,
    factors: &mut [Factors],
    notes: &mut [Vec<String>],
) -> Result<(), Error> {
    let awq = match method.rounding {
        Rounding::Awq(knobs) => Some(knobs),
        _ => None,
    };
    if !method.equalize && method.smooth.is_none() && awq.is_none() {
        return Ok(());
    }
    let joints = joints(prepared);
    let free = |at: &usize| !joints.iter().any(|joint| joint.readers.contains(at));
    let alone: Vec<usize> = (0..schemes.len()).filter(|at| schemes[*at].is_some()).filter(free).collect();
    let mut mark = |what: &str| {
        let note = format!("{what}: what comes before it does not take scales");
        alone.iter().for_each(|&at| notes[at].push(note.clone()));
    };
    if method.equalize {
        scale::equalized(prepared, &joints, state, factors)?;
        mark("not equalized");
    }
    if method.smooth.is_some() {
        mark("not smoothed");
    }
    if awq.is_some() {
        mark("no scales of columns");
    }
    if method.smooth.is_none() && awq.is_none() {
        return Ok(());
    }
    let firsts: Vec<&Layer> = joints.iter().map(|joint| &prepared.layers[joint.readers[0]]).collect();
    if let Some(alpha) = method.smooth {
        let network = prepared.with(&state.changes());
        let found = gather(network.as_ref(), &prepared.graph, &firsts, batches())?;
        for (joint, stats) in joints.iter().zip(found) {
            let Some(stats) = stats else { continue };
            let scale = scale::smoothed(prepared, joint, &stats, alpha, state)?;
            apply(prepared, joint, &scale, state, factors);
        }
    }
    if let Some(knobs) = awq {
        let network = prepared.with(&state.changes());
        let found = gather(network.as_ref(), &prepared.graph, &firsts, batches())?;
        for (joint, stats) in joints.iter().zip(found) {
            let scheme = joint.readers.iter().find_map(|&reader| schemes[reader]);
            let (Some(stats), Some(scheme)) = (stats, scheme) else { continue };
            let grid = grid(&scheme, &method.rounding)?;
            match scale::weighted(prepared, joint, &stats[0], &grid, &knobs, state)? {
                Some(scale) => apply(prepared, joint, &scale, state, factors),
                None => continue,
            }
        }
    }
    Ok(())
}

struct Walker<'a> {
    prepared: &'a Prepared,
    /// As given.
    original: State,
    /// Rounded so far.
    state: State,
    factors: Vec<Factors>,
    method: &'a Method,
    source: Source,
    of_float: Gathered,
    /// What there is to say about each layer.
    notes: Vec<Vec<String>>,
    reports: BTreeMap<usize, LayerReport>,
}

/// Layers that were rounded together, and the block's error.
type InBlock = BTreeMap<usize, (Rounded, BlockReport)>;

impl Walker<'_> {
    /// Rounds a block's layers by its output, as far as they can be.
    fn block(
        &mut self,
        block: &Block,
        schemes: &[Option<Scheme>],
        float: &dyn Network,
        batches: &Batches<'_>,
    ) -> Result<InBlock, Error> {
        let Rounding::Brecq(knobs, objective) = &self.method.rounding else { return Ok(InBlock::new()) };
        let mut together = Vec::new();
        for &at in &block.layers {
            let (layer, Some(scheme)) = (&self.prepared.layers[at], schemes[at]) else { continue };
            match obstacle(&self.prepared.graph, layer) {
                Some(reason) => self.notes[at].push(format!("rounded to nearest: {reason}")),
                None => together.push((at, layer, layer.matrix(self.state.get(&layer.path)), scheme)),
            }
        }
        if together.is_empty() {
            return Ok(InBlock::new());
        }
        let sequential;
        let network = match self.source {
            Source::Float => float,
            Source::Sequential => {
                sequential = self.prepared.with(&self.state.changes());
                sequential.as_ref()
            }
        };
        let indices: Vec<usize> = together.iter().map(|(at, ..)| *at).collect();
        let layers = together.into_iter().map(|(_, layer, matrix, scheme)| (layer, matrix, scheme)).collect();
        let job = Job { block, layers, network, float };
        let (rounded, report, kept) = reconstruct(&job, &self.method.rounding, knobs, *objective, batches)?;
        if kept {
            let note = format!("nothing better than the nearest codes was found for block `{}`", report.name);
            indices.iter().for_each(|&at| self.notes[at].push(note.clone()));
        }
        Ok(indices.into_iter().zip(rounded).map(|(at, rounded)| (at, (rounded, report.clone()))).collect())
    }

    /// Rounds layers one after the other, but for those that are `rounded`, on what they are given in their turn.
    fn layers(
        &mut self,
        layers: &[usize],
        schemes: &[Option<Scheme>],
        mut rounded: InBlock,
        batches: &Batches<'_>,
    ) -> Result<(), Error> {
        for group in groups(self.prepared, layers, schemes) {
            let found: Gathered = match self.source {
                Source::Float => group.iter().map(|&at| self.of_float[at].clone()).collect(),
                Source::Sequential => {
                    let network = self.prepared.with(&self.state.changes());
                    let layers: Vec<&Layer> = group.iter().map(|&at| &self.prepared.layers[at]).collect();
                    gather(network.as_ref(), &self.prepared.graph, &layers, batches())?
                }
            };
            for (&at, stats) in group.iter().zip(found) {
                if let Some(scheme) = &schemes[at] {
                    self.layer(at, scheme, stats, rounded.remove(&at))?;
                }
            }
        }
        Ok(())
    }

    fn layer(
        &mut self,
        at: usize,
        scheme: &Scheme,
        stats: Option<Arc<Vec<InputStats>>>,
        given: Option<(Rounded, BlockReport)>,
    ) -> Result<(), Error> {
        let mut notes = std::mem::take(&mut self.notes[at]);
        let layer = &self.prepared.layers[at];
        let matrix = layer.matrix(self.state.get(&layer.path));
        let seen = stats.filter(|stats| stats.iter().all(|stats| stats.tokens() > 0));
        let mut rounding = self.method.rounding;
        let by_block = matches!(rounding, Rounding::Brecq(..));
        if seen.is_none() && self.method.needs_inputs() && !by_block {
            let reason = layer.route.as_ref().err().map_or("no batch has reached it", String::as_str);
            notes.push(format!("rounded to nearest: {reason}"));
            if !matches!(rounding, Rounding::Hqq(_)) {
                rounding = Rounding::Rtn;
            }
        }
        let inputs = seen.as_deref().map_or(&[] as &[InputStats], Vec::as_slice);
        let keep = self.prepared.keep(layer);
        let (mut done, block) = match given {
            Some((rounded, block)) => (rounded, Some(block)),
            None => (round(layer, &matrix, scheme, &rounding, inputs, keep.as_deref())?, None),
        };
        if done.kept > 0 {
            notes.push(format!("{} of {} rows kept the nearest codes", done.kept, layer.rows));
        }
        if let Some(rank) = self.method.lorc {
            self.correct(layer, &matrix, rank, &mut done)?;
        }
        if let Some(keep) = &keep {
            done.hold(keep);
            if done.coded.masked {
                notes.push("its codes alone do not keep the mask".into());
            }
        }
        let (before, after) = match seen.as_deref() {
            None => (None, None),
            Some(stats) => {
                let nearest = self.nearest(at, scheme)?;
                let all = relative_error(layer, &matrix, &vec![0.0; matrix.len()], stats)?;
                let share = |error: f64| if error == 0.0 { 0.0 } else { error / all };
                let before = relative_error(layer, &matrix, &nearest, stats)?;
                let after = relative_error(layer, &matrix, &done.values, stats)?;
                (Some(share(before)), Some(share(after)))
            }
        };
        let bias = self.bias(at, &matrix, &done.values, seen.as_deref(), &mut notes)?;
        self.state.set(&layer.path, layer.array(&done.values, self.original.get(&layer.path)));
        let report = LayerReport {
            name: layer.name.clone(),
            path: layer.path.clone(),
            rows: layer.rows,
            columns: layer.columns,
            scheme: *scheme,
            before,
            after,
            block,
            sqnr: sqnr(&matrix, &done.values),
            bits: done.coded.bits(),
            coded: done.coded,
            bias,
            notes,
        };
        self.reports.insert(at, report);
        Ok(())
    }

    /// Round-to-nearest of the weight as given, in the scales that the layer has now.
    fn nearest(&self, at: usize, scheme: &Scheme) -> Result<Vec<f32>, Error> {
        let layer = &self.prepared.layers[at];
        let given = layer.matrix(self.original.get(&layer.path));
        let mut nearest = round(layer, &given, scheme, &Rounding::Rtn, &[], None)?;
        self.prepared.keep(layer).iter().for_each(|keep| nearest.hold(keep));
        let factor = |index: usize| self.factors[at].of(layer, index / layer.columns, index % layer.columns);
        Ok(nearest.values.into_iter().enumerate().map(|(index, w)| w * factor(index)).collect())
    }

    fn correct(&self, layer: &Layer, matrix: &[f32], rank: usize, done: &mut Rounded) -> Result<(), Error> {
        let named = |source| Error::WeightTensor { name: layer.name.clone(), source };
        let view = |values| Matrix::new("weight", layer.rows, layer.columns, values);
        let quantized = view(&done.values).map_err(named)?;
        let rank = rank.min(layer.rows).min(layer.columns);
        let pair = lorc(view(matrix).map_err(named)?, quantized, rank).map_err(named)?;
        let corrected = pair.corrected(quantized).map_err(named)?;
        done.values = corrected;
        done.coded.low_rank = Some(pair);
        Ok(())
    }

    /// Corrects the layer's bias, if it has one.
    fn bias(
        &mut self,
        at: usize,
        matrix: &[f32],
        rounded: &[f32],
        stats: Option<&Vec<InputStats>>,
        notes: &mut Vec<String>,
    ) -> Result<Option<(String, Vec<f32>)>, Error> {
        let Some(source) = self.method.bias else { return Ok(None) };
        let layer = &self.prepared.layers[at];
        let Some(path) = self.prepared.biases[at].clone() else {
            notes.push("no correction of the bias: it has none".into());
            return Ok(None);
        };
        let analytic = self.prepared.means[at].as_ref().filter(|_| source == BiasSource::Auto);
        let mut shift = Vec::with_capacity(layer.rows);
        for group in 0..layer.groups {
            let (rows, columns) = (layer.rows_of_group(), layer.columns);
            let part = group * rows * columns..(group + 1) * rows * columns;
            let float = Matrix::new("weight", rows, columns, &matrix[part.clone()])?;
            let quantized = Matrix::new("weight", rows, columns, &rounded[part])?;
            match (analytic, stats, &self.of_float[at]) {
                (Some(mean), ..) => {
                    let inner = columns * layer.groups / mean.len();
                    let channels = mean.len() / layer.groups;
                    let mean = (group * channels..(group + 1) * channels)
                        .map(|channel| mean[channel] / f64::from(self.factors[at].channels[channel * inner]));
                    shift.extend(bias_correction(float, quantized, &mean.collect::<Vec<_>>())?);
                }
                (None, Some(stats), Some(of_float)) => {
                    // E[W x] − E[Ŵ x̂]: what rounding moved here, and what it moved before.
                    let (x, rounded) = (of_float[group].mean()?, stats[group].mean()?);
                    let product = |weights: &[f32], mean: &[f64]| -> f64 {
                        weights.iter().zip(mean).map(|(w, x)| f64::from(*w) * x).sum()
                    };
                    let pairs = float.iter_rows().zip(quantized.iter_rows());
                    shift.extend(pairs.map(|(w, q)| product(w, &x) - product(q, &rounded)));
                }
                _ => {
                    notes.push("no correction of the bias: nothing is known of its inputs".into());
                    return Ok(None);
                }
            }
        }
        self.state.map(&path, |row, bias| (f64::from(bias) + shift[row]) as f32);
        Ok(Some((self.prepared.torch_name(&path), self.state.get(&path).data().to_vec())))
    }
}

/// E‖(W − Ŵ) x‖², summed over groups.
fn relative_error(layer: &Layer, matrix: &[f32], other: &[f32], stats: &[InputStats]) -> Result<f64, Error> {
    let (rows, columns) = (layer.rows_of_group(), layer.columns);
    let mut sum = 0.0;
    let parts = matrix.chunks(rows * columns).zip(other.chunks(rows * columns));
    for ((w, q), stats) in parts.zip(stats) {
        let w = Matrix::new("weight", rows, columns, w)?;
        sum += stats.hessian()?.output_error(w, Matrix::new("weight", rows, columns, q)?)?;
    }
    Ok(sum)
}

/// Σ w² / Σ (w − ŵ)² in decibels.
pub(super) fn sqnr(matrix: &[f32], rounded: &[f32]) -> f64 {
    let signal: f64 = matrix.iter().map(|w| f64::from(*w).powi(2)).sum();
    let noise: f64 = matrix.iter().zip(rounded).map(|(w, q)| (f64::from(*w) - f64::from(*q)).powi(2)).sum();
    10.0 * (signal / noise).log10()
}
