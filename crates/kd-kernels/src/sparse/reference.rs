//! The definition in `f64`, from the stored form: what the kernels are held against.

use super::{Blocks, Groups, Sparse};

/// As [`forward`](super::forward) with [`Blocks`].
pub fn blocks(weight: &Blocks, x: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let [outputs, inputs] = weight.shape();
    let mut y = Vec::with_capacity(x.len() / inputs * outputs);
    for x in x.chunks(inputs) {
        for output in 0..outputs {
            let tile = output / Blocks::ROWS;
            let mut sum = bias.map_or(0.0, |bias| f64::from(bias[output]));
            for block in weight.starts()[tile]..weight.starts()[tile + 1] {
                let w = weight.values()[block * Blocks::ROWS + output % Blocks::ROWS];
                sum += f64::from(w) * f64::from(x[weight.columns()[block] as usize]);
            }
            y.push(sum);
        }
    }
    y
}

/// As [`forward`](super::forward) with [`Groups`].
pub fn groups(weight: &Groups, x: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let [outputs, inputs] = weight.shape();
    let mut y = Vec::with_capacity(x.len() / inputs * outputs);
    for x in x.chunks(inputs) {
        let mut sums: Vec<f64> =
            (0..outputs).map(|output| bias.map_or(0.0, |bias| f64::from(bias[output]))).collect();
        weight.each(|row, column, value| sums[row] += f64::from(value) * f64::from(x[column]));
        y.extend(sums);
    }
    y
}
