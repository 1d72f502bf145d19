//! The definition in `f64`, with `erf` by its series and continued fraction: what the kernels are held against.

/// As [`forward`](super::forward).
pub fn forward(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x) * normal(f64::from(x))).collect()
}

/// As [`backward`](super::backward).
pub fn backward(x: &[f32], dy: &[f32]) -> Vec<f64> {
    let slope = |x: f64| normal(x) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    x.iter().zip(dy).map(|(&x, &dy)| f64::from(dy) * slope(f64::from(x))).collect()
}

/// `Φ(x)`
fn normal(x: f64) -> f64 {
    0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn erf(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < 3.0 {
        // 2/√π · Σ (−1)ⁿ x²ⁿ⁺¹ / (n! (2n + 1))
        let (mut term, mut sum) = (size, size);
        for n in 1..100 {
            term *= -size * size / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        // 1 − e^(−x²) / √π · 1 / (x + ½ / (x + 1 / (x + 1½ / (x + …))))
        let fraction = (1..60).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (size + rest));
        1.0 - (-size * size).exp() / (std::f64::consts::PI.sqrt() * (size + fraction))
    };
    value.copysign(x)
}
