//! Tensors from slices and back, and comparisons that say where they fail.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// A tensor of `dtype`, row-major.
pub(crate) fn tensor<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

/// An f64 tensor on the CPU, where f64 is exact enough to compare with a formula.
pub(crate) fn exact<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    tensor(values, shape, &Device::flex(), DType::F64)
}

/// The same as a leaf of which gradients are taken.
pub(crate) fn leaf<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    tensor(values, shape, &Device::flex().autodiff(), DType::F64).require_grad()
}

pub(crate) fn labels(classes: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(classes.to_vec(), [classes.len()]), device)
}

pub(crate) fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

pub(crate) fn number(x: Tensor<1>) -> f64 {
    let all = numbers(x);
    assert_eq!(all.len(), 1, "a loss is one number");
    all[0]
}

/// Asserts |a − b| ≤ tolerance · max(1, |b|) for all pairs.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        let gap = (a - b).abs();
        assert!(gap <= tolerance * b.abs().max(1.0), "{what}[{index}]: found {a}, expected {b}, {gap} apart");
    }
}

/// Compares the gradient of `loss` at `x` with central differences, in f64.
#[track_caller]
pub(crate) fn assert_gradient<const D: usize>(
    what: &str,
    x: &[f64],
    shape: [usize; D],
    loss: impl Fn(Tensor<D>) -> Tensor<1>,
) {
    let input = leaf(x, shape);
    let gradients = loss(input.clone()).backward();
    let found = numbers(input.grad(&gradients).unwrap());
    let step = 1e-5;
    let expected: Vec<f64> = (0..x.len())
        .map(|index| {
            let at = |shift: f64| {
                let mut moved = x.to_vec();
                moved[index] += shift;
                number(loss(exact(&moved, shape)))
            };
            (at(step) - at(-step)) / (2.0 * step)
        })
        .collect();
    assert_close(what, &found, &expected, 1e-8);
}

/// `count` numbers between −3 and 3 that look like nothing in particular and are always the same.
pub(crate) fn some_numbers(count: usize, salt: usize) -> Vec<f64> {
    (0..count).map(|i| 3.0 * ((i * 7 + salt * 13 + 1) as f64 * 0.7391).sin()).collect()
}
