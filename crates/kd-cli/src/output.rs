//! Standard output, which carries data and nothing else, as text or as JSON.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Format;
use crate::failure::Failure;

/// Standard output in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { json: format == Format::Json }
    }

    /// Writes one of two forms of the same data; both end with a line end.
    pub(crate) fn data(
        self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let mut out = if self.json { format!("{:#}", json()) } else { text() };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        self.raw(out.as_bytes())
    }

    /// Writes bytes. A reader that has seen enough, such as `head`, is no failure.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Failure::Output),
        }
    }
}
