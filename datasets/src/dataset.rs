//! What a training loop sees of any data set: rows of numbers, labels, and how many classes there are.
//!
//! Values stay as they were stored (bytes for images: a quarter of the memory) and are normalized when a batch
//! is gathered. Training and test examples are two values that never mix; validation examples are taken out of
//! the training ones by [`split`](crate::split).

use crate::{Error, Normalization};

/// A data set for classification, checked: every example has the shape, every label is below `classes`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dataset {
    /// Its name in a recipe.
    pub name: String,
    /// Shape of one example: `[1, 28, 28]` for gray images, `[features]` for rows.
    pub shape: Vec<usize>,
    /// Number of classes; labels are `0..classes`.
    pub classes: usize,
    /// What is learned from, validation examples included.
    pub train: Examples,
    /// What is reported on, and nothing else.
    pub test: Examples,
}

impl Dataset {
    /// Puts a data set together.
    ///
    /// # Errors
    /// [`Error::RowLength`] where a row of either half has another length than `shape` says,
    /// [`Error::LabelOutOfRange`] where a label is not below `classes`, [`Error::UnequalNormalization`] where the
    /// two halves are normalized differently.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        classes: usize,
        train: Examples,
        test: Examples,
    ) -> Result<Self, Error> {
        let (name, shape) = (name.into(), shape.into());
        for (half, examples) in [("train", &train), ("test", &test)] {
            let expected = shape.iter().product();
            if examples.row_len() != expected {
                return Err(Error::RowLength { name, half, shape, expected, found: examples.row_len() });
            }
            if let Some((index, &label)) =
                examples.labels.iter().enumerate().find(|(_, l)| **l as usize >= classes)
            {
                return Err(Error::LabelOutOfRange { name, half, index, label, classes });
            }
        }
        if train.normalization != test.normalization {
            return Err(Error::UnequalNormalization { name });
        }
        Ok(Self { name, shape, classes, train, test })
    }

    /// How stored values become inputs; the same for both halves.
    pub fn normalization(&self) -> Normalization {
        self.train.normalization
    }

    /// Mean of the training values after the division, as used.
    pub fn mean(&self) -> f32 {
        self.normalization().mean()
    }

    /// Standard deviation of the training values after the division, as used.
    pub fn std(&self) -> f32 {
        self.normalization().std()
    }
}

/// Stored values, example after example, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// As images come.
    Bytes(Vec<u8>),
    /// As tables come.
    Floats(Vec<f32>),
}

impl Pixels {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Pixels::Bytes(values) => values.len(),
            Pixels::Floats(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value that all values have, if there is one.
    pub(crate) fn only_value(&self) -> Option<f64> {
        match self {
            Pixels::Bytes(values) => only(values).map(f64::from),
            Pixels::Floats(values) => only(values).map(f64::from),
        }
    }

    /// Mean of `f` over all values in f64; of bytes through their histogram, so that `f` runs 256 times.
    pub(crate) fn mean_of(&self, f: impl Fn(f64) -> f64) -> f64 {
        let sum: f64 = match self {
            Pixels::Bytes(values) => {
                let mut counts = [0_u64; 256];
                for &value in values {
                    counts[usize::from(value)] += 1;
                }
                counts.iter().enumerate().map(|(value, &count)| count as f64 * f(value as f64)).sum()
            }
            Pixels::Floats(values) => values.iter().map(|&value| f(f64::from(value))).sum(),
        };
        sum / self.len() as f64
    }
}

/// Examples of one half of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    pixels: Pixels,
    labels: Vec<u32>,
    normalization: Normalization,
}

impl Examples {
    /// One label an example; `pixels` holds as many rows of equal length.
    ///
    /// # Errors
    /// [`Error::NoExamples`] without labels, [`Error::Rows`] where the values do not divide into rows.
    pub fn new(pixels: Pixels, labels: Vec<u32>, normalization: Normalization) -> Result<Self, Error> {
        if labels.is_empty() {
            return Err(Error::NoExamples);
        }
        if pixels.is_empty() || !pixels.len().is_multiple_of(labels.len()) {
            return Err(Error::Rows { values: pixels.len(), labels: labels.len() });
        }
        Ok(Self { pixels, labels, normalization })
    }

    /// Number of examples, never 0.
    #[expect(clippy::len_without_is_empty, reason = "examples are never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Values an example.
    pub fn row_len(&self) -> usize {
        self.pixels.len() / self.labels.len()
    }

    /// The label of each example.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The stored values, before normalization.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// How stored values become inputs.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// Replaces the content of `out` by the normalized rows of the examples at `indices`, in that order; an index
    /// may come twice. The allocation of `out` is used again.
    ///
    /// # Panics
    /// Where an index is not below [`len`](Self::len).
    pub fn rows(&self, indices: &[usize], out: &mut Vec<f32>) {
        let len = self.row_len();
        out.clear();
        out.reserve(indices.len() * len);
        match &self.pixels {
            Pixels::Bytes(values) => {
                let table = self.normalization.table();
                for &index in indices {
                    out.extend(values[index * len..][..len].iter().map(|&byte| table[usize::from(byte)]));
                }
            }
            Pixels::Floats(values) => {
                for &index in indices {
                    out.extend(
                        values[index * len..][..len].iter().map(|&value| self.normalization.apply(value)),
                    );
                }
            }
        }
    }

    /// Replaces the content of `out` by the labels of the examples at `indices`, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`len`](Self::len).
    pub fn labels_at(&self, indices: &[usize], out: &mut Vec<u32>) {
        out.clear();
        out.extend(indices.iter().map(|&index| self.labels[index]));
    }
}

fn only<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    let first = *values.first()?;
    values.iter().all(|value| *value == first).then_some(first)
}
