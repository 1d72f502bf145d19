//! Memory that a training step frees, kept for the next one.

/// Asks the C library to keep freed memory instead of handing it back to the system.
///
/// A training step frees and asks for the same tensors again and again. glibc hands large ones back each time, and
/// the system then clears every page anew: with fast kernels that takes more time than they do. The process holds on
/// to the most memory that it ever used. Only a program should decide that, once, at its start; elsewhere than on
/// Linux with glibc this does nothing.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` may be called at any time; these options change where memory comes from and when it goes back.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
