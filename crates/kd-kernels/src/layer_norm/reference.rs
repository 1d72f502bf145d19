//! The definition in `f64`: what the kernels are held against.

/// As [`forward`](super::forward).
pub fn forward(x: &[f32], gamma: &[f32], beta: Option<&[f32]>, epsilon: f64) -> Vec<f64> {
    let at = |i: usize| beta.map_or(0.0, |beta| f64::from(beta[i]));
    let rows = x.chunks(gamma.len());
    rows.flat_map(|row| {
        let normal = normalized(row, epsilon).0;
        (0..row.len()).map(|i| f64::from(gamma[i]) * normal[i] + at(i)).collect::<Vec<_>>()
    })
    .collect()
}

/// Gradients of the input, γ and β.
pub fn backward(x: &[f32], gamma: &[f32], epsilon: f64, dy: &[f32]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let width = gamma.len();
    let (mut dx, mut dgamma, mut dbeta) = (Vec::new(), vec![0.0; width], vec![0.0; width]);
    for (row, dy) in x.chunks(width).zip(dy.chunks(width)) {
        let (normal, scale) = normalized(row, epsilon);
        let weighted: Vec<f64> = (0..width).map(|i| f64::from(dy[i]) * f64::from(gamma[i])).collect();
        let mean = weighted.iter().sum::<f64>() / width as f64;
        let product = weighted.iter().zip(&normal).map(|(w, n)| w * n).sum::<f64>() / width as f64;
        for i in 0..width {
            dgamma[i] += f64::from(dy[i]) * normal[i];
            dbeta[i] += f64::from(dy[i]);
            dx.push(scale * (weighted[i] - mean - normal[i] * product));
        }
    }
    (dx, dgamma, dbeta)
}

fn normalized(row: &[f32], epsilon: f64) -> (Vec<f64>, f64) {
    let width = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    (row.iter().map(|&x| (f64::from(x) - mean) * scale).collect(), scale)
}
