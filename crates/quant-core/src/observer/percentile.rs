//! The range that leaves out the rarest values on either side.

use super::Histogram;

/// With `c = ⌊n·(1 − share)/2⌋`: from the beginning of the bin that holds the value with `c` smaller ones, to the end
/// of the bin that holds the value with `c` larger ones. Both ends lie within a bin's width of the order statistics.
pub(super) fn range(histogram: &Histogram, share: f64) -> (f32, f32) {
    let counts = histogram.counts();
    // Of 20 000 values the share 0.9999 leaves one on either side, though 1 − 0.9999 may be a last bit too small.
    let total = histogram.total() as f64;
    let cut = (total * (1.0 - share) / 2.0 + total * f64::EPSILON).floor();
    let passes = |sum: &mut u64, count: &u64| {
        *sum = sum.saturating_add(*count);
        Some(*sum as f64 > cut)
    };
    let low = counts.iter().scan(0, passes).position(|reached| reached).unwrap_or(0);
    let high = counts.iter().rev().scan(0, passes).position(|reached| reached).unwrap_or(0);
    let (low, high) = (histogram.edge(low), histogram.edge(counts.len() - high));
    // A share so small that the ends pass each other leaves the median's bin.
    (low.min(high), high.max(low))
}
