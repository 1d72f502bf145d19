//! Which heads, hidden units and channels masks have left empty, so that they can be taken out.
//!
//! A mask changes no shape; what makes a network faster are units that nothing writes or nothing reads any more. The rule
//! is that of block movement pruning's authors (nn_pruning, `inference_model_patcher.py`, at 0cef2b2), with what reads a
//! unit beside what writes it.

use kd_deploy::{Array, Weights};
use kd_graph::{Axis, Kind, Member};

use crate::survey::Entry;

/// For each unit of an axis whether it is empty: all weights that write it are zero there, or all that read it.
///
/// A head is empty as soon as its queries, keys or values are: without queries or keys it averages the values evenly.
/// A unit that nothing writes still gives its bias, the same for every input.
pub(crate) fn units(axis: &Axis, entries: &[Entry], weights: &Weights) -> Vec<bool> {
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for member in &axis.members {
        let Some(entry) = entries.iter().find(|entry| entry.path == member.path) else { continue };
        let (Some(out), Some(weight)) = (entry.output_axis(), weights.get(&member.path)) else { continue };
        let zero = zero(member, weight);
        if member.dim == out { writers.push(zero) } else { readers.push(zero) }
    }
    let all = |of: &[Vec<bool>], unit: usize| !of.is_empty() && of.iter().all(|zero| zero[unit]);
    let any = |of: &[Vec<bool>], unit: usize| of.iter().any(|zero| zero[unit]);
    let heads = matches!(axis.kind, Kind::Heads | Kind::KvGroups);
    let written = |unit| if heads { any(&writers, unit) } else { all(&writers, unit) };
    (0..axis.size).map(|unit| written(unit) || all(&readers, unit)).collect()
}

/// For each unit whether its slices of a weight hold zeros alone.
fn zero(member: &Member, weight: &Array) -> Vec<bool> {
    let shape = weight.shape();
    let (size, inner) = (shape[member.dim], shape[member.dim + 1..].iter().product::<usize>().max(1));
    let mut there = vec![false; size];
    for (at, value) in weight.data().iter().enumerate() {
        there[at / inner % size] |= *value != 0.0;
    }
    member.index.iter().map(|indices| indices.iter().all(|&at| !there[at])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use burn::tensor::{Device, Tensor, TensorData};
    use kd_core::Tap;
    use prune_core::{Limits, plan_units};

    use super::*;
    use crate::model::Task;
    use crate::models::{Transformer, TransformerConfig};
    use crate::network::{Built, Network, seeded};
    use crate::prune::{follow, provable};

    const WIDTH: usize = 12;
    const FEED_FORWARD: usize = 10;

    fn transformer() -> Box<dyn Network> {
        let config = TransformerConfig {
            width: WIDTH,
            layers: 2,
            heads: 3,
            feed_forward: FEED_FORWARD,
            vocabulary: 17,
        };
        let (task, device) = (Task { input: vec![6], classes: 4 }, Device::flex());
        seeded(&device, 3, || Built::<Transformer>::build("transformer", &config, &task, &device)).unwrap()
    }

    /// Sets the elements of a weight `[in, out]` to 0 that `zero` says.
    fn strike(weights: &mut Weights, path: &str, zero: impl Fn(usize, usize) -> bool) {
        let array = &weights[path];
        let out = array.shape()[1];
        let value = |(at, value): (usize, &f32)| if zero(at / out, at % out) { 0.0 } else { *value };
        let values = array.data().iter().enumerate().map(value).collect::<Vec<f32>>();
        let array = Array::new(array.shape().to_vec(), values).unwrap();
        weights.insert(path.to_owned(), array);
    }

    fn plan(network: &dyn Network, limits: Limits) -> prune_core::Plan {
        let graph = network.graph().unwrap();
        let axes = provable::pinned(&graph, follow::axes(network, &graph));
        let (entries, weights) = (network.entries(), network.weights());
        plan_units(&graph, &axes, |axis| units(axis, &entries, &weights), limits).unwrap()
    }

    fn logits(network: &dyn Network) -> Vec<f32> {
        let ids: Vec<f32> = (0..4 * 6).map(|i| (i * 5 % 17) as f32).collect();
        let rows = Tensor::from_data(TensorData::new(ids, [4, 6]), &Device::flex());
        network.forward(rows, &mut Tap::none()).into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn what_nothing_reads_goes_without_a_trace() {
        let mut network = transformer();
        let mut weights = network.weights();
        // The second head of the first layer, rows 4 .. 8 of what reads it, and the units 0 and 7 of the second layer.
        strike(&mut weights, "layers.0.attention.output.weight", |i, _| (4..8).contains(&i));
        strike(&mut weights, "layers.1.output.weight", |i, _| [0, 7].contains(&i));
        // A column that is zero in one weight of the residual stream does not empty the stream.
        strike(&mut weights, "layers.0.output.weight", |_, o| o == 5);
        network.set_weights(&weights);
        let plan = plan(network.as_ref(), Limits::default());
        let less: Vec<_> = plan.axes.iter().filter(|axis| axis.keep.len() < axis.size).collect();
        let kept: Vec<_> = less.iter().map(|axis| (axis.kind, axis.keep.clone())).collect();
        assert_eq!(kept, [(Kind::Heads, vec![0, 2]), (Kind::Width, vec![1, 2, 3, 4, 5, 6, 8, 9])]);
        let cut = network.cut(&plan.cut).unwrap();
        assert_eq!(cut.weights()["layers.0.attention.key.weight"].shape(), [12, 8]);
        for (found, expected) in logits(cut.as_ref()).iter().zip(logits(network.as_ref())) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn a_head_goes_with_any_of_its_projections_and_one_stays_at_least() {
        for projection in ["query", "key", "value"] {
            let mut network = transformer();
            let mut weights = network.weights();
            strike(&mut weights, &format!("layers.1.attention.{projection}.weight"), |_, o| o < 4);
            strike(&mut weights, "layers.0.hidden.weight", |_, o| o == 2);
            strike(&mut weights, "layers.0.attention.value.weight", |_, _| true);
            network.set_weights(&weights);
            let kept = |limits| -> Vec<_> {
                let plan = plan(network.as_ref(), limits);
                let less = plan.axes.into_iter().filter(|axis| axis.keep.len() < axis.size);
                less.map(|axis| (axis.kind, axis.keep)).collect()
            };
            let units = (0..FEED_FORWARD).filter(|&unit| unit != 2).collect::<Vec<_>>();
            let mut found = kept(Limits::default());
            found.sort();
            // Where no value is left at all, neither is any of their dimensions.
            let expected = [
                (Kind::Heads, vec![0]),
                (Kind::Heads, vec![1, 2]),
                (Kind::VDims, vec![0]),
                (Kind::Width, units),
            ];
            assert_eq!(found, expected, "{projection}");
            let mut found = kept(Limits { min_units: 2, round_to: 2, ..Limits::default() });
            found.sort();
            let expected = [(Kind::Heads, vec![0, 1]), (Kind::Heads, vec![1, 2]), (Kind::VDims, vec![0, 1])];
            assert_eq!(found, expected, "{projection}");
        }
    }
}
