//! Random draws for stochastic rounding: a function of seed and position, so that threads and chunks change nothing.

/// 32 random bits for the value at `index`.
///
/// SplitMix64 (Steele, Lea and Flood 2014), jumped to its `index`-th output.
#[inline(always)]
pub(crate) fn draw(seed: u64, index: usize) -> u32 {
    let state = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 32) as u32
}
