//! Codes as a stream of bits, the lowest first, that may stop anywhere and go on.
//!
//! One rule covers the packs of compressed-tensors, which fill rows up to whole words or bytes, and ours, which fill
//! nothing up. Ternary codes go five to a byte, as digits of base 3.

/// Packs a stream of codes.
#[derive(Debug, Clone)]
pub(super) struct Packer {
    width: Width,
    word: u64,
    /// Bits, or digits, in `word`.
    held: u32,
    /// Bytes since the row began.
    written: usize,
}

/// What a code takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Bits, up to 32.
    Bits(u32),
    /// A digit of base 3.
    Trit,
}

/// Powers of three.
const THREES: [u64; 5] = [1, 3, 9, 27, 81];

impl Width {
    /// Bytes of so many codes, without a gap.
    pub(super) fn bytes(self, codes: usize) -> usize {
        match self {
            Self::Bits(bits) => (codes * bits as usize).div_ceil(8),
            Self::Trit => codes.div_ceil(5),
        }
    }
}

impl Packer {
    pub(super) fn new(width: Width) -> Self {
        Self { width, word: 0, held: 0, written: 0 }
    }

    /// Takes codes, whose upper bits are zero, and writes the bytes that are full.
    pub(super) fn push(&mut self, codes: impl Iterator<Item = u32>, bytes: &mut Vec<u8>) {
        let before = bytes.len();
        match self.width {
            Width::Bits(bits) => {
                for code in codes {
                    self.word |= u64::from(code) << self.held;
                    self.held += bits;
                    while self.held >= 8 {
                        bytes.push(self.word as u8);
                        self.word >>= 8;
                        self.held -= 8;
                    }
                }
            }
            Width::Trit => {
                for code in codes {
                    self.word += u64::from(code) * THREES[self.held as usize];
                    self.held += 1;
                    if self.held == 5 {
                        bytes.push(self.word as u8);
                        (self.word, self.held) = (0, 0);
                    }
                }
            }
        }
        self.written += bytes.len() - before;
    }

    /// Ends a row: fills it with zeros up to a multiple of `unit` bytes. Digits are filled with that of 0, which is 1.
    pub(super) fn end(&mut self, unit: usize, bytes: &mut Vec<u8>) {
        if self.held > 0 {
            if self.width == Width::Trit {
                self.word += THREES[self.held as usize..].iter().sum::<u64>();
            }
            bytes.push(self.word as u8);
            self.written += 1;
        }
        let fill = self.written.next_multiple_of(unit.max(1)) - self.written;
        bytes.extend(std::iter::repeat_n(0, fill));
        (self.word, self.held, self.written) = (0, 0, 0);
    }
}

/// The codes number `first` and following of a stream, `count` of them, from bytes that begin where [`first_byte`]
/// says.
pub(super) fn unpack(bytes: &[u8], width: Width, first: usize, count: usize) -> Vec<u32> {
    match width {
        Width::Bits(bits) => {
            let mask = (1_u64 << bits) - 1;
            let offset = first * bits as usize % 8;
            let code = |index: usize| {
                let bit = offset + index * bits as usize;
                let mut word = [0; 8];
                let rest = &bytes[(bit / 8).min(bytes.len())..];
                let len = rest.len().min(8);
                word[..len].copy_from_slice(&rest[..len]);
                (u64::from_le_bytes(word) >> (bit % 8) & mask) as u32
            };
            (0..count).map(code).collect()
        }
        Width::Trit => {
            let digit = |index: usize| {
                let index = first % 5 + index;
                let byte = u64::from(bytes.get(index / 5).copied().unwrap_or(0));
                (byte / THREES[index % 5] % 3) as u32
            };
            (0..count).map(digit).collect()
        }
    }
}

/// The byte in which a code of a stream begins.
pub(super) fn first_byte(width: Width, first: usize) -> usize {
    match width {
        Width::Bits(bits) => first * bits as usize / 8,
        Width::Trit => first / 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_survive_any_cut() {
        let widths = [Width::Trit].into_iter().chain((1..=32).map(Width::Bits));
        for width in widths {
            let code = |i: u32| match width {
                Width::Trit => i * 7 % 3,
                Width::Bits(bits) => (u64::from(i.wrapping_mul(2_654_435_761)) & ((1 << bits) - 1)) as u32,
            };
            let codes: Vec<u32> = (0..103).map(code).collect();
            let (mut packer, mut bytes) = (Packer::new(width), Vec::new());
            for part in codes.chunks(7) {
                packer.push(part.iter().copied(), &mut bytes);
            }
            packer.end(1, &mut bytes);
            assert_eq!(bytes.len(), width.bytes(codes.len()));
            for first in [0, 1, 5, 33, 102] {
                let at = first_byte(width, first);
                assert_eq!(
                    unpack(&bytes[at..], width, first, codes.len() - first),
                    codes[first..],
                    "{width:?}"
                );
            }
        }
    }

    #[test]
    fn rows_end_with_whole_words() {
        let (mut packer, mut bytes) = (Packer::new(Width::Bits(3)), Vec::new());
        for _ in 0..2 {
            packer.push([7, 0, 5].into_iter(), &mut bytes);
            packer.end(4, &mut bytes);
        }
        assert_eq!(bytes, [0b0100_0111, 1, 0, 0, 0b0100_0111, 1, 0, 0]);
    }
}
