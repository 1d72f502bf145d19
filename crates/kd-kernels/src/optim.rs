//! Steps of optimizers over a whole parameter, in one pass over its memory and that of its state.
//!
//! The rules are those of PyTorch and Burn, term by term: [`Sgd`], [`Adam`] (with which both Adam and AdamW are made)
//! and [`Lion`]. Counting steps and schedules is the caller's.

pub mod reference;

use rayon::prelude::*;

use crate::Isa;
use crate::simd::{Kernel, Simd};

/// Numbers of a task; a parameter of at most this size is one.
const CHUNK: usize = 1 << 14;

/// Stochastic gradient descent: `g += decay · p`; `v = momentum · v + (1 − dampening) · g`; `g = v`, or
/// `momentum · v + g` with Nesterov; `p −= rate · g`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the parameter that is added to its gradient.
    pub decay: f32,
    /// Share of the velocity that stays.
    pub momentum: f32,
    /// Share of the gradient that is kept from the velocity.
    pub dampening: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// Adam and AdamW: `g += decay · p`; `m = β₁ m + (1 − β₁) g`; `v = β₂ v + (1 − β₂) g²`;
/// `p = keep · p − rate · (m / c₁) / (√(v / c₂) + ε)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub rate: f32,
    /// Share of the parameter that is added to its gradient: Adam's weight decay.
    pub decay: f32,
    /// Share of the parameter that stays, `1 − rate · decay`: AdamW's weight decay.
    pub keep: f32,
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// ε.
    pub epsilon: f32,
    /// c₁ and c₂, `1 − βᵗ` at step `t` counted from one.
    pub corrections: [f32; 2],
}

/// Lion: `u = sign(β₁ m + (1 − β₁) g)`; `m = β₂ m + (1 − β₂) g`; `p = keep · p − rate · u`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion {
    /// Learning rate.
    pub rate: f32,
    /// Share of the parameter that stays, `1 − rate · decay`.
    pub keep: f32,
    /// β₁ and β₂.
    pub betas: [f32; 2],
}

/// A step without momentum.
///
/// # Panics
///
/// If the slices differ in length; so do the other functions of this module.
pub fn sgd(isa: Isa, rule: &Sgd, parameter: &mut [f32], gradient: &[f32]) {
    step(isa, parameter, gradient, [], |p, g, []| Plain { rule, p, g });
}

/// A step with momentum; the first one of a parameter sets the velocity to the gradient.
///
/// # Panics
///
/// As [`sgd`].
pub fn sgd_momentum(
    isa: Isa,
    rule: &Sgd,
    first: bool,
    parameter: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
) {
    step(isa, parameter, gradient, [velocity], |p, g, [v]| Momentum { rule, first, p, g, v });
}

/// A step of Adam or AdamW; both moments start at zero.
///
/// # Panics
///
/// As [`sgd`].
pub fn adam(
    isa: Isa,
    rule: &Adam,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    step(isa, parameter, gradient, [first, second], |p, g, [m, v]| Moments { rule, p, g, m, v });
}

/// A step of Lion; the momentum starts at zero.
///
/// # Panics
///
/// As [`sgd`].
pub fn lion(isa: Isa, rule: &Lion, parameter: &mut [f32], gradient: &[f32], momentum: &mut [f32]) {
    step(isa, parameter, gradient, [momentum], |p, g, [m]| Sign { rule, p, g, m });
}

/// Cuts a parameter, its gradient and its state into tasks alike.
fn step<'a, const N: usize, K: Kernel<Output = ()>>(
    isa: Isa,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    states: [&'a mut [f32]; N],
    kernel: impl Fn(&'a mut [f32], &'a [f32], [&'a mut [f32]; N]) -> K + Sync,
) {
    let len = parameter.len();
    let alike = gradient.len() == len && states.iter().all(|state| state.len() == len);
    assert!(alike, "expected a gradient and a state of the parameter's {len} numbers");
    if len <= CHUNK {
        isa.run(kernel(parameter, gradient, states));
        return;
    }
    let mut parts: Vec<Vec<&mut [f32]>> = (0..len.div_ceil(CHUNK)).map(|_| Vec::with_capacity(N)).collect();
    for state in states {
        for (part, state) in parts.iter_mut().zip(state.chunks_mut(CHUNK)) {
            part.push(state);
        }
    }
    let tasks: Vec<_> = parameter
        .chunks_mut(CHUNK)
        .zip(gradient.chunks(CHUNK))
        .zip(parts)
        .map(|((p, g), part)| (p, g, <[&mut [f32]; N]>::try_from(part).unwrap_or_else(|_| unreachable!())))
        .collect();
    tasks.into_par_iter().for_each(|(p, g, states)| isa.run(kernel(p, g, states)));
}

struct Plain<'a> {
    rule: &'a Sgd,
    p: &'a mut [f32],
    g: &'a [f32],
}

impl Kernel for Plain<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, p, g } = self;
        // SAFETY: all slices have the parameter's length.
        unsafe {
            let (decay, rate) = (S::splat(rule.decay), S::splat(-rule.rate));
            let len = p.len();
            let mut i = 0;
            while i < len {
                let count = S::LANES.min(len - i);
                let (at, g) = (p.as_mut_ptr().add(i), S::load_some(g.as_ptr().add(i), count));
                let p = S::load_some(at, count);
                S::store_some(at, count, S::fma(rate, S::fma(decay, p, g), p));
                i += S::LANES;
            }
        }
    }
}

struct Momentum<'a> {
    rule: &'a Sgd,
    first: bool,
    p: &'a mut [f32],
    g: &'a [f32],
    v: &'a mut [f32],
}

impl Kernel for Momentum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, first, p, g, v } = self;
        // SAFETY: all slices have the parameter's length.
        unsafe {
            let (decay, rate, momentum) =
                (S::splat(rule.decay), S::splat(-rule.rate), S::splat(rule.momentum));
            let kept = S::splat(1.0 - rule.dampening);
            let len = p.len();
            let mut i = 0;
            while i < len {
                let count = S::LANES.min(len - i);
                let (to_p, to_v) = (p.as_mut_ptr().add(i), v.as_mut_ptr().add(i));
                let p = S::load_some(to_p, count);
                let g = S::fma(decay, p, S::load_some(g.as_ptr().add(i), count));
                let v = if first { g } else { S::fma(momentum, S::load_some(to_v, count), S::mul(kept, g)) };
                let g = if rule.nesterov { S::fma(momentum, v, g) } else { v };
                S::store_some(to_v, count, v);
                S::store_some(to_p, count, S::fma(rate, g, p));
                i += S::LANES;
            }
        }
    }
}

struct Moments<'a> {
    rule: &'a Adam,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Moments<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, p, g, m, v } = self;
        // SAFETY: all slices have the parameter's length.
        unsafe {
            let (decay, keep, epsilon) = (S::splat(rule.decay), S::splat(rule.keep), S::splat(rule.epsilon));
            let [beta_1, beta_2] = rule.betas.map(|beta| (S::splat(beta), S::splat(1.0 - beta)));
            let rate = S::splat(-rule.rate / rule.corrections[0]);
            let second = S::splat(1.0 / rule.corrections[1]);
            let len = p.len();
            let mut i = 0;
            while i < len {
                let count = S::LANES.min(len - i);
                let to_p = p.as_mut_ptr().add(i);
                let (to_m, to_v) = (m.as_mut_ptr().add(i), v.as_mut_ptr().add(i));
                let p = S::load_some(to_p, count);
                let g = S::fma(decay, p, S::load_some(g.as_ptr().add(i), count));
                let m = S::fma(beta_1.0, S::load_some(to_m, count), S::mul(beta_1.1, g));
                let v = S::fma(beta_2.0, S::load_some(to_v, count), S::mul(beta_2.1, S::mul(g, g)));
                S::store_some(to_m, count, m);
                S::store_some(to_v, count, v);
                let size = S::add(S::sqrt(S::mul(v, second)), epsilon);
                S::store_some(to_p, count, S::fma(rate, S::div(m, size), S::mul(keep, p)));
                i += S::LANES;
            }
        }
    }
}

struct Sign<'a> {
    rule: &'a Lion,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
}

impl Kernel for Sign<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, p, g, m } = self;
        // SAFETY: all slices have the parameter's length.
        unsafe {
            let (keep, rate) = (S::splat(rule.keep), S::splat(-rule.rate));
            let [beta_1, beta_2] = rule.betas.map(|beta| (S::splat(beta), S::splat(1.0 - beta)));
            let (zero, one) = (S::splat(0.0), S::splat(1.0));
            let len = p.len();
            let mut i = 0;
            while i < len {
                let count = S::LANES.min(len - i);
                let (to_p, to_m) = (p.as_mut_ptr().add(i), m.as_mut_ptr().add(i));
                let g = S::load_some(g.as_ptr().add(i), count);
                let m = S::load_some(to_m, count);
                let u = S::fma(beta_1.0, m, S::mul(beta_1.1, g));
                // Zero and NaN are their own signs.
                let sign = S::where_greater(u, zero, one, S::where_greater(zero, u, S::splat(-1.0), u));
                S::store_some(to_m, count, S::fma(beta_2.0, m, S::mul(beta_2.1, g)));
                S::store_some(to_p, count, S::fma(rate, sign, S::mul(keep, S::load_some(to_p, count))));
                i += S::LANES;
            }
        }
    }
}
