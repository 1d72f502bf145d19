//! Tails cut while the squared error falls: the search of torch's `HistogramObserver`.
//!
//! Two pointers move inward by quantiles of 1e-5 of the values, always the one with more bins to gain, and stop at the
//! first range whose error is larger than that of the one before. The error is that of `2^bits` equal cells between
//! the two pointers, each represented by its middle. The first move is always taken.
//!
//! Source: torch's `_non_linear_param_search`, after caffe2's `norm_minimization.cc`. The search is the same; the
//! histogram is not: torch divides min .. max into 2048 bins and spreads counts over new bins when the range grows,
//! so that its result depends on the order of the batches.

use super::Histogram;
use super::distortion::Levels;
use crate::{Error, Scheme};

const STEP: f64 = 1e-5;

pub(super) fn range(histogram: &Histogram, scheme: &Scheme) -> Result<(f32, f32), Error> {
    let (_, (qmin, qmax)) = scheme.grid()?;
    let count = i64::from(qmax - qmin) + 1;
    let counts = histogram.counts();
    let up_to: Vec<f64> = counts
        .iter()
        .scan(0_u64, |sum, count| {
            *sum = sum.saturating_add(*count);
            Some(*sum as f64)
        })
        .collect();
    let total = histogram.total() as f64;
    let (mut start, mut end) = (0, counts.len() - 1);
    let (mut alpha, mut beta) = (0.0, 1.0);
    let mut least = f64::INFINITY;
    while alpha < beta {
        let (next_alpha, next_beta) = (alpha + STEP, beta - STEP);
        let (mut left, mut right) = (start, end);
        while left < end && up_to[left] < next_alpha * total {
            left += 1;
        }
        while right > start && up_to[right] > next_beta * total {
            right -= 1;
        }
        let (next_start, next_end) = if left - start > end - right {
            alpha = next_alpha;
            (left, end)
        } else {
            beta = next_beta;
            (start, right)
        };
        if (next_start, next_end) == (start, end) {
            continue;
        }
        let (low, high) = (f64::from(histogram.edge(next_start)), f64::from(histogram.edge(next_end + 1)));
        let step = (high - low) / count as f64;
        // A cell of no width represents its one value.
        let error = match step > 0.0 {
            true => Levels { lowest: low + step / 2.0, step, count, norm: 2.0 }.error(histogram, counts),
            false => 0.0,
        };
        if error > least {
            break;
        }
        (least, start, end) = (error, next_start, next_end);
    }
    Ok((histogram.edge(start), histogram.edge(end + 1)))
}
