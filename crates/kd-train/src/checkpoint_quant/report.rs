//! What quantization did to every weight: `quantize.json`.

use serde::Serialize;

/// One weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the weight.
    pub tensor: String,
    /// 10 · log10(Σ w² / Σ (w − ŵ)²), in decibels; none where nothing was lost.
    pub sqnr: Option<f64>,
    /// Bits on disk for each number.
    pub bpw: f64,
    /// Bytes on disk, of all tensors that hold the weight.
    pub bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// All weights that were to be quantized, by name.
    pub rows: Vec<Row>,
    /// The scheme of each, none where a budget left it as it was.
    pub schemes: Vec<Option<String>>,
    /// Bytes of all rows.
    pub bytes: u64,
    /// Numbers of all rows.
    pub weights: u64,
    /// What else is to be said: weights that compressed-tensors cannot load.
    pub notes: Vec<String>,
}

impl Report {
    /// Bits on disk for each number, over all rows.
    pub fn bpw(&self) -> f64 {
        bpw(self.bytes, self.weights)
    }
}

/// Bits for each number.
pub(super) fn bpw(bytes: u64, weights: u64) -> f64 {
    if weights == 0 { 0.0 } else { 8.0 * bytes as f64 / weights as f64 }
}

/// Signal and noise of a weight, summed in the order of its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    signal: f64,
    noise: f64,
}

impl Sums {
    pub(super) fn add(&mut self, values: &[f32], decoded: &[f32]) {
        for (&x, &y) in values.iter().zip(decoded) {
            let (x, y) = (f64::from(x), f64::from(y));
            self.signal += x * x;
            self.noise += (x - y) * (x - y);
        }
    }

    /// Noise for each unit of signal; 0 of zeros.
    pub(super) fn noise(&self) -> f64 {
        if self.noise == 0.0 { 0.0 } else { self.noise / self.signal }
    }

    /// In decibels.
    pub(super) fn sqnr(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }
}
