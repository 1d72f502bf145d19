//! AdaRound: whether a weight is rounded up or down is learned from what the layer's outputs become.

use serde::{Deserialize, Serialize};

use super::linalg::axpy;
use super::matrix::check_knob;
use super::{Grid, Hessian, Matrix, Quantized, rtn};
use crate::Error;

/// Stretch of the rectified sigmoid, so that 0 and 1 are reached.
pub(super) const ZETA: f64 = 1.1;
pub(super) const GAMMA: f64 = -0.1;

/// Knobs of [`adaround`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdaRound {
    /// Steps of Adam.
    pub iterations: usize,
    /// Its learning rate, above 0.
    pub learning_rate: f64,
    /// λ, weight of the regularizer, at least 0.
    pub lambda: f64,
    /// Exponent β at the end of the warm start and at the end, above 1.
    pub beta: (f64, f64),
    /// Share of the steps without a regularizer, 0 ..= 1.
    pub warm_start: f64,
}

impl Default for AdaRound {
    fn default() -> Self {
        Self { iterations: 10_000, learning_rate: 1e-2, lambda: 0.01, beta: (20.0, 2.0), warm_start: 0.2 }
    }
}

/// Result of [`adaround`].
#[derive(Debug, Clone, PartialEq)]
pub struct AdaRounded {
    /// Codes on [`rtn`]'s scales and zero points.
    pub quantized: Quantized,
    /// V, `[rows, columns]`: above 0 is up.
    pub v: Vec<f64>,
    /// Rows for which the nearest codes were better, and kept.
    pub kept: usize,
}

/// Minimizes E‖(W − W̃) x‖² + λ Σ (1 − |2 h(V) − 1|^β) over V with Adam (0.9, 0.999, 1e-8), all in f64, then rounds up
/// where h(V) ≥ ½:
///
/// ```text
/// W̃ = s · (clamp(⌊W / s⌋ + h(V) + z, qmin, qmax) − z)         h(V) = clamp(1.2 · σ(V) − 0.1, 0, 1)
/// β(t) = β₁ + ½ (β₀ − β₁) (1 + cos(π t)),  t from 0 at the end of the warm start to 1
/// ```
///
/// The expectation is over all calibration tokens and summed over outputs, ½ Σ_rows δ H δᵀ; so a step needs no inputs,
/// nothing is sampled, and a row does not depend on others. V starts where W̃ = W. Each row keeps the nearest codes if
/// learned ones have a larger error on the calibration data, as they do after too few steps.
///
/// The size of outputs and λ belong together: with errors far below 1 the regularizer wins early, with errors in the
/// hundreds it never does, V stays undecided, and rounding it at the end loses what was learned. Scale λ with
/// [`rtn`]'s error per weight then. A step costs rows · K² operations.
///
/// A weight that is exactly 0 stays so: every grid has it, and where weights are masked it must not move.
///
/// Source: Nagel et al. 2020, arXiv 2004.10568; aimet, `adaround_loss.py`, which draws batches of inputs.
///
/// # Errors
///
/// [`Error::Setting`], [`Error::Size`], [`Error::TooWide`].
pub fn adaround(
    weight: Matrix<'_>,
    hessian: &Hessian,
    grid: &Grid,
    knobs: &AdaRound,
) -> Result<AdaRounded, Error> {
    weight.check_columns(hessian.columns())?;
    let AdaRound { learning_rate, lambda, beta, warm_start, .. } = *knobs;
    check_knob(
        "a learning rate",
        "above 0",
        learning_rate,
        learning_rate > 0.0 && learning_rate.is_finite(),
    )?;
    check_knob("lambda", "of at least 0", lambda, lambda >= 0.0 && lambda.is_finite())?;
    check_knob("beta", "above 1", beta.0.min(beta.1), beta.0 > 1.0 && beta.1 > 1.0)?;
    check_knob("a warm start", "from 0 to 1", warm_start, (0.0..=1.0).contains(&warm_start))?;
    let mut quantized = rtn(weight, grid)?;
    let (mut v, mut kept) = (Vec::with_capacity(weight.values().len()), 0);
    for (row, w) in weight.iter_rows().enumerate() {
        let mut learned = Row::new(row, w, &quantized);
        learned.train(hessian, knobs);
        let codes = learned.codes();
        let range = row * weight.columns()..(row + 1) * weight.columns();
        let error = |codes: &[i32]| hessian.quadratic(&learned.errors(codes, &quantized, row));
        if error(&codes) < error(&quantized.codes[range.clone()]) {
            quantized.codes[range].copy_from_slice(&codes);
        } else {
            kept += 1;
        }
        v.append(&mut learned.v);
    }
    Ok(AdaRounded { quantized, v, kept })
}

/// One output's weights.
struct Row {
    w: Vec<f64>,
    scale: Vec<f64>,
    /// ⌊w / s⌋.
    floor: Vec<f64>,
    /// qmin − z and qmax − z; 0 and 0 where the weight is exactly 0.
    limits: Vec<(f64, f64)>,
    zero: Vec<i32>,
    v: Vec<f64>,
}

impl Row {
    fn new(row: usize, w: &[f32], quantized: &Quantized) -> Self {
        let (qmin, qmax) = quantized.grid.limits();
        let cells: Vec<_> = (0..w.len()).map(|column| quantized.cell(row, column)).collect();
        let ratio = |(w, cell): (&f32, &super::Cell)| f64::from(*w / cell.scale);
        let ratios: Vec<f64> = w.iter().zip(&cells).map(ratio).collect();
        let start = |ratio: &f64| {
            let rest = ratio - ratio.floor();
            -((ZETA - GAMMA) / (rest - GAMMA) - 1.0).ln()
        };
        let limits = |(w, cell): (&f32, &super::Cell)| match *w == 0.0 {
            true => (0.0, 0.0),
            false => (f64::from(qmin - cell.zero_point), f64::from(qmax - cell.zero_point)),
        };
        Self {
            w: w.iter().map(|&w| f64::from(w)).collect(),
            scale: cells.iter().map(|cell| f64::from(cell.scale)).collect(),
            floor: ratios.iter().map(|ratio| ratio.floor()).collect(),
            limits: w.iter().zip(&cells).map(limits).collect(),
            zero: cells.iter().map(|cell| cell.zero_point).collect(),
            v: ratios.iter().map(start).collect(),
        }
    }

    fn train(&mut self, hessian: &Hessian, knobs: &AdaRound) {
        let (count, columns) = (self.w.len(), hessian.columns());
        let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
        let (mut delta, mut pull) = (vec![0.0; count], vec![0.0; count]);
        for step in 0..knobs.iterations {
            let beta = exponent(step, knobs);
            for (j, delta) in delta.iter_mut().enumerate() {
                let (low, high) = self.limits[j];
                let soft = self.floor[j] + stretched(self.v[j]).clamp(0.0, 1.0);
                *delta = self.scale[j] * soft.clamp(low, high) - self.w[j];
            }
            // ∂(½ δ H δᵀ)/∂δ = H δ.
            pull.fill(0.0);
            for (d, h) in delta.iter().zip(hessian.values().chunks_exact(columns)) {
                axpy(*d, h, &mut pull);
            }
            let (c1, c2) = (1.0 - 0.9_f64.powi(step as i32 + 1), 1.0 - 0.999_f64.powi(step as i32 + 1));
            for j in 0..count {
                let g = self.gradient(j, pull[j], knobs.lambda, beta);
                first[j] = 0.9 * first[j] + 0.1 * g;
                second[j] = 0.999 * second[j] + (1.0 - 0.999) * g * g;
                self.v[j] -= knobs.learning_rate * (first[j] / c1) / ((second[j] / c2).sqrt() + 1e-8);
            }
        }
    }

    /// ∂loss/∂v.
    fn gradient(&self, j: usize, pull: f64, lambda: f64, beta: Option<f64>) -> f64 {
        let raw = stretched(self.v[j]);
        if !(0.0..=1.0).contains(&raw) {
            return 0.0;
        }
        let (low, high) = self.limits[j];
        let inside = (low..=high).contains(&(self.floor[j] + raw));
        let mut g = if inside { self.scale[j] * pull } else { 0.0 };
        if let Some(beta) = beta {
            let x = 2.0 * raw - 1.0;
            g -= lambda * 2.0 * beta * x.abs().powf(beta - 1.0).copysign(x);
        }
        let sigma = sigmoid(self.v[j]);
        g * (ZETA - GAMMA) * sigma * (1.0 - sigma)
    }

    fn codes(&self) -> Vec<i32> {
        let code = |j: usize| {
            let up = f64::from(u8::from(stretched(self.v[j]) >= 0.5));
            let (low, high) = self.limits[j];
            (self.floor[j] + up).clamp(low, high) as i32 + self.zero[j]
        };
        (0..self.w.len()).map(code).collect()
    }

    fn errors(&self, codes: &[i32], quantized: &Quantized, row: usize) -> Vec<f64> {
        let value = |(column, code): (usize, &i32)| f64::from(quantized.cell(row, column).value(*code));
        codes.iter().enumerate().map(value).zip(&self.w).map(|(value, w)| value - w).collect()
    }
}

/// β of a step; none in the warm start.
fn exponent(step: usize, knobs: &AdaRound) -> Option<f64> {
    let (step, all) = (step as f64, knobs.iterations as f64);
    let warm = knobs.warm_start * all;
    let (from, to) = knobs.beta;
    let t = (step - warm) / (all - warm);
    (step >= warm).then(|| to + 0.5 * (from - to) * (1.0 + (std::f64::consts::PI * t).cos()))
}

fn stretched(v: f64) -> f64 {
    (ZETA - GAMMA) * sigmoid(v) + GAMMA
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}
