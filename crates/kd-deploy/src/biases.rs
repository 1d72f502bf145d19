//! Biases as an integer engine adds them.
//!
//! A bias is shipped in steps of input scale · weight scale. That is fine beside the sum that it joins, but not
//! beside a small one: of a depthwise or pointwise convolution over few channels, or where an average takes the noise
//! away and leaves the shift. A model whose biases already stand on their steps computes what its engine computes.

use kd_graph::Graph;

use crate::fold::{fold_batch_norm, foldings};
use crate::onnx::Quantized;
use crate::safetensors::weight;
use crate::{Array, Error, QuantPlan, Weights};

/// The biases that are off their steps, moved onto them, by path; a folded batch norm's shift counts as one.
///
/// A bias that several layers with different steps share stays, and so is not among them.
///
/// # Errors
/// As [`lower`](crate::onnx::lower) with this plan: a weight is missing or not finite, or the plan does not fit.
pub fn rounded_biases(graph: &Graph, weights: &Weights, plan: &QuantPlan) -> Result<Weights, Error> {
    let folds = foldings(graph, Some(plan))?;
    let quantized = Quantized::new(graph, weights, plan, &folds)?;
    let mut rounded = Weights::new();
    for (&index, bias) in &quantized.codes.biases {
        let step = |output: usize| bias.scale[if bias.scale.len() == 1 { 0 } else { output }];
        let shipped = |output: usize| (f64::from(bias.codes[output]) * f64::from(step(output))) as f32;
        let (path, found) = match folds.iter().find(|fold| fold.layer == index) {
            Some(fold) => (fold.beta.clone(), fold_batch_norm(fold, weights)?.1),
            None => {
                let param = graph.nodes[index].inputs.get(2).and_then(|&id| graph.param(id));
                let Some(param) = param else { continue };
                (param.path.clone(), weight(weights, &param.path, &param.shape)?.clone())
            }
        };
        let shared = graph.nodes.iter().filter(|node| {
            node.inputs.iter().any(|&id| graph.param(id).is_some_and(|param| param.path == path))
        });
        if shared.count() > 1 {
            continue;
        }
        let stored = weight(weights, &path, found.shape())?;
        // What batch norm adds to its shift stays as it is.
        let settled = |c: usize| match (stored.data()[c], found.data()[c]) {
            (stored, found) if stored == found => shipped(c),
            (stored, found) => stored + (shipped(c) - found),
        };
        let values: Vec<f32> = (0..stored.data().len()).map(settled).collect();
        if values != stored.data() {
            rounded.insert(path, Array::new(stored.shape().to_vec(), values)?);
        }
    }
    Ok(rounded)
}
