//! AVX-512: sixteen numbers in a vector, thirty-two vectors, masks for parts of vectors.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512;

const LANES: usize = 16;

/// # Safety
///
/// The machine has the instruction set.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as this function asks.
    unsafe { kernel.run::<Avx512>() }
}

/// The first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

// SAFETY of the blocks below: the trait asks for the instruction set and for good pointers, and nothing else is used.
impl Simd for Avx512 {
    const LANES: usize = LANES;
    const REGISTERS: usize = 32;
    type V = __m512;
    type Four = __m128;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above; memory behind a cleared bit of the mask is not touched.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, count: usize, x: __m512) {
        // SAFETY: see above; memory behind a cleared bit of the mask is not touched.
        unsafe { _mm512_mask_storeu_ps(to, first(count), x) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load_four(from: *const f32) -> __m128 {
        // SAFETY: see above.
        unsafe { _mm_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_four(to: *mut f32, x: __m128) {
        // SAFETY: see above.
        unsafe { _mm_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn fma_four(a: __m128, b: f32, c: __m128) -> __m128 {
        // SAFETY: see above.
        unsafe { _mm_fmadd_ps(a, _mm_set1_ps(b), c) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_ps(a) }
    }

    #[inline(always)]
    unsafe fn where_greater(x: __m512, y: __m512, value: __m512, other: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y), other, value) }
    }

    #[inline(always)]
    unsafe fn where_number(x: __m512, value: __m512, other: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_ORD_Q>(x, x), other, value) }
    }

    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    unsafe fn power_of_two(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), x) }
    }

    #[inline(always)]
    unsafe fn sum(x: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(x) }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
        }
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
            let (read, write) = (first(cols), first(out_cols));
            let mut r = [_mm512_setzero_ps(); LANES];
            for (i, r) in r.iter_mut().enumerate() {
                if i < rows {
                    *r = _mm512_maskz_loadu_ps(read, from.add(i * from_step));
                }
            }
            // Pairs of rows, then quadruples, inside the 128-bit quarters; then the quarters change places.
            let mut t = [_mm512_setzero_ps(); LANES];
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for q in 0..4 {
                let (a, b) = (4 * q, 4 * q + 2);
                let low =
                    |x, y| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
                let high =
                    |x, y| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
                r[4 * q] = low(t[a], t[b]);
                r[4 * q + 1] = high(t[a], t[b]);
                r[4 * q + 2] = low(t[a + 1], t[b + 1]);
                r[4 * q + 3] = high(t[a + 1], t[b + 1]);
            }
            for i in 0..4 {
                let even = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                let even_below = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                let odd = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                let odd_below = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
                t[i] = _mm512_shuffle_f32x4::<0x88>(even, even_below);
                t[i + 8] = _mm512_shuffle_f32x4::<0xdd>(even, even_below);
                t[i + 4] = _mm512_shuffle_f32x4::<0x88>(odd, odd_below);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_below);
            }
            for (i, t) in t.iter().enumerate() {
                if i < out_rows {
                    _mm512_mask_storeu_ps(to.add(i * to_step), write, *t);
                }
            }
        }
    }
}
