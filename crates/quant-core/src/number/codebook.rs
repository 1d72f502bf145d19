//! Formats whose values are a table or the powers of two, and the scales that go with them.

use rayon::prelude::*;

use super::blocked::{Blocks, Coder, Decoder};
use super::parallel::{self, Watch, Wrong};

/// The 16 values of NF4: quantiles of the normal distribution, with an exact zero.
///
/// Source: Dettmers et al. 2023, arXiv 2305.14314; the numbers as bitsandbytes has them.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A format of this kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codebook {
    /// Name.
    pub name: &'static str,
    /// What values become.
    pub rule: Rule,
}

/// How values find codes, and scales values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The nearest of `values`, which ascend, times the largest magnitude of a block; exact ties to the lower code.
    Table {
        /// Values of the codes 0, 1, ….
        values: &'static [f32; 16],
        /// Values that share a scale.
        block: usize,
    },
    /// −1, 0 or 1 times γ = mean|W| of the tensor: clamp(round_half_even(x / γ), −1, 1).
    ///
    /// Source: Ma et al. 2024, arXiv 2402.17764 (BitNet b1.58), without its ε: zeros alone have γ = 0, and code 0.
    Ternary,
    /// −1 or 1, zero counting as positive, times mean|W| of the row.
    ///
    /// Source: Rastegari et al. 2016, arXiv 1603.05279.
    Binary,
    /// ±2^e for e from −63 to 63, and zero: the code is the sign times e + 64. Nearest in value, ties to the larger.
    PowersOfTwo,
}

/// The formats of this kind.
pub const CODEBOOKS: &[Codebook] = &[
    Codebook { name: "nf4", rule: Rule::Table { values: &NF4, block: TABLE_BLOCK } },
    Codebook { name: "ternary", rule: Rule::Ternary },
    Codebook { name: "binary", rule: Rule::Binary },
    Codebook { name: "pow2", rule: Rule::PowersOfTwo },
];

impl Codebook {
    /// Bits of a code and its part of a scale; scales of a tensor or a row are not counted.
    pub fn bits_per_value(&self) -> f64 {
        match self.rule {
            Rule::Table { values, block } => (values.len() as f64).log2() + 32.0 / block as f64,
            Rule::Ternary => 3f64.log2(),
            Rule::Binary => 1.0,
            Rule::PowersOfTwo => 8.0,
        }
    }

    /// What the scale is, after the range.
    pub(crate) fn about(&self) -> String {
        match self.rule {
            Rule::Table { values, block } => {
                let least = values.iter().filter(|x| **x > 0.0).fold(f32::INFINITY, |least, x| least.min(*x));
                format!("times the largest magnitude of {block} values (f32); smallest {least:?}; no NaN")
            }
            Rule::Ternary => "in whole numbers times the mean magnitude of the tensor (f32); no NaN".into(),
            Rule::Binary => "without 0, times the mean magnitude of the row (f32); no NaN".into(),
            Rule::PowersOfTwo => format!("in powers of two and 0; smallest {:?}; no NaN", power(1)),
        }
    }

    /// Smallest and largest value with the scale 1.
    pub fn range(&self) -> (f32, f32) {
        match self.rule {
            Rule::Table { values, .. } => (values[0], values[values.len() - 1]),
            Rule::Ternary | Rule::Binary => (-1.0, 1.0),
            Rule::PowersOfTwo => (-power(127), power(127)),
        }
    }
}

/// Codes and scales of [`Rule::Table`] in blocks along rows.
pub(crate) fn table(values: &[f32], table: &[f32; 16], blocks: Blocks) -> Result<(Vec<u8>, Vec<f32>), Wrong> {
    let zero = table.iter().position(|&x| x == 0.0).unwrap_or(0) as u8;
    let middles = std::array::from_fn(|code| (f64::from(table[code]) + f64::from(table[code + 1])) / 2.0);
    let coder = Nearest { middles, zero, watch: Watch::default() };
    let done = blocks.encode(values, &coder);
    coder.watch.finish(done)
}

/// Finds the nearest of 16 values.
struct Nearest {
    /// Between each two values.
    middles: [f64; 15],
    /// The code of 0.
    zero: u8,
    watch: Watch,
}

impl Coder<TABLE_BLOCK, TABLE_BLOCK> for Nearest {
    type Code = u8;
    type Scale = f32;

    #[inline(always)]
    fn block(&self, values: &[f32; TABLE_BLOCK], _: usize) -> ([u8; TABLE_BLOCK], f32) {
        let most = parallel::largest_bits(values);
        self.watch.see(!parallel::finite(most));
        let scale = f32::from_bits(most);
        if scale == 0.0 {
            return ([self.zero; TABLE_BLOCK], scale);
        }
        // x > midpoint · scale for exact numbers: the product is exact in f64, and for an f32 `x` it is enough to
        // compare with the f32 at or below it.
        let mut limits = [0f32; 15];
        for (limit, middle) in limits.iter_mut().zip(self.middles) {
            *limit = at_most(middle * f64::from(scale));
        }
        // As wide as the values: masks are narrowed once, at the end.
        let mut wide = [0i32; TABLE_BLOCK];
        for (code, &x) in wide.iter_mut().zip(values) {
            for limit in limits {
                *code += i32::from(x > limit);
            }
        }
        (parallel::narrow(wide), scale)
    }
}

/// table · scale.
pub(crate) struct Table<'a> {
    pub(crate) table: &'static [f32; 16],
    pub(crate) scales: &'a [f32],
}

impl Decoder<u8> for Table<'_> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, block: usize) -> f32 {
        self.scales[block]
    }

    #[inline(always)]
    fn value(&self, code: u8, scale: f32) -> f32 {
        self.table[usize::from(code & 15)] * scale
    }
}

/// ±scale.
pub(crate) struct Signs<'a> {
    pub(crate) scales: &'a [f32],
}

impl Decoder<i8> for Signs<'_> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, row: usize) -> f32 {
        self.scales[row]
    }

    #[inline(always)]
    fn value(&self, code: i8, scale: f32) -> f32 {
        f32::from(code) * scale
    }
}

/// Values that share a scale of [`Rule::Table`].
const TABLE_BLOCK: usize = 64;

/// The largest f32 that is no larger.
#[inline(always)]
pub(crate) fn at_most(x: f64) -> f32 {
    let near = x as f32;
    let bits = near.to_bits();
    // A step towards zero is one less, but from −0 or below it is one more: −0 becomes the negative number next to it.
    let step = if bits >> 31 == 0 { bits.wrapping_sub(1) } else { bits + 1 };
    f32::from_bits(if f64::from(near) > x { step } else { bits })
}

/// Codes of the nearest `scale` · value, exact ties to the lower code.
pub(crate) fn nearest_codes(values: &[f32], table: &[f32; 16], scale: f32, codes: &mut [u8]) {
    // x > midpoint · scale for exact numbers: the product is exact in f64, and for an f32 `x` it is enough to
    // compare with the f32 at or below it.
    let mut limits = [0f32; 15];
    for (limit, pair) in limits.iter_mut().zip(table.windows(2)) {
        *limit = at_most((f64::from(pair[0]) + f64::from(pair[1])) / 2.0 * f64::from(scale));
    }
    for (code, &x) in codes.iter_mut().zip(values) {
        *code = limits.iter().map(|&limit| u8::from(x > limit)).sum();
    }
}

/// Codes of [`Rule::Ternary`], and γ.
pub(crate) fn ternary(values: &[f32]) -> Result<(Vec<i8>, f32), Wrong> {
    let sum = parallel::magnitudes(values, PART).iter().sum();
    let scale = mean(sum, values.len())?;
    // |x| / γ > 1/2 without a division; half of γ is exact, and a tie goes to 0, the even code.
    let low = at_most(f64::from(scale) / 2.0);
    Ok((parallel::map(values, |x| i8::from(x > low) - i8::from(x < -low)), scale))
}

/// Codes of [`Rule::Binary`], and a scale for each row.
pub(crate) fn binary(values: &[f32], columns: usize) -> Result<(Vec<i8>, Vec<f32>), Wrong> {
    let scales: Result<Vec<f32>, Wrong> = match columns {
        0 => Ok(Vec::new()),
        1..=PART => parallel::magnitudes(values, columns).iter().map(|&sum| mean(sum, columns)).collect(),
        _ => {
            let sum = |row: &[f32]| parallel::magnitudes(row, PART).iter().sum();
            values.par_chunks(columns).map(|row| mean(sum(row), columns)).collect()
        }
    };
    let scales = scales?;
    Ok((parallel::map(values, |x| if x >= 0.0 { 1 } else { -1 }), scales))
}

/// The code of [`Rule::PowersOfTwo`].
pub(crate) fn power_code(x: f32) -> i8 {
    let (bits, size) = (x.to_bits(), x.abs().to_bits());
    // Adding half of the leading bit carries into the exponent from 1.5 · 2^e on.
    let exponent = ((size + 0x0040_0000) >> 23) as i32 - 127;
    let zero = size < (127 - 64) << 23;
    let code = if zero { 0 } else { (exponent.clamp(-63, 63) + 64) as i8 };
    if bits >> 31 == 1 { -code } else { code }
}

/// The value of a code of [`Rule::PowersOfTwo`]; −128, which is none, is read as −127.
pub(crate) fn power(code: i8) -> f32 {
    let size = i32::from(code.unsigned_abs().min(127));
    let value = if size == 0 { 0.0 } else { super::float::exp2(size - 64) as f32 };
    if code < 0 { -value } else { value }
}

/// Values whose magnitudes are summed one after the other, so that a sum does not depend on the number of threads.
const PART: usize = 1 << 16;

/// The mean of `count` magnitudes; 0 of none. A sum in f64 is finite unless a value is not.
fn mean(sum: f64, count: usize) -> Result<f32, Wrong> {
    match (sum.is_finite(), count) {
        (false, _) => Err(Wrong),
        (true, 0) => Ok(0.0),
        (true, _) => Ok((sum / count as f64) as f32),
    }
}
