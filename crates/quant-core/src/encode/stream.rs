//! A weight that does not fit into memory, encoded from pieces of whole rows: the same codes, bit for bit.
//!
//! Rows are independent of each other under most schemes. Where a scale is that of the whole tensor, a first pass looks
//! at everything once; then pieces are encoded with what it saw.

use super::{Cells, Encoded, Places, Statistic, encode};
use crate::number::{BlockScale, CodebookRule, Codes, Division, Number, Scales};
use crate::{Error, Granularity, Scheme, Symmetry};

/// Encodes pieces of one weight.
#[derive(Debug, Clone)]
pub struct Encoder {
    scheme: Scheme,
    whole: Whole,
}

/// What the pieces of a tensor share.
#[derive(Debug, Clone)]
enum Whole {
    /// Nothing.
    Rows,
    /// The scale.
    Cell(Statistic),
    /// The largest magnitude, from which the scale of all scales comes.
    Most(f32),
    /// mean|x|, summed in parts of a fixed length, as [`cast`](number::cast) does.
    Mean { sum: f64, part: f64, count: usize },
}

/// Values whose magnitudes are summed before they join the sum.
const PART: usize = 1 << 16;

impl Encoder {
    /// An encoder that has seen nothing.
    pub fn new(scheme: &Scheme) -> Self {
        let whole = match (scheme.granularity(), scheme.number()) {
            (Granularity::Tensor, _) => Whole::Cell(Statistic::default()),
            (Granularity::Own, Number::Block(block))
                if block.scale == (BlockScale::Ue4m3 { global: true }) =>
            {
                Whole::Most(0.0)
            }
            (Granularity::Own, Number::Codebook(row)) if row.rule == CodebookRule::Ternary => {
                Whole::Mean { sum: 0.0, part: 0.0, count: 0 }
            }
            _ => Whole::Rows,
        };
        Self { scheme: *scheme, whole }
    }

    /// Whether all pieces have to pass [`Encoder::observe`], in order, before the first is encoded.
    pub fn looks_ahead(&self) -> bool {
        !matches!(self.whole, Whole::Rows)
    }

    /// Rows that a piece has to be a multiple of, but for the last one: the height of a block.
    pub fn rows(&self) -> usize {
        match self.scheme.granularity() {
            Granularity::Block(height, _) => height,
            _ => 1,
        }
    }

    /// Looks at a piece, whole rows of `columns` numbers.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`], with the position in the piece.
    pub fn observe(&mut self, values: &[f32], columns: usize) -> Result<(), Error> {
        check(values)?;
        match &mut self.whole {
            Whole::Rows => {}
            Whole::Cell(all) => {
                values.chunks(columns.max(1)).for_each(|row| all.add(&Statistic::of(row)));
            }
            Whole::Most(most) => *most = values.iter().fold(*most, |most, x| most.max(x.abs())),
            Whole::Mean { sum, part, count } => {
                for x in values {
                    *part += f64::from(x.abs());
                    *count += 1;
                    if *count % PART == 0 {
                        *sum += std::mem::take(part);
                    }
                }
            }
        }
        Ok(())
    }

    /// Encodes a piece: those rows of what [`encode`] makes of the whole weight. Scales of the tensor come with every
    /// piece.
    ///
    /// # Errors
    ///
    /// Those of [`encode`], with positions in the piece.
    pub fn encode(&self, values: &[f32], rows: usize, columns: usize) -> Result<Encoded, Error> {
        let scheme = &self.scheme;
        if values.len() != rows * columns {
            let (expected, found) = (rows * columns, values.len());
            return Err(Error::Length { shape: vec![rows, columns], expected, found });
        }
        let encoded = |codes, scales, zero_points| Encoded {
            scheme: *scheme,
            rows,
            columns,
            codes,
            scales: Scales::F32(scales),
            zero_points,
            global_scale: None,
        };
        match &self.whole {
            Whole::Rows => encode(values, rows, columns, scheme),
            Whole::Cell(statistic) => {
                check(values)?;
                let cells = Cells::of(std::slice::from_ref(statistic), scheme, Division::ByScale)?;
                let codes = Places::new(Granularity::Tensor, rows, columns).codes(
                    values,
                    &cells,
                    scheme,
                    Division::ByScale,
                );
                let affine = scheme.symmetry() == Some(Symmetry::Affine);
                Ok(encoded(codes, cells.scales, if affine { cells.zero_points } else { Vec::new() }))
            }
            Whole::Most(most) => {
                // A row that holds the tensor's largest magnitude rides along.
                let mut longer = values.to_vec();
                longer.resize(values.len() + columns, 0.0);
                if let Some(first) = longer.get_mut(values.len()) {
                    *first = *most;
                }
                let mut all = encode(&longer, rows + 1, columns, scheme)?;
                all.rows = rows;
                if let Codes::U8(codes) = &mut all.codes {
                    codes.truncate(values.len());
                }
                if let Scales::Codes(scales) = &mut all.scales {
                    scales.truncate(scheme.cells(rows, columns));
                }
                Ok(all)
            }
            Whole::Mean { sum, part, count } => {
                check(values)?;
                let sum = if count % PART == 0 { *sum } else { sum + part };
                let scale = if *count == 0 { 0.0 } else { (sum / *count as f64) as f32 };
                let half = f64::from(scale) / 2.0;
                let code = |x: &f32| i8::from(f64::from(*x) > half) - i8::from(f64::from(*x) < -half);
                Ok(encoded(Codes::I8(values.iter().map(code).collect()), vec![scale], Vec::new()))
            }
        }
    }
}

fn check(values: &[f32]) -> Result<(), Error> {
    match super::first_infinite(values) {
        Some(index) => Err(Error::NotFinite { index, value: values[index] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of many sizes, without a generator.
    fn weight(rows: usize, columns: usize) -> Vec<f32> {
        let number = |i: usize| ((i as f32 * 0.737).sin() * (i as f32 * 0.013).cos()).powi(3);
        (0..rows * columns).map(number).collect()
    }

    #[test]
    fn pieces_are_the_rows_of_the_whole() {
        let (rows, columns) = (700, 103);
        let values = weight(rows, columns);
        let words = [
            "int4 group=32 affine",
            "int8 tensor symmetric",
            "int8 tensor affine",
            "e4m3fn tensor",
            "e4m3fn block=4x16",
            "ternary tensor",
            "ternary",
            "binary",
            "binary tensor",
            "nf4",
            "nf4 tensor",
            "nvfp4",
            "mxfp4",
            "q4_0",
            "bf16",
            "pow2",
            "int4 channel affine scale=fp16",
        ];
        for word in words {
            let scheme: Scheme = word.parse().expect("a scheme");
            let whole = encode(&values, rows, columns, &scheme).expect("finite");
            let mut encoder = Encoder::new(&scheme);
            let step = 16 * columns;
            if encoder.looks_ahead() {
                values.chunks(step).for_each(|piece| encoder.observe(piece, columns).expect("finite"));
            }
            assert_eq!(16 % encoder.rows(), 0);
            let mut decoded = Vec::new();
            for piece in values.chunks(step) {
                let part = encoder.encode(piece, piece.len() / columns, columns).expect("finite");
                assert_eq!(part.global_scale, whole.global_scale, "{word}");
                decoded.extend(part.decode());
            }
            assert_eq!(decoded, whole.decode(), "{word}");
        }
    }
}
