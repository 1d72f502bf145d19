//! The parts of errors that are more than a number or a name, and how lists are spelled in messages.

use std::fmt;
use std::path::PathBuf;

/// How the content of a published file differs from what was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Nothing in it.
    Empty,
    /// A gzip file that cannot be unpacked to its end.
    Gzip {
        /// What came out before.
        unpacked: u64,
    },
    /// Fewer bytes.
    Short {
        /// Unpacked.
        bytes: u64,
    },
    /// More bytes.
    Long,
    /// As many bytes, but others.
    Content {
        /// Their SHA-256.
        sha256: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Empty => write!(f, "an empty file"),
            Damage::Gzip { unpacked } => {
                write!(f, "a gzip file that breaks off or is corrupt after {unpacked} unpacked bytes")
            }
            Damage::Short { bytes } => write!(f, "{bytes} bytes"),
            Damage::Long => write!(f, "more bytes"),
            Damage::Content { sha256 } => write!(f, "SHA-256 `{sha256}`"),
        }
    }
}

/// A place in a file of examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a table.
    Cell {
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: usize,
        /// The column's name, where there is a header.
        name: Option<String>,
    },
    /// In a binary file: the example, counted from 0.
    Example(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Cell { line, column, name: None } => write!(f, "line {line}, column {column}"),
            Place::Cell { line, column, name: Some(name) } => {
                write!(f, "line {line}, column {column} (`{name}`)")
            }
            Place::Example(index) => write!(f, "example {index}"),
        }
    }
}

/// An address that was tried, and why it did not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The address.
    pub address: String,
    /// What went wrong, in words: the HTTP client's errors are not part of this crate's interface.
    pub problem: String,
}

pub(super) fn backticked(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn looked_in_text(folders: &[PathBuf]) -> String {
    match folders {
        [] => "there is no folder to look in".to_owned(),
        _ => {
            let folders: Vec<String> =
                folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
            format!("looked in {}", folders.join(", "))
        }
    }
}

pub(super) fn attempts_text(attempts: &[Attempt]) -> String {
    let attempts: Vec<String> = attempts.iter().map(|a| format!("`{}`: {}", a.address, a.problem)).collect();
    attempts.join("; ")
}

pub(super) fn columns_text(columns: &[String]) -> String {
    if columns.iter().all(String::is_empty) {
        format!("{} columns without names", columns.len())
    } else {
        format!("the columns {}", backticked(&columns.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("`{}`", bytes.join(" "))
}
