//! The error of rounding values of a histogram to a grid, in closed form.
//!
//! Values are taken to lie evenly within their bin. The integral of `|x − x̂|^p` over a stretch has an antiderivative,
//! so no bin is sampled, and steps may be finer or coarser than bins.

use super::Histogram;

/// Equally spaced levels; what lies beyond the outermost is rounded to it.
pub(super) struct Levels {
    /// The smallest level.
    pub(super) lowest: f64,
    /// Distance of levels.
    pub(super) step: f64,
    /// How many there are.
    pub(super) count: i64,
    /// The exponent p.
    pub(super) norm: f64,
}

impl Levels {
    /// Σ over the bins of count · mean of |x − x̂|^p within the bin.
    pub(super) fn error(&self, histogram: &Histogram, counts: &[u64]) -> f64 {
        let mut begin = f64::from(histogram.edge(0));
        let mut below = self.antiderivative(begin);
        let mut sum = 0.0;
        for (i, &count) in counts.iter().enumerate() {
            let end = f64::from(histogram.edge(i + 1));
            let up_to = self.antiderivative(end);
            if count > 0 {
                // Where the extremes cut a bin to a point, such as for a constant, the mean is the value there.
                let mean = if end > begin { (up_to - below) / (end - begin) } else { self.at(begin) };
                sum += count as f64 * mean.max(0.0);
            }
            (begin, below) = (end, up_to);
        }
        sum
    }

    fn nearest(&self, x: f64) -> i64 {
        // Saturates far outside.
        (((x - self.lowest) / self.step).round() as i64).clamp(0, self.count - 1)
    }

    fn at(&self, x: f64) -> f64 {
        (x - self.lowest - self.nearest(x) as f64 * self.step).abs().powf(self.norm)
    }

    /// ∫ |t − t̂|^p dt from half a step below the smallest level to `x`.
    fn antiderivative(&self, x: f64) -> f64 {
        let level = self.nearest(x);
        let off = x - self.lowest - level as f64 * self.step;
        let power = self.norm + 1.0;
        let half = (self.step / 2.0).powf(power) / power;
        (2 * level + 1) as f64 * half + off.signum() * off.abs().powf(power) / power
    }
}
