//! Your own comma-separated tables.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Classes, Dataset, Error, Examples, Finite, Folders, Form, Normalization, Pixels, Positive, Source, file,
};
use table::Table;

pub(crate) mod table;

/// `[data.csv]`: two tables of numbers with one example a line, plain or gzip.
///
/// Where `mean` or `std` is not given, it is measured over all training values after the division by `scale`
/// (standard deviation of the population, in f64); columns are not treated apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Csv {
    /// File of the training examples.
    pub train: PathBuf,
    /// File of the test examples, with the same columns.
    pub test: PathBuf,
    /// Number of classes.
    pub classes: Classes,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
    /// The column that holds the class.
    #[serde(default)]
    pub label: LabelColumn,
    /// Whether the first line names the columns.
    #[serde(default)]
    pub header: bool,
    /// Shape of one example; all columns but the label in a row if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<NonZeroUsize>>,
    /// What values are divided by; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Positive>,
    /// Mean after the division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Finite>,
    /// Standard deviation after the division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Positive>,
}

/// The column that holds the class: `"last"`, `"first"`, a name of the header, or an index from 0.
///
/// A column that is *named* `last` or `first` can be reached by its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LabelColumn {
    /// The last one.
    #[default]
    Last,
    /// The first one.
    First,
    /// The one with this name in the header.
    Name(String),
    /// The one with this index, counted from 0.
    Index(usize),
}

impl From<&str> for LabelColumn {
    fn from(text: &str) -> Self {
        match text {
            "last" => LabelColumn::Last,
            "first" => LabelColumn::First,
            name => LabelColumn::Name(name.to_owned()),
        }
    }
}

impl fmt::Display for LabelColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelColumn::Last => write!(f, "`last`"),
            LabelColumn::First => write!(f, "`first`"),
            LabelColumn::Name(name) => write!(f, "`{name}`"),
            LabelColumn::Index(index) => write!(f, "with index {index}"),
        }
    }
}

impl Serialize for LabelColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LabelColumn::Last => serializer.serialize_str("last"),
            LabelColumn::First => serializer.serialize_str("first"),
            LabelColumn::Name(name) => serializer.serialize_str(name),
            LabelColumn::Index(index) => serializer.serialize_u64(*index as u64),
        }
    }
}

impl<'de> Deserialize<'de> for LabelColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrIndex;

        impl Visitor<'_> for StringOrIndex {
            type Value = LabelColumn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"last\", \"first\", the name of a column, or its index from 0")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LabelColumn, E> {
                Ok(text.into())
            }

            fn visit_u64<E: serde::de::Error>(self, index: u64) -> Result<LabelColumn, E> {
                usize::try_from(index)
                    .map(LabelColumn::Index)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(index), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, index: i64) -> Result<LabelColumn, E> {
                usize::try_from(index)
                    .map(LabelColumn::Index)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(index), &self))
            }
        }

        deserializer.deserialize_any(StringOrIndex)
    }
}

impl Source for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        let shape = self.shape.as_ref()?.iter().map(|size| size.get()).collect();
        Some(Form { shape, classes: self.classes.get() })
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, Error> {
        let classes = self.classes.get();
        let read = |path: &Path| {
            let path = folders.resolve(path);
            let content = file::read(&path)?;
            Ok((Table::parse(&path, &content, self.header, &self.label, classes)?, path))
        };
        let (train, train_path) = read(&self.train)?;
        let (test, test_path) = read(&self.test)?;
        let headers = train.names.iter().zip(&test.names).enumerate();
        for (index, (expected, found)) in headers {
            if expected != found {
                return Err(Error::Headers {
                    train: train_path,
                    test: test_path,
                    column: index + 1,
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
        }
        if train.features != test.features {
            return Err(Error::Shapes {
                train: train_path,
                test: test_path,
                expected: vec![train.features],
                found: vec![test.features],
            });
        }

        let shape: Vec<usize> = match &self.shape {
            Some(shape) => shape.iter().map(|dim| dim.get()).collect(),
            None => vec![train.features],
        };
        // Saturating: a shape too large to count is too large for any file.
        let expected = shape.iter().fold(1_usize, |product, &dim| product.saturating_mul(dim));
        if expected != train.features {
            return Err(Error::ShapeKnob { path: train_path, shape, expected, found: train.features });
        }

        let divisor = self.scale.map_or(1.0, Positive::get);
        let pixels = Pixels::Floats(train.values);
        let normalization = Normalization::measured(
            &pixels,
            divisor,
            self.mean.map(Finite::get),
            self.std.map(Positive::get),
        )?;
        Dataset::new(
            self.name(),
            shape,
            classes,
            Examples::new(pixels, train.labels, normalization)?,
            Examples::new(Pixels::Floats(test.values), test.labels, normalization)?,
        )
    }
}
