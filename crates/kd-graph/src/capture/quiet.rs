//! Panics that are an answer and not a mistake.
//!
//! Whether a model takes another size of its input is tried, and most layers say no by a panic. It is caught; but before
//! that the process's panic hook prints it, as if something had gone wrong. So a hook stands before the one there is and
//! keeps silent while its own thread tries. A program that sets a hook later has that one alone, and sees these panics.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `run`, whose panics on this thread are not printed. They still unwind.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> T {
    // The hook cannot be changed by a thread that is panicking, as one that captures in a destructor may be.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let before = take_hook();
            set_hook(Box::new(move |info| {
                if !QUIET.get() {
                    before(info);
                }
            }));
        });
    }
    let _restore = Restore(QUIET.replace(true));
    run()
}

struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}
