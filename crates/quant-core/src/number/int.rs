//! Integers of 1 to 8 and of 16 bits.

/// An integer format; signed ones are two's complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    /// Name: `int4`, `uint4`.
    pub name: &'static str,
    /// Bits of a code.
    pub bits: u32,
    /// Whether there are negative codes.
    pub signed: bool,
}

const fn row(name: &'static str, signed: bool, bits: u32) -> Int {
    Int { name, bits, signed }
}

/// The integer formats.
pub const INTS: &[Int] = &[
    row("int1", true, 1),
    row("int2", true, 2),
    row("int3", true, 3),
    row("int4", true, 4),
    row("int5", true, 5),
    row("int6", true, 6),
    row("int7", true, 7),
    row("int8", true, 8),
    row("int16", true, 16),
    row("uint1", false, 1),
    row("uint2", false, 2),
    row("uint3", false, 3),
    row("uint4", false, 4),
    row("uint5", false, 5),
    row("uint6", false, 6),
    row("uint7", false, 7),
    row("uint8", false, 8),
    row("uint16", false, 16),
];

impl Int {
    /// The format of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        INTS.iter().find(|int| int.name == name)
    }

    /// Smallest code.
    pub const fn min(&self) -> i32 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// Largest code.
    pub const fn max(&self) -> i32 {
        (1 << (self.bits - self.signed as u32)) - 1
    }

    /// Smallest and largest code in narrow range, where a signed format leaves its lowest code out.
    ///
    /// A signed format of one bit would keep only the code 0.
    pub const fn narrow(&self) -> (i32, i32) {
        (self.min() + self.signed as i32, self.max())
    }

    /// The number that the low bits of `code` stand for: sign-extended in signed formats.
    pub const fn decode(&self, code: u32) -> i32 {
        let unused = 32 - self.bits;
        if self.signed { ((code << unused) as i32) >> unused } else { (code << unused >> unused) as i32 }
    }
}
