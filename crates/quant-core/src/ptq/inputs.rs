//! What is kept of a layer's inputs: sums, so that memory does not grow with the number of tokens.

use super::linalg::{axpy, dot};
use super::matrix::{Matrix, check_finite, check_size};
use crate::Error;

/// Running sums over tokens: Σ x xᵀ, Σ x, Σ |x| and max |x|, in 64-bit floats.
///
/// Products of two 32-bit floats are exact in 64 bits, and each sum is taken token by token, so that any split of the
/// same stream into batches gives the same bits. Another order of the tokens, and [`InputStats::merge`], change sums by
/// roundings of 64-bit floats, about 1e-16 of the sum of sizes a token.
///
/// Takes 8 · K² bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct InputStats {
    columns: usize,
    tokens: u64,
    /// Upper triangle of Σ x xᵀ, with the lower one zero.
    products: Vec<f64>,
    sum: Vec<f64>,
    sum_abs: Vec<f64>,
    max_abs: Vec<f32>,
}

impl InputStats {
    /// Sums over no token of `columns` numbers.
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            tokens: 0,
            products: vec![0.0; columns * columns],
            sum: vec![0.0; columns],
            sum_abs: vec![0.0; columns],
            max_abs: vec![0.0; columns],
        }
    }

    /// Takes in a batch of inputs `[tokens, K]`.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for another number of columns; [`Matrix`] has refused what is not finite.
    pub fn observe(&mut self, inputs: Matrix<'_>) -> Result<(), Error> {
        inputs.check_columns(self.columns)?;
        let columns = self.columns;
        let wide: Vec<f64> = inputs.values().iter().map(|&x| f64::from(x)).collect();
        // A row of the sum stays in cache while the tokens pass; each element still sums in the order of tokens.
        for (i, sums) in self.products.chunks_exact_mut(columns).enumerate() {
            for x in wide.chunks_exact(columns).filter(|x| x[i] != 0.0) {
                axpy(x[i], &x[i..], &mut sums[i..]);
            }
        }
        for x in wide.chunks_exact(columns) {
            for (j, &x) in x.iter().enumerate() {
                self.sum[j] += x;
                self.sum_abs[j] += x.abs();
                self.max_abs[j] = self.max_abs[j].max(x.abs() as f32);
            }
        }
        self.tokens += inputs.rows() as u64;
        Ok(())
    }

    /// Takes in what others have seen.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for another number of columns.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        check_size("columns", self.columns, other.columns)?;
        axpy(1.0, &other.products, &mut self.products);
        axpy(1.0, &other.sum, &mut self.sum);
        axpy(1.0, &other.sum_abs, &mut self.sum_abs);
        self.max_abs.iter_mut().zip(&other.max_abs).for_each(|(a, b)| *a = a.max(*b));
        self.tokens += other.tokens;
        Ok(())
    }

    /// Tokens seen.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Σ x xᵀ, `[K, K]`, both triangles.
    pub fn products(&self) -> Vec<f64> {
        let columns = self.columns;
        let at = |i: usize, j: usize| self.products[i.min(j) * columns + i.max(j)];
        (0..columns * columns).map(|index| at(index / columns, index % columns)).collect()
    }

    /// H = 2/n Σ x xᵀ.
    ///
    /// # Errors
    ///
    /// [`Error::NothingSeen`].
    pub fn hessian(&self) -> Result<Hessian, Error> {
        let (columns, tokens) = (self.columns, self.count()?);
        let at = |i: usize, j: usize| 2.0 * self.products[i.min(j) * columns + i.max(j)] / tokens;
        let values = (0..columns * columns).map(|index| at(index / columns, index % columns)).collect();
        Ok(Hessian { columns, values })
    }

    /// E\[x\] of each column.
    ///
    /// # Errors
    ///
    /// [`Error::NothingSeen`].
    pub fn mean(&self) -> Result<Vec<f64>, Error> {
        let tokens = self.count()?;
        Ok(self.sum.iter().map(|sum| sum / tokens).collect())
    }

    /// E|x| of each column, which AWQ takes as its importance.
    ///
    /// # Errors
    ///
    /// [`Error::NothingSeen`].
    pub fn mean_abs(&self) -> Result<Vec<f64>, Error> {
        let tokens = self.count()?;
        Ok(self.sum_abs.iter().map(|sum| sum / tokens).collect())
    }

    /// max |x| of each column, which SmoothQuant divides.
    pub fn max_abs(&self) -> &[f32] {
        &self.max_abs
    }

    fn count(&self) -> Result<f64, Error> {
        match self.tokens {
            0 => Err(Error::NothingSeen),
            tokens => Ok(tokens as f64),
        }
    }
}

/// H = 2 · E\[x xᵀ\], `[K, K]`: the second derivative of a row's mean squared output error by its weights.
///
/// Source of the factor 2: GPTQ, arXiv 2210.17323.
#[derive(Debug, Clone, PartialEq)]
pub struct Hessian {
    columns: usize,
    values: Vec<f64>,
}

impl Hessian {
    /// A Hessian computed elsewhere. Mirror images may differ by 1e-5 of the largest diagonal element, as sums in 32-bit
    /// floats do; their mean is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Size`], [`Error::NotFiniteIn`], [`Error::NotSymmetric`], [`Error::Setting`] for a negative diagonal
    /// element.
    pub fn new(columns: usize, mut values: Vec<f64>) -> Result<Self, Error> {
        check_size("a Hessian", columns * columns, values.len())?;
        check_finite("Hessian", values.iter().copied())?;
        let diagonal = || (0..columns).map(|j| values[j * columns + j]);
        if let Some(found) = diagonal().find(|x| *x < 0.0) {
            return Err(Error::Setting {
                what: "the diagonal of a Hessian",
                expected: "of at least 0",
                found,
            });
        }
        let most = 1e-5 * diagonal().fold(0.0, f64::max);
        for row in 0..columns {
            for column in row + 1..columns {
                let (upper, lower) = (values[row * columns + column], values[column * columns + row]);
                if (upper - lower).abs() > most {
                    return Err(Error::NotSymmetric { row, column, upper, lower });
                }
                let mean = 0.5 * upper + 0.5 * lower;
                (values[row * columns + column], values[column * columns + row]) = (mean, mean);
            }
        }
        Ok(Self { columns, values })
    }

    /// K.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All elements, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The diagonal, 2 · E\[x²\].
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.columns).map(|j| self.values[j * self.columns + j]).collect()
    }

    /// √E\[x²\] of each column: the importance for AWQ where only a Hessian is known.
    pub fn root_mean_square(&self) -> Vec<f64> {
        self.diagonal().into_iter().map(|x| (x / 2.0).sqrt()).collect()
    }

    /// E‖(Ŵ − W) x‖², summed over outputs: ½ Σ_rows δ H δᵀ with δ = ŵ − w.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] where the shapes disagree.
    pub fn output_error(&self, weight: Matrix<'_>, approximation: Matrix<'_>) -> Result<f64, Error> {
        weight.check_columns(self.columns)?;
        approximation.check_columns(self.columns)?;
        check_size("rows", weight.rows(), approximation.rows())?;
        let error = |(w, a): (&[f32], &[f32])| {
            let delta: Vec<f64> = w.iter().zip(a).map(|(w, a)| f64::from(*a) - f64::from(*w)).collect();
            self.quadratic(&delta)
        };
        Ok(weight.iter_rows().zip(approximation.iter_rows()).map(error).sum())
    }

    /// ½ δ H δᵀ.
    pub(crate) fn quadratic(&self, delta: &[f64]) -> f64 {
        let rows = self.values.chunks_exact(self.columns).zip(delta);
        0.5 * rows.map(|(row, d)| if *d == 0.0 { 0.0 } else { d * dot(row, delta) }).sum::<f64>()
    }
}
