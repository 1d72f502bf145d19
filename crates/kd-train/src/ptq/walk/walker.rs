//! Layers one after the other, or a block of them together, each on what it is given in its turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use quant_core::Scheme;
use quant_core::ptq::InputStats;

use super::correct::{relative_error, sqnr};
use super::{LayerReport, Source};
use crate::error::Error;
use crate::network::Network;
use crate::ptq::Batches;
use crate::ptq::blocks::{Block, obstacle};
use crate::ptq::inputs::{Gathered, gather};
use crate::ptq::layers::{Layer, places};
use crate::ptq::method::{Method, Rounding};
use crate::ptq::prepare::{Prepared, State};
use crate::ptq::reconstruct::{BlockReport, Job, reconstruct};
use crate::ptq::round::{Rounded, round};
use crate::ptq::scale::Factors;

pub(super) struct Walker<'a> {
    pub(super) prepared: &'a Prepared,
    /// As given.
    pub(super) original: State,
    /// Rounded so far.
    pub(super) state: State,
    pub(super) factors: Vec<Factors>,
    pub(super) method: &'a Method,
    pub(super) source: Source,
    pub(super) of_float: Gathered,
    /// What there is to say about each layer.
    pub(super) notes: Vec<Vec<String>>,
    pub(super) reports: BTreeMap<usize, LayerReport>,
}

/// Layers that were rounded together, and the block's error.
pub(super) type InBlock = BTreeMap<usize, (Rounded, BlockReport)>;

impl Walker<'_> {
    /// Rounds a block's layers by its output, as far as they can be.
    pub(super) fn block(
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
    pub(super) fn layers(
        &mut self,
        layers: &[usize],
        schemes: &[Option<Scheme>],
        mut rounded: InBlock,
        batches: &Batches<'_>,
    ) -> Result<(), Error> {
        let wanted = layers.iter().copied().filter(|&at| schemes[at].is_some());
        for group in places(&self.prepared.layers, wanted) {
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
}
