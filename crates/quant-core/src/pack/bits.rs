//! Fields of 1 to 16 bits, the lowest first, a group of eight codes at a time: eight fields of b bits are b bytes.
//!
//! Up to 8 bits a group is one 64-bit word with a code in each byte, squeezed in three steps that all eight take at
//! once. For b = 3, a field a letter, the highest bit on the left:
//!
//! ```text
//! ·····hhh·····ggg·····fff·····eee·····ddd·····ccc·····bbb·····aaa
//! ··········hhhggg··········fffeee··········dddccc··········bbbaaa
//! ····················hhhgggfffeee····················dddcccbbbaaa
//! ········································hhhgggfffeeedddcccbbbaaa
//! ```
//!
//! Spreading is the same backwards. No step depends on another word, so the compiler makes vectors of them.

use super::Code;

/// How codes become fields: field = (code ^ flip) & (2^b − 1), code = (field ^ turn) − less.
///
/// | codes | flip | turn | less |
/// | --- | --- | --- | --- |
/// | unsigned | 0 | 0 | 0 |
/// | two's complement | 0 | 2^(b−1) | 2^(b−1), which extends the sign |
/// | offset: q + 2^(b−1) | 2^(b−1), the same as adding | 0 | 2^(b−1) |
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    pub(super) flip: u16,
    pub(super) turn: u16,
    pub(super) less: u16,
}

/// Bytes that `len` fields take.
pub(super) const fn bytes(len: usize, bits: u32) -> usize {
    (len / 8).saturating_mul(bits as usize).saturating_add((len % 8 * bits as usize).div_ceil(8))
}

/// Writes the fields of `codes`, and zeros behind them.
pub(super) fn pack<C: Code>(codes: &[C], bits: u32, signs: Signs, to: &mut [u8]) {
    let (to, end) = to.split_at_mut(bytes(codes.len(), bits));
    end.fill(0);
    match bits {
        1 => pack_bytes::<C, 1>(codes, signs, to),
        2 => pack_bytes::<C, 2>(codes, signs, to),
        3 => pack_bytes::<C, 3>(codes, signs, to),
        4 => pack_bytes::<C, 4>(codes, signs, to),
        5 => pack_bytes::<C, 5>(codes, signs, to),
        6 => pack_bytes::<C, 6>(codes, signs, to),
        7 => pack_bytes::<C, 7>(codes, signs, to),
        8 => pack_bytes::<C, 8>(codes, signs, to),
        _ => pack_words(codes, bits as usize, signs, to),
    }
}

/// Reads as many fields as there is room for.
pub(super) fn unpack<C: Code>(from: &[u8], bits: u32, signs: Signs, codes: &mut [C]) {
    let from = &from[..bytes(codes.len(), bits)];
    match bits {
        1 => unpack_bytes::<C, 1>(from, signs, codes),
        2 => unpack_bytes::<C, 2>(from, signs, codes),
        3 => unpack_bytes::<C, 3>(from, signs, codes),
        4 => unpack_bytes::<C, 4>(from, signs, codes),
        5 => unpack_bytes::<C, 5>(from, signs, codes),
        6 => unpack_bytes::<C, 6>(from, signs, codes),
        7 => unpack_bytes::<C, 7>(from, signs, codes),
        8 => unpack_bytes::<C, 8>(from, signs, codes),
        _ => unpack_words(from, bits as usize, signs, codes),
    }
}

const fn low(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// A byte, two bytes, four bytes repeated over the word.
pub(crate) const BYTES: u64 = 0x0101_0101_0101_0101;
const PAIRS: u64 = 0x0001_0001_0001_0001;
const QUADS: u64 = 0x0000_0001_0000_0001;

/// Eight fields, one a byte, next to one another. Bits above the fields' are undefined.
#[inline(always)]
pub(crate) const fn squeeze<const B: usize>(x: u64) -> u64 {
    let gap = 8 - B;
    if B == 1 {
        // The bit at 8i times 2^(7·(8 − i)) comes to stand at 56 + i; no two products meet, so nothing carries.
        return x.wrapping_mul(0x0102_0408_1020_4080) >> 56;
    }
    if B <= 4 {
        // Two fields are no longer than the gap between their places, so what a shift leaves behind is masked away.
        let x = (x | (x >> gap)) & (low(2 * B) * PAIRS);
        let x = (x | (x >> (2 * gap))) & (low(4 * B) * QUADS);
        return x | (x >> (4 * gap));
    }
    let x = (x & (low(B) * PAIRS)) | ((x >> gap) & ((low(B) << B) * PAIRS));
    let x = (x & (low(2 * B) * QUADS)) | ((x >> (2 * gap)) & ((low(2 * B) << (2 * B)) * QUADS));
    (x & low(4 * B)) | ((x >> (4 * gap)) & (low(4 * B) << (4 * B)))
}

/// The bits of every byte, one a byte.
const EIGHT_BITS: [u64; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= (byte as u64 >> bit & 1) << (8 * bit);
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// Its inverse, from a word with nothing above the fields.
#[inline(always)]
const fn spread<const B: usize>(x: u64) -> u64 {
    let gap = 8 - B;
    if B == 1 {
        return EIGHT_BITS[x as usize & 0xff];
    }
    if B <= 4 {
        let x = (x | (x << (4 * gap))) & (low(4 * B) * QUADS);
        let x = (x | (x << (2 * gap))) & (low(2 * B) * PAIRS);
        return (x | (x << gap)) & (low(B) * BYTES);
    }
    let x = (x & low(4 * B)) | ((x << (4 * gap)) & (low(4 * B) << 32));
    let x = (x & (low(2 * B) * QUADS)) | ((x << (2 * gap)) & ((low(2 * B) << 16) * QUADS));
    (x & (low(B) * PAIRS)) | ((x << gap) & ((low(B) << 8) * PAIRS))
}

#[inline(always)]
fn fields<C: Code, const B: usize>(group: &[C; 8], signs: Signs) -> u64 {
    let codes = u64::from_le_bytes(group.map(C::byte));
    (codes ^ (u64::from(signs.flip) * BYTES)) & (low(B) * BYTES)
}

#[inline(always)]
fn codes<C: Code, const B: usize>(fields: u64, signs: Signs) -> [C; 8] {
    let (turn, less) = (u64::from(signs.turn) * BYTES, u64::from(signs.less) * BYTES);
    // Eight subtractions at once: fields below 8 bits leave the top bit of a byte free to borrow from. With 8 bits,
    // taking 128 away is turning the top bit.
    let top = 0x80 * BYTES;
    let codes = match B {
        8 => fields ^ turn ^ less,
        _ => (((fields ^ turn) | top) - less) ^ top,
    };
    codes.to_le_bytes().map(C::from_byte)
}

fn pack_bytes<C: Code, const B: usize>(codes: &[C], signs: Signs, to: &mut [u8]) {
    let (groups, rest) = codes.as_chunks::<8>();
    let (whole, end) = to.split_at_mut(groups.len() * B);
    for (group, to) in groups.iter().zip(whole.as_chunks_mut::<B>().0) {
        to.copy_from_slice(&squeeze::<B>(fields::<C, B>(group, signs)).to_le_bytes()[..B]);
    }
    if !rest.is_empty() {
        // A code of `flip` is a field of 0.
        let mut group = [C::from_byte(signs.flip as u8); 8];
        group[..rest.len()].copy_from_slice(rest);
        let word = squeeze::<B>(fields::<C, B>(&group, signs)).to_le_bytes();
        end.copy_from_slice(&word[..end.len()]);
    }
}

fn unpack_bytes<C: Code, const B: usize>(from: &[u8], signs: Signs, to: &mut [C]) {
    let (groups, rest) = to.as_chunks_mut::<8>();
    let (whole, end) = from.split_at(groups.len() * B);
    for (group, from) in groups.iter_mut().zip(whole.as_chunks::<B>().0) {
        let mut word = [0; 8];
        word[..B].copy_from_slice(from);
        *group = codes::<C, B>(spread::<B>(u64::from_le_bytes(word)), signs);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..end.len()].copy_from_slice(end);
        let group = codes::<C, B>(spread::<B>(u64::from_le_bytes(word)), signs);
        rest.copy_from_slice(&group[..rest.len()]);
    }
}

/// Wider fields: four of them in a 64-bit word, eight in two.
fn pack_words<C: Code>(codes: &[C], bits: usize, signs: Signs, to: &mut [u8]) {
    let mask = low(bits);
    for (group, to) in codes.chunks(8).zip(to.chunks_mut(bits)) {
        let mut halves = [0u64; 2];
        for (half, codes) in halves.iter_mut().zip(group.chunks(4)) {
            for (i, code) in codes.iter().enumerate() {
                *half |= (u64::from(code.word() ^ signs.flip) & mask) << (i * bits);
            }
        }
        let word = u128::from(halves[0]) | u128::from(halves[1]) << (4 * bits);
        to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
    }
}

fn unpack_words<C: Code>(from: &[u8], bits: usize, signs: Signs, to: &mut [C]) {
    let mask = low(bits) as u16;
    for (group, from) in to.chunks_mut(8).zip(from.chunks(bits)) {
        let mut word = [0; 16];
        word[..from.len()].copy_from_slice(from);
        let word = u128::from_le_bytes(word);
        let halves = [word as u64, (word >> (4 * bits)) as u64];
        for (half, codes) in halves.iter().zip(group.chunks_mut(4)) {
            for (i, code) in codes.iter_mut().enumerate() {
                let field = (half >> (i * bits)) as u16 & mask;
                *code = C::from_word((field ^ signs.turn).wrapping_sub(signs.less));
            }
        }
    }
}
