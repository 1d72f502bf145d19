//! Codes from values and values from codes, on slices.

use crate::{Error, Layout, QParams};

/// q = clamp(round_half_even(x / s) + z, qmin, qmax), element by element, in 32-bit floats.
///
/// Infinities go to the outermost codes; NaN is refused.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Axis`] for a layout that does not fit, [`Error::Cells`] for another number of
/// scales, [`Error::Scale`], [`Error::ZeroPoint`] and [`Error::Codes`] for illegal ones, [`Error::NotFinite`] for NaN.
pub fn quantize(values: &[f32], layout: &Layout, qparams: &QParams) -> Result<Vec<i32>, Error> {
    layout.check(values.len())?;
    qparams.check(layout.cells())?;
    if let Some(index) = values.iter().position(|x| x.is_nan()) {
        return Err(Error::NotFinite { index, value: values[index] });
    }
    let (qmin, qmax) = (qparams.qmin as f32, qparams.qmax as f32);
    let code = |(position, &x): (usize, &f32)| {
        let cell = layout.cell(position);
        let q = (x / qparams.scale[cell]).round_ties_even() + qparams.zero_point[cell] as f32;
        q.clamp(qmin, qmax) as i32
    };
    Ok(values.iter().enumerate().map(code).collect())
}

/// x̂ = s · (q − z), element by element, in 32-bit floats.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Axis`] for a layout that does not fit, [`Error::Cells`] for another number of
/// scales, [`Error::Scale`], [`Error::ZeroPoint`] and [`Error::Codes`] for illegal ones, [`Error::Code`] for a code that is not in use.
pub fn dequantize(codes: &[i32], layout: &Layout, qparams: &QParams) -> Result<Vec<f32>, Error> {
    layout.check(codes.len())?;
    qparams.check(layout.cells())?;
    let (qmin, qmax) = (qparams.qmin, qparams.qmax);
    if let Some(index) = codes.iter().position(|code| !(qmin..=qmax).contains(code)) {
        return Err(Error::Code { index, code: codes[index], qmin, qmax });
    }
    let value = |(position, &q): (usize, &i32)| {
        let cell = layout.cell(position);
        (q - qparams.zero_point[cell]) as f32 * qparams.scale[cell]
    };
    Ok(codes.iter().enumerate().map(value).collect())
}
