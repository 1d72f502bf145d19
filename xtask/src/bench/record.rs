//! A run of the benchmarks with what is needed to judge it: machine, revision, versions.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use xshell::Shell;

use super::machine::{self, Machine};
use super::measured::Row;

/// One run; a baseline file holds one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    pub(crate) device: String,
    pub(crate) machine: Machine,
    pub(crate) revision: String,
    pub(crate) rustc: String,
    pub(crate) burn: String,
    /// Times in nanoseconds.
    pub(crate) rows: BTreeMap<String, Row>,
}

impl Record {
    /// A run of now.
    pub(crate) fn new(sh: &Shell, device: &str, rows: BTreeMap<String, Row>) -> Result<Self> {
        Ok(Self {
            schema: 1,
            device: device.to_owned(),
            machine: Machine::this(),
            revision: machine::revision(sh),
            rustc: machine::rustc(sh)?,
            burn: machine::burn(sh)?,
            rows,
        })
    }

    /// This run with the rows that only `before` has.
    pub(crate) fn over(mut self, before: Self) -> Self {
        for (name, row) in before.rows {
            self.rows.entry(name).or_insert(row);
        }
        self
    }

    /// The record in a file; `None` where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let record =
            serde_json::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))?;
        Ok(Some(record))
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }
}
