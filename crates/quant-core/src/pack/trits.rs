//! Five trits in a byte: byte = d₀ + 3·d₁ + 9·d₂ + 27·d₃ + 81·d₄, the first code the lowest digit.

use super::Code;

/// The first byte that is no five trits, 3⁵.
pub(super) const END: u8 = 243;

/// The digits of every byte, as unsigned codes and as signed ones.
const DIGITS: [[[u8; 5]; END as usize]; 2] = {
    let mut table = [[[0; 5]; END as usize]; 2];
    let mut byte = 0;
    while byte < END as usize {
        let (mut rest, mut place) = (byte, 0);
        while place < 5 {
            table[0][byte][place] = (rest % 3) as u8;
            table[1][byte][place] = ((rest % 3) as u8).wrapping_sub(1);
            rest /= 3;
            place += 1;
        }
        byte += 1;
    }
    table
};

/// Bytes that `len` trits take.
pub(super) const fn bytes(len: usize) -> usize {
    len.div_ceil(5)
}

/// Packs codes of −1, 0 and 1, or of 0, 1 and 2.
pub(super) fn pack<C: Code>(codes: &[C], to: &mut [u8]) {
    let (groups, rest) = codes.as_chunks::<5>();
    for (group, to) in groups.iter().zip(&mut *to) {
        *to = five(group);
    }
    if !rest.is_empty() {
        // The code of the digit 0.
        let mut group = [C::from_byte(0u8.wrapping_sub(u8::from(C::SIGNED))); 5];
        group[..rest.len()].copy_from_slice(rest);
        to[groups.len()] = five(&group);
    }
}

/// One product adds up the digits: that at byte i times 3ⁱ·2^(8·(4 − i)) lands in byte 4, and no byte exceeds 242.
#[inline(always)]
fn five<C: Code>(group: &[C; 5]) -> u8 {
    let [a, b, c, d, e] = group.map(C::byte);
    let codes = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
    const TWO_BITS: u64 = 0x03_0303_0303;
    // Of −1, 0, 1 two bits are enough to count up from.
    let up = if C::SIGNED { 0x01_0101_0101 } else { 0 };
    let digits = ((codes & TWO_BITS) + up) & TWO_BITS;
    const POWERS: u64 = 1 << 32 | 3 << 24 | 9 << 16 | 27 << 8 | 81;
    (digits.wrapping_mul(POWERS) >> 32) as u8
}

/// Unpacks as many trits as there is room for; `false` at a byte that is no five of them.
pub(super) fn unpack<C: Code>(from: &[u8], codes: &mut [C]) -> bool {
    let table = &DIGITS[usize::from(C::SIGNED)];
    let (groups, rest) = codes.as_chunks_mut::<5>();
    let (whole, end) = from.split_at(groups.len());
    for (group, &byte) in groups.iter_mut().zip(whole) {
        let Some(digits) = table.get(usize::from(byte)) else { return false };
        *group = digits.map(C::from_byte);
    }
    match end.first().map(|&byte| table.get(usize::from(byte))) {
        Some(Some(digits)) => {
            rest.iter_mut().zip(digits).for_each(|(code, &digit)| *code = C::from_byte(digit))
        }
        Some(None) => return false,
        None => {}
    }
    true
}
