//! The range whose grid keeps the most information: entropy calibration.
//!
//! For each candidate range, P is the distribution with the tails moved into the outermost bins, and Q what is left
//! when the bins are merged into as many groups as the grid has levels and spread evenly over the bins of the group
//! that are not empty. The range with the least divergence Σ P ln(P/Q) is taken, the widest of equals. A range is out
//! of the question where tails fall on an empty bin: Q is 0 there and P is not.
//!
//! Symmetric schemes, and values of one sign, compare magnitudes: `qmax + 1` levels from 0 to T for the first, all
//! levels for the second. Affine schemes with values of both signs keep the sign and try `−T .. T`, cut to the
//! extremes.
//!
//! Source: Migacz, "8-bit inference with TensorRT" (2017); ModelOpt's `_compute_amax_entropy`, which sets the first
//! bin to the second so that a ReLU's zeros do not decide. Here exact zeros are left out instead: every grid has them.
//! ONNX Runtime and neural-compressor add a small constant to empty bins of Q; NNCF has no such search.
//! Candidates take O(levels) each: sums over any stretch of bins come from running totals.

use super::Histogram;
use crate::{Error, Scheme, Symmetry};

pub(super) fn range(histogram: &Histogram, scheme: &Scheme) -> Result<(f32, f32), Error> {
    let (min, max) = (histogram.min(), histogram.max());
    let (symmetry, (qmin, qmax)) = scheme.grid()?;
    let levels = (qmax - qmin + 1) as usize;
    let one_sided = min >= 0.0 || max <= 0.0;
    let limit = match symmetry {
        Symmetry::Affine if !one_sided => {
            let sums = Sums::of(&histogram.without_zeros());
            let zero = histogram.bin_of_zero().unwrap_or(0);
            // T in bins: as far as the longer side reaches.
            let bins = sums.bins();
            let candidates =
                (1..=zero.max(bins - zero)).map(|t| (t, zero.saturating_sub(t), bins.min(zero + t)));
            best(&sums, candidates, levels).map(|t| t as f64 * histogram.width())
        }
        Symmetry::Affine => magnitudes(histogram, levels),
        _ => magnitudes(histogram, qmax as usize + 1),
    };
    Ok(match limit {
        Some(limit) => {
            let limit = limit as f32;
            (min.max(-limit).min(max), max.min(limit).max(min))
        }
        // Fewer bins than levels: nothing is merged, nothing lost.
        None => (min, max),
    })
}

/// The best T for magnitudes, found on at most as many bins as the histogram may have.
fn magnitudes(histogram: &Histogram, levels: usize) -> Option<f64> {
    let (first, counts) = (histogram.first(), histogram.without_zeros());
    let last = first + counts.len() as i64 - 1;
    // The bin −1, which ends at 0, mirrors the bin 0.
    let mirrored = |k: i64| if k < 0 { -(k + 1) } else { k };
    let most = mirrored(first).max(mirrored(last));
    let doublings = (0..63).find(|by| (most >> by) < histogram.bins() as i64)?;
    let mut folded = vec![0_u64; (most >> doublings) as usize + 1];
    for (i, count) in counts.iter().enumerate() {
        folded[(mirrored(first + i as i64) >> doublings) as usize] += count;
    }
    let sums = Sums::of(&folded);
    let t = best(&sums, (1..=sums.bins()).map(|t| (t, 0, t)), levels)?;
    Some(t as f64 * histogram.width() * (1_u64 << doublings) as f64)
}

/// The first number of the candidate `(T, begin, end)` with the least divergence, the last of equals.
fn best(
    sums: &Sums,
    candidates: impl Iterator<Item = (usize, usize, usize)>,
    levels: usize,
) -> Option<usize> {
    let mut least = (f64::INFINITY, None);
    for (t, begin, end) in candidates.filter(|(_, begin, end)| end - begin >= levels) {
        if let Some(divergence) = sums.divergence(begin, end, levels).filter(|found| *found <= least.0) {
            least = (divergence, Some(t));
        }
    }
    least.1
}

/// Running totals over the bins before each edge.
struct Sums {
    counts: Vec<u64>,
    /// Bins that are not empty.
    filled: Vec<u64>,
    /// Σ c ln c.
    logs: Vec<f64>,
}

impl Sums {
    fn of(bins: &[u64]) -> Self {
        let mut sums = Self { counts: vec![0], filled: vec![0], logs: vec![0.0] };
        let (mut counts, mut filled, mut logs) = (0_u64, 0, 0.0);
        for &count in bins {
            counts += count;
            filled += u64::from(count > 0);
            logs += plain(count);
            sums.counts.push(counts);
            sums.filled.push(filled);
            sums.logs.push(logs);
        }
        sums
    }

    fn bins(&self) -> usize {
        self.counts.len() - 1
    }

    fn count(&self, begin: usize, end: usize) -> u64 {
        self.counts[end] - self.counts[begin]
    }

    /// Σ P ln(P/Q) for the bins `begin .. end` merged into groups; none where it is infinite or nothing is inside.
    ///
    /// With N values in all and M inside, P = p/N and Q = q/M:
    /// `(Σ p ln p − Σ_groups p(group) ln q(group)) / N − ln N + ln M`.
    fn divergence(&self, begin: usize, end: usize, groups: usize) -> Option<f64> {
        let (below, above) = (self.counts[begin], self.count(end, self.bins()));
        let (all, inside) = (self.count(0, self.bins()), self.count(begin, end));
        if inside == 0 {
            return None;
        }
        let mut own = self.logs[end] - self.logs[begin];
        for (bin, tail) in [(begin, below), (end - 1, above)] {
            if tail > 0 {
                let count = self.count(bin, bin + 1);
                if count == 0 {
                    return None;
                }
                own += plain(count + tail) - plain(count);
            }
        }
        let len = end - begin;
        // Bin j of the range is in group ⌊j·groups/len⌋.
        let edge = |group: usize| begin + (group * len).div_ceil(groups);
        let mut cross = 0.0;
        for group in 0..groups {
            let (from, to) = (edge(group), edge(group + 1));
            let count = self.count(from, to);
            if count > 0 {
                let mut moved = count;
                moved += if group == 0 { below } else { 0 };
                moved += if group == groups - 1 { above } else { 0 };
                let even = count as f64 / (self.filled[to] - self.filled[from]) as f64;
                cross += moved as f64 * even.ln();
            }
        }
        let (all, inside) = (all as f64, inside as f64);
        Some((own - cross) / all - all.ln() + inside.ln())
    }
}

/// c ln c.
fn plain(count: u64) -> f64 {
    if count == 0 { 0.0 } else { count as f64 * (count as f64).ln() }
}
