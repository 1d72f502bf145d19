//! Batch norms that disappear into the layer in front of them.
//!
//! In inference a batch norm is a scale and a shift per channel, and so is part of any convolution or linear
//! layer directly before it. Which ones fold is the graph's knowledge (`kd-graph`); here stands the arithmetic,
//! once, for the float export, for the quantized one, and for whoever folds a module before training it quantized.

use kd_graph::{Fold, Graph, ValueId, batch_norm_folds};

use crate::onnx::{dynamic_values, site_values};
use crate::safetensors::weight;
use crate::{Array, Error, QuantPlan, Weights};

/// The batch norms that [`lower`](crate::onnx::lower) folds away, in execution order.
///
/// A layer keeps its batch norm if something else needs its own result; with a quantization plan that is also the
/// case if the plan names a site between the two.
///
/// # Errors
/// When the plan does not fit the graph.
pub fn foldings(graph: &Graph, quantization: Option<&QuantPlan>) -> Result<Vec<Fold>, Error> {
    let (kept, dynamic) = match quantization {
        Some(plan) => (site_values(graph, plan)?, dynamic_values(graph, plan)?),
        None => Default::default(),
    };
    let named = |value: &ValueId| kept.contains_key(value) || dynamic.contains_key(value);
    let mut folds = batch_norm_folds(graph);
    folds.retain(|fold| !named(&graph.nodes[fold.layer].output));
    Ok(folds)
}

/// Weight and bias of a layer that has absorbed its batch norm.
///
/// With `f_c = gamma_c / sqrt(variance_c + epsilon)` for each output channel `c`:
/// `weight' = weight · f_c` along `fold.out_axis`, `bias'_c = beta_c + (bias_c - mean_c) · f_c`, where a layer
/// without bias counts as bias 0. Computed in `f64` and rounded once. (Jacob et al., "Quantization and Training of
/// Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, equation 14.)
///
/// # Errors
/// When a weight is missing or the per-channel ones do not have as many elements as there are channels.
pub fn fold_batch_norm(fold: &Fold, weights: &Weights) -> Result<(Array, Array), Error> {
    let get = |path: &String| {
        let missing = || Error::MissingWeight { path: path.clone(), available: weights.len() };
        weights.get(path).ok_or_else(missing)
    };
    let kernel = get(&fold.weight)?;
    let Some(&channels) = kernel.shape().get(fold.out_axis) else {
        return Err(Error::WeightShape {
            path: fold.weight.clone(),
            expected: vec![0; fold.out_axis + 1],
            found: kernel.shape().to_vec(),
        });
    };
    let per_channel =
        |path: &String| -> Result<&[f32], Error> { Ok(weight(weights, path, &[channels])?.data()) };
    let (gamma, beta) = (per_channel(&fold.gamma)?, per_channel(&fold.beta)?);
    let (mean, variance) = (per_channel(&fold.mean)?, per_channel(&fold.variance)?);
    let bias = fold.bias.as_ref().map(per_channel).transpose()?;

    let factor = |c: usize| f64::from(gamma[c]) / (f64::from(variance[c]) + fold.epsilon).sqrt();
    let factors: Vec<f64> = (0..channels).map(factor).collect();
    let folded = kernel.map_along(fold.out_axis, |c, w| (f64::from(w) * factors[c]) as f32);
    let shift = |c: usize| {
        let bias = bias.map_or(0.0, |bias| f64::from(bias[c]));
        (f64::from(beta[c]) + (bias - f64::from(mean[c])) * factors[c]) as f32
    };
    Ok((folded, Array::new([channels], (0..channels).map(shift).collect::<Vec<_>>())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_layer_and_its_batch_norm_by_hand() {
        let array = |shape: &[usize], data: &[f32]| Array::new(shape, data).unwrap();
        // Two outputs along axis 1. Factors: 4 / sqrt(3.75 + 0.25) = 2 and 1 / sqrt(0.75 + 0.25) = 1.
        let mut weights = Weights::from([
            ("w".to_owned(), array(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            ("b".to_owned(), array(&[2], &[0.5, -1.0])),
            ("gamma".to_owned(), array(&[2], &[4.0, 1.0])),
            ("beta".to_owned(), array(&[2], &[10.0, 20.0])),
            ("mean".to_owned(), array(&[2], &[1.5, 1.0])),
            ("variance".to_owned(), array(&[2], &[3.75, 0.75])),
        ]);
        let mut fold = Fold {
            layer: 0,
            norm: 1,
            weight: "w".into(),
            bias: Some("b".into()),
            gamma: "gamma".into(),
            beta: "beta".into(),
            mean: "mean".into(),
            variance: "variance".into(),
            epsilon: 0.25,
            out_axis: 1,
        };
        let (weight, bias) = fold_batch_norm(&fold, &weights).unwrap();
        assert_eq!(weight.data(), [2.0, 2.0, 6.0, 4.0]);
        assert_eq!(bias.data(), [10.0 + (0.5 - 1.5) * 2.0, 20.0 + (-1.0 - 1.0)]);

        fold.bias = None;
        fold.out_axis = 0;
        let (weight, bias) = fold_batch_norm(&fold, &weights).unwrap();
        assert_eq!(weight.data(), [2.0, 4.0, 3.0, 4.0]);
        assert_eq!(bias.data(), [7.0, 19.0]);

        weights.insert("gamma".into(), array(&[3], &[1.0; 3]));
        assert_eq!(
            fold_batch_norm(&fold, &weights).unwrap_err().to_string(),
            "weight `gamma`: expected shape [2], found [3]"
        );
    }
}
