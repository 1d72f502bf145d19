//! Padding before and after each dimension, as Burn's layers work it out.

use burn::nn::{PaddingConfig1d, PaddingConfig2d};

/// Padding of a length, for the kernel and stride along it.
pub(crate) fn pair(config: &PaddingConfig1d, length: usize, kernel: usize, stride: usize) -> (usize, usize) {
    match *config {
        PaddingConfig1d::Valid => (0, 0),
        PaddingConfig1d::Same => same(length, kernel, stride),
        PaddingConfig1d::Explicit(before, after) => (before, after),
    }
}

/// Padding of height and width.
pub(crate) fn pairs(
    config: &PaddingConfig2d,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> [(usize, usize); 2] {
    match *config {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Same => [0, 1].map(|d| same(input[d], kernel[d], stride[d])),
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
    }
}

/// As many outputs as there are strides in the length; the odd one of the padding comes last.
fn same(length: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((length.div_ceil(stride).max(1) - 1) * stride + kernel).saturating_sub(length);
    (total / 2, total - total / 2)
}
