//! Scale and zero point of a range, the one rule that observers, weights and algorithms share.

use super::{ScaleFormat, Symmetry};
use crate::number::{Division, Float, FloatRounder, SATURATING};

/// Scale and zero point for codes `qmin ..= qmax` that cover `low ..= high`, in 32-bit floats; the range is widened to
/// contain 0. None where a value of the grid would overflow.
pub(crate) fn fit(
    symmetry: Symmetry,
    (qmin, qmax): (i32, i32),
    format: ScaleFormat,
    (low, high): (f32, f32),
) -> Option<(f32, i32)> {
    fit_as(Division::ByScale, symmetry, (qmin, qmax), format, (low, high))
}

/// The same in a profile: where it multiplies by the inverse, a scale of 0 is the smallest normal number.
pub(crate) fn fit_as(
    division: Division,
    symmetry: Symmetry,
    (qmin, qmax): (i32, i32),
    format: ScaleFormat,
    (low, high): (f32, f32),
) -> Option<(f32, i32)> {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let (first, last) = (qmin as f32, qmax as f32);
    let most = high.max(-low);
    let scale = match symmetry {
        Symmetry::Narrow => most / last,
        Symmetry::FullHalfStep => most / ((last - first) / 2.0),
        Symmetry::NoClip => (low / first).max(high / last),
        Symmetry::Affine => (high - low) / (last - first),
    };
    let scale = match division {
        Division::ByScale => legal(scale),
        Division::ByInverse => scale.max(f32::MIN_POSITIVE),
    };
    let scale = format.stored(scale)?;
    let zero_point = match symmetry {
        Symmetry::Affine => (first - (low / scale).round_ties_even()).clamp(first, last) as i32,
        _ => 0,
    };
    let finite = [qmin, qmax].iter().all(|code| ((code - zero_point) as f32 * scale).is_finite());
    finite.then_some((scale, zero_point))
}

/// A scale by which zero is exact and nothing divides by zero: 1 for 0, at least the smallest normal number.
pub(crate) fn legal(scale: f32) -> f32 {
    if scale == 0.0 { 1.0 } else { scale.max(f32::MIN_POSITIVE) }
}

impl ScaleFormat {
    /// Bits of a scale: whole bytes, so that ue4m3, which has 7, takes 8.
    pub fn bits(self) -> u32 {
        self.float().map_or(32, Float::bits).next_multiple_of(8)
    }

    /// The positive scale as it is stored; none where it is beyond the largest.
    pub(crate) fn stored(self, scale: f32) -> Option<f32> {
        let Some(float) = self.float() else { return scale.is_finite().then_some(scale) };
        if self == Self::E8m0 {
            // Powers of two from 2^-127 on; a positive f32 below that rounds up to it.
            let up = f32::from_bits(scale.to_bits() & 0x7f80_0000);
            let up = if up == scale { up } else { (2.0 * up).max(f32::MIN_POSITIVE) };
            return up.is_finite().then_some(up);
        }
        if scale > float.max() {
            return None;
        }
        let stored = float.decode(FloatRounder::new(float, &SATURATING).code(scale, 0));
        Some(if stored == 0.0 {
            float.smallest_subnormal().unwrap_or(float.smallest_normal())
        } else {
            stored
        })
    }

    /// The number format, of those that are not f32.
    fn float(self) -> Option<&'static Float> {
        Float::named(match self {
            Self::F32 => return None,
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::E8m0 => "e8m0fnu",
            Self::Ue4m3 => "ue4m3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_scales_are_numbers_of_their_format_and_near() {
        for format in [ScaleFormat::Fp16, ScaleFormat::Bf16, ScaleFormat::Ue4m3, ScaleFormat::E8m0] {
            for step in 0..400 {
                let scale = 1.3e-3 * 1.03_f32.powi(step);
                let Some(stored) = format.stored(scale) else {
                    assert!(format == ScaleFormat::Ue4m3 && scale > 448.0, "{format:?} {scale}");
                    continue;
                };
                assert_eq!(format.stored(stored), Some(stored), "{format:?} {scale}");
                let ratio = stored / scale;
                match format {
                    ScaleFormat::E8m0 => assert!((1.0..2.0).contains(&ratio), "{scale} {stored}"),
                    ScaleFormat::Ue4m3 if scale < 0.016 => assert!(stored > 0.0),
                    _ => assert!((0.93..1.07).contains(&ratio), "{format:?} {scale} {stored}"),
                }
            }
        }
        assert_eq!(ScaleFormat::Fp16.stored(1e-30), Some(2.0_f32.powi(-24)));
        assert_eq!(ScaleFormat::Fp16.stored(1e6), None);
        assert_eq!(ScaleFormat::E8m0.stored(1e-45), Some(f32::MIN_POSITIVE));
    }
}
