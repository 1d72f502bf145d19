//! For each error, its kind, its file, and what to do about it.

use std::path::Path;

use super::{Error, Place};

/// What kind of problem an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A name or a number of the recipe or the command is wrong.
    Request,
    /// Data is not there.
    Missing,
    /// A published file is not what was published.
    Damaged,
    /// A file of one's own is not what its format or the recipe says.
    Malformed,
    /// Nobody could be reached, or what they sent was wrong.
    Download,
    /// The operating system refused to read or write.
    Io,
}

impl Error {
    /// Which kind of problem it is. The first four mean that the request was wrong, the last two that the machine
    /// or the network failed.
    pub fn kind(&self) -> Kind {
        use Error as E;
        match self {
            E::UnknownSet { .. }
            | E::Number { .. }
            | E::Split { .. }
            | E::ShapeKnob { .. }
            | E::NoColumn { .. } => Kind::Request,
            E::NotFound { .. } | E::Incomplete { .. } | E::NoFile { .. } => Kind::Missing,
            E::Damaged { .. } => Kind::Damaged,
            E::Download { .. } => Kind::Download,
            E::Read { .. } | E::Write { .. } => Kind::Io,
            E::Gzip { .. }
            | E::Empty { .. }
            | E::IdxMagic { .. }
            | E::IdxRank { .. }
            | E::IdxLabels { .. }
            | E::IdxLength { .. }
            | E::Counts { .. }
            | E::Shapes { .. }
            | E::Label { .. }
            | E::Ragged { .. }
            | E::Cell { .. }
            | E::NotCsv { .. }
            | E::NoFeatures { .. }
            | E::Headers { .. }
            | E::Constant { .. }
            | E::NoExamples
            | E::Rows { .. }
            | E::RowLength { .. }
            | E::LabelOutOfRange { .. }
            | E::UnequalNormalization { .. } => Kind::Malformed,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        use Error as E;
        match self {
            E::UnknownSet { .. } => "`kd data list` shows what there is".to_owned(),
            E::NotFound { name, .. } => format!(
                "`kd data fetch {name}` downloads it; without a network, `kd data fetch {name} --from DIR` copies it, \
                 and `KD_DATA=DIR` names a folder that holds `{name}/`"
            ),
            E::Incomplete { name, .. } => format!("`kd data fetch {name}` brings a whole copy"),
            E::Damaged { name, path, .. } => {
                format!("remove `{}`, then `kd data fetch {name}` brings a good copy", path.display())
            }
            E::NoFile { .. } => {
                "check the path; relative ones start at the folder that the command runs in".to_owned()
            }
            E::Read { .. } => "check that it is a file and that you may read it".to_owned(),
            E::Gzip { .. } => {
                "download or pack the file again; `gzip -t FILE` tells whether it is whole".to_owned()
            }
            E::Empty { .. } => {
                "check that the file was written, and that it holds more than a header".to_owned()
            }
            E::IdxMagic { .. } => {
                "check that the right file is named; a table of text is read by `[data.csv]`".to_owned()
            }
            E::IdxRank { .. } => "check that the files of images and labels are not exchanged".to_owned(),
            E::IdxLabels { .. } => "store labels as bytes or integers".to_owned(),
            E::IdxLength { .. } => {
                "the file is cut off or has a wrong header: copy or write it again".to_owned()
            }
            E::Counts { .. } | E::Shapes { .. } => "check that files of the same set are named".to_owned(),
            E::Label { .. } => {
                "number the classes from 0, and check `classes` and the column of the label".to_owned()
            }
            E::Ragged { .. } => "separate cells by commas, and quote cells that hold one".to_owned(),
            E::Cell { place: Place::Cell { line: 1, .. }, .. } => {
                "if the first line names the columns, write `header = true`; separate cells by commas"
                    .to_owned()
            }
            E::Cell { .. } => {
                "fill or remove the cell; texts and categories must become numbers first".to_owned()
            }
            E::NotCsv { .. } => "save the table as comma-separated UTF-8 text".to_owned(),
            E::NoFeatures { .. } => "separate cells by commas".to_owned(),
            E::NoColumn { label: crate::LabelColumn::Name(_), columns, .. }
                if columns.iter().all(String::is_empty) =>
            {
                "a column can be named where the first line names the columns: write `header = true`"
                    .to_owned()
            }
            E::NoColumn { .. } => {
                "`label` is \"last\", \"first\", a name of the header, or an index from 0".to_owned()
            }
            E::Headers { .. } => "bring the columns of both files into the same order".to_owned(),
            E::ShapeKnob { .. } => {
                "the product of `shape` is the number of columns beside the label".to_owned()
            }
            E::Number { .. } => "write a number in that range".to_owned(),
            E::Constant { .. } => "write `std = 1.0` if that is meant".to_owned(),
            E::Split { .. } => "write a smaller `validation`".to_owned(),
            E::NoExamples | E::Rows { .. } | E::RowLength { .. } | E::LabelOutOfRange { .. } => {
                "give every example one label and as many values as the shape holds".to_owned()
            }
            E::UnequalNormalization { .. } => "normalize both by the training examples".to_owned(),
            E::Download { name, .. } => format!(
                "check the network and try again; or bring the files by other means and run \
                 `kd data fetch {name} --from DIR`"
            ),
            E::Write { .. } => "check the free space and your right to write there".to_owned(),
        }
    }

    /// The file that is at fault, so that a recipe's problem can stand at the key that names it.
    pub fn path(&self) -> Option<&Path> {
        use Error as E;
        match self {
            E::Incomplete { path, .. }
            | E::Damaged { path, .. }
            | E::NoFile { path }
            | E::Read { path, .. }
            | E::Gzip { path, .. }
            | E::Empty { path }
            | E::IdxMagic { path, .. }
            | E::IdxRank { path, .. }
            | E::IdxLabels { path, .. }
            | E::IdxLength { path, .. }
            | E::Label { path, .. }
            | E::Ragged { path, .. }
            | E::Cell { path, .. }
            | E::NotCsv { path, .. }
            | E::NoFeatures { path, .. }
            | E::NoColumn { path, .. }
            | E::ShapeKnob { path, .. }
            | E::Write { path, .. } => Some(path),
            E::Counts { labels: path, .. } | E::Shapes { test: path, .. } | E::Headers { test: path, .. } => {
                Some(path)
            }
            _ => None,
        }
    }
}
