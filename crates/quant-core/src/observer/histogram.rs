//! A histogram whose merges are exact.
//!
//! The trick is the grid. Bins are `[k·w, (k+1)·w)` with a width `w` that is a power of two, the smallest for which
//! the values seen so far span no more bins than allowed. When a wider range arrives, `w` doubles and bin `k` becomes
//! bin `⌊k/2⌋`: because `⌊⌊x/w⌋/2⌋ = ⌊x/2w⌋`, the counts are those that the wider grid would have had from the start.
//! So the state depends on what was seen, not on when: the width is a function of the smallest and the largest value
//! (a range that does not fit keeps not fitting when values are added, and one that fits still fits when the width
//! doubles), and the counts are a function of the width and the values.
//!
//! Widths never go below the last bit of the largest magnitude, 2⁻²³ of it, so that bin numbers stay below 2²⁴ and a
//! constant takes one bin. Products with powers of two are exact in 64-bit floats for every finite 32-bit value.

use serde::{Deserialize, Serialize};

use crate::Error;

/// How often values of each size were seen: at least one value, `u64` counts, at most `bins` of them.
///
/// Exact zeros are counted in their bin and once more apart: every grid represents them exactly, so searches that
/// weigh errors leave them out, and a ReLU's flood of them decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistogramAsStored", into = "HistogramAsStored")]
pub struct Histogram {
    bins: usize,
    extremes: Extremes,
    grid: Grid,
    counts: Vec<u64>,
    zeros: u64,
}

/// Smallest and largest value, finite, in order, without −0. As bits, so that equality is equality of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extremes {
    min: u32,
    max: u32,
}

/// Bin `i` of the window holds `[(first + i)·2^exponent, (first + i + 1)·2^exponent)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    exponent: i32,
    first: i64,
    len: usize,
}

impl Grid {
    /// The finest grid on which `min ..= max` takes at most `bins` bins.
    fn of(min: f32, max: f32, bins: usize) -> Self {
        // The last bit of the largest magnitude, and of every 32-bit float.
        let mut exponent = (magnitude(min.abs().max(max.abs())) - 23).max(-149);
        loop {
            let (first, last) = (index(min, exponent), index(max, exponent));
            let len = (last - first + 1) as usize;
            if len <= bins {
                return Self { exponent, first, len };
            }
            exponent += 1;
        }
    }
}

impl Histogram {
    /// A histogram of at most `bins` bins that has room for `min ..= max`, and counts nothing yet.
    pub(super) fn new(bins: usize, min: f32, max: f32) -> Self {
        // −0 and 0 are the same value, met in any order.
        let (min, max) = (min + 0.0, max + 0.0);
        let grid = Grid::of(min, max, bins);
        let extremes = Extremes { min: min.to_bits(), max: max.to_bits() };
        Self { bins, extremes, grid, counts: vec![0; grid.len], zeros: 0 }
    }

    /// Widens the range to contain `min ..= max`.
    pub(super) fn cover(&mut self, min: f32, max: f32) {
        if min >= self.min() && max <= self.max() {
            return;
        }
        let mut wider = Self::new(self.bins, self.min().min(min), self.max().max(max));
        wider.add(self);
        *self = wider;
    }

    /// Counts a value inside the range.
    pub(super) fn count(&mut self, x: f32) {
        self.zeros += u64::from(x == 0.0);
        self.counts[(index(x, self.grid.exponent) - self.grid.first) as usize] += 1;
    }

    /// Adds the counts of another histogram.
    pub(super) fn merge(&mut self, other: &Self) {
        self.cover(other.min(), other.max());
        self.add(other);
    }

    /// Adds counts of a grid as fine as this one or finer, within this range.
    fn add(&mut self, finer: &Self) {
        let doublings = self.grid.exponent - finer.grid.exponent;
        for (i, &count) in finer.counts.iter().enumerate() {
            // A shift to the right rounds down for negative numbers too.
            let k = (finer.grid.first + i as i64) >> doublings.min(63);
            let sum = &mut self.counts[(k - self.grid.first) as usize];
            *sum = sum.saturating_add(count);
        }
        self.zeros = self.zeros.saturating_add(finer.zeros);
    }

    /// The smallest value seen.
    pub fn min(&self) -> f32 {
        f32::from_bits(self.extremes.min)
    }

    /// The largest value seen.
    pub fn max(&self) -> f32 {
        f32::from_bits(self.extremes.max)
    }

    /// Width of a bin, a power of two, exact.
    pub fn width(&self) -> f64 {
        power_of_two(self.grid.exponent)
    }

    /// Number of the first bin, which begins at that many widths.
    pub fn first(&self) -> i64 {
        self.grid.first
    }

    /// Counts of the bins from that of the smallest value to that of the largest.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many values were exactly zero; they are in [`Histogram::counts`] as well.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Number of values seen.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The most bins it may have.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Where bin `i` of the window begins and bin `i − 1` ends, but nothing beyond the extremes.
    pub(super) fn edge(&self, i: usize) -> f32 {
        let edge = (self.grid.first + i as i64) as f64 * self.width();
        edge.clamp(f64::from(self.min()), f64::from(self.max())) as f32
    }

    /// The position in the window of the bin of zero, if the window has it.
    pub(super) fn bin_of_zero(&self) -> Option<usize> {
        usize::try_from(-self.grid.first).ok().filter(|bin| *bin < self.counts.len())
    }

    /// Counts without the exact zeros.
    pub(super) fn without_zeros(&self) -> Vec<u64> {
        let mut counts = self.counts.clone();
        if let Some(bin) = self.bin_of_zero() {
            counts[bin] = counts[bin].saturating_sub(self.zeros);
        }
        counts
    }
}

/// The bin of a value among those of width `2^exponent`.
fn index(x: f32, exponent: i32) -> i64 {
    (f64::from(x) * power_of_two(-exponent)).floor() as i64
}

/// ⌊log₂ x⌋ of a positive number; every 32-bit float is normal in 64 bits. Very low for 0.
fn magnitude(x: f32) -> i32 {
    ((f64::from(x).to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// 2ⁿ for −1022 ≤ n ≤ 1023, without rounding.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramAsStored {
    bins: usize,
    min: f32,
    max: f32,
    zeros: u64,
    counts: Vec<u64>,
}

impl From<Histogram> for HistogramAsStored {
    fn from(histogram: Histogram) -> Self {
        let (min, max) = (histogram.min(), histogram.max());
        Self { bins: histogram.bins, min, max, zeros: histogram.zeros, counts: histogram.counts }
    }
}

impl TryFrom<HistogramAsStored> for Histogram {
    type Error = Error;

    fn try_from(stored: HistogramAsStored) -> Result<Self, Error> {
        let HistogramAsStored { bins, min, max, zeros, counts } = stored;
        super::watched::check_bins(bins)?;
        let range = crate::Range::new(vec![min], vec![max])?;
        let mut histogram = Self::new(bins, range.min()[0], range.max()[0]);
        let wrong = |what| Err(Error::Histogram { what });
        if counts.len() != histogram.counts.len() {
            return wrong("as many counts as there are bins between the extremes");
        }
        if [counts.first(), counts.last()].contains(&Some(&0)) {
            return wrong("a value in the bins of both extremes");
        }
        if zeros > histogram.bin_of_zero().map_or(0, |bin| counts[bin]) {
            return wrong("no more zeros than the bin of zero holds");
        }
        histogram.counts = counts;
        histogram.zeros = zeros;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(min: f32, max: f32, bins: usize) -> (f64, i64, usize) {
        let Grid { exponent, first, len } = Grid::of(min, max, bins);
        (power_of_two(exponent), first, len)
    }

    #[test]
    fn grids_are_the_finest_that_fit() {
        assert_eq!(grid(0.0, 0.0, 4), (power_of_two(-149), 0, 1));
        assert_eq!(grid(1.0, 1.0, 4), (power_of_two(-23), 1 << 23, 1));
        assert_eq!(grid(0.0, 3.0, 4), (1.0, 0, 4));
        assert_eq!(grid(0.0, 4.0, 4), (2.0, 0, 3));
        assert_eq!(grid(-1.0, 0.9, 4), (0.5, -2, 4));
        assert_eq!(grid(100.0, 101.0, 8), (0.25, 400, 5));
        assert_eq!(grid(-f32::MAX, f32::MAX, 4096), (power_of_two(117), -2048, 4096));
        assert_eq!(grid(1e-45, 1e-45, 4), (power_of_two(-149), 1, 1));
        assert_eq!(grid(-1e-45, 0.0, 4), (power_of_two(-149), -1, 2));
    }

    #[test]
    fn every_power_of_two_is_exact() {
        for n in -1022..=1023 {
            assert_eq!(power_of_two(n), 2.0_f64.powi(n), "{n}");
        }
    }
}
