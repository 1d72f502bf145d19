//! A matrix that was checked once: filled, not empty, finite.

use crate::Error;

/// A row-major view of finite numbers: a weight `[out, K]` or inputs `[tokens, K]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix<'a> {
    rows: usize,
    columns: usize,
    values: &'a [f32],
}

impl<'a> Matrix<'a> {
    /// A view of `values`; `what` names them in errors, such as `weight`.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] unless there are rows · columns values, [`Error::Setting`] without a row or a column,
    /// [`Error::NotFiniteIn`].
    pub fn new(what: &'static str, rows: usize, columns: usize, values: &'a [f32]) -> Result<Self, Error> {
        let least = rows.min(columns);
        if least == 0 {
            return Err(Error::Setting { what: "rows and columns", expected: "of at least one", found: 0.0 });
        }
        let expected = rows.saturating_mul(columns);
        if values.len() != expected {
            return Err(Error::Size { what, expected, found: values.len() });
        }
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(Error::NotFiniteIn { what, index, value: f64::from(values[index]) }),
            None => Ok(Self { rows, columns, values }),
        }
    }

    /// Rows: outputs of a weight, tokens of inputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: inputs of a layer.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All elements.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// One row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// The rows in order.
    pub fn iter_rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.columns)
    }

    /// max |x| of each row.
    pub(crate) fn row_max(&self) -> Vec<f32> {
        self.iter_rows().map(|row| row.iter().fold(0.0, |most, x| x.abs().max(most))).collect()
    }

    /// max |x| of each column.
    pub(crate) fn column_max(&self) -> Vec<f32> {
        let mut most = vec![0.0_f32; self.columns];
        for row in self.iter_rows() {
            most.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        most
    }

    /// An error unless there is one column for each of `expected`.
    pub(crate) fn check_columns(&self, expected: usize) -> Result<(), Error> {
        check_size("columns", expected, self.columns)
    }
}

/// An error unless both are equal.
pub(crate) fn check_size(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => Err(Error::Size { what, expected, found }),
    }
}

/// An error that names the first number that is not finite.
pub(crate) fn check_finite(what: &'static str, values: impl IntoIterator<Item = f64>) -> Result<(), Error> {
    match values.into_iter().enumerate().find(|(_, x)| !x.is_finite()) {
        Some((index, value)) => Err(Error::NotFiniteIn { what, index, value }),
        None => Ok(()),
    }
}

/// An error unless `legal`; written so that NaN is not.
pub(crate) fn check_knob(
    what: &'static str,
    expected: &'static str,
    found: f64,
    legal: bool,
) -> Result<(), Error> {
    match legal {
        true => Ok(()),
        false => Err(Error::Setting { what, expected, found }),
    }
}
