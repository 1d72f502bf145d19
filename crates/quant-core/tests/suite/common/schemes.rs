//! Numbers to round, and every scheme that there is of some words.

use quant_core::Scheme;
use quant_core::number::Number;

/// Numbers in −3 .. 3, most of them small, from a seed.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next() * next() * 3.0).collect()
}

/// Every format alone, and with every word of symmetry and these words of granularity and scale, where they go together.
pub(crate) fn schemes(granularities: &[&str], scales: &[&str]) -> Vec<Scheme> {
    let mut all = Vec::new();
    for number in Number::all() {
        all.extend(number.name().parse::<Scheme>());
        for granularity in granularities {
            for symmetry in ["", "narrow", "symmetric", "no-clip", "affine"] {
                for scale in scales {
                    let text = format!("{} {granularity} {symmetry} {scale}", number.name());
                    all.extend(text.parse::<Scheme>());
                }
            }
        }
    }
    all
}
