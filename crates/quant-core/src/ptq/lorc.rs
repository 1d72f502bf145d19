//! LoRC: a low-rank correction that carries what quantization lost.

use super::Matrix;
use super::linalg::svd;
use super::matrix::{check_knob, check_size};
use crate::Error;

/// Result of [`lorc`]: y = (Ŵ + A B) x.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// m.
    pub rank: usize,
    /// A = U_m √Σ_m, `[rows, m]`.
    pub left: Vec<f32>,
    /// B = √Σ_m V_mᵀ, `[m, columns]`.
    pub right: Vec<f32>,
    /// All singular values of the error, descending; ‖W − Ŵ − A B‖² is the sum of squares of those from m on.
    pub singular_values: Vec<f64>,
}

impl LowRank {
    /// Ŵ + A B, `[rows, columns]`, summed in f64.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for a weight of another shape.
    pub fn corrected(&self, quantized: Matrix<'_>) -> Result<Vec<f32>, Error> {
        let columns = quantized.columns();
        check_size("rows", self.left.len(), quantized.rows() * self.rank)?;
        check_size("columns", self.right.len(), columns * self.rank)?;
        let value = |(index, &w): (usize, &f32)| {
            let (row, column) = (index / columns, index % columns);
            let term = |k: usize| {
                f64::from(self.left[row * self.rank + k]) * f64::from(self.right[k * columns + column])
            };
            (f64::from(w) + (0..self.rank).map(term).sum::<f64>()) as f32
        };
        Ok(quantized.values().iter().enumerate().map(value).collect())
    }
}

/// The best approximation of E = W − Ŵ of rank m, as two thin factors, by a singular value decomposition in f64.
///
/// E = U Σ Vᵀ, A = U_m √Σ_m, B = √Σ_m V_mᵀ; 1 ≤ m ≤ min(rows, columns), 8 … 16 is usual. The largest component of
/// each column of A is positive. Rounding errors are close to noise, whose singular values fall slowly: expect little
/// from a small rank at 8 or 4 bits, more below. Costs (m) · (rows + columns) further numbers.
///
/// The decomposition is a full one-sided Jacobi, about ten times min² · max operations: seconds for sides of a thousand.
///
/// Source: Yao et al. 2023 (ZeroQuant-V2), arXiv 2303.08302.
///
/// # Errors
///
/// [`Error::Setting`] for the rank, [`Error::Size`] for weights of different shapes.
pub fn lorc(weight: Matrix<'_>, quantized: Matrix<'_>, rank: usize) -> Result<LowRank, Error> {
    let (rows, columns) = (weight.rows(), weight.columns());
    check_size("rows", rows, quantized.rows())?;
    quantized.check_columns(columns)?;
    let legal = (1..=rows.min(columns)).contains(&rank);
    check_knob("a rank", "from 1 to the smaller side of the weight", rank as f64, legal)?;
    let pairs = weight.values().iter().zip(quantized.values());
    let error: Vec<f64> = pairs.map(|(w, q)| f64::from(*w) - f64::from(*q)).collect();
    let svd = svd(&error, rows, columns);
    let root: Vec<f64> = svd.sigma[..rank].iter().map(|s| s.sqrt()).collect();
    let left = (0..rows * rank).map(|i| (svd.left[i % rank][i / rank] * root[i % rank]) as f32).collect();
    let right = (0..rank * columns)
        .map(|i| (svd.right[i / columns][i % columns] * root[i / columns]) as f32)
        .collect();
    Ok(LowRank { rank, left, right, singular_values: svd.sigma })
}
