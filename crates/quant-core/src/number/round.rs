//! The two rounding functions, one for floats and one for integers.
//!
//! Both are written without branches over the data, so that the compiler turns a loop over them into vector
//! instructions; `Rounding` is known outside of the loop.

use super::draw::draw;
use super::near::{Near, Nearest};
use super::numerics::{NanCode, Overflow, Rule, Unsigned, Zeroless};
use super::parallel::{self, Wrong};
use super::{Float, Int, Specials};

/// 2^23: adding it leaves the whole part of what is not negative in the mantissa, to nearest even.
pub(crate) const WHOLE: f32 = 8_388_608.0;

/// 1.5 · 2^23: adding it leaves the whole part in the mantissa, to nearest even, of either sign.
pub(crate) const SIGNED_WHOLE: f32 = 12_582_912.0;

/// Which of the two neighbours on the grid a value goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The nearer one; of two equally near the one with an even last digit. Where a mantissa has no bits, its only
    /// digit is the leading one and 2^e is odd beside 2^(e+1) = 10₂ · 2^e: ties go up.
    NearestEven,
    /// The nearer one; of two equally near the one farther from zero.
    HalfAway,
    /// The one farther from zero.
    Away,
    /// Either, the nearer one more often: up with the probability (x − below) / (above − below). Unbiased; the
    /// number is the seed.
    Stochastic(u64),
}

/// Turns f32 into the codes of a float format by the rule of a profile.
#[derive(Debug, Clone, Copy)]
pub struct FloatRounder {
    float: Float,
    rounding: Rounding,
    /// Mantissa bits that go away.
    shift: u32,
    /// Difference of the biases, at the place of the exponent.
    rebias: u32,
    /// One where the leading bit of the mantissa is its last one.
    leading: u32,
    /// Bits of the smallest f32 for which shifting is enough.
    normal: i32,
    /// Whether it is enough for all: the format has f32's exponents, and its subnormals are those of f32, shortened.
    shifts: bool,
    below: Below,
    largest: i32,
    /// What lies above the largest.
    overflow: u32,
    sign: u32,
    /// The code of −0 if it differs from that of 0.
    negative_zero: bool,
    nan: Nan,
    /// Instead of 0, where there is no zero.
    zero: Option<u32>,
    /// Instead of what is below zero.
    negative: Option<u32>,
}

/// The grid below the smallest f32 for which shifting is enough.
#[derive(Debug, Clone, Copy)]
struct Below {
    /// Two factors whose product is one over the spacing, which may be above f32's range.
    inverse: [f32; 2],
    /// One where the code 0 is not zero but the first value.
    skip: u32,
}

impl Below {
    /// Where there is no zero, ml_dtypes and torch round to nearest as if the code 0 were zero: e8m0 of 1.1 · 2^−127 is
    /// 2^−126, although 2^−127 is nearer. That is kept, since their profiles are what they do. Other roundings, which
    /// they do not have, know what the code is.
    fn new(float: &Float, rounding: Rounding) -> Self {
        let skip = !float.zero && rounding != Rounding::NearestEven;
        let exponent = float.bias + float.mantissa as i32 - 1 + i32::from(skip);
        let first = exponent.min(126);
        let power = |n: i32| super::float::exp2(n) as f32;
        Self { inverse: [power(first), power(exponent - first)], skip: u32::from(skip) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Nan {
    base: u32,
    /// Which bits of the mantissa are kept.
    payload: u32,
    /// A code that is no NaN and has to be left.
    infinity: u32,
}

impl FloatRounder {
    /// A rounder to `float` by `rule`.
    pub fn new(float: &Float, rule: &Rule) -> Self {
        let mantissa = (1u32 << float.mantissa) - 1;
        let infinity = float.largest_code() + 1;
        let nan = float.nan_code().unwrap_or(float.largest_code());
        let nan = match (float.specials, rule.nan) {
            (Specials::Ieee, NanCode::Quiet) => Nan { base: nan, payload: 0, infinity },
            (Specials::Ieee, NanCode::Ones) => Nan { base: float.magnitude_mask(), payload: 0, infinity },
            (Specials::Ieee, NanCode::Payload) => Nan { base: infinity, payload: mantissa, infinity },
            (Specials::Ieee, NanCode::QuietPayload) => Nan { base: nan, payload: mantissa, infinity },
            _ => Nan { base: nan, payload: 0, infinity: u32::MAX },
        };
        let overflow = match rule.overflow {
            Overflow::Saturate => float.largest_code(),
            Overflow::Special => float.infinity_code().or(float.nan_code()).unwrap_or(float.largest_code()),
        };
        Self {
            rounding: rule.rounding,
            shift: 23 - float.mantissa,
            rebias: ((127 - float.bias) as u32) << float.mantissa,
            leading: u32::from(float.mantissa == 0),
            normal: (128 - float.bias) << 23,
            shifts: float.zero && float.bias == 127,
            below: Below::new(float, rule.rounding),
            float: *float,
            largest: float.largest_code() as i32,
            overflow,
            sign: if float.signed { float.magnitude_mask() + 1 } else { 0 },
            negative_zero: float.negative_zero(),
            nan,
            zero: (!float.zero).then_some(match rule.zeroless {
                Zeroless::Smallest => 0,
                Zeroless::Nan => nan.base,
            }),
            negative: match (float.signed, rule.unsigned) {
                (false, Unsigned::Nan | Unsigned::Refuse) => Some(nan.base),
                _ => None,
            },
        }
    }

    /// The same, rounding another way.
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding, below: Below::new(&self.float, rounding), ..self }
    }

    /// The code of the value at `index`, a position that only stochastic rounding looks at.
    #[inline]
    pub fn code(&self, x: f32, index: usize) -> u32 {
        self.round(x, self.rounding, index)
    }

    /// Codes of all values.
    pub fn codes<T: Copy + Default + Send, F: Fn(u32) -> T + Sync>(
        &self,
        values: &[f32],
        store: F,
    ) -> Vec<T> {
        // Matched here, so that each loop is compiled for its rounding.
        match self.rounding {
            Rounding::NearestEven if let Some(near) = self.near() => {
                let plain = Plain { rounder: self, store: &store };
                parallel::map_either(values, Nearest { near, store: &store }, plain)
            }
            Rounding::NearestEven if self.is_plain() => parallel::map(values, Plain { rounder: self, store }),
            Rounding::NearestEven => {
                parallel::map(values, |x| store(self.round(x, Rounding::NearestEven, 0)))
            }
            rounding => parallel::map_indexed(values, |index, x| store(self.round(x, rounding, index))),
        }
    }

    /// Codes of all values, unless one of them is NaN.
    pub(crate) fn number_codes<T: Copy + Default + Send>(
        &self,
        values: &[f32],
        store: impl Fn(u32) -> T + Sync,
    ) -> Result<Vec<T>, Wrong> {
        match self.rounding {
            Rounding::NearestEven if let Some(near) = self.near() => {
                parallel::map_numbers(values, Nearest { near, store })
            }
            _ if parallel::exists(values, f32::is_nan) => Err(Wrong),
            _ => Ok(self.codes(values, store)),
        }
    }

    /// The nearest code, whatever the rounding is.
    #[inline(always)]
    pub(crate) fn nearest(&self, x: f32) -> u32 {
        self.round(x, Rounding::NearestEven, 0)
    }

    /// The same to nearest even of what is not NaN, if there is a faster way.
    pub(crate) fn near(&self) -> Option<Near> {
        let fits = self.is_plain() && Near::fits(&self.float, self.overflow);
        fits.then(|| Near::new(&self.float, self.overflow))
    }

    /// Whether [`Self::plain`] is the same rounder.
    pub(crate) fn is_plain(&self) -> bool {
        self.leading == 0
            && self.negative_zero
            && self.zero.is_none()
            && self.negative.is_none()
            && (self.shifts || self.below.inverse[1] == 1.0)
    }

    /// The same, to nearest even, with what all signed formats have in common as constants. Made inside of a loop, it
    /// takes a third of the instructions out of it.
    #[inline(always)]
    pub(crate) fn plain(&self) -> Self {
        Self {
            rounding: Rounding::NearestEven,
            leading: 0,
            negative_zero: true,
            zero: None,
            negative: None,
            normal: if self.shifts { 0 } else { self.normal },
            below: Below { inverse: [self.below.inverse[0], 1.0], skip: 0 },
            ..*self
        }
    }

    /// The one rounding function of floats.
    ///
    /// | x | code |
    /// | --- | --- |
    /// | at least the smallest normal number | exponent and mantissa as one integer, rounded by a carry into the kept bits |
    /// | below | x over the spacing, rounded to a whole number, which is the code |
    /// | rounded above the largest | what the rule says |
    #[inline(always)]
    fn round(&self, x: f32, rounding: Rounding, index: usize) -> u32 {
        const INFINITY: i32 = 0x7f80_0000;
        let bits = x.to_bits();
        let size = bits & 0x7fff_ffff;

        let lost = (1 << self.shift) - 1;
        let carry = match rounding {
            Rounding::NearestEven => (lost >> 1) + ((size >> self.shift) & 1 | self.leading),
            Rounding::HalfAway => (lost >> 1) + 1,
            Rounding::Away => lost,
            Rounding::Stochastic(seed) => draw(seed, index) & lost,
        };
        let normal = ((size + carry) >> self.shift).wrapping_sub(self.rebias);

        let steps = f32::from_bits(size) * self.below.inverse[0] * self.below.inverse[1];
        let steps = match rounding {
            Rounding::NearestEven => steps,
            Rounding::HalfAway => steps.round(),
            Rounding::Away => steps.ceil(),
            Rounding::Stochastic(seed) => stochastic(steps, draw(seed, index)),
        };
        let small = ((steps + WHOLE).to_bits() & 0x007f_ffff).saturating_sub(self.below.skip);

        // Compared as signed numbers, for which there is an instruction; none of them has the upper bit.
        let size_code = if (size as i32) < self.normal { small } else { normal };
        let size_code = if size_code as i32 > self.largest { self.overflow } else { size_code };
        let payload = self.nan.base | ((size >> self.shift) & self.nan.payload);
        let nan = payload + u32::from(payload == self.nan.infinity);
        let size_code = if size as i32 > INFINITY { nan } else { size_code };
        let signed = size_code != 0 || self.negative_zero;
        let code = size_code | if bits >> 31 == 1 && signed { self.sign } else { 0 };

        let code = match self.zero {
            Some(zero) if size == 0 => zero,
            _ => code,
        };
        match self.negative {
            Some(negative) if bits > 0x8000_0000 => negative,
            _ => code,
        }
    }
}

/// [`FloatRounder::plain`] as the body of a loop.
struct Plain<'a, F> {
    rounder: &'a FloatRounder,
    store: F,
}

impl<T, F: Fn(u32) -> T + Sync> parallel::Body<f32, T> for Plain<'_, F> {
    #[inline(always)]
    fn one(&self, x: f32) -> T {
        (self.store)(self.rounder.plain().nearest(x))
    }
}

/// Turns f32 into integers, which saturate. NaN has no integer; what it gives is not specified.
#[derive(Debug, Clone, Copy)]
pub struct IntRounder {
    rounding: Rounding,
    min: f32,
    max: f32,
}

impl IntRounder {
    /// A rounder to all codes of `int`.
    pub fn new(int: &Int, rounding: Rounding) -> Self {
        Self::between(int.min(), int.max(), rounding)
    }

    /// A rounder to the integers from `min` to `max`, which are within 2^22 of 0.
    pub fn between(min: i32, max: i32, rounding: Rounding) -> Self {
        Self { rounding, min: min as f32, max: max as f32 }
    }

    /// The integer of the value at `index`, a position that only stochastic rounding looks at.
    #[inline]
    pub fn code(&self, x: f32, index: usize) -> i32 {
        self.round(x, self.rounding, index)
    }

    /// Integers of all values.
    pub fn codes<T: Copy + Default + Send, F: Fn(i32) -> T + Sync>(
        &self,
        values: &[f32],
        store: F,
    ) -> Vec<T> {
        match self.rounding {
            Rounding::NearestEven => {
                parallel::map(values, |x| store(self.round(x, Rounding::NearestEven, 0)))
            }
            rounding => parallel::map_indexed(values, |index, x| store(self.round(x, rounding, index))),
        }
    }

    /// The nearest integer, whatever the rounding is.
    #[inline(always)]
    pub(crate) fn nearest(&self, x: f32) -> i32 {
        self.round(x, Rounding::NearestEven, 0)
    }

    /// The nearest integers, unless a value is NaN.
    pub(crate) fn all_nearest<T: Copy + Default + Send>(
        &self,
        values: &[f32],
        store: impl Fn(i32) -> T + Sync,
    ) -> Result<Vec<T>, Wrong> {
        parallel::map_numbers(values, |x| store(self.nearest(x)))
    }

    /// The one rounding function of integers. The limits are integers, so that clamping may go first.
    #[inline(always)]
    fn round(&self, x: f32, rounding: Rounding, index: usize) -> i32 {
        // One instruction each, which `max` and `min` are not: they have NaN to think of.
        let x = if x > self.min { x } else { self.min };
        let x = if x < self.max { x } else { self.max };
        let x = match rounding {
            Rounding::NearestEven => x,
            Rounding::HalfAway => x.round(),
            Rounding::Away => x.abs().ceil().copysign(x),
            Rounding::Stochastic(seed) => stochastic(x, draw(seed, index)),
        };
        (x + SIGNED_WHOLE).to_bits() as i32 - SIGNED_WHOLE.to_bits() as i32
    }
}

/// One of the two integers around `x`: the upper one where `draw` · 2^−32 is below the fraction.
#[inline(always)]
fn stochastic(x: f32, draw: u32) -> f32 {
    let below = x.floor();
    let up = f64::from(draw) < f64::from(x - below) * 4_294_967_296.0;
    below + f32::from(u8::from(up))
}
