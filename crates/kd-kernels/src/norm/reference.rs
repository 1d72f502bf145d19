//! The definition in `f64`: what the kernels are held against.

use super::{Affine, Norm};

/// Mean and biased variance of each channel.
pub fn moments(shape: &Norm, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let count = (shape.batch * shape.inner) as f64;
    let of = |channel: usize| {
        let places = move || (0..shape.batch).flat_map(move |n| row(shape, n, channel));
        let mean = places().map(|i| f64::from(x[i])).sum::<f64>() / count;
        let variance = places().map(|i| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance)
    };
    (0..shape.channels).map(of).unzip()
}

/// As [`apply`](super::apply).
pub fn apply(shape: &Norm, x: &[f32], (mean, variance): (&[f64], &[f64]), affine: Affine<'_>) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for n in 0..shape.batch {
        for channel in 0..shape.channels {
            let scale = f64::from(affine.gamma[channel]) / (variance[channel] + affine.epsilon).sqrt();
            for i in row(shape, n, channel) {
                let value = (f64::from(x[i]) - mean[channel]) * scale + f64::from(affine.beta[channel]);
                y[i] = if affine.relu && value < 0.0 { 0.0 } else { value };
            }
        }
    }
    y
}

/// Gradients of the input, γ and β, as [`backward`](super::backward).
pub fn backward(shape: &Norm, x: &[f32], affine: Affine<'_>, dy: &[f32]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mean, variance) = moments(shape, x);
    let y = apply(shape, x, (&mean, &variance), affine);
    let count = (shape.batch * shape.inner) as f64;
    let (mut dx, mut dgamma, mut dbeta) =
        (vec![0.0; x.len()], vec![0.0; shape.channels], vec![0.0; shape.channels]);
    for channel in 0..shape.channels {
        let deviation = (variance[channel] + affine.epsilon).sqrt();
        let normal = |i: usize| (f64::from(x[i]) - mean[channel]) / deviation;
        let passed = |i: usize| if affine.relu && y[i] <= 0.0 { 0.0 } else { f64::from(dy[i]) };
        for i in (0..shape.batch).flat_map(|n| row(shape, n, channel)) {
            dbeta[channel] += passed(i);
            dgamma[channel] += passed(i) * normal(i);
        }
        for i in (0..shape.batch).flat_map(|n| row(shape, n, channel)) {
            let rest = (dbeta[channel] + normal(i) * dgamma[channel]) / count;
            dx[i] = f64::from(affine.gamma[channel]) / deviation * (passed(i) - rest);
        }
    }
    (dx, dgamma, dbeta)
}

fn row(shape: &Norm, n: usize, channel: usize) -> std::ops::Range<usize> {
    let start = (n * shape.channels + channel) * shape.inner;
    start..start + shape.inner
}
