//! Rounding to nearest even without a branch and without a multiplication, for floats of fewer exponents than f32.
//!
//! |x| is added to a power of two M whose last bit is worth one step of the format where x lies. The sum is rounded by the
//! processor, and its bits less those of M are the number of steps. With E the exponent of x, or that of the smallest
//! normal number if x is below it, the code is steps + (E − E_min) · 2^mantissa; one expression for normal and subnormal
//! numbers, in half the instructions of [`FloatRounder`](super::FloatRounder), which has all the other cases.

use super::{Float, parallel};

/// Bits of infinity, and of the exponent.
const INFINITY: i32 = 0x7f80_0000;

/// A rounder to nearest even.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near {
    /// Mantissa bits that go away.
    shift: u32,
    /// Bits of the smallest normal number.
    normal: i32,
    /// Bits of a power of two above the largest number; what is larger has the same code.
    most: i32,
    /// The code of what is above the largest number.
    overflow: i32,
    /// Places from an f32's sign to the code's.
    sign: u32,
}

impl Near {
    /// Whether a format is of this kind: [`Self::code`] adds no power that f32 does not have, and a code above the largest
    /// is `overflow` or above it, so that a minimum puts it right.
    pub(super) fn fits(float: &Float, overflow: u32) -> bool {
        let powers = float.largest_exponent() + 1 + (23 - float.mantissa) as i32;
        powers < 128 && float.mantissa > 0 && float.zero && overflow <= float.largest_code() + 1
    }

    /// With the code of what is above the largest number. A format without a sign takes what is not negative.
    pub(super) fn new(float: &Float, overflow: u32) -> Self {
        debug_assert!(Self::fits(float, overflow), "{} is not of this kind", float.name);
        Self {
            shift: 23 - float.mantissa,
            normal: (128 - float.bias) << 23,
            most: (float.largest_exponent() + 128) << 23,
            overflow: overflow as i32,
            sign: 31 - (float.exponent + float.mantissa),
        }
    }

    /// The code of the nearest value; that of the largest, or what is above it, for NaN.
    #[inline(always)]
    pub(crate) fn code(&self, x: f32) -> i32 {
        let bits = x.to_bits() as i32;
        let size = bits & 0x7fff_ffff;
        let sign = ((bits ^ size) as u32 >> self.sign) as i32;
        let size = size.min(self.most);
        let exponent = (size & INFINITY).max(self.normal);
        let power = exponent + (self.shift << 23) as i32;
        let sum = f32::from_bits(size as u32) + f32::from_bits(power as u32);
        let steps = sum.to_bits() as i32 - power;
        (steps + ((exponent - self.normal) >> self.shift)).min(self.overflow) | sign
    }
}

/// [`Near`] as the body of a loop over what is not NaN.
pub(super) struct Nearest<F> {
    pub(super) near: Near,
    pub(super) store: F,
}

impl<T, F: Fn(u32) -> T + Sync> parallel::Body<f32, T> for Nearest<F> {
    #[inline(always)]
    fn one(&self, x: f32) -> T {
        (self.store)(self.near.code(x) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FLOATS, FloatRounder, NUMERICS, draw};

    /// Every pair of neighbours' middle, the numbers beside it, powers of two and random bits.
    #[test]
    fn codes_are_those_of_the_general_rounder() {
        let mut compared = 0;
        for float in FLOATS {
            for rule in NUMERICS.iter().filter_map(|numerics| numerics.rule(float.name)) {
                let rounder = FloatRounder::new(float, rule);
                let Some(near) = rounder.near() else { continue };
                let middles = (0..float.magnitude_mask()).map(|code| {
                    (f64::from(float.decode(code)) + f64::from(float.decode(code + 1))) as f32 / 2.0
                });
                let powers = (0..255).map(|exponent| f32::from_bits(exponent << 23));
                let random = (0..100_000).map(|index| f32::from_bits(draw(7, index)));
                let around = middles.chain(powers).flat_map(|x| [x.next_down(), x, x.next_up()]);
                let infinities = [f32::MAX, f32::INFINITY];
                for x in around.chain(random).chain(infinities).filter(|x| !x.is_nan()) {
                    for x in [x, -x] {
                        assert_eq!(near.code(x) as u32, rounder.nearest(x), "{} of {x:e}", float.name);
                    }
                }
                compared += 1;
            }
        }
        // fp16, both fp8 without the variants of FNUZ, both fp6 and fp4, in the profiles that have them.
        assert!(compared >= 12, "{compared}");
    }
}
