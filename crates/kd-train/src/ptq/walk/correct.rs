//! What makes up for the rounding of a layer, and how far off it is: low-rank corrections, biases, errors.

use quant_core::Scheme;
use quant_core::ptq::{InputStats, Matrix, bias_correction, lorc};

use super::walker::Walker;
use crate::error::Error;
use crate::ptq::layers::Layer;
use crate::ptq::method::{BiasSource, Rounding};
use crate::ptq::round::{Rounded, round};

impl Walker<'_> {
    /// Round-to-nearest of the weight as given, in the scales that the layer has now.
    pub(super) fn nearest(&self, at: usize, scheme: &Scheme) -> Result<Vec<f32>, Error> {
        let layer = &self.prepared.layers[at];
        let given = layer.matrix(self.original.get(&layer.path));
        let mut nearest = round(layer, &given, scheme, &Rounding::Rtn, &[], None)?;
        self.prepared.keep(layer).iter().for_each(|keep| nearest.hold(keep));
        let factor = |index: usize| self.factors[at].of(layer, index / layer.columns, index % layer.columns);
        Ok(nearest.values.into_iter().enumerate().map(|(index, w)| w * factor(index)).collect())
    }

    pub(super) fn correct(
        &self,
        layer: &Layer,
        matrix: &[f32],
        rank: usize,
        done: &mut Rounded,
    ) -> Result<(), Error> {
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
    pub(super) fn bias(
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
pub(super) fn relative_error(
    layer: &Layer,
    matrix: &[f32],
    other: &[f32],
    stats: &[InputStats],
) -> Result<f64, Error> {
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
