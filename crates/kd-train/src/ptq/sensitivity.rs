//! What it costs a model to have one layer rounded, for each way to round it.

use std::collections::BTreeMap;
use std::str::FromStr;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use kd_core::Tap;
use kd_deploy::{Array, Weights};
use quant_core::Scheme;
use quant_core::budget::bit_operations;

use super::Batches;
use super::method::Rounding;
use super::prepare::{Prepared, State};
use super::round::round;
use super::score::divergence;
use crate::batches::Batch;
use crate::error::Error;
use crate::evaluate::predict;
use crate::survey::{Entry, gradient, to_array};

/// How the loss of a layer's rounding is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// Σ (w − ŵ)² / Σ w² of the weight, the inverse of its SQNR. No data.
    Sqnr,
    /// KL of the logits against the float model's, with this layer rounded alone. A pass over the calibration set for
    /// each layer and scheme.
    #[default]
    Kl,
    /// Σ E\[(∂L/∂w)²\] (ŵ − w)², L the cross entropy of an example's label: the empirical Fisher information. A backward
    /// pass for each of the first examples, once.
    Fisher,
}

impl Measure {
    /// Every measure with its word.
    pub const WORDS: [(&'static str, Self); 3] =
        [("sqnr", Self::Sqnr), ("kl", Self::Kl), ("fisher", Self::Fisher)];
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, measure)| *measure);
        found.ok_or_else(|| Error::QuantizeOption {
            option: "--sensitivity".into(),
            expected: "`sqnr`, `kl` or `fisher`".into(),
            found: format!("`{text}`"),
        })
    }
}

/// A layer in a scheme, or in floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// None leaves it in 32-bit floats.
    pub scheme: Option<Scheme>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Multiplications at batch 1 · bits of a weight · bits of an activation.
    pub bit_operations: u64,
    /// What it does to the model, by the measure that was asked for.
    pub loss: f64,
}

/// Bits of an activation that is not rounded.
pub const ACTIVATION_BITS: u32 = 32;

/// Examples whose gradients are taken for [`Measure::Fisher`].
const FISHER_EXAMPLES: u32 = 128;

/// Every layer in every scheme: cost and loss, round-to-nearest. In the order of `prepared.layers` and of `schemes`.
///
/// Losses of layers are measured one at a time and taken to add up, which holds while errors are small.
///
/// # Errors
///
/// Weights that are not finite or too wide for a scheme.
pub fn sensitivities(
    prepared: &Prepared,
    schemes: &[Option<Scheme>],
    measure: Measure,
    activation_bits: u32,
    batches: &Batches<'_>,
) -> Result<Vec<Vec<Candidate>>, Error> {
    let state = State::new(prepared.network.as_ref());
    let float = match measure {
        Measure::Kl => Some(predict(prepared.network.as_ref(), None, batches())),
        _ => None,
    };
    let fisher = match measure {
        Measure::Fisher => fisher(prepared, batches()),
        _ => Weights::new(),
    };
    let mut all = Vec::with_capacity(prepared.layers.len());
    for layer in &prepared.layers {
        let given = state.get(&layer.path);
        let matrix = layer.matrix(given);
        let information = fisher.get(&layer.path).map(|array| layer.matrix(array));
        let mut candidates = Vec::with_capacity(schemes.len());
        for scheme in schemes {
            let (bits, loss) = match scheme {
                None => (32 * layer.len() as u64, 0.0),
                Some(scheme) => {
                    let rounded = round(layer, &matrix, scheme, &Rounding::Rtn, &[], None)?.values;
                    let loss = match (&float, &information) {
                        (Some(float), _) => {
                            let changed = Weights::from([(layer.path.clone(), layer.array(&rounded, given))]);
                            let network = prepared.with(&changed);
                            divergence(float, &predict(network.as_ref(), None, batches()))
                        }
                        (None, Some(information)) => {
                            weighted(&matrix, &rounded, |at| f64::from(information[at]))
                        }
                        (None, None) => {
                            let all = weighted(&matrix, &vec![0.0; matrix.len()], |_| 1.0);
                            if all == 0.0 { 0.0 } else { weighted(&matrix, &rounded, |_| 1.0) / all }
                        }
                    };
                    (scheme.bits(layer.rows, layer.columns), loss)
                }
            };
            candidates.push(Candidate {
                scheme: *scheme,
                bytes: bits.div_ceil(8),
                bit_operations: bit_operations(layer.macs, code_bits(scheme.as_ref()), activation_bits),
                loss,
            });
        }
        all.push(candidates);
    }
    Ok(all)
}

/// Bits that a multiplication sees of a weight; scales are not multiplied with every one.
fn code_bits(scheme: Option<&Scheme>) -> u32 {
    scheme.map_or(32, |scheme| scheme.number().bits_per_value().floor().max(1.0) as u32)
}

fn weighted(matrix: &[f32], rounded: &[f32], of: impl Fn(usize) -> f64) -> f64 {
    let pairs = matrix.iter().zip(rounded).enumerate();
    pairs.map(|(at, (w, q))| of(at) * (f64::from(*w) - f64::from(*q)).powi(2)).sum()
}

/// E\[(∂L/∂w)²\] of every layer's weight over the first examples, one backward pass each: the square of a batch's mean
/// gradient would be another quantity.
fn fisher(prepared: &Prepared, batches: impl Iterator<Item = Batch>) -> Weights {
    let mut network = prepared.network.training();
    network.freeze_statistics();
    network.set_trains(&|_| true);
    let entries: BTreeMap<String, Entry> =
        network.entries().into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    let mut sums: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut count = 0_u32;
    'all: for batch in batches {
        let features = batch.rows.dims()[1];
        let device = batch.rows.device().autodiff();
        let rows = to_array(batch.rows);
        for (row, &class) in rows.data().chunks(features.max(1)).zip(&batch.classes) {
            if count == FISHER_EXAMPLES {
                break 'all;
            }
            let row: Tensor<2> = Tensor::from_data(TensorData::new(row.to_vec(), [1, features]), &device);
            let label: Tensor<2, Int> =
                Tensor::from_data(TensorData::new(vec![class as i32], [1, 1]), &device);
            let logits = network.forward(row, &mut Tap::none());
            let loss = log_softmax(logits, 1).gather(1, label).neg().sum();
            let mut gradients = loss.backward();
            let own = network.gradients(&mut gradients);
            for layer in &prepared.layers {
                let Some(gradient) = entries.get(&layer.path).and_then(|entry| gradient(&own, entry)) else {
                    continue;
                };
                let sum = sums.entry(&layer.path).or_insert_with(|| vec![0.0; layer.len()]);
                sum.iter_mut().zip(gradient.data()).for_each(|(sum, g)| *sum += f64::from(*g).powi(2));
            }
            count += 1;
        }
    }
    let mean = |sum: f64| (sum / f64::from(count.max(1))) as f32;
    let array = |(path, sum): (&str, Vec<f64>)| {
        let values: Vec<f32> = sum.into_iter().map(mean).collect();
        let array = Array::new(entries[path].shape.clone(), values).expect("as many as the weight has");
        (path.to_owned(), array)
    };
    sums.into_iter().map(array).collect()
}
