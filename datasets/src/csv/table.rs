//! One table of numbers: every cell is checked, and an error says its line and column.

use std::path::Path;

use csv::{Position, ReaderBuilder, StringRecord};

use crate::error::Place;
use crate::{Error, LabelColumn};

/// A table whose lines are equally long and whose cells are finite numbers.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names of all columns, label included; one a column, empty where there is no header.
    pub(crate) names: Vec<String>,
    /// Number of columns beside the label.
    pub(crate) features: usize,
    /// Line after line, without the label.
    pub(crate) values: Vec<f32>,
    /// One a line.
    pub(crate) labels: Vec<u32>,
}

impl Table {
    /// Parses `content`; `path` is for messages.
    pub(crate) fn parse(
        path: &Path,
        content: &[u8],
        header: bool,
        label: &LabelColumn,
        classes: usize,
    ) -> Result<Self, Error> {
        // Lines of another length are our error to report, in our words.
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
        let mut record = StringRecord::new();
        let mut next = |record: &mut StringRecord| {
            reader.read_record(record).map_err(|source| Error::NotCsv {
                path: path.to_owned(),
                line: source.position().map_or(1, |position| line_at(content, position)),
                source,
            })
        };
        let empty = || Error::Empty { path: path.to_owned() };

        if !next(&mut record)? {
            return Err(empty());
        }
        let columns = record.len();
        if columns < 2 {
            return Err(Error::NoFeatures { path: path.to_owned(), found: columns });
        }
        let names = if header {
            let names = record.iter().map(|name| name.trim().to_owned()).collect();
            if !next(&mut record)? {
                return Err(empty());
            }
            names
        } else {
            vec![String::new(); columns]
        };
        let label = index_of(label, &names).ok_or_else(|| Error::NoColumn {
            path: path.to_owned(),
            label: label.clone(),
            columns: names.clone(),
        })?;

        let mut table = Table { names, features: columns - 1, values: Vec::new(), labels: Vec::new() };
        loop {
            let line = || record.position().map_or(1, |position| line_at(content, position));
            table.push(path, &record, &line, label, classes)?;
            if !next(&mut record)? {
                return Ok(table);
            }
        }
    }

    fn push(
        &mut self,
        path: &Path,
        record: &StringRecord,
        line: &dyn Fn() -> u64,
        label: usize,
        classes: usize,
    ) -> Result<(), Error> {
        if record.len() != self.names.len() {
            return Err(Error::Ragged {
                path: path.to_owned(),
                line: line(),
                expected: self.names.len(),
                found: record.len(),
            });
        }
        for (index, cell) in record.iter().enumerate() {
            let cell = cell.trim();
            let place = || Place::Cell {
                line: line(),
                column: index + 1,
                name: Some(self.names[index].clone()).filter(|name| !name.is_empty()),
            };
            if index == label {
                let class =
                    parse_label(cell).filter(|&class| (class as usize) < classes).ok_or_else(|| {
                        Error::Label {
                            path: path.to_owned(),
                            place: place(),
                            classes,
                            found: cell.to_owned(),
                        }
                    })?;
                self.labels.push(class);
            } else {
                let value = cell.parse().ok().filter(|value: &f32| value.is_finite()).ok_or_else(|| {
                    Error::Cell { path: path.to_owned(), place: place(), found: cell.to_owned() }
                })?;
                self.values.push(value);
            }
        }
        Ok(())
    }
}

/// The line, counted from 1, of the record that the reader took up at `position`: the reader's own count is that
/// of the blank lines before it.
fn line_at(content: &[u8], position: &Position) -> u64 {
    let mut start = (position.byte() as usize).min(content.len());
    while matches!(content.get(start), Some(b'\r' | b'\n')) {
        start += 1;
    }
    let ends_line = |&at: &usize| match content[at] {
        b'\n' => true,
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    1 + (0..start).filter(ends_line).count() as u64
}

/// A class as tables spell it: `3`, and `3.0` where a tool has made all columns fractions.
fn parse_label(cell: &str) -> Option<u32> {
    let whole = cell.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0'));
    whole.map_or(cell, |(whole, _)| whole).parse().ok()
}

fn index_of(label: &LabelColumn, names: &[String]) -> Option<usize> {
    match label {
        LabelColumn::Last => names.len().checked_sub(1),
        LabelColumn::First => Some(0),
        LabelColumn::Name(name) => names.iter().position(|column| column == name),
        LabelColumn::Index(index) => Some(*index).filter(|&index| index < names.len()),
    }
}
