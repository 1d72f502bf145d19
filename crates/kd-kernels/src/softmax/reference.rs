//! The definition in `f64`: what the kernels are held against.

/// As [`forward`](super::forward).
pub fn forward(len: usize, x: &[f32]) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(len) {
        let most = row.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(f64::from(x)));
        let powers: Vec<f64> = row.iter().map(|&x| (f64::from(x) - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        y.extend(powers.iter().map(|power| power / sum));
    }
    y
}

/// As [`backward`](super::backward), from the input.
pub fn backward(len: usize, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let y = forward(len, x);
    let rows = y.chunks(len).zip(dy.chunks(len));
    rows.flat_map(|(y, dy)| {
        let sum: f64 = y.iter().zip(dy).map(|(y, &dy)| y * f64::from(dy)).sum();
        y.iter().zip(dy).map(move |(y, &dy)| y * (f64::from(dy) - sum)).collect::<Vec<_>>()
    })
    .collect()
}
