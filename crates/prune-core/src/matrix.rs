//! A weight on the host, in the one orientation that every criterion and every pattern reads.
//!
//! Burn stores a convolution's weight as `[out, in/groups, kh, kw]` and a linear layer's as `[in, out]`. The
//! formulas of the literature, and the groups and blocks of its patterns, are about `[out, in·kh·kw]`. This view
//! turns the first into the second once, and masks back again, so that no criterion has an opinion on layouts.

use crate::Error;

/// A weight seen as `[rows = output units, columns = everything else in stored order]`, row-major, in f64.
///
/// f64 holds the square of an f32 exactly: scores of f32 weights rank as the exact numbers do.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    path: String,
    rows: usize,
    columns: usize,
    /// Elements behind the output dimension; 1 for a linear layer, the whole row for a convolution.
    inner: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A weight of `shape` (row-major `values`) whose dimension `out` counts the output units: 0 for Burn's
    /// convolutions, 1 for its linear layers. `path` is for messages and for the random criterion's stream.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when `values` does not fill `shape`, [`Error::Dimension`] when there is no dimension
    /// `out`, [`Error::NotFinite`] when a weight is infinite or not a number.
    pub fn from_weight<T: Copy + Into<f64>>(
        path: &str,
        shape: &[usize],
        values: &[T],
        out: usize,
    ) -> Result<Self, Error> {
        let Some(&rows) = shape.get(out) else {
            return Err(Error::Dimension { path: path.into(), dim: out, rank: shape.len() });
        };
        let expected = shape.iter().product();
        if values.len() != expected {
            return Err(Error::Length { path: path.into(), expected, found: values.len() });
        }
        let inner: usize = shape[out + 1..].iter().product();
        let outer: usize = shape[..out].iter().product();
        let mut matrix =
            Self { path: path.into(), rows, columns: outer * inner, inner, values: vec![0.0; expected] };
        for (index, &value) in values.iter().enumerate() {
            let value: f64 = value.into();
            if !value.is_finite() {
                return Err(Error::NotFinite { path: path.into(), index, value });
            }
            let place = matrix.place(index);
            matrix.values[place] = value;
        }
        Ok(matrix)
    }

    /// A matrix that is row-major `[rows, columns]` already.
    ///
    /// # Errors
    ///
    /// As [`Matrix::from_weight`].
    pub fn new<T: Copy + Into<f64>>(
        path: &str,
        rows: usize,
        columns: usize,
        values: &[T],
    ) -> Result<Self, Error> {
        Self::from_weight(path, &[rows, columns], values, 0)
    }

    /// Where the weight is in its module.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Output units.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of an output unit.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All elements, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows, one slice an output unit; units without elements are empty slices.
    pub fn iter_rows(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.rows).map(|row| &self.values[row * self.columns..(row + 1) * self.columns])
    }

    /// `entries`, one for each element of the matrix, in the order in which the weight is stored.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when there is not one entry for each element.
    pub fn to_stored<T: Copy>(&self, entries: &[T]) -> Result<Vec<T>, Error> {
        let (expected, found) = (self.values.len(), entries.len());
        if expected != found {
            return Err(Error::Length { path: self.path.clone(), expected, found });
        }
        Ok((0..expected).map(|index| entries[self.place(index)]).collect())
    }

    /// Where the stored element `index` stands in the matrix.
    fn place(&self, index: usize) -> usize {
        let (rest, low) = (index / self.inner, index % self.inner);
        let (high, row) = (rest / self.rows, rest % self.rows);
        row * self.columns + high * self.inner + low
    }
}
