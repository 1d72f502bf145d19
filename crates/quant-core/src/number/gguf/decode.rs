//! From blocks to values.

use pulp::{Arch, Simd, WithSimd};

use super::super::blocked::Blocks;
use super::super::parallel;
use super::{GGUFS, Gguf, Statistic};

/// Values of blocks of `GGUFS[ROW]`.
pub(super) fn values<const ROW: usize, const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    len: usize,
    columns: usize,
) -> Vec<f32> {
    let (arch, rows) = (Arch::new(), Blocks { columns, len: LEN });
    parallel::fill(len, |start, values| {
        arch.dispatch(Decoding::<ROW, LEN, BYTES> { rows, blocks: bytes.as_chunks().0, start, values })
    })
}

/// A strip of values, compiled for each instruction set.
struct Decoding<'a, const ROW: usize, const LEN: usize, const BYTES: usize> {
    rows: Blocks,
    blocks: &'a [[u8; BYTES]],
    /// Where the first value stands.
    start: usize,
    values: &'a mut [f32],
}

impl<const ROW: usize, const LEN: usize, const BYTES: usize> WithSimd for Decoding<'_, ROW, LEN, BYTES> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.rows.parts(self.start, self.values.len(), |block, offset, range| {
            let all: [f32; LEN] = const { GGUFS[ROW] }.decode(&self.blocks[block]);
            let values = &mut self.values[range];
            match values.as_mut_array() {
                // Everywhere but at the end of a row.
                Some(values) => *values = all,
                None => values.copy_from_slice(&all[offset..][..values.len()]),
            }
        });
    }
}

impl Gguf {
    /// All values of a block.
    #[inline(always)]
    fn decode<const LEN: usize, const BYTES: usize>(&self, bytes: &[u8; BYTES]) -> [f32; LEN] {
        let (step_at, codes_at) = self.places();
        let half = |at: usize| widen(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let step = half(step_at);
        let minimum = if let Statistic::Affine = self.statistic { half(step_at + 2) } else { 0.0 };
        let low = self.low() as usize;
        let mut codes = [0u8; LEN];
        let packed = bytes[codes_at..codes_at + LEN * low / 8].chunks_exact(self.plane);
        for (codes, packed) in codes.chunks_exact_mut(self.plane * 8 / low).zip(packed) {
            for (part, codes) in codes.chunks_exact_mut(self.plane).enumerate() {
                for (code, byte) in codes.iter_mut().zip(packed) {
                    *code = byte >> (part * low) & ((1u32 << low) - 1) as u8;
                }
            }
        }
        if self.bits > self.low() {
            let high = &bytes[codes_at - 4..codes_at];
            for (at, code) in codes.iter_mut().enumerate() {
                *code |= (high[at / 8] >> (at % 8) & 1) << low;
            }
        }
        let mut values = [0f32; LEN];
        for (value, code) in values.iter_mut().zip(codes) {
            *value = match self.statistic {
                Statistic::Signed => step * (i32::from(code) - self.middle()) as f32,
                Statistic::Affine => step * f32::from(code) + minimum,
                Statistic::Largest { offset: 0, .. } => step * f32::from(code as i8),
                Statistic::Largest { offset, .. } => step * (i32::from(code) - i32::from(offset)) as f32,
            };
        }
        values
    }
}

/// The f32 of an fp16's bits.
#[inline(always)]
fn widen(bits: u16) -> f32 {
    let size = u32::from(bits & 0x7fff) << 13;
    // The exponent's bias is 127 and not 15, which a product puts right for subnormal numbers too.
    let near = f32::from_bits(size) * f32::from_bits((112 + 127) << 23);
    let magnitude = if size < 0x1f << 23 { near.to_bits() } else { size | 0xff << 23 };
    f32::from_bits(magnitude | u32::from(bits >> 15) << 31)
}

#[cfg(test)]
mod tests {
    use burn::tensor::f16;

    use super::*;

    #[test]
    fn every_half_float_widens_to_itself() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (widen(bits), f16::from_bits(bits).to_f32());
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{bits:#06x}: {found:e}");
            assert_eq!(found.is_sign_negative(), expected.is_sign_negative(), "{bits:#06x}");
        }
    }
}
