//! Numbers of other widths on their way into a cast, which starts from f32.

use burn::tensor::{bf16, f16};

/// Every f16 is an f32.
pub fn from_f16(values: &[f16]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

/// Every bf16 is an f32.
pub fn from_bf16(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

/// [`to_odd`] of each number.
pub fn from_f64(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| to_odd(x)).collect()
}

/// The f32 on either side of `x` whose last bit is one, or `x` itself where it is an f32.
///
/// A cast of the result to a format of at most 22 significant bits equals a cast of `x`: the odd bit remembers that
/// something was lost, so that no tie appears that was none. Beyond the range it is the largest number, which overflows
/// wherever `x` does; below it is the smallest, which is no zero.
///
/// Source: Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding
/// to odd".
pub fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || x.is_nan() {
        return near;
    }
    // Towards zero, then the last bit is set.
    let bits = near.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(bits | 1)
}
