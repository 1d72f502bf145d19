//! Layers that scale each other: what divides a layer's outputs by s, channel by channel, and multiplies the weights that
//! read them, without changing the function.
//!
//! It needs a producer whose outputs can be divided (a convolution or linear layer, with its bias; a norm's weight and
//! shift), between the two nothing but what commutes with positive factors of channels, and no other reader. Equalization,
//! SmoothQuant and AWQ differ in s alone.

use kd_deploy::Array;
use kd_graph::{Dim, Graph, Node, Op, Unary, ValueId};
use quant_core::ptq::{Awq, Grid, InputStats, Matrix, awq, equalize, smooth_scales};

use super::layers::{Kind, Layer};
use super::prepare::{Prepared, State};
use crate::error::Error;

/// A producer and all that read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    /// What is divided.
    pub producer: Producer,
    /// Channels between.
    pub channels: usize,
    /// Indices of the layers that read them.
    pub readers: Vec<usize>,
}

/// What is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Producer {
    /// Rows of a layer, by index, and the shift behind it.
    Layer(usize),
    /// A norm's weight and shift, by path.
    Norm(Vec<String>),
}

/// All places of a model where scales can move.
pub fn joints(prepared: &Prepared) -> Vec<Joint> {
    let graph = &prepared.graph;
    (graph.nodes.iter().enumerate()).filter_map(|(at, node)| joint(prepared, at, node)).collect()
}

fn joint(prepared: &Prepared, at: usize, node: &Node) -> Option<Joint> {
    let graph = &prepared.graph;
    let layer = |node: usize| prepared.layers.iter().position(|layer| layer.node == node);
    let own = |paths: &[ValueId]| {
        let sole = |&id: &ValueId| graph.consumers(id).count() == 1;
        let path = |&id: &ValueId| graph.param(id).map(|param| param.path.clone());
        paths.iter().all(sole).then(|| paths.iter().map(path).collect::<Option<Vec<_>>>()).flatten()
    };
    let (producer, axis) = match node.op {
        Op::Conv { .. } => (Producer::Layer(layer(at)?), 1),
        Op::Linear => (Producer::Layer(layer(at)?), graph.value(node.output).shape.len() - 1),
        // The norm behind a layer that took it in belongs to that layer.
        Op::BatchNorm { .. } => {
            let shift = graph.param(node.inputs[2])?.path.as_str();
            if prepared.biases.iter().any(|bias| bias.as_deref() == Some(shift)) {
                return None;
            }
            (Producer::Norm(own(&node.inputs[1..3])?), 1)
        }
        Op::LayerNorm { .. } => {
            (Producer::Norm(own(&node.inputs[1..])?), graph.value(node.output).shape.len() - 1)
        }
        _ => return None,
    };
    if let Producer::Layer(layer) = &producer {
        let paths = [Some(&prepared.layers[*layer].path), prepared.biases[*layer].as_ref()];
        if !paths.into_iter().flatten().all(|path| readers_of(graph, path) == 1) {
            return None;
        }
    }
    let Dim::Fixed(channels) = graph.value(node.output).shape[axis] else { return None };
    let mut readers = Vec::new();
    let complete = spread(prepared, node.output, axis, channels, &producer, &mut readers);
    (complete && !readers.is_empty()).then_some(Joint { producer, channels, readers })
}

/// Collects the layers behind a value whose channels run along `axis`; false where something else reads it.
fn spread(
    prepared: &Prepared,
    id: ValueId,
    axis: usize,
    channels: usize,
    producer: &Producer,
    readers: &mut Vec<usize>,
) -> bool {
    let graph = &prepared.graph;
    if graph.outputs.contains(&id) {
        return false;
    }
    graph.nodes.iter().enumerate().filter(|(_, node)| node.inputs.contains(&id)).all(|(at, node)| {
        let go_on = |axis: usize, readers: &mut Vec<usize>| {
            spread(prepared, node.output, axis, channels, producer, readers)
        };
        let rank = graph.value(id).shape.len();
        match &node.op {
            Op::Unary(Unary::Relu) => go_on(axis, readers),
            Op::MaxPool { .. } | Op::AvgPool { .. } | Op::AdaptiveAvgPool { .. } if axis == 1 => {
                go_on(axis, readers)
            }
            // The shift of the layer itself: what `biases` names.
            Op::BatchNorm { .. } => {
                let Producer::Layer(layer) = producer else { return false };
                let shift = graph.param(node.inputs[2]).map(|beta| beta.path.as_str());
                let own = graph.nodes[prepared.layers[*layer].node].output == id;
                own && shift == prepared.biases[*layer].as_deref() && go_on(axis, readers)
            }
            Op::Reshape => flattened(graph, node, axis).is_some_and(|axis| go_on(axis, readers)),
            Op::Conv { .. } | Op::Linear if node.inputs[0] == id => {
                let expected = if matches!(node.op, Op::Linear) { rank - 1 } else { 1 };
                let Some(found) = prepared.layers.iter().position(|layer| layer.node == at) else {
                    return false;
                };
                readers.push(found);
                let layer = &prepared.layers[found];
                let divides = (layer.columns * layer.groups).is_multiple_of(channels);
                axis == expected && divides && readers_of(graph, &layer.path) == 1
            }
            _ => false,
        }
    })
}

/// Operations that read a parameter.
fn readers_of(graph: &Graph, path: &str) -> usize {
    let reads =
        |node: &&Node| node.inputs.iter().any(|&id| graph.param(id).is_some_and(|param| param.path == path));
    graph.nodes.iter().filter(reads).count()
}

/// The axis of channels after a reshape that merges later dimensions into it, or merges and splits those before.
fn flattened(graph: &Graph, node: &Node, axis: usize) -> Option<usize> {
    let (from, to) = (&graph.value(node.inputs[0]).shape, &graph.value(node.output).shape);
    let last = axis + 1 == from.len();
    let after: usize = from[axis..].iter().map(|dim| dim.at(1)).product();
    let kept = to.len().checked_sub(1)?;
    // `[N, C, H, W]` to `[N, C·H·W]`, or `[.., C]` to other leading dimensions.
    ((last || axis == 1) && to[kept] == Dim::Fixed(after)).then_some(kept)
}

/// How far each layer's weight has been scaled, against the one that it began with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factors {
    /// What each row was divided by.
    pub(super) rows: Vec<f32>,
    /// What each channel of the inputs was multiplied by; inputs are divided by it.
    pub(super) channels: Vec<f32>,
}

impl Factors {
    pub(super) fn one(layer: &Layer) -> Self {
        Self { rows: vec![1.0; layer.rows], channels: vec![1.0; layer.columns * layer.groups] }
    }

    /// The factor of an element.
    pub(super) fn of(&self, layer: &Layer, row: usize, column: usize) -> f32 {
        self.channels[wide(layer, row, column)] / self.rows[row]
    }
}

/// The column of an element if the groups' inputs stood side by side.
fn wide(layer: &Layer, row: usize, column: usize) -> usize {
    row / layer.rows_of_group() * layer.columns + column
}

/// Largest |w| of every input channel.
fn column_max(layer: &Layer, matrix: &[f32], channels: usize) -> Vec<f32> {
    let inner = layer.columns * layer.groups / channels;
    let mut most = vec![0.0_f32; channels];
    for (index, w) in matrix.iter().enumerate() {
        let channel = wide(layer, index / layer.columns, index % layer.columns) / inner;
        most[channel] = most[channel].max(w.abs());
    }
    most
}

/// Divides the producer by `scale` and multiplies the readers, in `state` and in `factors`.
pub(super) fn apply(
    prepared: &Prepared,
    joint: &Joint,
    scale: &[f32],
    state: &mut State,
    factors: &mut [Factors],
) {
    match &joint.producer {
        Producer::Norm(paths) => paths.iter().for_each(|path| state.map(path, |at, x| x / scale[at])),
        Producer::Layer(index) => {
            let layer = &prepared.layers[*index];
            change(layer, state, |row, _, w| w / scale[row]);
            if let Some(bias) = &prepared.biases[*index] {
                state.map(bias, |at, x| x / scale[at]);
            }
            factors[*index].rows.iter_mut().zip(scale).for_each(|(row, s)| *row *= s);
        }
    }
    for &reader in &joint.readers {
        let layer = &prepared.layers[reader];
        let inner = layer.columns * layer.groups / joint.channels;
        change(layer, state, |row, column, w| w * scale[wide(layer, row, column) / inner]);
        let channels = factors[reader].channels.iter_mut().enumerate();
        channels.for_each(|(at, channel)| *channel *= scale[at / inner]);
    }
}

fn change(layer: &Layer, state: &mut State, f: impl Fn(usize, usize, f32) -> f32) {
    let array = state.get(&layer.path);
    let values = layer.matrix(array).into_iter().enumerate();
    let values: Vec<f32> = values.map(|(at, w)| f(at / layer.columns, at % layer.columns, w)).collect();
    let array: Array = layer.array(&values, array);
    state.set(&layer.path, array);
}

/// Rounds over all pairs before equalization counts as settled.
const ROUNDS: usize = 30;

/// Cross-layer equalization over all joints behind a layer, until no scale moves by more than 1e-3.
///
/// # Errors
///
/// Weights that are not finite.
pub(super) fn equalized(
    prepared: &Prepared,
    joints: &[Joint],
    state: &mut State,
    factors: &mut [Factors],
) -> Result<(), Error> {
    for _ in 0..ROUNDS {
        let mut moved = 0.0_f32;
        for joint in joints {
            let Producer::Layer(index) = joint.producer else { continue };
            let layer = &prepared.layers[index];
            let first = layer.matrix(state.get(&layer.path));
            let readers = most_of_readers(prepared, joint, state);
            let first = Matrix::new("weight", layer.rows, layer.columns, &first)?;
            let second = Matrix::new("weight", joint.readers.len(), joint.channels, &readers)?;
            let scale = equalize(first, None, second)?.scale;
            moved = scale.iter().fold(moved, |most, s| most.max((s - 1.0).abs()));
            apply(prepared, joint, &scale, state, factors);
        }
        if moved < 1e-3 {
            break;
        }
    }
    Ok(())
}

/// Largest |w| of every channel for every reader, `[readers, channels]`.
fn most_of_readers(prepared: &Prepared, joint: &Joint, state: &State) -> Vec<f32> {
    let of = |&reader: &usize| {
        let layer = &prepared.layers[reader];
        column_max(layer, &layer.matrix(state.get(&layer.path)), joint.channels)
    };
    joint.readers.iter().flat_map(of).collect()
}

/// SmoothQuant's scales of a joint; `stats` are those of one of its readers, a group's after the other.
///
/// # Errors
///
/// Weights that are not finite.
pub(super) fn smoothed(
    prepared: &Prepared,
    joint: &Joint,
    stats: &[InputStats],
    alpha: f64,
    state: &State,
) -> Result<Vec<f32>, Error> {
    let columns: Vec<f32> = stats.iter().flat_map(|stats| stats.max_abs()).copied().collect();
    let inner = columns.len() / joint.channels;
    let most: Vec<f32> = columns.chunks(inner).map(|x| x.iter().copied().fold(0.0, f32::max)).collect();
    let readers = most_of_readers(prepared, joint, state);
    let readers = Matrix::new("weight", joint.readers.len(), joint.channels, &readers)?;
    Ok(smooth_scales(&most, &[readers], alpha)?)
}

/// AWQ's scales of a joint, searched for all its readers together, on each reader's own `grid`: their outputs are
/// stacked. None where a reader multiplies a channel in several places, as convolutions do.
///
/// # Errors
///
/// Weights that are not finite, a grid that overflows.
pub(super) fn weighted(
    prepared: &Prepared,
    joint: &Joint,
    stats: &InputStats,
    grid: &Grid,
    knobs: &Awq,
    state: &State,
) -> Result<Option<Vec<f32>>, Error> {
    let mut stacked = Vec::new();
    for &reader in &joint.readers {
        let layer = &prepared.layers[reader];
        let plain = matches!(&layer.kind, Kind::Linear)
            || matches!(&layer.kind, Kind::Conv(window) if window.kernel.iter().all(|&k| k == 1));
        if !plain || layer.groups != 1 || layer.columns != joint.channels {
            return Ok(None);
        }
        stacked.extend(layer.matrix(state.get(&layer.path)));
    }
    let weight = Matrix::new("weight", stacked.len() / joint.channels, joint.channels, &stacked)?;
    let knobs = Awq { clips: 1, ..*knobs };
    let found = awq(weight, &stats.hessian()?, &stats.mean_abs()?, grid, &knobs)?;
    Ok((found.ratio > 0.0).then_some(found.input_scale))
}
