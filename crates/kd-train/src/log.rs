//! `log.txt`: what a run told while it worked, with the seconds since its session began.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::event::{Event, Sink};
use crate::run_dir::{files, io};

/// Writes events down on their way to another sink.
pub(crate) struct Log<'a> {
    file: File,
    begun: Instant,
    inner: &'a mut dyn Sink,
}

impl<'a> Log<'a> {
    /// Appends to the run's `log.txt`.
    pub(crate) fn open(run: &Path, inner: &'a mut dyn Sink) -> Result<Self, Error> {
        let path = run.join(files::LOG);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|source| io("open", &path, source))?;
        let mut log = Self { file, begun: Instant::now(), inner };
        log.line(&format!("session of kd {}", env!("CARGO_PKG_VERSION")));
        Ok(log)
    }

    /// Writes a line down without telling anybody. A log that cannot be written stops nobody's training.
    pub(crate) fn line(&mut self, text: &str) {
        let _ = writeln!(self.file, "{:10.3} {text}", self.begun.elapsed().as_secs_f64());
    }
}

impl Sink for Log<'_> {
    fn event(&mut self, event: Event) {
        match &event {
            Event::Step { .. } => {}
            Event::StageStarted { stage, kind, steps, done } => {
                self.line(&format!("stage {stage} ({kind}): {steps} steps, {done} done before"));
            }
            Event::Epoch { epoch, epochs, loss, validation, seconds } => {
                let right = validation.map_or(String::new(), |share| format!(", validation {share:.4}"));
                self.line(&format!("epoch {epoch} of {epochs}: loss {loss:.5}{right}, {seconds:.1} s"));
            }
            Event::Working { what } => self.line(what),
            Event::Note(text) => self.line(text),
            Event::StageDone { stage, accuracy, seconds } => {
                self.line(&format!("stage {stage} done: test accuracy {accuracy:.4}, {seconds:.1} s"));
            }
        }
        self.inner.event(event);
    }

    fn stopped(&self) -> bool {
        self.inner.stopped()
    }
}
