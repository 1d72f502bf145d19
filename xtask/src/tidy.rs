//! The invariants of ARCHITECTURE.md, as far as a program can check them.
//!
//! Each check is a function from text to problems, so that a test can show that it fires.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::workspace;

mod configs;
mod layers;
mod links;
mod source;
mod words;

/// Something that breaks an invariant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    path: PathBuf,
    /// Counted from 1; `None` where the file as a whole is meant.
    line: Option<usize>,
    message: String,
}

/// A file with its text, the path relative to the root.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
}

impl Problem {
    fn new(path: impl Into<PathBuf>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.message),
            None => write!(f, "{}: {}", self.path.display(), self.message),
        }
    }
}

impl Text {
    /// The path with `/` between its parts.
    fn name(&self) -> String {
        self.path.to_string_lossy().replace('\\', "/")
    }

    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Prints every problem, and fails if there is one.
pub(crate) fn run() -> Result<()> {
    let sh = workspace::shell()?;
    let packages = workspace::packages(&sh)?;
    let mut texts = Vec::new();
    for path in workspace::files(&sh)? {
        // What is no text (packed data, models) has no words to check.
        if let Ok(content) = std::fs::read_to_string(workspace::root().join(&path)) {
            texts.push(Text { path, content });
        }
    }

    let mut problems = layers::check(&packages);
    problems.extend(configs::check(&texts));
    for text in &texts {
        problems.extend(source::check(text));
        problems.extend(words::check(text));
        problems.extend(links::check(text));
    }
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!("tidy: {} crates and {} files, no problem", packages.len(), texts.len());
        return Ok(());
    }
    bail!("tidy found {} problem(s)", problems.len())
}
