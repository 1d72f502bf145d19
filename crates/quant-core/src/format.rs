//! Number formats as data: one row a format, from which every limit is computed.

/// An integer format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// Name in recipes, that of torch and ONNX.
    pub name: &'static str,
    /// Bits of a code.
    pub bits: u32,
    /// Whether codes are two's complement.
    pub signed: bool,
    /// One line for lists.
    pub about: &'static str,
}

/// The formats there are.
pub const FORMATS: &[Format] = &[
    Format {
        name: "int8", bits: 8, signed: true, about: "−128 ..= 127; symmetric schemes use −127 ..= 127"
    },
    Format { name: "uint8", bits: 8, signed: false, about: "0 ..= 255; affine schemes only" },
];

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// Smallest code.
    pub const fn min(self) -> i32 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// Largest code.
    pub const fn max(self) -> i32 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }
}
