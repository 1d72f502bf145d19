//! A weight of any rank under any scheme, rounded in place: on the host, and as a tensor that trains.
//!
//! A scheme speaks of a matrix `[out, K]`, a layer's weight has its outputs on some axis. Both functions here put that
//! axis first, flatten the rest, [`encode`], [`Encoded::decode`] and put the values back, so that groups and blocks run
//! along what an output sums over, whatever the layout. Integers with one f32 scale for a tensor or an output are
//! computed on the tensor's own device instead, with the same bits.
//!
//! [`Encoded::decode`]: crate::Encoded::decode

use burn::tensor::{DType, Tensor, TensorData};

use crate::number::{CodebookRule, Number};
use crate::{Encoded, Error, Granularity, ScaleFormat, Scheme, encode, fake_quant, weight_scale};

/// Rows and columns of the matrix `[out, K]` that a weight is to its scheme; `axis` is that of its outputs.
///
/// # Errors
///
/// [`Error::Axis`].
pub fn weight_matrix(shape: &[usize], axis: usize) -> Result<(usize, usize), Error> {
    match shape.get(axis) {
        Some(&rows) => Ok((rows, shape.iter().product::<usize>() / rows.max(1))),
        None => Err(Error::Axis { shape: shape.to_vec(), axis }),
    }
}

/// The values of `scheme` nearest to `values`, row-major of `shape`, with outputs on `axis`:
/// `encode(…).decode()` of the matrix `[out, K]`, in the order of the weight.
///
/// # Errors
///
/// Those of [`encode_weight`].
pub fn round_weight(
    values: &[f32],
    shape: &[usize],
    axis: usize,
    scheme: &Scheme,
) -> Result<Vec<f32>, Error> {
    decode_weight(&encode_weight(values, shape, axis, scheme)?, shape, axis)
}

/// [`encode`] of the matrix `[out, K]` of `values`, row-major of `shape`, with outputs on `axis`.
///
/// # Errors
///
/// [`Error::Axis`], and those of [`encode`]; a position in [`Error::NotFinite`] is one of `values`.
pub fn encode_weight(
    values: &[f32],
    shape: &[usize],
    axis: usize,
    scheme: &Scheme,
) -> Result<Encoded, Error> {
    let (rows, columns) = weight_matrix(shape, axis)?;
    if values.len() != rows * columns {
        let (expected, found) = (rows * columns, values.len());
        return Err(Error::Length { shape: shape.to_vec(), expected, found });
    }
    let inner: usize = shape[axis + 1..].iter().product();
    if inner == columns {
        return encode(values, rows, columns, scheme);
    }
    let matrix: Vec<f32> = (0..values.len()).map(|at| values[place(at, rows, columns, inner)]).collect();
    encode(&matrix, rows, columns, scheme).map_err(|error| {
        match (error, values.iter().position(|x| !x.is_finite())) {
            // The first in the order of the weight, not of the matrix.
            (Error::NotFinite { .. }, Some(index)) => Error::NotFinite { index, value: values[index] },
            (error, _) => error,
        }
    })
}

/// The values of an encoded matrix `[out, K]` in the order of the weight, row-major of `shape`, with outputs on `axis`.
///
/// # Errors
///
/// [`Error::Axis`], [`Error::Length`] for a matrix of another size.
pub fn decode_weight(encoded: &Encoded, shape: &[usize], axis: usize) -> Result<Vec<f32>, Error> {
    let (rows, columns) = weight_matrix(shape, axis)?;
    if (rows, columns) != (encoded.rows, encoded.columns) {
        let (expected, found) = (rows * columns, encoded.rows * encoded.columns);
        return Err(Error::Length { shape: shape.to_vec(), expected, found });
    }
    let values = encoded.decode();
    let inner: usize = shape[axis + 1..].iter().product();
    if inner == columns {
        return Ok(values);
    }
    let mut back = vec![0.0; values.len()];
    values.iter().enumerate().for_each(|(at, &x)| back[place(at, rows, columns, inner)] = x);
    Ok(back)
}

/// Where element `at` of the matrix stands in the weight: a column counts through the axes before and behind the
/// outputs, `inner` numbers of which lie behind.
fn place(at: usize, rows: usize, columns: usize, inner: usize) -> usize {
    let (row, column) = (at / columns, at % columns);
    (column / inner * rows + row) * inner + column % inner
}

/// [`round_weight`] of a tensor, with a straight-through gradient.
///
/// The forward value has the bits of [`Encoded::decode`](crate::Encoded::decode), −0 included where a float format has
/// one. The gradient is 1 everywhere: the scale follows the weight, so that nothing is clipped by more than half a step.
/// Two exceptions: `binary` has 0 where |w| > 1, as [`qat::binary`](crate::qat::binary) has it, and integers with one
/// f32 scale for a tensor or an output have the gradient of [`fake_quant`], 0 where a code is clipped.
///
/// Those integers are computed where the tensor is, and nothing is read back: a number that is not finite shows in the
/// result. Every other scheme goes through the host.
///
/// # Errors
///
/// [`Error::Axis`]; of schemes that go through the host those of [`encode`] too.
pub fn fake_quant_scheme<const D: usize>(
    weight: Tensor<D>,
    axis: usize,
    scheme: &Scheme,
) -> Result<Tensor<D>, Error> {
    let shape = weight.dims();
    weight_matrix(&shape, axis)?;
    let shared = match scheme.granularity() {
        Granularity::Tensor => Some(None),
        Granularity::Channel => Some(Some(axis)),
        _ => None,
    };
    if let (Some(cells), Ok((symmetry, limits)), ScaleFormat::F32) = (shared, scheme.grid(), scheme.scale()) {
        let (scale, zero_point) = weight_scale(weight.clone(), cells, symmetry, limits);
        return Ok(fake_quant(weight, scale, zero_point, limits.0, limits.1));
    }
    let constant = weight.clone().without_autodiff();
    let (device, kind) = (constant.device(), constant.dtype());
    let values = constant.clone().into_data().convert_dtype(DType::F32).iter::<f32>().collect::<Vec<f32>>();
    let rounded = round_weight(&values, &shape, axis, scheme)?;
    let value = Tensor::<D>::from_data(TensorData::new(rounded, shape), &device).cast(kind);
    if !weight.is_tracked() {
        return Ok(value);
    }
    let nothing = match scheme.number() {
        Number::Codebook(row) if matches!(row.rule, CodebookRule::Binary) => {
            let far = constant.clone().abs().greater_elem(1.0);
            (constant - weight).mask_fill(far, 0.0)
        }
        _ => constant - weight,
    };
    // A difference keeps −0, which a sum with +0 would turn into +0; its gradient is −(−1).
    Ok(value - nothing)
}
