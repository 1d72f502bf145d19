//! The definition, loop by loop, added in `f64`: what the kernels are held against.

use super::Conv;

/// Calls `visit(y, x, w)` with the indices of every product of the forward pass.
fn products(shape: &Conv, mut visit: impl FnMut(usize, usize, usize)) {
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let [from, to] = shape.group();
    let place = |d: usize, out: usize, tap: usize| {
        let at = out * shape.stride[d] + tap * shape.dilation[d];
        at.checked_sub(shape.padding[d].0).filter(|&at| at < shape.input[d])
    };
    for n in 0..shape.batch {
        for o in 0..shape.channels[1] {
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let y = ((n * shape.channels[1] + o) * rows + i) * cols + j;
                for c in 0..from {
                    let channel = n * shape.channels[0] + o / to * from + c;
                    for a in 0..shape.kernel[0] {
                        for b in 0..shape.kernel[1] {
                            if let (Some(r), Some(q)) = (place(0, i, a), place(1, j, b)) {
                                let w = ((o * from + c) * shape.kernel[0] + a) * shape.kernel[1] + b;
                                visit(y, (channel * height + r) * width + q, w);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// As [`forward`](super::forward).
pub fn forward(shape: &Conv, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let [rows, cols] = shape.output();
    let mut y = vec![0.0; shape.output_len()];
    if let Some(bias) = bias {
        for (i, y) in y.iter_mut().enumerate() {
            *y = f64::from(bias[i / (rows * cols) % shape.channels[1]]);
        }
    }
    products(shape, |to, from, w| y[to] += f64::from(x[from]) * f64::from(weight[w]));
    y
}

/// As [`grad_input`](super::grad_input).
pub fn grad_input(shape: &Conv, dy: &[f32], weight: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.input_len()];
    products(shape, |from, to, w| dx[to] += f64::from(dy[from]) * f64::from(weight[w]));
    dx
}

/// As [`grad_weight`](super::grad_weight).
pub fn grad_weight(shape: &Conv, x: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let [rows, cols] = shape.output();
    let mut dw = vec![0.0; shape.weight_len()];
    products(shape, |out, from, w| dw[w] += f64::from(dy[out]) * f64::from(x[from]));
    let mut db = vec![0.0; shape.channels[1]];
    for (i, &dy) in dy.iter().enumerate() {
        db[i / (rows * cols) % shape.channels[1]] += f64::from(dy);
    }
    (dw, db)
}
