//! Max and average pooling over planes `[height, width]`.
//!
//! `y[p, i, j]` is the largest, or the mean, of `x[p, i·s₀ − p₀ + a, j·s₁ − p₁ + b]` over the window's `a, b`. Windows
//! of two by two that do not overlap, by far the most common, go by whole vectors; others by plain loops.

pub mod reference;

use crate::Isa;
use crate::buffer::{filled, scattered};
use crate::simd::{Kernel, Simd};

/// Shape of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Planes, such as batch times channels.
    pub planes: usize,
    /// Height and width of a plane.
    pub input: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Rows and columns before and after the plane that windows may reach into.
    pub padding: [(usize, usize); 2],
}

impl Pool {
    /// Height and width of the output; zero where the window does not fit.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|d| {
            let padded = self.input[d] + self.padding[d].0 + self.padding[d].1;
            if padded < self.kernel[d] { 0 } else { (padded - self.kernel[d]) / self.stride[d] + 1 }
        })
    }

    /// Numbers of the input.
    pub fn input_len(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }

    /// Numbers of the output.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.planes * height * width
    }

    fn parallel(&self) -> bool {
        self.input_len() > 1 << 15
    }

    /// Windows of two by two that do not overlap and stay inside.
    fn halves(&self) -> bool {
        self.kernel == [2; 2] && self.stride == [2; 2] && self.padding == [(0, 0); 2]
    }

    fn check(&self, x: Option<usize>, y: Option<usize>) {
        let positive = [self.kernel, self.stride].iter().flatten().all(|&n| n > 0);
        assert!(positive, "expected a window and a stride of at least 1, found {self:?}");
        for (what, found, expected) in [("input", x, self.input_len()), ("output", y, self.output_len())] {
            if let Some(found) = found {
                assert_eq!(found, expected, "numbers of the {what} of {self:?}");
            }
        }
    }

    /// Rows or columns of the input in window `at`, each with its place in the window.
    fn window(&self, d: usize, at: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
        let (start, before, len) = (at * self.stride[d], self.padding[d].0, self.input[d]);
        (0..self.kernel[d])
            .filter_map(move |k| (start + k).checked_sub(before).filter(|&i| i < len).map(|i| (k, i)))
    }
}

/// The largest of each window, and its place in the window counted row by row, which [`max_backward`] takes; places
/// are numbers too, so that vectors choose both alike.
///
/// The first of equals wins. A window that holds a NaN gives NaN; one that lies outside gives `-∞`.
///
/// # Panics
///
/// If a slice has another length than the shape says, or a window or stride is zero; so do the other functions here.
pub fn max(isa: Isa, shape: &Pool, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    shape.check(Some(x.len()), None);
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let (source, target) = (height * width, rows * cols);
    if target == 0 {
        return (Vec::new(), Vec::new());
    }
    let len = shape.output_len();
    // SAFETY: a plane's task writes the values and places of its windows.
    let ([y, place], _) = unsafe {
        scattered([len, len], shape.planes, shape.parallel(), |plane, starts| {
            let x = &x[plane * source..][..source];
            let [y, place] = starts.map(|start| start.add(plane * target));
            if shape.halves() {
                isa.run(Halves { x, width, rows, cols, y, place });
            } else {
                for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                    let (value, at) = largest(shape, x, i, j);
                    *y.add(i * cols + j) = value;
                    *place.add(i * cols + j) = at as f32;
                }
            }
        })
    };
    (y, place)
}

fn largest(shape: &Pool, x: &[f32], i: usize, j: usize) -> (f32, usize) {
    let mut best = (f32::NEG_INFINITY, 0);
    for (a, r) in shape.window(0, i) {
        for (b, q) in shape.window(1, j) {
            let value = x[r * shape.input[1] + q];
            if value > best.0 || (value.is_nan() && !best.0.is_nan()) {
                best = (value, a * shape.kernel[1] + b);
            }
        }
    }
    best
}

/// Gradient of the input of [`max`] from that of its output.
///
/// # Panics
///
/// As [`max`].
pub fn max_backward(isa: Isa, shape: &Pool, dy: &[f32], place: &[f32]) -> Vec<f32> {
    shape.check(None, Some(dy.len()));
    assert_eq!(dy.len(), place.len(), "a place for each number of the output of {shape:?}");
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let (source, target) = (height * width, rows * cols);
    // SAFETY: a plane's task writes its plane.
    unsafe {
        filled(shape.input_len(), source, shape.parallel(), |plane, dx| {
            let (dy, place) = (&dy[plane * target..][..target], &place[plane * target..][..target]);
            if shape.halves() {
                isa.run(Spread { dy, place, input: shape.input, rows, cols, dx });
                return;
            }
            std::ptr::write_bytes(dx, 0, source);
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let at = place[i * cols + j] as usize;
                let (a, b) = (at / shape.kernel[1], at % shape.kernel[1]);
                let row = (i * shape.stride[0] + a).checked_sub(shape.padding[0].0).filter(|&r| r < height);
                let col = (j * shape.stride[1] + b).checked_sub(shape.padding[1].0).filter(|&q| q < width);
                // A window outside chose nothing.
                if let (Some(r), Some(q)) = (row, col) {
                    *dx.add(r * width + q) += dy[i * cols + j];
                }
            }
        })
    }
}

/// The mean of each window: of the places inside, or of all with zeros outside when `count_padding`.
///
/// # Panics
///
/// As [`max`].
pub fn average(shape: &Pool, x: &[f32], count_padding: bool) -> Vec<f32> {
    shape.check(Some(x.len()), None);
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let (source, target) = (height * width, rows * cols);
    // SAFETY: a plane's task writes all its windows.
    unsafe {
        filled(shape.output_len(), target, shape.parallel(), |plane, y| {
            let x = &x[plane * source..][..source];
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let mut sum = 0.0;
                for (_, r) in shape.window(0, i) {
                    for (_, q) in shape.window(1, j) {
                        sum += x[r * width + q];
                    }
                }
                *y.add(i * cols + j) = sum * share(shape, i, j, count_padding);
            }
        })
    }
}

/// Gradient of the input of [`average`] from that of its output.
///
/// # Panics
///
/// As [`max`].
pub fn average_backward(shape: &Pool, dy: &[f32], count_padding: bool) -> Vec<f32> {
    shape.check(None, Some(dy.len()));
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let (source, target) = (height * width, rows * cols);
    // SAFETY: a plane's task writes its plane.
    unsafe {
        filled(shape.input_len(), source, shape.parallel(), |plane, dx| {
            let dy = dy.get(plane * target..(plane + 1) * target).unwrap_or_default();
            std::ptr::write_bytes(dx, 0, source);
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let part = dy[i * cols + j] * share(shape, i, j, count_padding);
                for (_, r) in shape.window(0, i) {
                    for (_, q) in shape.window(1, j) {
                        *dx.add(r * width + q) += part;
                    }
                }
            }
        })
    }
}

/// What each number of a window weighs in its mean.
fn share(shape: &Pool, i: usize, j: usize, count_padding: bool) -> f32 {
    let count = match count_padding {
        true => shape.kernel[0] * shape.kernel[1],
        false => shape.window(0, i).count() * shape.window(1, j).count(),
    };
    1.0 / count as f32
}

/// Largest of windows of two by two.
struct Halves<'a> {
    x: &'a [f32],
    width: usize,
    rows: usize,
    cols: usize,
    y: *mut f32,
    place: *mut f32,
}

impl Kernel for Halves<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, width, rows, cols, y, place } = self;
        assert!(x.len() >= 2 * rows * width && width >= 2 * cols);
        for i in 0..rows {
            let mut j = 0;
            while j < cols {
                let count = S::LANES.min(cols - j);
                // SAFETY: two rows of `2 · cols` numbers are in `x`, of which `2 · count` are read from `2 · j` on;
                // `y` and `place` have `rows · cols`.
                unsafe {
                    let upper = x.as_ptr().add(2 * i * width + 2 * j);
                    let (first, second) = pairs::<S>(upper, count);
                    let (third, fourth) = pairs::<S>(upper.add(width), count);
                    let (mut best, mut at) = (first, S::splat(0.0));
                    for (k, x) in [second, third, fourth].into_iter().enumerate() {
                        let here = S::splat((k + 1) as f32);
                        // A NaN beats every number and is beaten by none.
                        at = S::where_number(
                            best,
                            S::where_number(x, S::where_greater(x, best, here, at), here),
                            at,
                        );
                        best = S::where_number(
                            best,
                            S::where_number(x, S::where_greater(x, best, x, best), x),
                            best,
                        );
                    }
                    S::store_some(y.add(i * cols + j), count, best);
                    S::store_some(place.add(i * cols + j), count, at);
                }
                j += count;
            }
        }
    }
}

/// The even and the odd ones of `2 · count` numbers.
///
/// # Safety
///
/// The numbers are there, and the machine has the instruction set.
#[inline(always)]
unsafe fn pairs<S: Simd>(from: *const f32, count: usize) -> (S::V, S::V) {
    let first = S::LANES.min(2 * count);
    // SAFETY: as this function asks.
    unsafe { S::deinterleave(S::load_some(from, first), S::load_some(from.add(first), 2 * count - first)) }
}

/// The gradients `g` whose place `at` is `here`, zero elsewhere.
///
/// # Safety
///
/// The machine has the instruction set.
#[inline(always)]
unsafe fn placed<S: Simd>(at: S::V, here: usize, g: S::V) -> S::V {
    // SAFETY: as this function asks.
    unsafe {
        let near = S::where_greater(at, S::splat(here as f32 - 0.5), g, S::splat(0.0));
        S::where_greater(at, S::splat(here as f32 + 0.5), S::splat(0.0), near)
    }
}

/// Gradients of windows of two by two to their places.
struct Spread<'a> {
    dy: &'a [f32],
    place: &'a [f32],
    input: [usize; 2],
    rows: usize,
    cols: usize,
    dx: *mut f32,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { dy, place, input: [height, width], rows, cols, dx } = self;
        // SAFETY: `dx` has `height · width` numbers, of which windows cover `2 · rows` rows and `2 · cols` columns.
        unsafe {
            for i in 0..rows {
                for a in 0..2 {
                    let row = (2 * i + a) * width;
                    let mut j = 0;
                    while j < cols {
                        let count = S::LANES.min(cols - j);
                        let g = S::load_some(dy.as_ptr().add(i * cols + j), count);
                        let at = S::load_some(place.as_ptr().add(i * cols + j), count);
                        let (even, odd) = (placed::<S>(at, 2 * a, g), placed::<S>(at, 2 * a + 1, g));
                        let (low, high) = S::interleave(even, odd);
                        let first = S::LANES.min(2 * count);
                        S::store_some(dx.add(row + 2 * j), first, low);
                        S::store_some(dx.add(row + 2 * j + first), 2 * count - first, high);
                        j += count;
                    }
                    std::ptr::write_bytes(dx.add(row + 2 * cols), 0, width - 2 * cols);
                }
            }
            std::ptr::write_bytes(dx.add(2 * rows * width), 0, (height - 2 * rows) * width);
        }
    }
}
