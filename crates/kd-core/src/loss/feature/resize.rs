//! Maps brought to another height and width, as products with two small fixed matrices, one for each axis.
//!
//! Not Burn's `interpolate` and pooling: a matrix keeps f64 and its gradient on every device, and the three ways of
//! resizing that losses are defined with differ only in the numbers in it. They are PyTorch's.

use burn::tensor::{Tensor, TensorData};

/// The nearest position, rounded down: `interpolate(mode = "nearest")`.
pub(super) fn nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    resize(x, size, |from, to, at| vec![(at * from / to, 1.0)])
}

/// Linear between the two nearest positions, corners not aligned: `interpolate(mode = "bilinear")`.
pub(super) fn bilinear(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    resize(x, size, |from, to, at| {
        let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let below = (place as usize).min(from - 1);
        let share = place - below as f64;
        vec![(below, 1.0 - share), ((below + 1).min(from - 1), share)]
    })
}

/// The mean over the positions that one of the result covers: `adaptive_avg_pool2d`.
pub(super) fn average(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    resize(x, size, |from, to, at| {
        let (begin, end) = (at * from / to, ((at + 1) * from).div_ceil(to));
        (begin..end).map(|place| (place, 1.0 / (end - begin) as f64)).collect()
    })
}

/// What a position of the result takes from those of the input, `(from, to, position)`.
type Weights = fn(usize, usize, usize) -> Vec<(usize, f64)>;

fn resize(x: Tensor<4>, [height, width]: [usize; 2], weights: Weights) -> Tensor<4> {
    let x = along_width(x, width, weights);
    if x.dims()[2] == height {
        return x;
    }
    along_width(x.swap_dims(2, 3), height, weights).swap_dims(2, 3)
}

fn along_width(x: Tensor<4>, to: usize, weights: Weights) -> Tensor<4> {
    let [batch, channels, height, from] = x.dims();
    // At the same size each of the three is the identity.
    if from == to {
        return x;
    }
    let mut matrix = vec![0.0; from * to];
    for at in 0..to {
        for (place, weight) in weights(from, to, at) {
            matrix[place * to + at] += weight;
        }
    }
    let matrix = Tensor::<2>::from_data(TensorData::new(matrix, [from, to]), (&x.device(), x.dtype()));
    x.reshape([batch * channels * height, from]).matmul(matrix).reshape([batch, channels, height, to])
}
