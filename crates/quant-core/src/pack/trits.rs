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
    let digit = |code: &C| code.byte().wrapping_add(u8::from(C::SIGNED));
    let (groups, rest) = codes.as_chunks::<5>();
    let five = |[a, b, c, d, e]: &[C; 5]| {
        let high = digit(d).wrapping_add(digit(e).wrapping_mul(3)).wrapping_mul(27);
        digit(a)
            .wrapping_add(digit(b).wrapping_mul(3))
            .wrapping_add(digit(c).wrapping_mul(9))
            .wrapping_add(high)
    };
    for (group, to) in groups.iter().zip(&mut *to) {
        *to = five(group);
    }
    if !rest.is_empty() {
        to[groups.len()] =
            rest.iter().rev().fold(0u8, |byte, code| byte.wrapping_mul(3).wrapping_add(digit(code)));
    }
}

/// Unpacks as many trits as there is room for; `false` at a byte that is no five of them.
pub(super) fn unpack<C: Code>(from: &[u8], codes: &mut [C]) -> bool {
    let table = &DIGITS[usize::from(C::SIGNED)];
    for (codes, &byte) in codes.chunks_mut(5).zip(from) {
        let Some(digits) = table.get(usize::from(byte)) else { return false };
        for (code, &digit) in codes.iter_mut().zip(digits) {
            *code = C::from_byte(digit);
        }
    }
    true
}
