//! Bias correction: quantization moves the mean of a layer's outputs, and the bias can move it back.

use super::Matrix;
use super::matrix::{check_finite, check_knob, check_size};
use super::normal::{cumulative, density};
use crate::Error;

/// Δb = −(Ŵ − W) E\[x\]: what to add to the bias so that the mean output is that of W. In f64.
///
/// E\[x\] is measured ([`InputStats::mean`](super::InputStats::mean)) or computed ([`activation_mean`]), one number an
/// input channel; a convolution's weight `[out, channels · inner]` counts each channel for all elements of its kernel,
/// which is exact but for padding.
///
/// Source: Nagel et al. 2019, arXiv 1906.04721, section 4.2.
///
/// # Errors
///
/// [`Error::Size`] for weights of different shapes, [`Error::Setting`] where columns are no multiple of the channels,
/// [`Error::NotFiniteIn`].
pub fn bias_correction(weight: Matrix<'_>, quantized: Matrix<'_>, mean: &[f64]) -> Result<Vec<f64>, Error> {
    check_size("rows", weight.rows(), quantized.rows())?;
    quantized.check_columns(weight.columns())?;
    check_finite("means of inputs", mean.iter().copied())?;
    let inner = weight.columns() / mean.len().max(1);
    let divides = !mean.is_empty() && inner * mean.len() == weight.columns() && inner > 0;
    check_knob("columns", "a multiple of the input channels", weight.columns() as f64, divides)?;
    let shift = |(w, q): (&[f32], &[f32])| {
        let terms = w.iter().zip(q).enumerate();
        terms.map(|(j, (w, q))| (f64::from(*w) - f64::from(*q)) * mean[j / inner]).sum()
    };
    Ok(weight.iter_rows().zip(quantized.iter_rows()).map(shift).collect())
}

/// What follows a normalization.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
    /// clamp(x, low, high), such as ReLU6.
    Clamp {
        /// Lower end.
        low: f64,
        /// Upper end, above it.
        high: f64,
    },
}

/// E\[f(x)\] for normal x with mean β and deviation |γ|, a batch normalization's shift and weight, channel by channel.
///
/// ReLU: |γ| φ(−β/|γ|) + β (1 − Φ(−β/|γ|)). Clamp to \[a, b\], with α = (a − β)/|γ| and ω = (b − β)/|γ|:
/// a Φ(α) + b (1 − Φ(ω)) + β (Φ(ω) − Φ(α)) + |γ| (φ(α) − φ(ω)). γ = 0 gives f(β).
///
/// Without data; as good as the assumption that a channel is normal before its activation.
///
/// Source: Nagel et al. 2019, arXiv 1906.04721, appendix C.
///
/// # Errors
///
/// [`Error::Size`], [`Error::NotFiniteIn`], [`Error::Setting`] for a clamp whose ends are no interval.
pub fn activation_mean(beta: &[f64], gamma: &[f64], activation: Activation) -> Result<Vec<f64>, Error> {
    check_size("weights of a normalization", beta.len(), gamma.len())?;
    check_finite("shift of a normalization", beta.iter().copied())?;
    check_finite("weight of a normalization", gamma.iter().copied())?;
    if let Activation::Clamp { low, high } = activation {
        check_knob("a clamp", "from a lower to a higher end", low, low < high && (high - low).is_finite())?;
    }
    let mean = |(&mu, &gamma): (&f64, &f64)| {
        let s = gamma.abs();
        match activation {
            Activation::Identity => mu,
            Activation::Relu if s == 0.0 => mu.max(0.0),
            Activation::Relu => s * density(mu / s) + mu * cumulative(mu / s),
            Activation::Clamp { low, high } if s == 0.0 => mu.clamp(low, high),
            Activation::Clamp { low, high } => {
                let (a, b) = ((low - mu) / s, (high - mu) / s);
                let inside = cumulative(b) - cumulative(a);
                low * cumulative(a) + high * cumulative(-b) + mu * inside + s * (density(a) - density(b))
            }
        }
    };
    Ok(beta.iter().zip(gamma).map(mean).collect())
}

/// Means of a layer's outputs with and without quantization, over the same stream: the empirical correction, which also
/// undoes what quantized layers before have moved.
///
/// Δb = E\[y\] − E\[ŷ\], layer by layer from the first, each with the layers before it corrected already.
/// Source: torch, `ao/quantization/_correct_bias.py`.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputShift {
    tokens: u64,
    sum: Vec<f64>,
}

impl OutputShift {
    /// Nothing seen of a layer with `rows` outputs.
    pub fn new(rows: usize) -> Self {
        Self { tokens: 0, sum: vec![0.0; rows] }
    }

    /// Takes in outputs `[tokens, rows]` of the float layer and of the quantized one. Sums go token by token, so that
    /// any split into batches gives the same bits.
    ///
    /// # Errors
    ///
    /// [`Error::Size`].
    pub fn observe(&mut self, float: Matrix<'_>, quantized: Matrix<'_>) -> Result<(), Error> {
        float.check_columns(self.sum.len())?;
        quantized.check_columns(self.sum.len())?;
        check_size("tokens", float.rows(), quantized.rows())?;
        for (y, q) in float.iter_rows().zip(quantized.iter_rows()) {
            let difference = y.iter().zip(q).map(|(y, q)| f64::from(*y) - f64::from(*q));
            self.sum.iter_mut().zip(difference).for_each(|(sum, d)| *sum += d);
        }
        self.tokens += float.rows() as u64;
        Ok(())
    }

    /// Δb, one an output.
    ///
    /// # Errors
    ///
    /// [`Error::NothingSeen`].
    pub fn correction(&self) -> Result<Vec<f64>, Error> {
        match self.tokens {
            0 => Err(Error::NothingSeen),
            tokens => Ok(self.sum.iter().map(|sum| sum / tokens as f64).collect()),
        }
    }
}
