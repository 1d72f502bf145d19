//! The definition, window by window, in `f64`: what the kernels are held against.

use super::Pool;

/// Calls `visit(y, place, x)` for every number of every window; `place` counts the window row by row.
fn places(shape: &Pool, mut visit: impl FnMut(usize, usize, usize)) {
    let ([height, width], [rows, cols]) = (shape.input, shape.output());
    let inside = |d: usize, at: usize, k: usize| {
        (at * shape.stride[d] + k).checked_sub(shape.padding[d].0).filter(|&i| i < shape.input[d])
    };
    for y in 0..shape.output_len() {
        let (plane, i, j) = (y / (rows * cols), y / cols % rows, y % cols);
        for k in 0..shape.kernel[0] * shape.kernel[1] {
            let (r, q) = (inside(0, i, k / shape.kernel[1]), inside(1, j, k % shape.kernel[1]));
            if let (Some(r), Some(q)) = (r, q) {
                visit(y, k, (plane * height + r) * width + q);
            }
        }
    }
}

/// As [`max`](super::max).
pub fn max(shape: &Pool, x: &[f32]) -> (Vec<f64>, Vec<usize>) {
    let mut best = vec![(f64::NEG_INFINITY, 0); shape.output_len()];
    places(shape, |y, place, at| {
        let value = f64::from(x[at]);
        if value > best[y].0 || (value.is_nan() && !best[y].0.is_nan()) {
            best[y] = (value, place);
        }
    });
    best.into_iter().unzip()
}

/// As [`max_backward`](super::max_backward).
pub fn max_backward(shape: &Pool, dy: &[f32], chosen: &[usize]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.input_len()];
    places(shape, |y, place, at| {
        if chosen[y] == place {
            dx[at] += f64::from(dy[y]);
        }
    });
    dx
}

/// As [`average`](super::average).
pub fn average(shape: &Pool, x: &[f32], count_padding: bool) -> Vec<f64> {
    let shares = shares(shape, count_padding);
    let mut sum = vec![0.0; shape.output_len()];
    places(shape, |y, _, at| sum[y] += f64::from(x[at]) * shares[y]);
    sum
}

/// As [`average_backward`](super::average_backward).
pub fn average_backward(shape: &Pool, dy: &[f32], count_padding: bool) -> Vec<f64> {
    let shares = shares(shape, count_padding);
    let mut dx = vec![0.0; shape.input_len()];
    places(shape, |y, _, at| dx[at] += f64::from(dy[y]) * shares[y]);
    dx
}

fn shares(shape: &Pool, count_padding: bool) -> Vec<f64> {
    let mut inside = vec![0; shape.output_len()];
    places(shape, |y, _, _| inside[y] += 1);
    let all = shape.kernel[0] * shape.kernel[1];
    inside
        .into_iter()
        .map(|inside| 1.0 / f64::from(if count_padding { all as i32 } else { inside }))
        .collect()
}
