//! Soft rounding as tensors: between the code below a weight and the one above, by a number that is learned.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::adaround::{GAMMA, ZETA};
use super::{Cell, Matrix, Quantized};

/// How far from 0 and 1 a bit is at least to begin with: at the very end, a rounding would decide whether it can move.
const EDGE: f64 = 1e-4;

/// The rectified sigmoid h(V) = clamp(1.2 · σ(V) − 0.1, 0, 1) of any shape: 0 is the code below, 1 the one above.
///
/// Its gradient is 0 where it is clipped. Source: Louizos et al. 2018, arXiv 1712.01312; AdaRound, arXiv 2004.10568.
pub fn soft_bits<const D: usize>(v: Tensor<D>) -> Tensor<D> {
    activation::sigmoid(v).mul_scalar(ZETA - GAMMA).add_scalar(GAMMA).clamp(0.0, 1.0)
}

/// Σ (1 − |2 h − 1|^β), `[1]`: 0 where every bit has made up its mind, 1 for each that is halfway. β above 1; the larger,
/// the less it pulls at bits that are far from either end.
pub fn rounding_regularizer<const D: usize>(bits: Tensor<D>, beta: f64) -> Tensor<1> {
    (bits.mul_scalar(2.0).sub_scalar(1.0)).abs().powf_scalar(beta).neg().add_scalar(1.0).sum()
}

/// A weight `[out, K]` between the codes around it, the moments of Adam, and what is constant.
pub(super) struct SoftWeight {
    /// Learned, on an autodiff device.
    pub(super) v: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
    /// s · clamp(⌊w / s⌋, qmin − z, qmax − z).
    base: Tensor<2>,
    /// s, or 0 where both codes are clipped to the same one or the weight is exactly 0.
    step: Tensor<2>,
    /// ⌊w / s⌋.
    floor: Vec<i32>,
    /// Weights that are exactly 0.
    pinned: Vec<bool>,
}

impl SoftWeight {
    /// V such that the soft weight is the weight, but for what is clipped and for 1e-4 of a step. `device` is one with autodiff.
    pub(super) fn new(weight: Matrix<'_>, start: &Quantized, device: &Device) -> Self {
        let shape = [weight.rows(), weight.columns()];
        let (qmin, qmax) = start.grid.limits();
        let (mut v, mut base, mut step) = (Vec::new(), Vec::new(), Vec::new());
        let (mut floor, mut pinned) = (Vec::new(), Vec::new());
        for (index, &w) in weight.values().iter().enumerate() {
            let Cell { scale, zero_point } = start.cell(index / shape[1], index % shape[1]);
            let ratio = f64::from(w / scale);
            // Beyond 2^24 a weight is clipped anyway.
            let below = ratio.floor().clamp(-16_777_216.0, 16_777_216.0) as i32;
            let (low, high) = (qmin - zero_point, qmax - zero_point);
            let rest = (ratio - ratio.floor()).clamp(EDGE, 1.0 - EDGE);
            v.push(-((ZETA - GAMMA) / (rest - GAMMA) - 1.0).ln() as f32);
            base.push(below.clamp(low, high) as f32 * scale);
            // A weight that is exactly 0 is on every grid, and may be masked: it does not move.
            let moves = w != 0.0 && (low..high).contains(&below);
            step.push(if moves { scale } else { 0.0 });
            pinned.push(w == 0.0);
            floor.push(below);
        }
        let plain = device.clone().without_autodiff();
        let constant = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), &plain);
        let v = Tensor::<2>::from_data(TensorData::new(v, shape), device).require_grad();
        let zeros = || constant(vec![0.0; floor.len()]);
        let (first, second) = (zeros(), zeros());
        Self { v, first, second, base: constant(base), step: constant(step), floor, pinned }
    }

    /// s · (clamp(⌊w / s⌋ + h + z, qmin, qmax) − z) for bits h of V.
    pub(super) fn effective(&self, bits: Tensor<2>) -> Tensor<2> {
        self.base.clone() + self.step.clone() * bits
    }

    /// One step of Adam (0.9, 0.999, 1e-8), the `count`-th from 1.
    pub(super) fn update(&mut self, gradient: Tensor<2>, rate: f64, count: i32) {
        let square = gradient.clone() * gradient.clone();
        self.first = self.first.clone().mul_scalar(0.9) + gradient.mul_scalar(0.1);
        self.second = self.second.clone().mul_scalar(0.999) + square.mul_scalar(1.0 - 0.999);
        let size =
            self.second.clone().mul_scalar(1.0 / (1.0 - 0.999_f64.powi(count))).sqrt().add_scalar(1e-8);
        let step = self.first.clone().mul_scalar(rate / (1.0 - 0.9_f64.powi(count))) / size;
        let v = self.v.clone().without_autodiff() - step;
        self.v = v.autodiff().require_grad();
    }

    /// Codes: up where h ≥ ½.
    pub(super) fn codes(&self, start: &Quantized) -> Vec<i32> {
        let (qmin, qmax) = start.grid.limits();
        let bits = soft_bits(self.v.clone().without_autodiff()).into_data();
        let code = |(index, up): (usize, f32)| {
            let zero = start.cell(index / start.columns, index % start.columns).zero_point;
            let up = up >= 0.5 && !self.pinned[index];
            (self.floor[index] + i32::from(up) + zero).clamp(qmin, qmax)
        };
        bits.iter::<f32>().enumerate().map(code).collect()
    }
}
