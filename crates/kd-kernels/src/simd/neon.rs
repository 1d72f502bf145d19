//! NEON: four numbers in a vector, thirty-two vectors.

use std::arch::aarch64::*;

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon;

const LANES: usize = 4;

/// # Safety
///
/// The machine has the instruction set.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as this function asks.
    unsafe { kernel.run::<Neon>() }
}

// SAFETY of the blocks below: the trait asks for the instruction set and for good pointers, and nothing else is used.
impl Simd for Neon {
    const LANES: usize = LANES;
    const REGISTERS: usize = 32;
    type V = float32x4_t;
    type Four = float32x4_t;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> float32x4_t {
        let mut whole = [0.0; LANES];
        // SAFETY: only the first `count` are read.
        unsafe {
            std::ptr::copy_nonoverlapping(from, whole.as_mut_ptr(), count.min(LANES));
            vld1q_f32(whole.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, count: usize, x: float32x4_t) {
        let mut whole = [0.0; LANES];
        // SAFETY: only the first `count` are written.
        unsafe {
            vst1q_f32(whole.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(whole.as_ptr(), to, count.min(LANES));
        }
    }

    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn load_four(from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store_four(to: *mut f32, x: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    unsafe fn fma_four(a: float32x4_t, b: f32, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_n_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsqrtq_f32(a) }
    }

    #[inline(always)]
    unsafe fn where_greater(
        x: float32x4_t,
        y: float32x4_t,
        value: float32x4_t,
        other: float32x4_t,
    ) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(x, y), value, other) }
    }

    #[inline(always)]
    unsafe fn where_number(x: float32x4_t, value: float32x4_t, other: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vceqq_f32(x, x), value, other) }
    }

    #[inline(always)]
    unsafe fn round(x: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vrndnq_f32(x) }
    }

    #[inline(always)]
    unsafe fn power_of_two(x: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let biased = vaddq_s32(vcvtq_s32_f32(x), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }

    #[inline(always)]
    unsafe fn sum(x: float32x4_t) -> f32 {
        // SAFETY: see above.
        unsafe { vaddvq_f32(x) }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        // SAFETY: see above.
        unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
    }

    #[inline(always)]
    unsafe fn interleave(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        // SAFETY: see above.
        unsafe { (vzip1q_f32(a, b), vzip2q_f32(a, b)) }
    }

    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        from_step: usize,
        (rows, cols): (usize, usize),
        to: *mut f32,
        to_step: usize,
        (out_rows, out_cols): (usize, usize),
    ) {
        // SAFETY: see above; only the rows and columns that were promised are touched.
        unsafe {
            let mut r = [vdupq_n_f32(0.0); LANES];
            for (i, r) in r.iter_mut().enumerate() {
                if i < rows {
                    *r = Self::load_part(from.add(i * from_step), cols);
                }
            }
            let (a, b) = (vtrnq_f32(r[0], r[1]), vtrnq_f32(r[2], r[3]));
            let turned = [
                vcombine_f32(vget_low_f32(a.0), vget_low_f32(b.0)),
                vcombine_f32(vget_low_f32(a.1), vget_low_f32(b.1)),
                vcombine_f32(vget_high_f32(a.0), vget_high_f32(b.0)),
                vcombine_f32(vget_high_f32(a.1), vget_high_f32(b.1)),
            ];
            for (i, t) in turned.into_iter().enumerate() {
                if i < out_rows {
                    Self::store_part(to.add(i * to_step), out_cols, t);
                }
            }
        }
    }
}
