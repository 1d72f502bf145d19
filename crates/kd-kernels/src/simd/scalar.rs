//! Plain loops over eight numbers: right everywhere, and the compiler's own vectors where it sees them.

use super::Simd;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

const LANES: usize = 8;

#[inline(always)]
fn map(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

impl Simd for Scalar {
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    type V = [f32; LANES];
    type Four = [f32; 4];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: as the trait asks.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: Self::V) {
        // SAFETY: as the trait asks.
        unsafe { to.cast::<Self::V>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V {
        // SAFETY: only the first `count` are read.
        map(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, count: usize, x: Self::V) {
        for (i, &x) in x.iter().enumerate().take(count) {
            // SAFETY: only the first `count` are written.
            unsafe { *to.add(i) = x }
        }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // `mul_add` would be a call per number where there is no such instruction.
        map(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn load_four(from: *const f32) -> [f32; 4] {
        // SAFETY: as the trait asks.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_four(to: *mut f32, x: [f32; 4]) {
        // SAFETY: as the trait asks.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn fma_four(a: [f32; 4], b: f32, c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b + c[i])
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        map(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        map(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        map(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        map(|i| a[i] / b[i])
    }

    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        map(|i| a[i].sqrt())
    }

    #[inline(always)]
    unsafe fn where_greater(x: Self::V, y: Self::V, value: Self::V, other: Self::V) -> Self::V {
        map(|i| if x[i] > y[i] { value[i] } else { other[i] })
    }

    #[inline(always)]
    unsafe fn where_number(x: Self::V, value: Self::V, other: Self::V) -> Self::V {
        map(|i| if x[i].is_nan() { other[i] } else { value[i] })
    }

    #[inline(always)]
    unsafe fn round(x: Self::V) -> Self::V {
        map(|i| x[i].round_ties_even())
    }

    #[inline(always)]
    unsafe fn power_of_two(x: Self::V) -> Self::V {
        map(|i| f32::from_bits(((x[i] as i32).wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn sum(x: Self::V) -> f32 {
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }

    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        let at = |i: usize| if i < LANES { a[i] } else { b[i - LANES] };
        (map(|i| at(2 * i)), map(|i| at(2 * i + 1)))
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        let at = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        (map(at), map(|i| at(i + LANES)))
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
        for i in 0..out_rows {
            for j in 0..out_cols {
                // SAFETY: only what was promised is read and written.
                unsafe {
                    *to.add(i * to_step + j) =
                        if j < rows && i < cols { *from.add(j * from_step + i) } else { 0.0 };
                }
            }
        }
    }
}
