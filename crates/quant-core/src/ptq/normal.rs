//! The normal distribution, which the standard library does not have.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// φ(x) = exp(−x²/2) / √(2π).
pub(crate) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Φ(x), to about 1e-15 · (1 + x²) of its size: a power series of erf near 0, the continued fraction of erfc in the tails, where
/// 1 − erf would cancel.
pub(crate) fn cumulative(x: f64) -> f64 {
    let y = x.abs() * FRAC_1_SQRT_2;
    let tail = if y < 2.0 { 0.5 - 0.5 * series(y) } else { 0.5 * fraction(y, -0.5 * x * x) };
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// erf(y) = 2/√π · exp(−y²) Σ 2ⁿ y^(2n+1) / (2n+1)!!, whose terms are all positive.
fn series(y: f64) -> f64 {
    let (mut term, mut sum) = (y, y);
    for n in 1..120 {
        term *= 2.0 * y * y / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / PI.sqrt() * (-y * y).exp() * sum
}

/// erfc(y) = exp(−y²)/√π · 1/(y + ½/(y + 1/(y + 1½/(y + …)))), for y ≥ 2 from 200 levels up.
/// The exponent −y² is given, since y has been rounded.
fn fraction(y: f64, exponent: f64) -> f64 {
    let below = (1..=200).rev().fold(y, |below, n| y + 0.5 * f64::from(n) / below);
    exponent.exp() / PI.sqrt() / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_middle_are_those_of_tables() {
        for (x, p) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (2.5, 0.993_790_334_674_223_8),
            (-3.0, 1.349_898_031_630_094_6e-3),
            (-6.0, 9.865_876_450_376_946e-10),
            (-20.0, 2.753_624_118_606_233_6e-89),
        ] {
            let found = cumulative(x);
            assert!((found - p).abs() <= 4e-15 * p, "{x}: {found:e}, expected {p:e}");
        }
        // Both ways around the seam agree.
        let seam = 2.0 / FRAC_1_SQRT_2;
        assert!((cumulative(-seam) - cumulative(-(seam - 1e-13))).abs() < 1e-14);
    }
}
