//! The shrunk range with the least error of rounding.
//!
//! Every candidate is turned into scale and zero point by the rule that will be used, and the error is that of the
//! actual grid. Source: llm-compressor's `observers/mse.py` (norm 2.4, 100 steps), which stops at a factor of 0.8 or
//! after five steps without gain; here all factors are tried, and the widest range of equals is kept. Exact zeros have
//! no error and are left out.

use super::Histogram;
use super::distortion::Levels;
use crate::{Error, QParams, Range, Scheme};

pub(super) fn range(
    histogram: &Histogram,
    scheme: &Scheme,
    norm: f64,
    steps: u32,
) -> Result<(f32, f32), Error> {
    let counts = histogram.without_zeros();
    let (min, max) = (histogram.min(), histogram.max());
    let mut best = (f64::INFINITY, (min, max));
    for cut in 0..steps {
        let factor = 1.0 - f64::from(cut) / f64::from(steps);
        let shrunk = |x: f32| (f64::from(x) * factor) as f32;
        let (low, high) = (shrunk(min), shrunk(max));
        let qparams = QParams::from_range(&Range::new(vec![low], vec![high])?, scheme)?;
        let (scale, zero_point) = (f64::from(qparams.scale[0]), qparams.zero_point[0]);
        let levels = Levels {
            lowest: f64::from(qparams.qmin - zero_point) * scale,
            step: scale,
            count: i64::from(qparams.qmax - qparams.qmin) + 1,
            norm,
        };
        let error = levels.error(histogram, &counts);
        if error < best.0 {
            best = (error, (low, high));
        }
    }
    Ok(best.1)
}
