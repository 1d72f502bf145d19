//! A run's events as bars where standard error is a terminal, and as a line an epoch where it is not.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use kd_train::event::{Event, Sink};

use crate::interrupt::Interrupt;
use crate::terminal::Terminal;

/// How often a bar that waits for something without steps turns.
const TICK: Duration = Duration::from_millis(120);

/// Shows events.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: Terminal,
    interrupt: Interrupt,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(terminal: Terminal, interrupt: Interrupt) -> Self {
        Self { terminal, interrupt, bar: None }
    }

    /// Takes the bar away; what was said beside it stays.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, bar: ProgressBar) {
        self.clear();
        if self.terminal.interactive {
            self.bar = Some(self.terminal.bars().add(bar));
        }
    }

    fn steps(&mut self, stage: String, steps: usize, done: usize) {
        let style = "{prefix:>12.bold} {bar:24} {pos}/{len} steps  loss {msg}  {rate}  {eta} left";
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A bar that cannot be drawn is nobody's problem.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        let style =
            ProgressStyle::with_template(style).expect("the template is a literal").with_key("rate", rate);
        let bar = ProgressBar::new(steps as u64).with_style(style).with_prefix(stage).with_message("-");
        bar.set_position(done as u64);
        // Steps of an earlier session took no time in this one.
        bar.reset_eta();
        self.show(bar);
    }

    fn working(&mut self, what: String) {
        let style = ProgressStyle::with_template("{spinner:>12} {msg}  {elapsed}");
        let style = style.expect("the template is a literal");
        self.show(ProgressBar::new_spinner().with_style(style).with_message(what));
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(TICK);
        }
    }
}

impl Sink for Progress {
    fn event(&mut self, event: Event) {
        match event {
            Event::StageStarted { stage, kind, steps, done } => {
                match (steps, done) {
                    (0, _) => self.terminal.say(format_args!("{stage} ({kind})")),
                    (_, 0) => self.terminal.say(format_args!("{stage} ({kind}): {steps} steps")),
                    _ => self
                        .terminal
                        .say(format_args!("{stage} ({kind}): goes on after {done} of {steps} steps")),
                }
                if steps > 0 {
                    self.steps(stage, steps, done);
                }
            }
            Event::Step { done, loss } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(done as u64);
                    bar.set_message(format!("{loss:.4}"));
                }
            }
            Event::Epoch { epoch, epochs, loss, validation, seconds } => {
                let validation = validation.map(|share| format!(", validation {:.2} %", 100.0 * share));
                self.terminal.say(format_args!(
                    "  epoch {epoch}/{epochs}: loss {loss:.4}{}, {seconds:.1} s",
                    validation.unwrap_or_default()
                ));
            }
            Event::Working { what } => {
                self.terminal.detail(format_args!("  {what}"));
                self.working(what);
            }
            Event::Note(note) => self.terminal.say(format_args!("  {note}")),
            Event::StageDone { stage, accuracy, seconds } => {
                self.clear();
                self.terminal
                    .say(format_args!("  {stage}: test accuracy {:.2} %, {seconds:.1} s", 100.0 * accuracy));
            }
            other => self.terminal.detail(format_args!("  {other:?}")),
        }
    }

    fn stopped(&self) -> bool {
        self.interrupt.asked()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
