//! A weight under any scheme: codes, scales and zero points as files hold them, and the values they stand for.

use rayon::prelude::*;

use crate::number::{
    self, CodebookRule, Codes, Division, FloatRounder, Number, Numerics, SATURATING, Scales, nearest_codes,
};
use crate::scheme::{fit_as, legal};
use crate::{Error, Granularity, ScaleFormat, Scheme, Symmetry};

mod decode;
mod stream;

pub use stream::Encoder;

/// A matrix `[rows, columns]` under a scheme.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The scheme.
    pub scheme: Scheme,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// One a number, row-major; of GGUF formats, the blocks of a file.
    pub codes: Codes,
    /// [`Scheme::cells`] of them, row-major; their values, or their codes where the format's own blocks have them.
    pub scales: Scales,
    /// One a scale, of affine integers; else none.
    pub zero_points: Vec<i32>,
    /// The scale of all scales.
    pub global_scale: Option<f32>,
}

/// Rounds a row-major matrix `[rows, columns]` as `scheme` says.
///
/// With s the stored scale of the cell that a number x is in, z its zero point:
///
/// | format | scale | code |
/// | --- | --- | --- |
/// | integer | [`Symmetry`] | clamp(round_half_even(x / s) + z, qmin, qmax) |
/// | float | amax / largest finite value | of x / s, to nearest even, saturating |
/// | nf4 | amax | of the nearest s · value, exact ties to the lower |
/// | ternary | mean\|x\| | clamp(round_half_even(x / s), −1, 1) |
/// | binary | mean\|x\| | 1 for x ≥ 0, else −1 |
///
/// all in 32-bit floats; a scale of 0 is 1. Formats that stand alone are [`cast`](number::cast) in their home profile.
///
/// # Errors
///
/// [`Error::Length`], [`Error::NotFinite`] for NaN and infinities, [`Error::TooWide`] with the number of the cell where a
/// scale or a value of the grid would overflow.
pub fn encode(values: &[f32], rows: usize, columns: usize, scheme: &Scheme) -> Result<Encoded, Error> {
    encode_as(values, rows, columns, scheme, None)
}

/// [`encode`] in a profile: integers divide as it says ([`Division`]), and formats that stand alone are cast in it.
/// Without one it is ONNX's for integers, and the home of formats that stand alone.
///
/// # Errors
///
/// As [`encode`], and [`Error::Undefined`] for a format that stands alone and is not the profile's.
pub fn encode_as(
    values: &[f32],
    rows: usize,
    columns: usize,
    scheme: &Scheme,
    numerics: Option<&Numerics>,
) -> Result<Encoded, Error> {
    if values.len() != rows * columns {
        let (expected, found) = (rows * columns, values.len());
        return Err(Error::Length { shape: vec![rows, columns], expected, found });
    }
    if let Some(index) = first_infinite(values) {
        return Err(Error::NotFinite { index, value: values[index] });
    }
    if scheme.granularity() == Granularity::Own {
        let cast = number::cast(values, &[rows, columns], scheme.number(), numerics)?;
        return Ok(Encoded {
            scheme: *scheme,
            rows,
            columns,
            codes: cast.codes,
            scales: cast.scales.map_or(Scales::F32(Vec::new()), |(scales, _)| scales),
            zero_points: Vec::new(),
            global_scale: cast.global_scale,
        });
    }
    let places = Places::new(scheme.granularity(), rows, columns);
    let division = numerics.unwrap_or(&number::ONNX).division;
    let cells = Cells::of(&places.statistics(values), scheme, division)?;
    let codes = places.codes(values, &cells, scheme, division);
    let affine = scheme.symmetry() == Some(Symmetry::Affine);
    let zero_points = if affine { cells.zero_points } else { Vec::new() };
    let scales = Scales::F32(cells.scales);
    Ok(Encoded { scheme: *scheme, rows, columns, codes, scales, zero_points, global_scale: None })
}

/// The first number that is not finite, looked for fast where there is none.
fn first_infinite(values: &[f32]) -> Option<usize> {
    let exists = number::exists(values, |x| !x.is_finite());
    exists.then(|| values.iter().position(|x| !x.is_finite()))?
}

/// Where cells lie: segments of `width` columns in every row, `height` rows of segments to a cell.
#[derive(Debug, Clone, Copy)]
struct Places {
    columns: usize,
    width: usize,
    height: usize,
    /// Segments in a row.
    across: usize,
    cells: usize,
}

impl Places {
    fn new(granularity: Granularity, rows: usize, columns: usize) -> Self {
        let (height, width) = match granularity {
            Granularity::Own | Granularity::Tensor => (rows, columns),
            Granularity::Channel | Granularity::Token => (1, columns),
            Granularity::Group(width) => (1, width),
            Granularity::Block(height, width) => (height, width),
        };
        let (height, width) = (height.max(1), width.clamp(1, columns.max(1)));
        let across = columns.div_ceil(width);
        Self { columns, width, height, across, cells: rows.div_ceil(height) * across }
    }

    /// The cell of a segment of a row.
    fn cell(self, row: usize, segment: usize) -> usize {
        row / self.height * self.across + segment
    }

    /// Rows that a task takes.
    fn task(self) -> usize {
        (1_usize << 16).div_ceil(self.columns.max(1))
    }

    fn statistics(self, values: &[f32]) -> Vec<Statistic> {
        let columns = self.columns.max(1);
        let mut parts = vec![Statistic::default(); values.len() / columns * self.across];
        let tasks = parts.par_chunks_mut(self.across.max(1)).zip(values.par_chunks(columns));
        tasks.with_min_len(self.task()).for_each(|(parts, row)| {
            parts.iter_mut().zip(row.chunks(self.width)).for_each(|(part, x)| *part = Statistic::of(x));
        });
        if self.height == 1 {
            return parts;
        }
        // In the order of rows, so that sums do not depend on the number of threads.
        let mut cells = vec![Statistic::default(); self.cells];
        for (row, parts) in parts.chunks(self.across.max(1)).enumerate() {
            parts.iter().enumerate().for_each(|(at, part)| cells[self.cell(row, at)].add(part));
        }
        cells
    }

    fn codes(self, values: &[f32], cells: &Cells, scheme: &Scheme, division: Division) -> Codes {
        let scale = |cell: usize| cells.scales[cell];
        match scheme.number() {
            Number::Int(int) => {
                let (qmin, qmax) = scheme.limits().unwrap_or((int.min(), int.max()));
                let limits = (qmin as f32, qmax as f32);
                match (int.bits > 8, int.signed) {
                    (true, _) => {
                        Codes::I16(self.integers(values, cells, limits, division, |code| code as i16))
                    }
                    (false, true) => {
                        Codes::I8(self.integers(values, cells, limits, division, |code| code as i8))
                    }
                    (false, false) => {
                        Codes::U8(self.integers(values, cells, limits, division, |code| code as u8))
                    }
                }
            }
            Number::Float(float) => {
                let rounder = FloatRounder::new(float, &SATURATING);
                match float.bits() {
                    ..=8 => Codes::U8(self.fill(values, |cell, x, codes| {
                        let s = scale(cell);
                        codes.iter_mut().zip(x).for_each(|(code, &x)| *code = rounder.code(x / s, 0) as u8);
                    })),
                    9..=16 => Codes::I16(self.fill(values, |cell, x, codes| {
                        let s = scale(cell);
                        codes.iter_mut().zip(x).for_each(|(code, &x)| *code = rounder.code(x / s, 0) as i16);
                    })),
                    bits => Codes::I32(self.fill(values, |cell, x, codes| {
                        let s = scale(cell);
                        let pattern = |x: f32| (rounder.code(x / s, 0) << (32 - bits)) as i32;
                        codes.iter_mut().zip(x).for_each(|(code, &x)| *code = pattern(x));
                    })),
                }
            }
            Number::Codebook(row) => match row.rule {
                CodebookRule::Table { values: table, .. } => {
                    Codes::U8(self.fill(values, |cell, x, codes| nearest_codes(x, table, scale(cell), codes)))
                }
                CodebookRule::Ternary => Codes::I8(self.fill(values, |cell, x, codes| {
                    let s = scale(cell);
                    let code = |x: f32| (x / s).round_ties_even().clamp(-1.0, 1.0) as i8;
                    codes.iter_mut().zip(x).for_each(|(to, &x)| *to = code(x));
                })),
                CodebookRule::Binary | CodebookRule::PowersOfTwo => {
                    Codes::I8(self.fill(values, |_, x, codes| {
                        codes.iter_mut().zip(x).for_each(|(code, &x)| *code = if x >= 0.0 { 1 } else { -1 });
                    }))
                }
            },
            Number::Block(_) | Number::Gguf(_) => unreachable!("a scheme shares no scale of these"),
        }
    }

    fn integers<T: Default + Clone + Send>(
        self,
        values: &[f32],
        cells: &Cells,
        (low, high): (f32, f32),
        division: Division,
        store: impl Fn(i32) -> T + Sync,
    ) -> Vec<T> {
        self.fill(values, |cell, x, codes| {
            let (s, z) = (cells.scales[cell], cells.zero_points[cell] as f32);
            let code = |steps: f32| store((steps.round_ties_even() + z).clamp(low, high) as i32);
            let each = codes.iter_mut().zip(x);
            match division {
                Division::ByScale => each.for_each(|(to, &x)| *to = code(x / s)),
                Division::ByInverse => {
                    let inverse = 1.0 / s;
                    each.for_each(|(to, &x)| *to = code(x * inverse));
                }
            }
        })
    }

    /// Codes of all segments, each from its cell.
    fn fill<T: Default + Clone + Send>(
        self,
        values: &[f32],
        f: impl Fn(usize, &[f32], &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut codes = vec![T::default(); values.len()];
        let columns = self.columns.max(1);
        let rows = codes.par_chunks_mut(columns).zip(values.par_chunks(columns)).enumerate();
        rows.with_min_len(self.task()).for_each(|(row, (codes, values))| {
            let segments = values.chunks(self.width).zip(codes.chunks_mut(self.width)).enumerate();
            segments.for_each(|(segment, (x, codes))| f(self.cell(row, segment), x, codes));
        });
        codes
    }
}

/// What scales come from.
#[derive(Debug, Clone, Copy, Default)]
struct Statistic {
    low: f32,
    high: f32,
    /// Σ |x|.
    sum: f64,
    count: usize,
}

impl Statistic {
    fn of(values: &[f32]) -> Self {
        let (low, high) = values.iter().fold((0f32, 0f32), |(l, h), &x| (l.min(x), h.max(x)));
        let sum = values.iter().map(|x| f64::from(x.abs())).sum();
        Self { low, high, sum, count: values.len() }
    }

    fn add(&mut self, other: &Self) {
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
        self.sum += other.sum;
        self.count += other.count;
    }
}

struct Cells {
    scales: Vec<f32>,
    zero_points: Vec<i32>,
}

impl Cells {
    fn of(statistics: &[Statistic], scheme: &Scheme, division: Division) -> Result<Self, Error> {
        let mut cells = Self {
            scales: Vec::with_capacity(statistics.len()),
            zero_points: Vec::with_capacity(statistics.len()),
        };
        for (cell, statistic) in statistics.iter().enumerate() {
            let (scale, zero_point) = scale_of(statistic, scheme, division).ok_or(Error::TooWide {
                cell,
                min: statistic.low,
                max: statistic.high,
            })?;
            cells.scales.push(scale);
            cells.zero_points.push(zero_point);
        }
        Ok(cells)
    }
}

fn scale_of(statistic: &Statistic, scheme: &Scheme, division: Division) -> Option<(f32, i32)> {
    let &Statistic { low, high, sum, count } = statistic;
    let most = high.max(-low);
    let plain = |scale: f32| Some((scheme.scale().stored(legal(scale))?, 0));
    match scheme.number() {
        Number::Int(_) => fit_as(division, scheme.symmetry()?, scheme.limits()?, scheme.scale(), (low, high)),
        Number::Float(float) => plain(most / float.max()),
        Number::Codebook(row) => match row.rule {
            CodebookRule::Table { values, .. } => plain(most / values[values.len() - 1]),
            // Zeros are zeros, unless the scale's format has none.
            _ if sum == 0.0 && scheme.scale() != ScaleFormat::E8m0 => Some((0.0, 0)),
            _ => plain((sum / count as f64) as f32),
        },
        _ => plain(most),
    }
}
