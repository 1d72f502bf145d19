//! Blocks under a power of two, and the values of all blocks.

use super::blocked::{Coder, Decoder};
use super::float::{Decoder as FloatDecoder, exp2};
use super::near::Near;
use super::{FloatRounder, IntRounder, parallel};

/// Values under a power of two.
pub(super) const MX: usize = 32;

/// Codes under a power of two.
pub(super) struct Powers<R> {
    /// floor(log2(largest element)).
    pub(super) largest: i32,
    /// Of all elements of a block with NaN.
    pub(super) nan: u8,
    pub(super) rounder: R,
}

impl<R: ElementRounder> Coder<MX, MX> for Powers<R> {
    type Code = u8;
    type Scale = u8;

    #[inline(always)]
    fn block(&self, values: &[f32; MX], _: usize) -> ([u8; MX], u8) {
        let bits = parallel::largest_bits(values);
        if f32::from_bits(bits).is_nan() {
            return ([self.nan; MX], u8::MAX);
        }
        // Below the normal numbers the exponent is smaller still, and the scale the smallest either way.
        let exponent = ((bits >> 23) as i32 - 127 - self.largest).clamp(-127, 127);
        // Multiplying by the inverse of a power is as exact as dividing by the power.
        let inverse = exp2(-exponent) as f32;
        let mut codes = [0i32; MX];
        for (code, &x) in codes.iter_mut().zip(values) {
            *code = self.rounder.element(x * inverse);
        }
        (parallel::narrow(codes), (exponent + 127) as u8)
    }
}

/// Rounds elements, to nearest even.
pub(super) trait ElementRounder: Sync {
    fn element(&self, x: f32) -> i32;
}

impl ElementRounder for Near {
    #[inline(always)]
    fn element(&self, x: f32) -> i32 {
        self.code(x)
    }
}

impl ElementRounder for FloatRounder {
    #[inline(always)]
    fn element(&self, x: f32) -> i32 {
        self.plain().nearest(x) as i32
    }
}

/// Integers with digits after the point.
pub(super) struct Fixed {
    pub(super) rounder: IntRounder,
    /// The code of 1.
    pub(super) one: f32,
}

impl ElementRounder for Fixed {
    #[inline(always)]
    fn element(&self, x: f32) -> i32 {
        self.rounder.nearest(x * self.one)
    }
}

/// Scales by their codes.
#[derive(Clone, Copy)]
pub(super) struct ScaleTable<'a> {
    pub(super) codes: &'a [u8],
    pub(super) table: &'a [f32],
}

/// Values of elements.
pub(super) trait ElementDecoder: Sync {
    fn element(&self, code: u8) -> f32;
}

impl ElementDecoder for FloatDecoder {
    #[inline(always)]
    fn element(&self, code: u8) -> f32 {
        self.value(u32::from(code))
    }
}

pub(super) struct FixedDecoder {
    pub(super) unit: f32,
}

impl ElementDecoder for FixedDecoder {
    #[inline(always)]
    fn element(&self, code: u8) -> f32 {
        f32::from(code as i8) * self.unit
    }
}

/// element · scale.
pub(super) struct Scaled<'a, E> {
    pub(super) scales: ScaleTable<'a>,
    pub(super) element: E,
}

impl<E: ElementDecoder> Decoder<u8> for Scaled<'_, E> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, block: usize) -> f32 {
        self.scales.table[usize::from(self.scales.codes[block])]
    }

    #[inline(always)]
    fn value(&self, code: u8, scale: f32) -> f32 {
        self.element.element(code) * scale
    }
}

/// element · scale / global. The product is exact.
pub(super) struct ScaledTwice<'a, E> {
    pub(super) scaled: Scaled<'a, E>,
    pub(super) global: f32,
}

impl<E: ElementDecoder> Decoder<u8> for ScaledTwice<'_, E> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, block: usize) -> f32 {
        self.scaled.scale(block)
    }

    #[inline(always)]
    fn value(&self, code: u8, scale: f32) -> f32 {
        self.scaled.value(code, scale) / self.global
    }
}
