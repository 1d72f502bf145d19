//! Every criterion: against golden vectors of formulas and of public code, by its properties, and by its errors.

mod golden;
mod properties;
mod sums;
mod wrong;

use prune_core::{Array, Builtin, Named, Output, Outputs, Removal};
use serde_json::Value;

/// The criterion that recipes spell so.
fn criterion(spelling: Value) -> Builtin {
    serde_json::from_value(spelling).unwrap()
}

fn removal(text: &str) -> Removal {
    text.parse().unwrap()
}

fn array(shape: &[usize], values: Vec<f64>) -> Array {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    Array { shape: shape.to_vec(), values }
}

fn named<const N: usize>(arrays: [(&str, Array); N]) -> Named {
    arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()
}

fn numbers<'a>(outputs: &'a Outputs, name: &str) -> &'a [f64] {
    match &outputs[name] {
        Output::Numbers(array) => &array.values,
        Output::Mask { .. } => panic!("`{name}` is a mask"),
    }
}

fn mask<'a>(outputs: &'a Outputs, name: &str) -> &'a [u8] {
    match &outputs[name] {
        Output::Mask { keep, .. } => keep,
        Output::Numbers(_) => panic!("`{name}` is no mask"),
    }
}

/// Numbers without a pattern, from -1 to 1, by SplitMix64.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
