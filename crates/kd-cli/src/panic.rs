//! A panic is a mistake of this program, and is said in one line that asks for a report.
//!
//! Some panics are caught below and become errors there: those of a model's forward pass while it is captured, and
//! those of engines. So the hook only takes a note, and the note is read where a panic reaches the top.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::exit::Exit;
use crate::terminal::Terminal;

/// What to do about a mistake of ours.
const REPORT: &str = "please report it, with the recipe and the command";

/// Whence the last panic came.
static LAST: Mutex<Option<Note>> = Mutex::new(None);

struct Note {
    place: String,
    backtrace: Option<String>,
}

/// Runs a command; a panic in it is an internal error.
pub(crate) fn guard(terminal: &Terminal, run: impl FnOnce() -> Exit) -> Exit {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Captured only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        let note = Note { place, backtrace: captured.then(|| backtrace.to_string()) };
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let note = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (place, backtrace) = note.map_or_else(Default::default, |note| (note.place, note.backtrace));
        terminal.always(line(&message(payload.as_ref()), &place));
        if let Some(backtrace) = backtrace {
            terminal.always(backtrace);
        }
        Exit::Failed
    })
}

/// One line, whatever the message was.
fn line(message: &str, place: &str) -> String {
    let message =
        message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
    format!("internal error: {message}{at}; {REPORT}")
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Global};
    use crate::environment::Environment;

    #[test]
    fn a_panic_at_the_top_is_a_failure_and_one_below_is_none() {
        let global: Global = <Cli as clap::Parser>::parse_from(["kd", "list", "losses", "-q"]).global;
        let terminal = Terminal::new(&global, &Environment::default());
        let caught = guard(&terminal, || {
            let below = catch_unwind(|| panic!("caught below"));
            assert!(below.is_err());
            Exit::Done
        });
        let uncaught = guard(&terminal, || panic!("a test's own, not a mistake"));
        // Other tests of this process want their panics shown.
        drop(std::panic::take_hook());
        assert_eq!((caught, uncaught), (Exit::Done, Exit::Failed));
    }

    #[test]
    fn a_message_of_many_lines_becomes_one() {
        assert_eq!(
            line("shapes differ\n\n  left: [1]\n right: [2]\n", "src/fit.rs:3:9"),
            format!("internal error: shapes differ; left: [1]; right: [2] at src/fit.rs:3:9; {REPORT}")
        );
        assert_eq!(message(&"text"), "text");
        assert_eq!(message(&String::from("owned")), "owned");
        assert_eq!(message(&3_i32), "unknown");
    }
}
