//! Memory of kernels: results that are not cleared before they are written, and scratch that threads keep.

use std::cell::RefCell;

use rayon::prelude::*;

/// A vector of `len` numbers whose chunks of `chunk` numbers tasks fill, in parallel when `parallel`.
///
/// # Safety
///
/// `fill(i, to)` writes every number of chunk `i`, which starts at `to`: `chunk` of them, fewer in the last chunk.
pub(crate) unsafe fn filled(
    len: usize,
    chunk: usize,
    parallel: bool,
    fill: impl Fn(usize, *mut f32) + Sync,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    let chunk = chunk.max(1);
    if parallel && len > chunk {
        spare.par_chunks_mut(chunk).enumerate().for_each(|(i, to)| fill(i, to.as_mut_ptr().cast()));
    } else {
        spare.chunks_mut(chunk).enumerate().for_each(|(i, to)| fill(i, to.as_mut_ptr().cast()));
    }
    // SAFETY: every chunk was filled, and the chunks are the whole.
    unsafe { out.set_len(len) };
    out
}

/// Lends the thread's scratch memory, at least `len` numbers of any content.
///
/// It is kept for the thread's next task, so that a training step does not ask the system for the same pages again
/// and again.
pub(crate) fn with_scratch<R>(len: usize, use_it: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken, not borrowed: a kernel that runs inside another's task finds an empty place and makes its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.clear();
        scratch.resize(len, 0.0);
    }
    let result = use_it(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

/// Vectors of the given lengths that `tasks` tasks fill together, each the places that are its own.
///
/// # Safety
///
/// `fill(task, starts)` gets the starts of the whole vectors; the tasks write every number, and none reads or writes a
/// number that another one writes.
pub(crate) unsafe fn scattered<const N: usize, R: Send>(
    lens: [usize; N],
    tasks: usize,
    parallel: bool,
    fill: impl Fn(usize, [*mut f32; N]) -> R + Sync,
) -> ([Vec<f32>; N], Vec<R>) {
    let mut out = lens.map(Vec::<f32>::with_capacity);
    let starts = Starts(out.each_mut().map(|out| out.as_mut_ptr()));
    let run = |task| fill(task, starts.get());
    let results = match parallel && tasks > 1 {
        true => (0..tasks).into_par_iter().map(run).collect(),
        false => (0..tasks).map(run).collect(),
    };
    for (out, len) in out.iter_mut().zip(lens) {
        // SAFETY: the tasks wrote every number.
        unsafe { out.set_len(len) };
    }
    (out, results)
}

/// Pointers that tasks share.
struct Starts<const N: usize>([*mut f32; N]);

impl<const N: usize> Starts<N> {
    /// A method, so that a closure takes the whole and not the field.
    fn get(&self) -> [*mut f32; N] {
        self.0
    }
}

// SAFETY: whoever uses the pointers promised in `scattered` to write apart.
unsafe impl<const N: usize> Sync for Starts<N> {}
