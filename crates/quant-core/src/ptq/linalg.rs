//! The little linear algebra there is: products, one triangular factor, one singular value decomposition. In f64.

/// Σ a b, in order.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four sums let the processor overlap additions; their order is fixed, so that results are too.
    let (mut sums, mut rest) = ([0.0; 4], 0.0);
    let (a4, b4) = (a.chunks_exact(4), b[..a.len()].chunks_exact(4));
    for (a, b) in a4.remainder().iter().zip(b4.remainder()) {
        rest += a * b;
    }
    for (a, b) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// y ← y + a x.
pub(crate) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// The upper triangular U with H⁻¹ = Uᵀ U for a symmetric positive definite H `[n, n]`; none if a pivot is lost.
///
/// H = M Mᵀ with an upper triangular M, found from the last column to the first, and then U = M⁻¹. This is the factor
/// that GPTQ takes from Cholesky(inverse(H)), without forming the inverse, which would square the condition number's
/// damage. A pivot below 1e-12 of its diagonal element counts as lost: roundings have eaten it.
pub(crate) fn inverse_factor(h: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut m = vec![0.0; n * n];
    for j in (0..n).rev() {
        for i in (0..=j).rev() {
            let rest = h[i * n + j] - dot(&m[i * n + j + 1..(i + 1) * n], &m[j * n + j + 1..(j + 1) * n]);
            m[i * n + j] = match i == j {
                true if rest.is_finite() && rest > 1e-12 * h[j * n + j] => rest.sqrt(),
                true => return None,
                false => rest / m[j * n + j],
            };
        }
    }
    // M U = I, row by row from the last.
    let mut u = vec![0.0; n * n];
    for i in (0..n).rev() {
        let (head, below) = u.split_at_mut((i + 1) * n);
        let row = &mut head[i * n..];
        row[i] = 1.0;
        for k in i + 1..n {
            axpy(-m[i * n + k], &below[(k - i - 1) * n + k..(k - i) * n], &mut row[k..]);
        }
        let pivot = m[i * n + i];
        row[i..].iter_mut().for_each(|x| *x /= pivot);
    }
    Some(u)
}

/// A = Σ_k σ_k u_k v_kᵀ, σ descending.
pub(crate) struct Svd {
    /// Singular values.
    pub(crate) sigma: Vec<f64>,
    /// Left vectors, one after the other.
    pub(crate) left: Vec<Vec<f64>>,
    /// Right vectors, one after the other.
    pub(crate) right: Vec<Vec<f64>>,
}

/// One-sided Jacobi (Hestenes): rotates pairs of the shorter side's vectors until all are orthogonal to 1e-15 of their
/// lengths. Accurate to roundings, deterministic; takes about ten sweeps of min(m, n)² · max(m, n) operations.
/// The largest component of each left vector is positive, the first one in a tie.
pub(crate) fn svd(a: &[f64], rows: usize, columns: usize) -> Svd {
    let wide = columns > rows;
    let (count, len) = if wide { (rows, columns) } else { (columns, rows) };
    // `vectors` are what is rotated; `turns` collects the rotations.
    let at = |k: usize, i: usize| if wide { a[k * columns + i] } else { a[i * columns + k] };
    let mut vectors: Vec<Vec<f64>> = (0..count).map(|k| (0..len).map(|i| at(k, i)).collect()).collect();
    let mut turns: Vec<Vec<f64>> =
        (0..count).map(|k| (0..count).map(|i| f64::from(u8::from(i == k))).collect()).collect();
    for _ in 0..60 {
        let mut rotated = false;
        for p in 0..count {
            for q in p + 1..count {
                let (alpha, beta) = (dot(&vectors[p], &vectors[p]), dot(&vectors[q], &vectors[q]));
                let gamma = dot(&vectors[p], &vectors[q]);
                if gamma.abs() <= 1e-15 * (alpha * beta).sqrt() || gamma == 0.0 {
                    continue;
                }
                rotated = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                rotate(&mut vectors, p, q, c, c * t);
                rotate(&mut turns, p, q, c, c * t);
            }
        }
        if !rotated {
            break;
        }
    }
    let lengths: Vec<f64> = vectors.iter().map(|v| dot(v, v).sqrt()).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&i, &j| lengths[j].total_cmp(&lengths[i]).then(i.cmp(&j)));
    let mut svd = Svd { sigma: Vec::new(), left: Vec::new(), right: Vec::new() };
    for k in order {
        let sigma = lengths[k];
        let unit: Vec<f64> = vectors[k].iter().map(|x| if sigma > 0.0 { x / sigma } else { 0.0 }).collect();
        let (mut left, mut right) = if wide { (turns[k].clone(), unit) } else { (unit, turns[k].clone()) };
        let largest = left.iter().fold(0.0_f64, |most, &x| if x.abs() > most.abs() { x } else { most });
        if largest < 0.0 {
            left.iter_mut().chain(&mut right).for_each(|x| *x = -*x);
        }
        svd.sigma.push(sigma);
        svd.left.push(left);
        svd.right.push(right);
    }
    svd
}

fn rotate(vectors: &mut [Vec<f64>], p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = vectors.split_at_mut(q);
    for (x, y) in head[p].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize) -> Vec<f64> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn the_factor_inverts() {
        let n = 13;
        let x = noise(n * 20);
        let mut h = vec![0.0; n * n];
        for x in x.chunks_exact(n) {
            for i in 0..n {
                axpy(x[i], x, &mut h[i * n..(i + 1) * n]);
            }
        }
        let u = inverse_factor(&h, n).expect("positive definite");
        // Uᵀ U H = I.
        for i in 0..n {
            for j in 0..n {
                let inverse: Vec<f64> =
                    (0..n).map(|k| (0..n).map(|r| u[r * n + i] * u[r * n + k]).sum()).collect();
                let product: f64 = (0..n).map(|k| inverse[k] * h[k * n + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-10, "{i} {j} {product}");
                assert!(i <= j || u[i * n + j] == 0.0);
            }
        }
        h[0] = -1.0;
        assert!(inverse_factor(&h, n).is_none());
        assert!(inverse_factor(&[1.0, 1.0, 1.0, 1.0], 2).is_none(), "of rank one");
    }

    #[test]
    fn singular_vectors_are_orthonormal_and_restore_the_matrix() {
        for (rows, columns) in [(1, 1), (5, 9), (9, 5), (8, 8), (1, 6)] {
            let mut a = noise(rows * columns);
            if rows > 2 {
                // Of lower rank: one row twice.
                let (head, tail) = a.split_at_mut(columns);
                tail[..columns].copy_from_slice(head);
            }
            let svd = svd(&a, rows, columns);
            assert!(svd.sigma.is_sorted_by(|a, b| a >= b));
            for i in 0..rows {
                for j in 0..columns {
                    let sum: f64 =
                        (0..svd.sigma.len()).map(|k| svd.sigma[k] * svd.left[k][i] * svd.right[k][j]).sum();
                    assert!((sum - a[i * columns + j]).abs() < 1e-13);
                }
            }
            for p in 0..svd.sigma.len() {
                for q in 0..=p {
                    let expected = f64::from(u8::from(p == q));
                    if svd.sigma[p] > 1e-10 {
                        assert!((dot(&svd.left[p], &svd.left[q]) - expected).abs() < 1e-12);
                        assert!((dot(&svd.right[p], &svd.right[q]) - expected).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
