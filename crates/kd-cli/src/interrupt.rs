//! Ctrl-C: the first asks the run to save and stop after its step, the second ends the process at once.
//!
//! Ending at once is safe too: a run directory survives a kill at any moment. It only loses the steps since its last
//! state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;
use crate::terminal::Terminal;

/// Whether the user asked to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C from now on.
    pub(crate) fn listen(terminal: &Terminal) -> Self {
        let interrupt = Self::default();
        let (asked, said) = (interrupt.0.clone(), terminal.clone());
        let listening = ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(Exit::Failed.code()));
            }
            said.say("stopping after this step; press Ctrl-C again to stop at once");
        });
        if let Err(error) = listening {
            terminal.detail(format_args!("Ctrl-C will end the process at once: {error}"));
        }
        interrupt
    }

    /// Whether the user asked.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
