//! The rules number by number in `f64`: what the kernels are held against.

use super::{Adam, Lion, Sgd};

/// Parameter and velocity after a step; without a velocity before it, it is the first step.
pub fn sgd(rule: &Sgd, p: f64, g: f64, velocity: Option<f64>) -> (f64, f64) {
    let g = g + f64::from(rule.decay) * p;
    let momentum = f64::from(rule.momentum);
    let v = velocity.map_or(g, |v| momentum * v + (1.0 - f64::from(rule.dampening)) * g);
    let g = if rule.nesterov { momentum * v + g } else { v };
    (p - f64::from(rule.rate) * g, v)
}

/// Parameter and both moments after a step.
pub fn adam(rule: &Adam, p: f64, g: f64, [m, v]: [f64; 2]) -> (f64, [f64; 2]) {
    let g = g + f64::from(rule.decay) * p;
    let [beta_1, beta_2] = rule.betas.map(f64::from);
    let (m, v) = (beta_1 * m + (1.0 - beta_1) * g, beta_2 * v + (1.0 - beta_2) * g * g);
    let [first, second] = rule.corrections.map(f64::from);
    let step = m / first / ((v / second).sqrt() + f64::from(rule.epsilon));
    (f64::from(rule.keep) * p - f64::from(rule.rate) * step, [m, v])
}

/// Parameter and momentum after a step.
pub fn lion(rule: &Lion, p: f64, g: f64, m: f64) -> (f64, f64) {
    let [beta_1, beta_2] = rule.betas.map(f64::from);
    let u = beta_1 * m + (1.0 - beta_1) * g;
    let sign = if u == 0.0 { 0.0 } else { u.signum() };
    (f64::from(rule.keep) * p - f64::from(rule.rate) * sign, beta_2 * m + (1.0 - beta_2) * g)
}
