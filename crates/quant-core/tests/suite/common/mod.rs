//! What tests of formats share with `tools/golden/quant_formats.py`: the draw behind its inputs, and its sums.

pub(crate) mod layers;
pub(crate) mod schemes;

/// The `index`-th output of SplitMix64.
pub(crate) fn splitmix(seed: u64, index: usize) -> u64 {
    let z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Σ (code + 1) · splitmix(0, i) modulo 2^64, for each thousand codes.
pub(crate) fn sums(codes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let codes: Vec<u64> = codes.into_iter().collect();
    let weights: Vec<u64> = (0..1000).map(|i| splitmix(0, i)).collect();
    let term = |(code, weight): (&u64, &u64)| code.wrapping_add(1).wrapping_mul(*weight);
    let sum = |part: &[u64]| part.iter().zip(&weights).map(term).fold(0, u64::wrapping_add);
    codes.chunks(1000).map(sum).collect()
}

/// Equal sums, or the thousand in which they differ first.
#[track_caller]
pub(crate) fn check(what: &str, codes: impl IntoIterator<Item = u64>, expected: &[u64]) {
    let found = sums(codes);
    assert_eq!(found.len(), expected.len(), "{what}: number of codes");
    let first = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!(first, None, "{what}: the thousand of codes that differs");
}
