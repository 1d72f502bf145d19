//! One vector type per instruction set, behind one trait, so that each kernel is written once.
//!
//! A kernel is a struct that holds its arguments and implements [`Kernel`]; [`Isa::run`] calls it inside a function
//! that is compiled for the instruction set. Everything the kernel calls is `#[inline(always)]`, because a function
//! that is not inlined there would be compiled without the instruction set: batch norm's backward pass ran fifteen
//! times slower while its arithmetic stood in a closure. For the same reason no kernel starts threads: the loops over
//! tasks are outside.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use std::sync::OnceLock;

/// Instruction set that kernels run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// x86-64 with AVX-512 F, DQ and VL: 16 numbers in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 numbers in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AArch64: 4 numbers in a vector.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Everywhere: plain loops over 8 numbers.
    Scalar,
}

impl Isa {
    /// The fastest instruction set of this machine. It is looked up once.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// All instruction sets of this machine, the fastest first, [`Isa::Scalar`] last.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                found.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self::Neon);
        }
        found.push(Self::Scalar);
        found
    }

    /// Numbers in a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<S: Simd>(self) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// An `Isa` that this machine does not have can only be had by naming its variant.
    ///
    /// # Panics
    ///
    /// If this machine does not have the instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.is_available(), "expected an instruction set of this machine, found {self:?}");
        // SAFETY: the machine has the instruction set, as just checked, and a kernel asks for nothing else.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::run(kernel),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::run(kernel),
                Self::Scalar => kernel.run::<scalar::Scalar>(),
            }
        }
    }

    fn is_available(self) -> bool {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(Self::available).contains(&self)
    }
}

/// A piece of work of one thread, generic over the instruction set.
pub(crate) trait Kernel {
    type Output;

    /// # Safety
    ///
    /// The machine has the instruction set `S`. Implementations are `#[inline(always)]`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Arithmetic on vectors of `f32`.
///
/// # Safety
///
/// All functions: the machine has the instruction set. Those with pointers: the pointer is good for as many numbers
/// as are read or written; no alignment is asked for.
pub(crate) trait Simd: Copy + 'static {
    const LANES: usize;
    /// Vectors that the hardware holds.
    const REGISTERS: usize;
    type V: Copy;
    /// Four numbers, where a whole vector would be mostly empty.
    type Four: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    /// Reads `LANES` numbers.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes `LANES` numbers.
    unsafe fn store(to: *mut f32, x: Self::V);
    /// Reads the first `count ≤ LANES` numbers; the others are zero and their memory is not touched.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count ≤ LANES` numbers; the memory of the others is not touched.
    unsafe fn store_part(to: *mut f32, count: usize, x: Self::V);

    /// [`load`](Self::load) or [`load_part`](Self::load_part), whichever fits.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self::V {
        // SAFETY: as the trait asks.
        unsafe { if count == Self::LANES { Self::load(from) } else { Self::load_part(from, count) } }
    }
    /// [`store`](Self::store) or [`store_part`](Self::store_part), whichever fits.
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, count: usize, x: Self::V) {
        // SAFETY: as the trait asks.
        unsafe { if count == Self::LANES { Self::store(to, x) } else { Self::store_part(to, count, x) } }
    }

    /// `a · b + c`, rounded once where the hardware can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Reads four numbers.
    unsafe fn load_four(from: *const f32) -> Self::Four;
    /// Writes four numbers.
    unsafe fn store_four(to: *mut f32, x: Self::Four);
    /// `a · b + c` of four numbers by one, rounded as by [`fma`](Self::fma).
    unsafe fn fma_four(a: Self::Four, b: f32, c: Self::Four) -> Self::Four;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `value` where `x > y`, else `other`; a NaN in `x` or `y` gives `other`.
    unsafe fn where_greater(x: Self::V, y: Self::V, value: Self::V, other: Self::V) -> Self::V;
    /// `value` where `x` is a number, `other` where it is NaN.
    unsafe fn where_number(x: Self::V, value: Self::V, other: Self::V) -> Self::V;
    /// The nearest whole number, the even one of two.
    unsafe fn round(x: Self::V) -> Self::V;
    /// `2ˣ` for whole `x` in -126 ..= 127.
    unsafe fn power_of_two(x: Self::V) -> Self::V;
    /// Sum of all lanes, in a fixed order.
    unsafe fn sum(x: Self::V) -> f32;

    /// The even and the odd elements of `a` followed by `b`.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);

    /// The elements of `a` and `b` in turn: the first and the second vector of them.
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);

    /// Turns rows into columns: of `read = (rows, cols)`, at most `LANES` each, a row every `from_step`, into
    /// `written = (rows, cols)`, a row every `to_step`; what was not read is written as zero.
    unsafe fn transpose(
        from: *const f32,
        from_step: usize,
        read: (usize, usize),
        to: *mut f32,
        to_step: usize,
        written: (usize, usize),
    );
}

/// `eˣ` to about two units in the last place; zero below -86, so that no result is subnormal.
///
/// The argument is split into a multiple of `ln 2` and a rest of at most half of it, on which a polynomial of degree
/// six (the Taylor series, whose next term is below 1e-7 there) is exact enough.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as this function asks.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, of which the first has few bits: its multiples are exact.
        let rest = S::fma(n, S::splat(-0.693_359_4), x);
        let rest = S::fma(n, S::splat(2.121_944_4e-4), rest);
        let mut sum = S::splat(1.0 / 720.0);
        for term in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = S::fma(sum, rest, S::splat(term));
        }
        // A bit less in the power and twice the sum: 2¹²⁸ would be infinity.
        let y = S::mul(S::add(sum, sum), S::power_of_two(S::sub(n, S::splat(1.0))));
        let y = S::where_greater(x, S::splat(-86.0), y, S::splat(0.0));
        let y = S::where_greater(x, S::splat(88.72), S::splat(f32::INFINITY), y);
        S::where_number(x, y, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for i in (0..self.0.len()).step_by(S::LANES) {
                // SAFETY: both slices hold whole vectors.
                unsafe { S::store(self.1.as_mut_ptr().add(i), exp::<S>(S::load(self.0.as_ptr().add(i)))) }
            }
        }
    }

    #[test]
    fn the_exponential_is_that_of_f64_to_a_few_units() {
        let mut x: Vec<f32> = (0..16 * 2000).map(|i| -90.0 + i as f32 * (180.0 / 32_000.0)).collect();
        x[..8].copy_from_slice(&[0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 88.7, -86.1, 1e-30]);
        for isa in Isa::available() {
            let mut y = vec![0.0; x.len()];
            isa.run(Exp(&x, &mut y));
            for (&x, &y) in x.iter().zip(&y) {
                let expected = f64::from(x).exp();
                match x {
                    x if x.is_nan() => assert!(y.is_nan()),
                    x if x < -86.0 => assert_eq!(y, 0.0),
                    x if x > 88.72 => {
                        assert!(y.is_infinite() || (f64::from(y) / expected - 1.0).abs() < 1e-6)
                    }
                    _ => assert!(
                        (f64::from(y) / expected - 1.0).abs() < 4e-7,
                        "{isa:?} e^{x}: {y} for {expected}"
                    ),
                }
            }
        }
    }

    struct Turn<'a>(&'a [f32], usize, (usize, usize), &'a mut [f32], (usize, usize));

    impl Kernel for Turn<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            let Turn(from, from_step, read, to, written) = self;
            // SAFETY: `from` holds `read.0` rows of `from_step`, `to` `written.0` rows of `LANES`.
            unsafe { S::transpose(from.as_ptr(), from_step, read, to.as_mut_ptr(), S::LANES, written) }
        }
    }

    #[test]
    fn a_transposition_reads_and_writes_what_it_is_told_and_no_more() {
        for isa in Isa::available() {
            let lanes = isa.lanes();
            let from: Vec<f32> = (0..lanes * 37).map(|i| i as f32 + 1.0).collect();
            for (rows, cols) in [(lanes, lanes), (1, lanes), (lanes - 1, 2), (3, 1), (0, lanes)] {
                for (out_rows, out_cols) in [(lanes, lanes), (cols, rows), (2, lanes)] {
                    let mut to = vec![-1.0; lanes * lanes];
                    isa.run(Turn(&from, 37, (rows, cols), &mut to, (out_rows, out_cols)));
                    for i in 0..lanes {
                        for j in 0..lanes {
                            let expected = match (i < out_rows && j < out_cols, j < rows && i < cols) {
                                (false, _) => -1.0,
                                (true, true) => from[j * 37 + i],
                                (true, false) => 0.0,
                            };
                            assert_eq!(to[i * lanes + j], expected, "{isa:?} {rows}×{cols} at {i}, {j}");
                        }
                    }
                }
            }
        }
    }

    struct Few<'a>(&'a [f32], usize, &'a mut [f32]);

    impl Kernel for Few<'_> {
        type Output = (f32, Vec<f32>);
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Self::Output {
            // SAFETY: the slices hold at least two vectors.
            unsafe {
                let a = S::load(self.0.as_ptr());
                let b = S::load(self.0.as_ptr().add(S::LANES));
                S::store_part(self.2.as_mut_ptr(), self.1, S::load_part(self.0.as_ptr(), self.1));
                let mut both = vec![0.0; 2 * S::LANES];
                let (even, odd) = S::deinterleave(a, b);
                S::store(both.as_mut_ptr(), even);
                S::store(both.as_mut_ptr().add(S::LANES), odd);
                let (low, high) = S::interleave(even, odd);
                let mut again = vec![0.0; 2 * S::LANES];
                S::store(again.as_mut_ptr(), low);
                S::store(again.as_mut_ptr().add(S::LANES), high);
                assert_eq!(again, self.0);
                (S::sum(a), both)
            }
        }
    }

    #[test]
    fn parts_of_vectors_sums_and_halves() {
        for isa in Isa::available() {
            let lanes = isa.lanes();
            let from: Vec<f32> = (0..2 * lanes).map(|i| i as f32).collect();
            for count in 0..=lanes {
                let mut to = vec![-1.0; 2 * lanes];
                let (sum, both) = isa.run(Few(&from, count, &mut to));
                assert_eq!(sum, (lanes * (lanes - 1) / 2) as f32);
                let halves = (0..lanes).map(|i| 2 * i).chain((0..lanes).map(|i| 2 * i + 1));
                assert_eq!(both, halves.map(|i| i as f32).collect::<Vec<_>>(), "{isa:?}");
                for (i, &x) in to.iter().enumerate() {
                    assert_eq!(x, if i < count { i as f32 } else { -1.0 }, "{isa:?} {count}");
                }
            }
        }
    }
}
