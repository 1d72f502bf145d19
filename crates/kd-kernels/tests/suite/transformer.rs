//! What a transformer is made of beside products of matrices, against definitions in `f64`.

use crate::common::{close, largest, near, near_terms, numbers, same_on_any_threads};
use kd_kernels::{Isa, gelu, layer_norm, softmax};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn softmax_equals_its_definition(rows in 1usize..=40, len in 1usize..=130, size in 0.1f32..30.0, seed in 0u64..1000) {
        let x: Vec<f32> = numbers(rows * len, seed).iter().map(|x| x * size).collect();
        let dy = numbers(rows * len, seed + 1);
        for isa in Isa::available() {
            let y = softmax::forward(isa, len, &x);
            near("softmax", &y, &softmax::reference::forward(len, &x));
            let dx = softmax::reference::backward(len, &x, &dy);
            // The terms that the gradient is the difference of: a row that chose one number has none left.
            let terms = y.chunks(len).zip(dy.chunks(len)).flat_map(|(y, dy)| {
                let sum: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy.abs()).sum();
                y.iter().zip(dy).map(move |(y, dy)| f64::from(y * (dy.abs() + sum))).collect::<Vec<_>>()
            });
            let sizes: Vec<f64> = terms.map(|size| size + 1e-30).collect();
            close("softmax's gradient", &softmax::backward(isa, len, &y, &dy), &dx, &sizes);
        }
    }

    #[test]
    fn gelu_equals_its_definition(len in 1usize..=3000, size in 0.1f32..12.0, seed in 0u64..1000) {
        let x: Vec<f32> = numbers(len, seed).iter().map(|x| x * size).collect();
        let dy = numbers(len, seed + 1);
        for isa in Isa::available() {
            // Far below zero nearly all of a number cancels.
            near_terms("gelu", &gelu::forward(isa, &x), &gelu::reference::forward(&x), largest(&x));
            let dx = gelu::reference::backward(&x, &dy);
            near_terms("gelu's gradient", &gelu::backward(isa, &x, &dy), &dx, largest(&dy));
        }
    }

    #[test]
    fn layer_norm_equals_its_definition(
        rows in 1usize..=300,
        width in 2usize..=140,
        offset in -3f32..3.0,
        shifted in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let x: Vec<f32> = numbers(rows * width, seed).iter().map(|x| x * 2.0 + offset).collect();
        let (gamma, beta) = (numbers(width, seed + 1), numbers(width, seed + 2));
        let dy = numbers(rows * width, seed + 3);
        // Rows of two nearly equal numbers divide rounding by almost nothing.
        let spread = |row: &[f32]| row.iter().fold(0.0f32, |most, x| most.max((x - row[0]).abs()));
        prop_assume!(x.chunks(width).all(|row| spread(row) > 0.5));
        let beta = shifted.then_some(beta.as_slice());
        for isa in Isa::available() {
            let found = layer_norm::forward(isa, &x, &gamma, beta, 1e-5);
            near("layer norm", &found.y, &layer_norm::reference::forward(&x, &gamma, beta, 1e-5));
            let grads = layer_norm::backward(isa, &x, &gamma, &found.mean, &found.scale, &dy);
            let (dx, dgamma, dbeta) = layer_norm::reference::backward(&x, &gamma, 1e-5, &dy);
            let terms = terms_of_dx(&x, &gamma, &found.scale, &dy);
            close("input's gradient", &grads.x, &dx, &terms);
            near_terms("γ's gradient", &grads.gamma, &dgamma, largest(&dy));
            near_terms("β's gradient", &grads.beta, &dbeta, largest(&dy));
        }
    }
}

/// The terms in size of what the input's gradient is a sum of, `(w − mean w − n · mean w n) · scale` with `w = γ · dy` and
/// `n` the normalized row: in a row of two they cancel but for what ε leaves.
fn terms_of_dx(x: &[f32], gamma: &[f32], scale: &[f32], dy: &[f32]) -> Vec<f64> {
    let width = gamma.len();
    let normal = layer_norm::reference::forward(x, &vec![1.0; width], None, 1e-5);
    let of_row = |((normal, dy), &scale): ((&[f64], &[f32]), &f32)| {
        let w: Vec<f64> = dy.iter().zip(gamma).map(|(dy, gamma)| f64::from(dy * gamma).abs()).collect();
        let mean = w.iter().sum::<f64>() / width as f64;
        let product = w.iter().zip(normal).map(|(w, n)| w * n.abs()).sum::<f64>() / width as f64;
        let term = |(w, n): (&f64, &f64)| f64::from(scale) * (w + mean + n.abs() * product);
        w.iter().zip(normal).map(term).collect::<Vec<_>>()
    };
    normal.chunks(width).zip(dy.chunks(width)).zip(scale).flat_map(of_row).collect()
}

#[test]
fn masked_numbers_weigh_nothing_and_others_come_through() {
    for isa in Isa::available() {
        let y = softmax::forward(
            isa,
            4,
            &[0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 1.0, f32::NAN, 0.0, 0.0],
        );
        assert_eq!(y[..4], [0.5, 0.0, 0.5, 0.0]);
        assert!(y[4..].iter().all(|y| y.is_nan()), "{y:?}");
        let y = gelu::forward(isa, &[f32::INFINITY, f32::NAN, 0.0, -20.0]);
        assert!(y[0].is_infinite() && y[1].is_nan() && y[2] == 0.0 && y[3] == 0.0, "{y:?}");
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (x, dy, gamma) = (numbers(1000 * 96, 1), numbers(1000 * 96, 2), numbers(96, 3));
    for isa in Isa::available() {
        same_on_any_threads(|| {
            let y = softmax::forward(isa, 96, &x);
            let norm = layer_norm::forward(isa, &x, &gamma, None, 1e-5);
            let back = layer_norm::backward(isa, &x, &gamma, &norm.mean, &norm.scale, &dy);
            (softmax::backward(isa, 96, &y, &dy), back, gelu::backward(isa, &x, &dy), norm.y)
        });
    }
}
