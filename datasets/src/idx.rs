//! Your own files in MNIST's format.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Classes, Dataset, Error, Examples, Finite, Folders, Normalization, Positive, Source, file};
use format::IdxFile;

pub(crate) mod format;

/// `[data.idx]`: four IDX files, plain or gzip.
///
/// Images are `[n, h, w]` (read as `[1, h, w]`), `[n, c, h, w]` or `[n, features]`, of any of the format's types;
/// labels are whole numbers below `classes`. Where `mean` or `std` is not given, it is measured over the training
/// values after the division by `scale` (standard deviation of the population, in f64).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Idx {
    /// File of the training examples.
    pub train_images: PathBuf,
    /// File of their labels.
    pub train_labels: PathBuf,
    /// File of the test examples.
    pub test_images: PathBuf,
    /// File of their labels.
    pub test_labels: PathBuf,
    /// Number of classes.
    pub classes: Classes,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
    /// What values are divided by; 255 for bytes and 1 for other types if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Positive>,
    /// Mean after the division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Finite>,
    /// Standard deviation after the division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Positive>,
}

impl Source for Idx {
    fn name(&self) -> &'static str {
        "idx"
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, Error> {
        let read = |path: &Path| {
            let path = folders.resolve(path);
            let content = file::read(&path)?;
            IdxFile::parse((path, content))
        };
        let classes = self.classes.get();
        let train = read(&self.train_images)?;
        let test = read(&self.test_images)?;
        let shape = train.example_shape()?;
        let found = test.example_shape()?;
        if found != shape {
            return Err(Error::Shapes { train: train.path, test: test.path, expected: shape, found });
        }
        let train_labels = read(&self.train_labels)?.labels(classes, &train)?;
        let test_labels = read(&self.test_labels)?.labels(classes, &test)?;

        let divisor = self.scale.map_or_else(|| train.usual_divisor(), Positive::get);
        let pixels = train.into_pixels()?;
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
            Examples::new(pixels, train_labels, normalization)?,
            Examples::new(test.into_pixels()?, test_labels, normalization)?,
        )
    }
}
