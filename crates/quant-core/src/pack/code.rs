//! The integers that hold codes, one a number.

mod sealed {
    pub trait Sealed {}
}

/// An integer that holds a code: signed codes in `i8`, `i16` and `i32`, unsigned ones and bit patterns in `u8` and `u16`.
pub trait Code: sealed::Sealed + Copy + Default + Ord + Send + Sync + 'static {
    /// Whether codes are signed.
    const SIGNED: bool;
    /// Bits of the type.
    const WIDTH: u32;
    /// The low byte.
    fn byte(self) -> u8;
    /// The low two bytes; sign-extended from one.
    fn word(self) -> u16;
    /// A number of eight bits.
    fn from_byte(byte: u8) -> Self;
    /// A number of sixteen bits, of which `i8` and `u8` keep the lower half.
    fn from_word(word: u16) -> Self;
    /// The number.
    fn to_i32(self) -> i32;
    /// The number, within the type's limits.
    fn from_i32(code: i32) -> Self;
}

macro_rules! codes {
    ($($kind:ident: $byte:ident, $word:ident;)*) => {$(
        impl sealed::Sealed for $kind {}

        #[allow(clippy::unnecessary_cast, reason = "one macro for all types")]
        impl Code for $kind {
            const SIGNED: bool = $byte::MIN != 0;
            const WIDTH: u32 = $kind::BITS;

            #[inline(always)]
            fn byte(self) -> u8 {
                self as u8
            }

            #[inline(always)]
            fn word(self) -> u16 {
                self as u16
            }

            #[inline(always)]
            fn from_byte(byte: u8) -> Self {
                byte as $byte as $kind
            }

            #[inline(always)]
            fn from_word(word: u16) -> Self {
                word as $word as $kind
            }

            fn to_i32(self) -> i32 {
                self as i32
            }

            fn from_i32(code: i32) -> Self {
                let wide = i64::from(code).clamp(i64::from($kind::MIN), i64::from($kind::MAX));
                wide as $kind
            }
        }
    )*};
}

codes! {
    i8: i8, i16;
    i16: i8, i16;
    i32: i8, i16;
    u8: u8, u16;
    u16: u8, u16;
}

/// Whether all codes lie from `qmin` to `qmax`; without a branch in the loop, which vectorises.
#[inline(always)]
pub(super) fn inside<C: Code>(codes: &[C], qmin: C, qmax: C) -> bool {
    !codes.iter().fold(false, |found, code| found | (*code < qmin) | (*code > qmax))
}

/// The first position of a code that does not.
pub(super) fn outside<C: Code>(codes: &[C], qmin: i32, qmax: i32) -> Option<usize> {
    codes.iter().position(|code| !(qmin..=qmax).contains(&code.to_i32()))
}
