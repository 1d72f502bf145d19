//! Blocks of e2m1fn under a ue4m3 scale, found by comparing.

use super::blocked::{Coded, Coder, GROUP};
use super::float::{E2M1FN, UE4M3};
use super::near::Near;
use super::parallel::{self, INFINITY, Watch};

/// Values under a ue4m3.
pub(super) const NV: usize = 16;

/// Codes under a small float.
pub(super) struct SmallFloats {
    pub(super) rounder: Near,
    pub(super) factor: f32,
    pub(super) most: f32,
    pub(super) limits: Limits,
    pub(super) watch: Watch,
}

impl Coder<NV, NV> for SmallFloats {
    type Code = u8;
    type Scale = u8;

    #[inline(always)]
    fn block(&self, values: &[f32; NV], _: usize) -> ([u8; NV], u8) {
        let largest = parallel::largest_bits(values);
        self.watch.see(largest > INFINITY);
        let scale = self.scale(largest);
        (self.limits.codes(values, scale), scale)
    }

    /// Largest magnitudes first, then all scales in one vector, then codes.
    #[inline(always)]
    fn group(&self, blocks: &[[f32; NV]; GROUP]) -> Coded<u8, u8, NV> {
        let mut largest = [0u32; GROUP];
        let mut most = 0;
        for (largest, block) in largest.iter_mut().zip(blocks) {
            *largest = parallel::largest_bits(block);
            most = most.max(*largest);
        }
        self.watch.see(most > INFINITY);
        let mut scales = [0u8; GROUP];
        for (scale, largest) in scales.iter_mut().zip(largest) {
            *scale = self.scale(largest);
        }
        let mut codes = [[0u8; NV]; GROUP];
        for ((codes, block), &scale) in codes.iter_mut().zip(blocks).zip(&scales) {
            *codes = self.limits.codes(block, scale);
        }
        (codes, scales)
    }
}

impl SmallFloats {
    /// Of a block whose largest magnitude has these bits.
    #[inline(always)]
    fn scale(&self, largest: u32) -> u8 {
        self.rounder.code(self.factor * f32::from_bits(largest) / self.most) as u8
    }
}

/// Where the codes of e2m1fn change, for every ue4m3 scale: the largest f32 that is still below.
///
/// |x| · factor / scale is above a midpoint of two values exactly if |x| is above midpoint · scale / factor. So a block
/// needs comparisons instead of divisions, and its codes are the nearest ones for the stored scales, not for a product of
/// them that was rounded before.
pub(super) struct Limits(Vec<[f32; 7]>);

impl Limits {
    pub(super) fn new(factor: f32) -> Self {
        let values: [f64; 8] = std::array::from_fn(|code| f64::from(E2M1FN.decode(code as u32)));
        let factor = f64::from(factor);
        let limits = |scale: f32| {
            std::array::from_fn(|code| {
                // Exact: a few bits each.
                let middle = (values[code] + values[code + 1]) / 2.0 * f64::from(scale);
                // Products of two f32 are exact in f64. At the midpoint itself the even code is taken.
                let above = |x: f32| match code % 2 {
                    0 => f64::from(x) * factor > middle,
                    _ => f64::from(x) * factor >= middle,
                };
                let mut limit = (middle / factor) as f32;
                while above(limit) && limit > 0.0 {
                    limit = limit.next_down();
                }
                while limit < f32::MAX && !above(limit.next_up()) {
                    limit = limit.next_up();
                }
                limit
            })
        };
        Self(UE4M3.table().into_iter().map(limits).collect())
    }

    /// Codes under a scale; without one they are 0.
    #[inline(always)]
    fn codes<const LEN: usize>(&self, values: &[f32; LEN], scale: u8) -> [u8; LEN] {
        if scale == 0 {
            return [0; LEN];
        }
        let limits = &self.0[usize::from(scale)];
        let mut codes = [0i32; LEN];
        for (code, x) in codes.iter_mut().zip(values) {
            *code = ((x.to_bits() >> 31) << 3) as i32;
            for &limit in limits {
                *code += i32::from(x.abs() > limit);
            }
        }
        parallel::narrow(codes)
    }
}
