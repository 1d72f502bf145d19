//! What can be wrong with data, as values.
//!
//! `Display` says what was found where and what was expected, [`Error::help`] what to do about it, and
//! [`Error::kind`] which of a few kinds it is, for codes and exit codes.

pub use help::Kind;
pub use parts::{Attempt, Damage, Place};

use std::io;
use std::path::PathBuf;

use parts::{attempts_text, backticked, columns_text, hex, looked_in_text};

mod help;
mod parts;

/// Anything that goes wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that no published set has.
    #[error("no data set is named `{name}`; there are {}", backticked(.known))]
    UnknownSet {
        /// As given.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A published set that is in no folder.
    #[error("the data set `{name}` was not found; {}", looked_in_text(.looked_in))]
    NotFound {
        /// The set.
        name: &'static str,
        /// Every folder that was tried.
        looked_in: Vec<PathBuf>,
    },
    /// A published set of which a file is absent.
    #[error("the data set `{name}` is incomplete: there is no file `{}`", .path.display())]
    Incomplete {
        /// The set.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A published file with other content than published.
    #[error("`{}`: expected the published file of `{name}` ({bytes} bytes unpacked, SHA-256 `{sha256}`), found {damage}", .path.display())]
    Damaged {
        /// The set.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Published size, unpacked.
        bytes: u64,
        /// Published checksum of the unpacked content.
        sha256: &'static str,
        /// What is there instead.
        damage: Damage,
    },
    /// A file of one's own that is absent.
    #[error("there is no file `{}`", .path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The operating system could not read a file.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A gzip file that breaks off, or whose checksum is wrong.
    #[error("`{}`: expected a whole gzip file, found one that breaks off or is corrupt after {unpacked} unpacked bytes", .path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What came out before the error.
        unpacked: u64,
        /// The decoder's reason.
        source: io::Error,
    },
    /// A file without content, or with a header alone.
    #[error("`{}`: expected examples, found an empty file", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file that does not begin as IDX files do.
    #[error("`{}`: expected an IDX file (bytes `00 00`, a type, a rank of 1 to 4), found {}", .path.display(), hex(.found))]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// An IDX file of another rank than its role needs.
    #[error("`{}`: expected {expected}, found an IDX file of shape {found:?}", .path.display())]
    IdxRank {
        /// The file.
        path: PathBuf,
        /// What the role needs.
        expected: &'static str,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// Labels that are stored as fractions.
    #[error("`{}`: expected labels of a whole-number type, found {found}", .path.display())]
    IdxLabels {
        /// The file.
        path: PathBuf,
        /// The type in the file.
        found: &'static str,
    },
    /// An IDX file with more or fewer bytes than its header says.
    #[error("`{}`: expected {expected} bytes for shape {shape:?}, found {found}", .path.display())]
    IdxLength {
        /// The file.
        path: PathBuf,
        /// Shape in the header.
        shape: Vec<usize>,
        /// Bytes that header and shape need.
        expected: u128,
        /// Bytes there are.
        found: usize,
    },
    /// As many labels as images are needed.
    #[error("`{}`: expected {expected} labels, one for each image of `{}`, found {found}", .labels.display(), .images.display())]
    Counts {
        /// File of the images.
        images: PathBuf,
        /// File of the labels.
        labels: PathBuf,
        /// Images.
        expected: usize,
        /// Labels.
        found: usize,
    },
    /// Training and test examples of different shapes.
    #[error("`{}`: expected examples of shape {expected:?} as in `{}`, found {found:?}", .test.display(), .train.display())]
    Shapes {
        /// The training file.
        train: PathBuf,
        /// The test file.
        test: PathBuf,
        /// Shape of the training examples.
        expected: Vec<usize>,
        /// Shape of the test examples.
        found: Vec<usize>,
    },
    /// A label that is not a class.
    #[error("`{}`, {place}: expected a label, a whole number from 0 to {}, found `{found}`", .path.display(), .classes - 1)]
    Label {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// Number of classes.
        classes: usize,
        /// What is there.
        found: String,
    },
    /// A line of a table with more or fewer cells than the first.
    #[error("`{}`, line {line}: expected {expected} columns as in the first line, found {found}", .path.display())]
    Ragged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// Columns of the first line.
        expected: usize,
        /// Columns of this one.
        found: usize,
    },
    /// A cell that is not a number.
    #[error("`{}`, {place}: expected a finite number, found `{found}`", .path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What is there.
        found: String,
    },
    /// A table that is not text.
    #[error("`{}`, line {line}: expected comma-separated UTF-8 text, found other bytes", .path.display())]
    NotCsv {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// The reader's reason.
        source: ::csv::Error,
    },
    /// A table that has nothing beside the label.
    #[error("`{}`: expected a label and at least one more column, found {found}", .path.display())]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// Number of columns.
        found: usize,
    },
    /// A label column that the table does not have.
    #[error("`{}`: expected the label column {label}, found {}", .path.display(), columns_text(.columns))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// As asked for.
        label: crate::LabelColumn,
        /// The columns' names, or as many empty strings where there is no header.
        columns: Vec<String>,
    },
    /// A test table with another header than the training table.
    #[error("`{}`: expected column {column} to be `{expected}` as in `{}`, found `{found}`", .test.display(), .train.display())]
    Headers {
        /// The training file.
        train: PathBuf,
        /// The test file.
        test: PathBuf,
        /// Counted from 1.
        column: usize,
        /// Name in the training file.
        expected: String,
        /// Name in the test file.
        found: String,
    },
    /// A `shape` that does not hold the columns there are.
    #[error("`{}`: expected {expected} values a line for shape {shape:?}, found {found}", .path.display())]
    ShapeKnob {
        /// The file.
        path: PathBuf,
        /// As asked for.
        shape: Vec<usize>,
        /// Values that it holds.
        expected: usize,
        /// Columns beside the label.
        found: usize,
    },
    /// A number outside its range.
    #[error("expected {expected}, found {found}")]
    Number {
        /// The range.
        expected: &'static str,
        /// The number.
        found: f64,
    },
    /// A standard deviation that cannot be measured.
    #[error(
        "expected training values that differ, found {value} everywhere, so that their standard deviation is 0"
    )]
    Constant {
        /// The value.
        value: f64,
    },
    /// More validation examples than there are.
    #[error("expected fewer validation examples than the {examples} training examples, found {validation}")]
    Split {
        /// Training examples.
        examples: usize,
        /// To be set aside.
        validation: usize,
    },
    /// Examples without a single label.
    #[error("expected at least one example, found none")]
    NoExamples,
    /// Values that do not divide into rows.
    #[error("expected the same number of values for each of {labels} examples, found {values} values in all")]
    Rows {
        /// Values.
        values: usize,
        /// Labels.
        labels: usize,
    },
    /// Rows that do not have the shape of the set.
    #[error(
        "data set `{name}`, {half} examples: expected {expected} values for shape {shape:?}, found {found}"
    )]
    RowLength {
        /// The set.
        name: String,
        /// `train` or `test`.
        half: &'static str,
        /// Shape of the set.
        shape: Vec<usize>,
        /// Values that it holds.
        expected: usize,
        /// Values of a row.
        found: usize,
    },
    /// A label of a set made in memory that is not a class.
    #[error("data set `{name}`, {half} example {index}: expected a label below {classes}, found {label}")]
    LabelOutOfRange {
        /// The set.
        name: String,
        /// `train` or `test`.
        half: &'static str,
        /// The example, counted from 0.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Halves of a set that would be seen with different eyes.
    #[error("data set `{name}`: expected the same normalization of training and test examples, found two")]
    UnequalNormalization {
        /// The set.
        name: String,
    },
    /// A file that no address served.
    #[error("cannot download `{file}` of `{name}`: {}", attempts_text(.attempts))]
    Download {
        /// The set.
        name: &'static str,
        /// The file.
        file: String,
        /// Every address that was tried, with what went wrong.
        attempts: Vec<Attempt>,
    },
    /// The operating system could not write a file.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
