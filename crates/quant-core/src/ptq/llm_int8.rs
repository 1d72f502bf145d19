//! LLM.int8(): the few columns with large activations are multiplied in floats, all others in integers.

use super::Matrix;
use super::matrix::check_knob;
use crate::Error;
use crate::scheme::legal;

/// The threshold of the paper.
pub const OUTLIER_THRESHOLD: f32 = 6.0;

/// A weight in int8, one scale an output, with the floats from which outlier columns are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Decomposed {
    rows: usize,
    columns: usize,
    threshold: f32,
    weight: Vec<f32>,
    codes: Vec<i8>,
    scale: Vec<f32>,
}

/// Result of [`Int8Decomposed::forward`].
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Output {
    /// `[tokens, rows]`.
    pub values: Vec<f32>,
    /// Columns that were multiplied in floats, ascending.
    pub outliers: Vec<usize>,
}

impl Int8Decomposed {
    /// Codes round(w / s) with s = max|w| / 127 of each row. `threshold` is above 0, [`OUTLIER_THRESHOLD`] usual;
    /// infinity makes every column integer.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`].
    pub fn new(weight: Matrix<'_>, threshold: f32) -> Result<Self, Error> {
        check_knob("a threshold", "above 0", f64::from(threshold), threshold > 0.0)?;
        let (codes, scale) = absmax(weight.iter_rows());
        let (rows, columns) = (weight.rows(), weight.columns());
        Ok(Self { rows, columns, threshold, weight: weight.values().to_vec(), codes, scale })
    }

    /// y = X_o W_oᵀ + s_x s_w (Q(X_r) Q(W_r)ᵀ), o the columns in which any |x| of this batch reaches the threshold,
    /// r all others; s_x = max|x| / 127 over a token's other columns.
    ///
    /// The integer product is exact; the float one and the sum of both are taken in f64. The weight's scales are over
    /// all columns, as it is quantized once.
    ///
    /// Source: Dettmers et al. 2022, arXiv 2208.07339; bitsandbytes, `autograd/_functions.py`, which leaves outlying
    /// elements, not their whole columns, out of s_x.
    ///
    /// # Errors
    ///
    /// [`Error::Size`].
    pub fn forward(&self, inputs: Matrix<'_>) -> Result<Int8Output, Error> {
        inputs.check_columns(self.columns)?;
        let most = inputs.column_max();
        let outliers: Vec<usize> = (0..self.columns).filter(|&j| most[j] >= self.threshold).collect();
        let mut regular = inputs.values().to_vec();
        for row in regular.chunks_exact_mut(self.columns) {
            outliers.iter().for_each(|&j| row[j] = 0.0);
        }
        let (codes, scale) = absmax(regular.chunks_exact(self.columns));
        let mut values = Vec::with_capacity(inputs.rows() * self.rows);
        for ((x, q), s) in inputs.iter_rows().zip(codes.chunks_exact(self.columns)).zip(&scale) {
            for row in 0..self.rows {
                let range = row * self.columns..(row + 1) * self.columns;
                let w = &self.weight[range.clone()];
                let pairs = q.iter().zip(&self.codes[range]);
                let integer: i64 = pairs.map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
                let float: f64 = outliers.iter().map(|&j| f64::from(x[j]) * f64::from(w[j])).sum();
                let product = f64::from(*s) * f64::from(self.scale[row]) * integer as f64;
                values.push((product + float) as f32);
            }
        }
        Ok(Int8Output { values, outliers })
    }

    /// Ŵ, `[rows, columns]`, as the integer part sees it.
    pub fn dequantize(&self) -> Vec<f32> {
        let rows = self.codes.chunks_exact(self.columns).zip(&self.scale);
        rows.flat_map(|(codes, s)| codes.iter().map(move |&q| f32::from(q) * s)).collect()
    }
}

fn absmax<'a>(rows: impl Iterator<Item = &'a [f32]>) -> (Vec<i8>, Vec<f32>) {
    let (mut codes, mut scale) = (Vec::new(), Vec::new());
    for row in rows {
        let s = legal(row.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0);
        codes.extend(row.iter().map(|x| (x / s).round_ties_even().clamp(-127.0, 127.0) as i8));
        scale.push(s);
    }
    (codes, scale)
}
