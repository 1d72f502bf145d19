//! What removed channels gave to the next layer on average, put into its bias.
//!
//! A channel that goes takes its mean with it, and every layer that read it is off by mean · weight before it learns
//! again. With bias b and inputs x, b'ₒ = bₒ + Σ over removed columns k of wₒₖ · E(xₖ); a layer without a bias that a batch
//! norm follows has it in the running mean, with the other sign. Columns of a convolution are the elements of its
//! kernel, so that borders count as they are. Training repairs the same; this is for little or no of it.

use std::collections::BTreeSet;

use kd_deploy::{Array, Weights};
use kd_graph::{Graph, Op};
use prune_core::Cut;
use quant_core::ptq::{Matrix, bias_correction};

use crate::batches::Batch;
use crate::error::Error;
use crate::network::Network;
use crate::ptq::{Gathered, Layer, gather, layers};

/// The stored weights of `network`, whole, with biases as they should be once `cut` is made; and how many layers that
/// read a removed channel have no place for it.
///
/// # Errors
///
/// Activations that are not finite.
pub fn compensate(
    network: &dyn Network,
    graph: &Graph,
    cut: &Cut,
    batches: impl Iterator<Item = Batch>,
) -> Result<(Weights, usize), Error> {
    let mut weights = network.weights();
    let all = layers(graph);
    // A layer of groups loses outputs with its inputs: what is left read nothing of them.
    let reading: Vec<&Layer> =
        all.iter().filter(|layer| layer.groups == 1 && removed(layer, cut).is_some()).collect();
    let gathered: Gathered = gather(network, graph, &reading, batches)?;
    let mut without = 0;
    for (layer, stats) in reading.iter().zip(&gathered) {
        let (Some(stats), Some(removed)) =
            (stats.as_ref().and_then(|stats| stats.first()), removed(layer, cut))
        else {
            without += 1;
            continue;
        };
        let Some(weight) = weights.get(&layer.path) else { continue };
        let whole = layer.matrix(weight);
        let mut left = whole.clone();
        for row in left.chunks_mut(layer.columns) {
            removed.iter().for_each(|&column| row[column] = 0.0);
        }
        let matrix = |values| Matrix::new("weight", layer.rows, layer.columns, values);
        // Removing is rounding to zero, for the mean of what is read.
        let lost = bias_correction(matrix(&whole)?, matrix(&left)?, &stats.mean()?)?;
        let place = layer.bias.clone().map(|path| (path, 1.0)).or_else(|| running_mean(graph, layer));
        let Some((path, sign)) = place else {
            without += 1;
            continue;
        };
        if let Some(array) = weights.get_mut(&path) {
            let values = array.data().iter().zip(&lost).map(|(&x, lost)| (f64::from(x) + sign * lost) as f32);
            let values: Vec<f32> = values.collect();
            *array = Array::new(array.shape().to_vec(), values).expect("the shape is the same");
        }
    }
    Ok((weights, without))
}

/// Columns of the layer's matrix that a cut removes, if any.
fn removed(layer: &Layer, cut: &Cut) -> Option<Vec<usize>> {
    let kept = cut.kept(&layer.path, layer.input_dim()?)?;
    let of_channel = layer.columns / kept.size;
    let keep: BTreeSet<usize> = kept.keep.iter().copied().collect();
    let gone = (0..kept.size).filter(|channel| !keep.contains(channel));
    Some(gone.flat_map(|channel| channel * of_channel..(channel + 1) * of_channel).collect())
}

/// Where the batch norm that alone reads the layer keeps its mean, which is subtracted.
fn running_mean(graph: &Graph, layer: &Layer) -> Option<(String, f64)> {
    let output = graph.nodes[layer.node].output;
    let mut readers = graph.consumers(output);
    let norm = readers.next().filter(|node| matches!(node.op, Op::BatchNorm { .. }))?;
    if readers.next().is_some() {
        return None;
    }
    Some((graph.param(*norm.inputs.get(3)?)?.path.clone(), -1.0))
}
