//! Functions of numbers and of lines of numbers, as an operation defines them.

use kd_graph::{Binary, Unary};

pub(super) fn mean(line: &[f64]) -> f64 {
    line.iter().sum::<f64>() / line.len() as f64
}

/// `(x − mean) / sqrt(variance + epsilon)`, the variance divided by the number of elements.
pub(super) fn normal(line: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = mean(line);
    let variance = self::mean(&line.iter().map(|x| (x - mean).powi(2)).collect::<Vec<_>>());
    line.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect()
}

pub(super) fn softmax(line: &[f64]) -> Vec<f64> {
    log_softmax(line).into_iter().map(f64::exp).collect()
}

pub(super) fn log_softmax(line: &[f64]) -> Vec<f64> {
    let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = line.iter().map(|x| (x - max).exp()).sum();
    line.iter().map(|x| x - max - sum.ln()).collect()
}

pub(super) fn arithmetic(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Equal => f64::from(a == b),
        Binary::Greater => f64::from(a > b),
        Binary::GreaterEqual => f64::from(a >= b),
        Binary::Lower => f64::from(a < b),
        Binary::LowerEqual => f64::from(a <= b),
    }
}

pub(super) fn function(unary: Unary, x: f64) -> f64 {
    match unary {
        Unary::Relu => x.max(0.0),
        Unary::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Tanh => x.tanh(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Erf => erf(x),
        Unary::Truncate => x.trunc(),
    }
}

/// The error function to 2e-8: its power series, and ±1 beyond 4.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_at_known_points() {
        // Abramowitz and Stegun, table 7.1.
        for (x, expected) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - expected).abs() < 1e-9 && (erf(-x) + expected).abs() < 1e-9);
        }
        assert!((erf(3.999) - 1.0).abs() < 2e-8);
    }
}
