//! Which kernels a thread's forward passes use.

use std::cell::Cell;

/// Whose kernels do the work on the `flex` device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// Those of [`kd_kernels`].
    #[default]
    Own,
    /// Burn's.
    Burn,
}

thread_local! {
    static CURRENT: Cell<Kernels> = const { Cell::new(Kernels::Own) };
}

impl Kernels {
    /// What this thread uses now.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Uses these kernels for what this thread runs until the guard is dropped. A backward pass keeps to what its
    /// forward pass used.
    ///
    /// ```
    /// use kd_nn::Kernels;
    ///
    /// {
    ///     let _guard = Kernels::Burn.scope();
    ///     assert_eq!(Kernels::current(), Kernels::Burn);
    /// }
    /// assert_eq!(Kernels::current(), Kernels::Own);
    /// ```
    #[must_use = "the kernels are in use until the guard is dropped"]
    pub fn scope(self) -> Guard {
        Guard { before: CURRENT.replace(self), here: std::marker::PhantomData }
    }
}

/// Ends a [`Kernels::scope`] when dropped.
#[derive(Debug)]
pub struct Guard {
    before: Kernels,
    /// A guard belongs to the thread that it was made on.
    here: std::marker::PhantomData<*const ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}
