//! A model rounded layer by layer, in the order of the forward pass, with each layer's error before and after.

mod correct;
mod rescale;
mod walker;

use std::collections::BTreeMap;

use quant_core::Scheme;

use self::rescale::rescale;
use self::walker::Walker;
use super::Batches;
use super::blocks::blocks;
use super::inputs::gather;
use super::layers::Layer;
use super::method::{Method, Rounding};
use super::prepare::{Prepared, State};
use super::reconstruct::BlockReport;
use super::round::{Coded, grid};
use super::scale::Factors;
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
