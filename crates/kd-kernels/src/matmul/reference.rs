//! The definition in `f64`: what the kernels, sparse ones too, are held against.

/// As [`forward`](super::forward), from a weight `[outputs, inputs]` in row-major order.
pub fn forward([outputs, inputs]: [usize; 2], weight: &[f32], x: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len() / inputs * outputs);
    for x in x.chunks(inputs) {
        for output in 0..outputs {
            let products = weight[output * inputs..][..inputs].iter().zip(x);
            let sum: f64 = products.map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            y.push(sum + bias.map_or(0.0, |bias| f64::from(bias[output])));
        }
    }
    y
}
