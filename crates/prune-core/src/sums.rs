//! What is kept of a layer's inputs that stream by: sums, in the place of the inputs themselves.
//!
//! Criteria that look at a layer's inputs look at Σ x² of each column, or at Σ x xᵀ, and at nothing else. Whoever has the
//! inputs gives them as rows; whoever lets them stream by gives these. The formulas behind the sums are the same.

use crate::{Error, Samples};

/// Sums over the rows `x` that a layer multiplies, one set for each group of its output units.
///
/// Output units of a group are neighbors and read the same columns, as those of a grouped convolution do; other layers have
/// one group.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSums {
    path: String,
    columns: usize,
    /// `[groups, columns]`
    squares: Vec<f64>,
    /// `[groups, columns, columns]`
    products: Option<Vec<f64>>,
}

impl InputSums {
    /// Σ x² of each column, `[groups, columns]`; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] where there are not whole groups of `columns` numbers, [`Error::NotFinite`].
    pub fn of_squares(path: &str, columns: usize, squares: Vec<f64>) -> Result<Self, Error> {
        whole(path, columns, &squares)?;
        Ok(Self { path: path.into(), columns, squares, products: None })
    }

    /// Σ x xᵀ, `[groups, columns, columns]`, both triangles.
    ///
    /// # Errors
    ///
    /// As [`InputSums::of_squares`].
    pub fn of_products(path: &str, columns: usize, products: Vec<f64>) -> Result<Self, Error> {
        whole(path, columns * columns, &products)?;
        let diagonal = |group: &[f64]| (0..columns).map(|j| group[j * columns + j]).collect::<Vec<f64>>();
        let squares = products.chunks_exact(columns * columns).flat_map(diagonal).collect();
        Ok(Self { path: path.into(), columns, squares, products: Some(products) })
    }

    /// Groups of output units.
    pub fn groups(&self) -> usize {
        self.squares.len() / self.columns
    }

    /// Columns of the weight.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Σ x² of each column, group by group.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// Σ x xᵀ of each group.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where squares alone were summed up.
    pub fn products(&self) -> Result<std::slice::ChunksExact<'_, f64>, Error> {
        let missing = || Error::Missing { input: format!("products of the inputs of {}", self.path) };
        let products = self.products.as_ref().ok_or_else(missing)?;
        Ok(products.chunks_exact(self.columns * self.columns))
    }

    /// Whose they are.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Σ x² of each column of rows.
pub(crate) fn squares(rows: &Samples, columns: usize) -> Result<Vec<f64>, Error> {
    let mut squares = vec![0.0; columns];
    for row in rows.rows(columns)? {
        squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x);
    }
    Ok(squares)
}

fn whole(path: &str, each: usize, values: &[f64]) -> Result<(), Error> {
    let groups = values.len().div_ceil(each.max(1)).max(1);
    if each == 0 || groups * each != values.len() {
        let path = format!("sums of the inputs of {path}");
        return Err(Error::Length { path, expected: groups * each.max(1), found: values.len() });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NotFinite { path: path.into(), index, value: values[index] }),
        None => Ok(()),
    }
}
