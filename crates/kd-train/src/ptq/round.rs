//! One layer's weight rounded by any method: what `quant-core` does with a matrix, group by group, in one form.

use quant_core::number::{Codes, Scales};
use quant_core::ptq::{self, FloatZero, Grid, InputStats, LowRank, Matrix, Outlier, Quantized};
use quant_core::{Encoded, Granularity, ScaleFormat, Scheme, encode};
use rayon::prelude::*;

use super::layers::Layer;
use super::method::Rounding;
use crate::error::Error;

/// A weight as it can be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Codes, scales and integer zero points; of a layer with groups, all rows.
    pub encoded: Encoded,
    /// Zero points that are no integers, one a scale; then `encoded` has none.
    pub float_zeros: Option<Vec<f32>>,
    /// Weights in full, in the place of what their codes say, by row, then column.
    pub outliers: Vec<Outlier>,
    /// What is added to all of it.
    pub low_rank: Option<LowRank>,
    /// Whether masked weights are 0 in the place of what all that says, for which a bit a weight has to be stored.
    pub masked: bool,
}

/// A weight as it can be stored, and the values that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounded {
    /// As stored.
    pub coded: Coded,
    /// `[rows, columns]`.
    pub values: Vec<f32>,
    /// Rows that GPTQ left to round-to-nearest, which had the smaller error.
    pub kept: usize,
}

impl Coded {
    /// Bits on disk: codes, scales and zero points, float zero points as f32, 64 bits an outlier (value and place), the
    /// low-rank factors as f32, one bit a weight where a mask is stored.
    pub fn bits(&self) -> u64 {
        let encoded = &self.encoded;
        let mut bits = encoded.scheme.bits(encoded.rows, encoded.columns);
        if let (Some(zeros), Some(int)) = (&self.float_zeros, encoded.scheme.int()) {
            bits += zeros.len() as u64 * u64::from(32 - int.bits);
        }
        bits += 64 * self.outliers.len() as u64;
        bits += if self.masked { (encoded.rows * encoded.columns) as u64 } else { 0 };
        bits + self.low_rank.as_ref().map_or(0, |pair| 32 * (pair.left.len() + pair.right.len()) as u64)
    }
}

impl Rounded {
    /// Puts 0 where `keep` says that a weight is masked, if codes and corrections left something else there.
    pub(super) fn hold(&mut self, keep: &[bool]) {
        for (value, _) in self.values.iter_mut().zip(keep).filter(|(value, keep)| !**keep && **value != 0.0) {
            *value = 0.0;
            self.coded.masked = true;
        }
    }
}

/// Rounds `matrix`, the weight of `layer`; `stats` are its inputs', one a group. Elements that `keep` says are masked
/// are 0 in `matrix`, and become the code of 0 where the scheme has one.
///
/// # Errors
///
/// A scheme that the method does not round to; weights that are not finite or too wide for their grid.
pub(super) fn round(
    layer: &Layer,
    matrix: &[f32],
    scheme: &Scheme,
    rounding: &Rounding,
    stats: &[InputStats],
    keep: Option<&[bool]>,
) -> Result<Rounded, Error> {
    let named = |source| Error::WeightTensor { name: layer.name.clone(), source };
    let plain = |scheme: &Scheme, outliers: Vec<Outlier>| -> Result<Rounded, Error> {
        let encoded = encode(matrix, layer.rows, layer.columns, scheme).map_err(named)?;
        let mut values = encoded.decode();
        outliers
            .iter()
            .for_each(|outlier| values[outlier.row * layer.columns + outlier.column] = outlier.value);
        Ok(Rounded {
            coded: Coded { encoded, float_zeros: None, outliers, low_rank: None, masked: false },
            values,
            kept: 0,
        })
    };
    match rounding {
        Rounding::Rtn => return plain(scheme, Vec::new()),
        Rounding::LlmInt8(threshold) => {
            let expected = "int8 channel narrow";
            if scheme.to_string() != expected {
                return Err(unfit(rounding, scheme, "`int8 channel narrow`, which the method prescribes"));
            }
            let place = |at: usize| (at / layer.columns, at % layer.columns, matrix[at]);
            let large = |row: usize, column: usize| {
                stats[row / layer.rows_of_group()].max_abs()[column] >= *threshold
            };
            let all = (0..matrix.len()).map(place).filter(|&(row, column, _)| large(row, column));
            return plain(scheme, all.map(|(row, column, value)| Outlier { row, column, value }).collect());
        }
        _ => {}
    }
    let grid = grid(scheme, rounding)?;
    let rows = layer.rows_of_group();
    let mut all = Parts::default();
    for (group, weight) in matrix.chunks(rows * layer.columns).enumerate() {
        let weight = Matrix::new("weight", rows, layer.columns, weight).map_err(named)?;
        let hessian = || stats[group].hessian().map_err(named);
        let keep = keep.map(|keep| &keep[group * rows * layer.columns..][..rows * layer.columns]);
        match rounding {
            Rounding::Hqq(knobs) => all.float(&ptq::hqq(weight, &grid, knobs).map_err(named)?),
            Rounding::Gptq(knobs) => {
                let hessian = hessian()?;
                let found = match keep {
                    Some(keep) => ptq::gptq_masked(weight, keep, &hessian, &grid, knobs),
                    None => ptq::gptq(weight, &hessian, &grid, knobs),
                };
                let mut done = found.map_err(named)?.quantized;
                all.kept += keep_nearest(weight, &hessian, &mut done).map_err(named)?;
                all.whole(&done, rounding, scheme)?;
            }
            Rounding::Awq(knobs) => {
                // Scales of columns are found beforehand, where the layer before can take them; here only ranges.
                let knobs = ptq::Awq { ratios: 1, ..*knobs };
                let importance = stats[group].mean_abs().map_err(named)?;
                let done = ptq::awq(weight, &hessian()?, &importance, &grid, &knobs).map_err(named)?;
                all.whole(&done.quantized, rounding, scheme)?;
            }
            Rounding::Spqr(knobs) => {
                let found = match keep {
                    Some(keep) => ptq::spqr_masked(weight, keep, &hessian()?, &grid, knobs),
                    None => ptq::spqr(weight, &hessian()?, &grid, knobs),
                };
                let done = found.map_err(named)?;
                all.whole(&done.quantized, rounding, scheme)?;
                let moved = |outlier: &Outlier| Outlier { row: outlier.row + group * rows, ..*outlier };
                all.outliers.extend(done.outliers.iter().map(moved));
            }
            Rounding::AdaRound(knobs) => {
                all.whole(&adaround(weight, &hessian()?, &grid, knobs).map_err(named)?, rounding, scheme)?
            }
            // Layers that no block takes in.
            Rounding::Brecq(..) => all.whole(&ptq::rtn(weight, &grid).map_err(named)?, rounding, scheme)?,
            Rounding::Rtn | Rounding::LlmInt8(_) => unreachable!("returned above"),
        }
    }
    Ok(all.finish(layer, scheme))
}

/// What codes on a grid, of all rows of a layer, are stored as.
///
/// # Errors
///
/// Columns in no order that a scheme describes.
pub(super) fn rounded(
    layer: &Layer,
    quantized: &Quantized,
    rounding: &Rounding,
    scheme: &Scheme,
) -> Result<Rounded, Error> {
    let mut all = Parts::default();
    all.whole(quantized, rounding, scheme)?;
    Ok(all.finish(layer, scheme))
}

/// The grid of a scheme.
///
/// # Errors
///
/// A scheme that is no integer grid with a scale in f32 for each row or group.
pub(super) fn grid(scheme: &Scheme, rounding: &Rounding) -> Result<Grid, Error> {
    let group = match scheme.granularity() {
        Granularity::Channel => None,
        Granularity::Group(columns) => Some(columns),
        _ => return Err(unfit(rounding, scheme, "`channel` or `group=N`")),
    };
    let (Some(int), Some(symmetry)) = (scheme.int(), scheme.symmetry()) else {
        return Err(unfit(rounding, scheme, "an integer format"));
    };
    if scheme.scale() != ScaleFormat::F32 {
        return Err(unfit(rounding, scheme, "scales in f32, which is no word"));
    }
    if matches!(rounding, Rounding::Hqq(_)) && symmetry != quant_core::Symmetry::Affine {
        return Err(unfit(rounding, scheme, "`affine`: what it moves is the zero point"));
    }
    Ok(Grid::new(int.bits, group, symmetry)?)
}

fn unfit(rounding: &Rounding, scheme: &Scheme, expected: &str) -> Error {
    Error::QuantizeOption {
        option: format!("--weights with --method {}", rounding.name()),
        expected: format!("a scheme with {expected}"),
        found: format!("`{scheme}`"),
    }
}

/// Rows that are learned together; rows do not depend on each other.
const ROWS: usize = 4;

/// AdaRound with λ in units of round-to-nearest's error per weight, a few rows a thread.
fn adaround(
    weight: Matrix<'_>,
    hessian: &ptq::Hessian,
    grid: &Grid,
    knobs: &ptq::AdaRound,
) -> Result<Quantized, quant_core::Error> {
    let mut all = ptq::rtn(weight, grid)?;
    let (rows, columns) = (weight.rows(), weight.columns());
    let nearest = all.dequantize();
    let error = hessian.output_error(weight, Matrix::new("weight", rows, columns, &nearest)?)?;
    let knobs = ptq::AdaRound { lambda: knobs.lambda * error / (rows * columns) as f64, ..*knobs };
    let parts: Vec<&[f32]> = weight.values().chunks(ROWS * columns).collect();
    let learned = parts.into_par_iter().map(|part| {
        let part = Matrix::new("weight", part.len() / columns, columns, part)?;
        Ok(ptq::adaround(part, hessian, grid, &knobs)?.quantized.codes)
    });
    all.codes = learned.collect::<Result<Vec<Vec<i32>>, quant_core::Error>>()?.concat();
    Ok(all)
}

/// Gives rows back to round-to-nearest where that has the smaller error, as it may where a row is a filter of nine
/// weights: a greedy pass has few columns left to make up for the last errors. Counts them.
fn keep_nearest(
    weight: Matrix<'_>,
    hessian: &ptq::Hessian,
    quantized: &mut Quantized,
) -> Result<usize, quant_core::Error> {
    let columns = weight.columns();
    let len = quantized.grid.group_len(columns);
    if quantized.group_of.iter().enumerate().any(|(column, &group)| group != column / len) {
        return Ok(0);
    }
    let nearest = ptq::rtn(weight, &quantized.grid)?;
    let (learned, plain) = (quantized.dequantize(), nearest.dequantize());
    let groups = quantized.grid.groups(columns);
    let mut kept = 0;
    for row in 0..weight.rows() {
        let range = row * columns..(row + 1) * columns;
        let error = |values: &[f32]| -> Result<f64, quant_core::Error> {
            let w = Matrix::new("weight", 1, columns, weight.row(row))?;
            hessian.output_error(w, Matrix::new("weight", 1, columns, &values[range.clone()])?)
        };
        if error(&plain)? < error(&learned)? {
            quantized.codes[range.clone()].copy_from_slice(&nearest.codes[range.clone()]);
            let cells = row * groups..(row + 1) * groups;
            quantized.cells[cells.clone()].copy_from_slice(&nearest.cells[cells]);
            kept += 1;
        }
    }
    Ok(kept)
}

/// What groups of rows give, one after the other.
#[derive(Default)]
struct Parts {
    kept: usize,
    codes: Vec<i32>,
    scales: Vec<f32>,
    zero_points: Vec<i32>,
    float_zeros: Vec<f32>,
    outliers: Vec<Outlier>,
    values: Vec<f32>,
}

impl Parts {
    fn whole(&mut self, quantized: &Quantized, rounding: &Rounding, scheme: &Scheme) -> Result<(), Error> {
        let len = quantized.grid.group_len(quantized.columns);
        if quantized.group_of.iter().enumerate().any(|(column, &group)| group != column / len) {
            let option = format!("--weights with --method {}", rounding.name());
            let expected = "`channel`, or static groups where the largest inputs come first".into();
            return Err(Error::QuantizeOption { option, expected, found: format!("`{scheme}`") });
        }
        self.codes.extend(&quantized.codes);
        self.scales.extend(quantized.cells.iter().map(|cell| cell.scale));
        self.zero_points.extend(quantized.cells.iter().map(|cell| cell.zero_point));
        self.values.extend(quantized.dequantize());
        Ok(())
    }

    fn float(&mut self, quantized: &FloatZero) {
        self.codes.extend(&quantized.codes);
        self.scales.extend(&quantized.scale);
        self.float_zeros.extend(&quantized.zero);
        self.values.extend(quantized.dequantize());
    }

    fn finish(self, layer: &Layer, scheme: &Scheme) -> Rounded {
        let (mut values, kept) = (self.values, self.kept);
        let outliers = self.outliers;
        outliers
            .iter()
            .for_each(|outlier| values[outlier.row * layer.columns + outlier.column] = outlier.value);
        let (codes, zero_points, shift) = stored(scheme, &self.codes, &self.zero_points);
        let encoded = Encoded {
            scheme: *scheme,
            rows: layer.rows,
            columns: layer.columns,
            codes,
            scales: Scales::F32(self.scales),
            zero_points,
            global_scale: None,
        };
        let float_zeros = (!self.float_zeros.is_empty())
            .then(|| self.float_zeros.iter().map(|zero| zero + shift as f32).collect());
        Rounded {
            coded: Coded { encoded, float_zeros, outliers, low_rank: None, masked: false },
            values,
            kept,
        }
    }
}

/// Codes and zero points in a scheme's own numbering, which starts at 0 for unsigned formats, and by how much it is
/// higher than a grid's.
fn stored(scheme: &Scheme, codes: &[i32], zero_points: &[i32]) -> (Codes, Vec<i32>, i32) {
    let int = scheme.int().expect("a grid is of an integer format");
    let shift = if int.signed { 0 } else { 1 << (int.bits - 1) };
    let each = codes.iter().map(|code| code + shift);
    let codes = match (int.bits > 8, int.signed) {
        (true, _) => Codes::I16(each.map(|code| code as i16).collect()),
        (false, true) => Codes::I8(each.map(|code| code as i8).collect()),
        (false, false) => Codes::U8(each.map(|code| code as u8).collect()),
    };
    let affine = scheme.symmetry() == Some(quant_core::Symmetry::Affine);
    let zero_points = if affine { zero_points.iter().map(|zero| zero + shift).collect() } else { Vec::new() };
    (codes, zero_points, shift)
}
