//! What a scheme takes on disk, exactly.

use super::{Granularity, Scheme, Symmetry};
use crate::number::{BlockScale, CodebookRule, Number};

impl Scheme {
    /// Scales of a weight `[rows, columns]`; a group or block at the end may be smaller and has one too. Formats with
    /// their own blocks count those.
    pub fn cells(&self, rows: usize, columns: usize) -> usize {
        match (self.granularity, self.number) {
            (Granularity::Tensor, _) => 1,
            (Granularity::Channel | Granularity::Token, _) => rows,
            (Granularity::Group(len), _) => rows * columns.div_ceil(len),
            (Granularity::Block(height, width), _) => rows.div_ceil(height) * columns.div_ceil(width),
            (Granularity::Own, Number::Block(block)) => rows * columns.div_ceil(block.len),
            (Granularity::Own, Number::Codebook(row)) => match row.rule {
                CodebookRule::Table { block, .. } => rows * columns.div_ceil(block),
                CodebookRule::Ternary => 1,
                CodebookRule::Binary => rows,
                CodebookRule::PowersOfTwo => 0,
            },
            (Granularity::Own, _) => 0,
        }
    }

    /// Bits that a weight `[rows, columns]` takes: codes packed densely, five ternary ones to a byte; scales; zero
    /// points, as wide as codes; the scale of all scales; GGUF's blocks as they are, the last of a row filled up.
    pub fn bits(&self, rows: usize, columns: usize) -> u64 {
        let count = (rows * columns) as u64;
        let cells = self.cells(rows, columns) as u64;
        let (code, scale) = match self.number {
            Number::Float(float) => (count * u64::from(float.bits()), self.scale.bits()),
            Number::Int(int) => (count * u64::from(int.bits), self.scale.bits()),
            Number::Codebook(row) => {
                let code = match row.rule {
                    CodebookRule::Table { values, .. } => count * u64::from(values.len().ilog2()),
                    CodebookRule::Ternary => 8 * count.div_ceil(5),
                    CodebookRule::Binary => count,
                    CodebookRule::PowersOfTwo => 8 * count,
                };
                (code, self.scale.bits())
            }
            Number::Block(block) => (count * u64::from(block.element.bits()), 8),
            Number::Gguf(gguf) => {
                return 8 * (rows * columns.div_ceil(gguf.len) * gguf.bytes()) as u64;
            }
        };
        let zero_point = match (self.symmetry, self.int()) {
            (Some(Symmetry::Affine), Some(int)) => int.bits,
            _ => 0,
        };
        let global = match self.number {
            Number::Block(block) if block.scale == (BlockScale::Ue4m3 { global: true }) => 32,
            _ => 0,
        };
        code + cells * u64::from(scale + zero_point) + global
    }

    /// [`Scheme::bits`] for each weight.
    pub fn bits_per_weight(&self, rows: usize, columns: usize) -> f64 {
        self.bits(rows, columns) as f64 / (rows * columns) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_codes_scales_and_zero_points() {
        let bits = |text: &str, rows, columns| text.parse::<Scheme>().expect("a scheme").bits(rows, columns);
        assert_eq!(bits("int4 group=32 affine", 10, 64), 10 * 64 * 4 + 20 * (32 + 4));
        assert_eq!(bits("int4 group=32 affine scale=fp16", 10, 65), 10 * 65 * 4 + 30 * (16 + 4));
        assert_eq!(bits("int8 channel symmetric", 10, 64), 10 * 64 * 8 + 10 * 32);
        assert_eq!(bits("e4m3fn tensor", 3, 5), 15 * 8 + 32);
        assert_eq!(bits("e4m3fn block=2x2", 3, 5), 15 * 8 + 6 * 32);
        assert_eq!(bits("nf4", 2, 65), 2 * 65 * 4 + 4 * 32);
        assert_eq!(bits("nf4 group=65", 2, 65), 2 * 65 * 4 + 2 * 32);
        assert_eq!(bits("bf16", 2, 65), 2 * 65 * 16);
        assert_eq!(bits("mxfp4", 2, 64), 2 * 64 * 4 + 4 * 8);
        assert_eq!(bits("nvfp4", 2, 64), 2 * 64 * 4 + 8 * 8 + 32);
        assert_eq!(bits("q4_0", 2, 33), 2 * 2 * 18 * 8);
        assert_eq!(bits("ternary", 2, 3), 2 * 8 + 32);
        assert_eq!(bits("binary", 2, 3), 6 + 2 * 32);
    }
}
