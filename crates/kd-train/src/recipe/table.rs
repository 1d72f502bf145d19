//! Reading a TOML table key by key, collecting what is wrong instead of stopping at it.

use std::cell::RefCell;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::words;
use crate::problem::{Problem, suggest};

/// Where problems go.
pub(super) type Found = RefCell<Vec<Problem>>;

/// A key with its value, both with their places.
pub(super) type Entry<'a> = (Spanned<String>, Spanned<DeValue<'a>>);

/// A table that is being read; keys that nobody asked for are unknown.
pub(super) struct Table<'a> {
    /// Dotted, for messages; empty at the top.
    pub(super) path: String,
    pub(super) span: Range<usize>,
    /// In the order of the text.
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
    found: &'a Found,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        path: impl Into<String>,
        table: &DeTable<'a>,
        span: Range<usize>,
        found: &'a Found,
    ) -> Self {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            (Spanned::new(key.span(), ToString::to_string(key.get_ref())), value.clone())
        };
        let mut entries: Vec<Entry<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        Self { path: path.into(), span, entries, known: Vec::new(), found }
    }

    /// Notes a problem.
    pub(super) fn problem(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Takes a key's value out, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let index = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        Some(self.entries.remove(index))
    }

    /// A key's value as a `T` with its place; none where it is absent or wrong (then a problem is noted).
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<(T, Range<usize>)> {
        let (_, value) = self.take(key)?;
        let span = value.span();
        self.read(value).map(|value| (value, span))
    }

    /// A key's value as a `T` if it is there, else `default`; wrong ones are noted.
    pub(super) fn or<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.get(key).map_or(default, |(value, _)| value)
    }

    /// A key that must be there.
    pub(super) fn require<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<(T, Range<usize>)> {
        if !self.has(key) {
            self.known.push(key);
            self.missing(key, example);
            return None;
        }
        self.get(key)
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, key: &str, example: &str) {
        let message = format!("{} has no `{key}`", self.name());
        let label = format!("no `{key}`");
        let problem = Problem::new("recipe::missing-key", message, self.span.clone(), label);
        self.problem(problem.help(format!("write `{example}`")));
    }

    /// A table below this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let (_, value) = self.take(key)?;
        self.as_table(key, &value)
    }

    /// The value as a table, or a problem.
    pub(super) fn as_table(&self, key: &str, value: &Spanned<DeValue<'a>>) -> Option<Table<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Table::new(self.join(key), table, value.span(), self.found)),
            other => {
                let message = format!("expected a table for `{}`, found {}", self.join(key), words::kind(other));
                self.problem(Problem::new("recipe::wrong-type", message, value.span(), "expected a table"));
                None
            }
        }
    }

    /// A list of tables below this one, such as `[[stage]]`; none where it is absent or wrong.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'a>>> {
        let (_, value) = self.take(key)?;
        match value.get_ref() {
            DeValue::Array(array) => {
                let table = |(i, value)| self.as_table(&format!("{key}.{i}"), value);
                let tables: Vec<_> = array.iter().enumerate().map(table).collect();
                tables.into_iter().collect()
            }
            other => {
                let path = self.join(key);
                let message = format!("expected a list of tables for `{path}`, found {}", words::kind(other));
                let problem = Problem::new("recipe::wrong-type", message, value.span(), "expected a list");
                self.problem(problem.help(format!("write it as `[[{}]]`", self.header(key))));
                None
            }
        }
    }

    /// The one entry of a table whose key is a name: `model.convnet = { … }`.
    pub(super) fn only(mut self, what: &str, example: &str) -> Option<Entry<'a>> {
        match self.entries.as_slice() {
            [] => {
                let message = format!("`{}` names no {what}", self.path);
                let problem = Problem::new("recipe::no-name", message, self.span.clone(), format!("no {what}"));
                self.problem(problem.help(format!("write, for example, `{example}`")));
                None
            }
            [_] => self.entries.pop(),
            [(first, _), (second, _), ..] => {
                let names = format!("`{}` and `{}`", first.get_ref(), second.get_ref());
                let message = format!("`{}` names one {what}, found {names}", self.path);
                let problem = Problem::new("recipe::two-names", message, second.span(), "a second one");
                self.problem(problem.also(first.span(), "the first one").help("take one of the two out"));
                None
            }
        }
    }

    /// What is left, in the order of the text.
    pub(super) fn rest(&mut self) -> Vec<Entry<'a>> {
        std::mem::take(&mut self.entries)
    }

    /// Whether a key is there and was not taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Reads a value by serde, noting what is wrong.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Spanned<DeValue<'a>>) -> Option<T> {
        read(value).map_err(|problem| self.problem(*problem)).ok()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (name, _) in &self.entries {
            let message = format!("{} has no key `{}`", self.name(), name.get_ref());
            let problem = Problem::new("recipe::unknown-key", message, name.span(), "unknown key");
            self.problem(problem.maybe_help(suggest(name.get_ref(), self.known.iter().copied())));
        }
    }

    pub(super) fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "the recipe".to_owned() } else { format!("`{}`", self.path) }
    }

    /// The path as a header of the text writes it: without positions in lists.
    fn header(&self, key: &str) -> String {
        let path = self.join(key);
        let steps = path.split('.').filter(|step| step.parse::<usize>().is_err());
        steps.collect::<Vec<_>>().join(".")
    }
}

/// Reads a value by serde.
pub(crate) fn read<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, Box<Problem>> {
    let span = value.span();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| Box::new(problem(&error, span)))
}

/// serde's and TOML's words in ours.
fn problem(error: &Error, whole: Range<usize>) -> Problem {
    let span = error.span().unwrap_or(whole);
    words::problem(error.message(), span)
}
