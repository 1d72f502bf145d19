//! MNIST and Fashion-MNIST: four IDX files each, checked against what was published.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::idx::format::IdxFile;
use crate::{
    Dataset, Error, Examples, FASHION_MNIST, Folders, Form, MNIST, Published, PublishedFile, Source, file,
};

/// `[data.mnist]`: 60,000 and 10,000 handwritten digits, `[1, 28, 28]`, 10 classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mnist {
    /// Folder that holds the files, instead of the ones that are searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
}

/// `[data.fashion-mnist]`: 60,000 and 10,000 articles of clothing, `[1, 28, 28]`, 10 classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FashionMnist {
    /// Folder that holds the files, instead of the ones that are searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
}

impl Default for Mnist {
    fn default() -> Self {
        Self { path: None, validation: 5000 }
    }
}

impl Default for FashionMnist {
    fn default() -> Self {
        Self { path: None, validation: 5000 }
    }
}

impl Source for Mnist {
    fn name(&self) -> &'static str {
        MNIST.name
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        Some(MNIST.form())
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, Error> {
        load(&MNIST, &folders.with_path(self.path.as_deref()))
    }
}

impl Source for FashionMnist {
    fn name(&self) -> &'static str {
        FASHION_MNIST.name
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        Some(FASHION_MNIST.form())
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, Error> {
        load(&FASHION_MNIST, &folders.with_path(self.path.as_deref()))
    }
}

/// Reads a set of four IDX files.
fn load(set: &Published, folders: &Folders) -> Result<Dataset, Error> {
    let folder = folders.find(set)?;
    let half = |images: &PublishedFile, labels: &PublishedFile| {
        let images = IdxFile::parse(read(set, &folder, images)?)?;
        let labels = IdxFile::parse(read(set, &folder, labels)?)?;
        let labels = labels.labels(set.classes, &images)?;
        Examples::new(images.into_pixels()?, labels, set.normalization)
    };
    let train = half(&set.files[0], &set.files[1])?;
    let test = half(&set.files[2], &set.files[3])?;
    Dataset::new(set.name, set.shape, set.classes, train, test)
}

/// A published file of `folder`, unpacked and checked, with its path.
fn read(set: &Published, folder: &Path, published: &PublishedFile) -> Result<(PathBuf, Vec<u8>), Error> {
    let path = file::locate(set, folder, published)?;
    match file::check(published, &file::read_stored(&path)?) {
        Ok(content) => Ok((path, content)),
        Err(damage) => Err(file::damaged(set, published, path, damage)),
    }
}
