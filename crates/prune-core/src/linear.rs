//! The little linear algebra that second-order criteria need, in f64 and without a dependency.
//!
//! Fisher matrices of few gradients are singular but for a tiny damping. Everything here therefore works on a factor
//! `R` with `RᵀR` = the matrix, got from the gradients themselves by orthogonal transformations: forming the matrix
//! first would square its condition number, and with it the loss of digits.

/// An upper triangular matrix, row-major and square, zeros below the diagonal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upper {
    n: usize,
    values: Vec<f64>,
}

impl Upper {
    /// `R` of `A = QR` for `a` with `n` columns and at least as many rows (row-major), by Householder reflections; none
    /// where the columns depend on each other.
    pub(crate) fn of_qr(mut a: Vec<f64>, n: usize) -> Option<Self> {
        if n == 0 {
            return Some(Self { n, values: Vec::new() });
        }
        let m = a.len() / n;
        let mut column = vec![0.0; m];
        let mut products = vec![0.0; n];
        for k in 0..n {
            let mut squares = 0.0;
            for i in k..m {
                column[i] = a[i * n + k];
                squares += column[i] * column[i];
            }
            if squares == 0.0 {
                continue;
            }
            // The reflection that turns the column into a multiple of the first unit vector, away from cancellation.
            let diagonal = -squares.sqrt().copysign(column[k]);
            column[k] -= diagonal;
            let half = squares - a[k * n + k] * diagonal;
            products[k..].fill(0.0);
            for i in k..m {
                let row = &a[i * n + k..(i + 1) * n];
                products[k..].iter_mut().zip(row).for_each(|(sum, x)| *sum += column[i] * x);
            }
            for i in k..m {
                let factor = column[i] / half;
                let row = &mut a[i * n + k..(i + 1) * n];
                row.iter_mut().zip(&products[k..]).for_each(|(x, product)| *x -= factor * product);
            }
        }
        a.truncate(n * n);
        for i in 1..n {
            a[i * n..i * n + i].fill(0.0);
        }
        Self { n, values: a }.regular()
    }

    /// `U` with `UᵀU` = the inverse of the symmetric matrix `h` (row-major), destroying `h`; none where `h` is not
    /// positive definite.
    pub(crate) fn of_inverse(mut h: Vec<f64>, n: usize) -> Option<Self> {
        // h = V·Vᵀ with V upper triangular: Cholesky from the last row up. Then U is V⁻¹.
        for j in (0..n).rev() {
            for i in (0..=j).rev() {
                let (upper, lower) = (&h[i * n + j + 1..(i + 1) * n], &h[j * n + j + 1..(j + 1) * n]);
                let rest = h[i * n + j] - dot(upper, lower);
                h[i * n + j] = match i == j {
                    true if rest > 0.0 && rest.is_finite() => rest.sqrt(),
                    true => return None,
                    false => rest / h[j * n + j],
                };
            }
        }
        for i in 1..n {
            h[i * n..i * n + i].fill(0.0);
        }
        Some(Self { n, values: h }.inverse())
    }

    /// A row from its diagonal on.
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n + i..(i + 1) * self.n]
    }

    /// The element in `row` and `column`.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.n + column]
    }

    /// The inverse, upper triangular too.
    pub(crate) fn inverse(&self) -> Self {
        let n = self.n;
        let mut inverse = vec![0.0; n * n];
        for i in (0..n).rev() {
            // Row i of the inverse from the rows below it: R·S = 1.
            let (above, below) = inverse.split_at_mut((i + 1) * n);
            let row = &mut above[i * n..];
            row[i] = 1.0;
            for (k, &factor) in self.row(i).iter().enumerate().skip(1) {
                let other = &below[(k - 1) * n..k * n];
                row[i + k..].iter_mut().zip(&other[i + k..]).for_each(|(x, s)| *x -= factor * s);
            }
            let diagonal = self.at(i, i);
            row[i..].iter_mut().for_each(|x| *x /= diagonal);
        }
        Self { n, values: inverse }
    }

    /// The elements of `x` with `R x = b`, in place of `b`, for the leading rows and columns as many as `b` has.
    pub(crate) fn solve(&self, b: &mut [f64]) {
        for i in (0..b.len()).rev() {
            let (head, tail) = b.split_at_mut(i + 1);
            head[i] = (head[i] - dot(&self.row(i)[1..=tail.len()], tail)) / self.at(i, i);
        }
    }

    /// Itself, unless a diagonal element is nothing beside the largest.
    fn regular(self) -> Option<Self> {
        let diagonal = |i: usize| self.at(i, i).abs();
        let largest = (0..self.n).map(diagonal).fold(0.0, f64::max);
        let least = largest * f64::EPSILON * self.n as f64;
        (0..self.n).all(|i| diagonal(i) > least && diagonal(i).is_finite()).then_some(self)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} {expected}");
    }

    /// Numbers without a pattern; squares, since a sine at equal steps makes matrices of rank 2.
    fn numbers(count: usize) -> Vec<f64> {
        (1..=count).map(|i| ((i * i) as f64 * 1.618).sin()).collect()
    }

    #[test]
    fn the_factor_of_a_tall_matrix_has_its_products() -> Result<(), &'static str> {
        let (m, n) = (7, 4);
        let a = numbers(m * n);
        let r = Upper::of_qr(a.clone(), n).ok_or("singular")?;
        for i in 0..n {
            for j in 0..n {
                let expected: f64 = (0..m).map(|k| a[k * n + i] * a[k * n + j]).sum();
                close((0..n).map(|k| r.at(k, i) * r.at(k, j)).sum(), expected);
            }
        }
        let inverse = r.inverse();
        for i in 0..n {
            for j in 0..n {
                close((0..n).map(|k| r.at(i, k) * inverse.at(k, j)).sum(), f64::from(u8::from(i == j)));
            }
        }
        let mut b = numbers(3);
        r.solve(&mut b);
        for (i, expected) in numbers(3).into_iter().enumerate() {
            close((i..3).map(|k| r.at(i, k) * b[k]).sum(), expected);
        }
        Ok(())
    }

    #[test]
    fn the_factor_of_an_inverse_undoes_the_matrix() -> Result<(), &'static str> {
        let n = 5;
        let a = numbers(n * n);
        let mut h = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                h[i * n + j] = (0..n).map(|k| a[i * n + k] * a[j * n + k]).sum::<f64>();
            }
            h[i * n + i] += 1.0;
        }
        let u = Upper::of_inverse(h.clone(), n).ok_or("not positive")?;
        let inverse = |i: usize, j: usize| (0..n).map(|k| u.at(k, i) * u.at(k, j)).sum::<f64>();
        for i in 0..n {
            for j in 0..n {
                close((0..n).map(|k| h[i * n + k] * inverse(k, j)).sum(), f64::from(u8::from(i == j)));
            }
        }
        Ok(())
    }

    #[test]
    fn what_has_no_inverse_has_no_factor() {
        assert_eq!(Upper::of_qr(vec![1.0, 2.0, 2.0, 4.0], 2), None);
        assert_eq!(Upper::of_qr(vec![0.0; 6], 2), None);
        assert_eq!(Upper::of_inverse(vec![1.0, 2.0, 2.0, 4.0], 2), None);
        assert_eq!(Upper::of_inverse(vec![f64::NAN], 1), None);
        assert!(Upper::of_qr(Vec::new(), 0).is_some());
    }
}
