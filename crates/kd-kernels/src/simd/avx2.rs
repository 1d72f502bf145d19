//! AVX2 with FMA: eight numbers in a vector, sixteen vectors.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

const LANES: usize = 8;

/// # Safety
///
/// The machine has the instruction set.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as this function asks.
    unsafe { kernel.run::<Avx2>() }
}

/// All bits set in the first `count` lanes.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lane)
    }
}

// SAFETY of the blocks below: the trait asks for the instruction set and for good pointers, and nothing else is used.
impl Simd for Avx2 {
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    type V = __m256;
    type Four = __m128;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
        // SAFETY: see above; memory behind a cleared lane of the mask is not touched.
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, count: usize, x: __m256) {
        // SAFETY: see above; memory behind a cleared lane of the mask is not touched.
        unsafe { _mm256_maskstore_ps(to, first(count), x) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
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
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }

    #[inline(always)]
    unsafe fn where_greater(x: __m256, y: __m256, value: __m256, other: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(other, value, _mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) }
    }

    #[inline(always)]
    unsafe fn where_number(x: __m256, value: __m256, other: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(other, value, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x)) }
    }

    #[inline(always)]
    unsafe fn round(x: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    unsafe fn power_of_two(x: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    unsafe fn sum(x: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

    #[inline(always)]
    unsafe fn deinterleave(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_permute2f128_ps::<0x20>(a, b);
            let high = _mm256_permute2f128_ps::<0x31>(a, b);
            (_mm256_shuffle_ps::<0x88>(low, high), _mm256_shuffle_ps::<0xdd>(low, high))
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
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
            let mut r = [_mm256_setzero_ps(); LANES];
            for (i, r) in r.iter_mut().enumerate() {
                if i < rows {
                    *r = _mm256_maskload_ps(from.add(i * from_step), read);
                }
            }
            let mut t = [_mm256_setzero_ps(); LANES];
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for q in 0..2 {
                let (a, b) = (4 * q, 4 * q + 2);
                r[4 * q] = _mm256_shuffle_ps::<0x44>(t[a], t[b]);
                r[4 * q + 1] = _mm256_shuffle_ps::<0xee>(t[a], t[b]);
                r[4 * q + 2] = _mm256_shuffle_ps::<0x44>(t[a + 1], t[b + 1]);
                r[4 * q + 3] = _mm256_shuffle_ps::<0xee>(t[a + 1], t[b + 1]);
            }
            for i in 0..4 {
                t[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
                t[i + 4] = _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
            }
            for (i, t) in t.iter().enumerate() {
                if i < out_rows {
                    _mm256_maskstore_ps(to.add(i * to_step), write, *t);
                }
            }
        }
    }
}
