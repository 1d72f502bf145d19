//! Memory that a training step frees, kept for the next one.

/// Addresses that are asked for in large pages. Memory is used as it is written to, not before.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HUGE: usize = 1 << 30;
/// A large page, or more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PAGE: usize = 2 << 20;

/// Asks the C library to keep freed memory instead of handing it back to the system, and the system for large pages.
///
/// A training step frees and asks for the same tensors again and again. glibc hands large ones back each time, and
/// the system then clears every page anew: with fast kernels that takes more time than they do. Large pages save the
/// processor lookups of addresses. The process holds on to the most memory that it ever used. Only a program should
/// decide that, once, at its start; elsewhere than on Linux with glibc this does nothing.
pub fn keep_in_large_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` may be called at any time; these options change where memory comes from and when it goes back.
    // The advice is about addresses between the start and the end of an allocation.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        let start = libc::malloc(HUGE);
        if !start.is_null() {
            let skip = start.align_offset(PAGE);
            libc::madvise(start.byte_add(skip), HUGE - PAGE, libc::MADV_HUGEPAGE);
            libc::free(start);
        }
    }
}
