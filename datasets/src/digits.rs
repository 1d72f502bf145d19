//! The UCI optical digits, embedded: real data for tests and first steps, with no file to find.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::csv::table::Table;
use crate::{DIGITS, Dataset, Error, Examples, Folders, Form, LabelColumn, Pixels, Source, file};

/// `[data.digits]`: 3,823 and 1,797 handwritten digits, `[1, 8, 8]`, 10 classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Digits {
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
}

/// The packed files, in the order of [`DIGITS`]`.files`.
pub(crate) const FILES: [&[u8]; 2] =
    [include_bytes!("../digits/train.csv.gz"), include_bytes!("../digits/test.csv.gz")];

impl Default for Digits {
    fn default() -> Self {
        Self { validation: 380 }
    }
}

impl Source for Digits {
    fn name(&self) -> &'static str {
        DIGITS.name
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        Some(DIGITS.form())
    }

    fn load(&self, _folders: &Folders) -> Result<Dataset, Error> {
        let half = |index: usize| {
            let published = &DIGITS.files[index];
            let path = Path::new(DIGITS.name).join(file::packed_name(published));
            let content = file::check(published, FILES[index])
                .map_err(|damage| file::damaged(&DIGITS, published, path.clone(), damage))?;
            let table = Table::parse(&path, &content, false, &LabelColumn::Last, DIGITS.classes)?;
            // All values are whole numbers from 0 to 16: bytes hold them.
            let pixels = table.values.iter().map(|&value| value as u8).collect();
            Examples::new(Pixels::Bytes(pixels), table.labels, DIGITS.normalization)
        };
        Dataset::new(DIGITS.name, DIGITS.shape, DIGITS.classes, half(0)?, half(1)?)
    }
}
