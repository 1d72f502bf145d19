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
    /// Dotted, for messages, with the names of lists' elements; empty at the top.
    pub(super) path: String,
    /// The same as the text's headers write it, without elements.
    header: String,
    pub(super) span: Range<usize>,
    /// In the order of the text.
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
    found: &'a Found,
}

impl<'a> Table<'a> {
    /// The table below `path`.
    pub(super) fn new(path: &str, table: &DeTable<'a>, span: Range<usize>, found: &'a Found) -> Self {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            (Spanned::new(key.span(), ToString::to_string(key.get_ref())), value.clone())
        };
        let mut entries: Vec<Entry<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        Self { path: path.into(), header: path.into(), span, entries, known: Vec::new(), found }
    }

    /// Notes a problem.
    pub(super) fn problem(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Where a key's value stands, if it is there and was not taken.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.span())
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
            DeValue::Table(table) => Some(Table {
                header: join(&self.header, key),
                ..Table::new(&join(&self.path, key), table, value.span(), self.found)
            }),
            other => {
                let message = format!(
                    "expected a table for `{}`, found {}",
                    join(&self.path, key),
                    words::value(other)
                );
                self.problem(Problem::new("recipe::wrong-type", message, value.span(), "expected a table"));
                None
            }
        }
    }

    /// A list of tables below this one, such as `[[stage]]`, with its place; none where it is absent or wrong.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<(Vec<Table<'a>>, Range<usize>)> {
        let (name, value) = self.take(key)?;
        match value.get_ref() {
            DeValue::Array(array) => {
                let table = |(i, value): (usize, &Spanned<DeValue<'a>>)| {
                    let own =
                        value.get_ref().as_table().and_then(|table| table.get("name")?.get_ref().as_str());
                    let own =
                        own.filter(|name| !name.is_empty()).map_or_else(|| i.to_string(), str::to_owned);
                    let table = self.as_table(&format!("{key}.{own}"), value)?;
                    Some(Table { header: join(&self.header, key), ..table })
                };
                let tables: Vec<_> = array.iter().enumerate().map(table).collect();
                Some((tables.into_iter().collect::<Option<_>>()?, name.span()))
            }
            other => {
                let path = join(&self.path, key);
                let message =
                    format!("expected a list of tables for `{path}`, found {}", words::value(other));
                let problem = Problem::new("recipe::wrong-type", message, value.span(), "expected a list");
                self.problem(problem.help(format!("write it as `[[{}]]`", join(&self.header, key))));
                None
            }
        }
    }

    /// The one entry of a table whose key is a name: `model.convnet = { … }`.
    pub(super) fn only(mut self, what: &str, example: &str) -> Option<Entry<'a>> {
        match self.entries.as_slice() {
            [] => {
                let message = format!("`{}` names no {what}", self.path);
                let problem =
                    Problem::new("recipe::no-name", message, self.span.clone(), format!("no {what}"));
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

    /// Whether nothing is in it that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "the recipe".to_owned() } else { format!("`{}`", self.path) }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Reads a value by serde.
pub(crate) fn read<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, Box<Problem>> {
    let whole = value.clone();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| Box::new(problem(&error, &whole)))
}

/// serde's words in ours, and its place made as narrow as can be.
fn problem(error: &Error, whole: &Spanned<DeValue<'_>>) -> Problem {
    let span = error.span().unwrap_or(whole.span());
    let problem = words::problem(error.message(), span.clone());
    // A value that is checked as a whole is reported as a whole: look for the part that the message is about.
    match problem.code == "recipe::bad-value" {
        true => problem.at(at(whole, &span).map_or(span, |value| part(value, error.message()))),
        false => problem,
    }
}

/// The outermost value that stands exactly there.
fn at<'v, 'a>(value: &'v Spanned<DeValue<'a>>, span: &Range<usize>) -> Option<&'v Spanned<DeValue<'a>>> {
    if value.span() == *span {
        return Some(value);
    }
    let within = value.get_ref().as_table().into_iter().flat_map(|table| table.values());
    within.chain(value.get_ref().as_array().into_iter().flatten()).find_map(|value| at(value, span))
}

/// The place of the entry that a message names, or of the only entry there is.
fn part(value: &Spanned<DeValue<'_>>, message: &str) -> Range<usize> {
    let Some(table) = value.get_ref().as_table() else { return value.span() };
    let named = words::quoted(message).first().and_then(|word| table.get(*word));
    let only = || table.values().next().filter(|_| table.len() == 1);
    named.or_else(only).map_or(value.span(), |value| part(value, message))
}
