//! Scalar floats: sign, exponent and mantissa bits, and what the topmost codes mean.

/// Codes that are no finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// The largest exponent is infinity with a mantissa of zero, else NaN (IEEE 754).
    Ieee,
    /// All ones are NaN; there is no infinity (the `fn` formats of 8 bits).
    AllOnes,
    /// The code of −0 is NaN; there is no infinity (the `fnuz` formats).
    NegativeZero,
    /// Every code is finite.
    None,
}

/// A float format: (−1)^S · 2^(E − bias) · (1 + M / 2^m), and (−1)^S · 2^(1 − bias) · M / 2^m where E = 0.
///
/// A format without zero has no subnormals either: E = 0 is an exponent like the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Float {
    /// Name, that of ml_dtypes where it has the format.
    pub name: &'static str,
    /// Whether there is a sign bit.
    pub signed: bool,
    /// Bits of the exponent.
    pub exponent: u32,
    /// Bits of the mantissa, m.
    pub mantissa: u32,
    /// What is taken from the exponent.
    pub bias: i32,
    /// Codes that are not finite.
    pub specials: Specials,
    /// Whether there are zero and subnormals.
    pub zero: bool,
}

const fn row(
    name: &'static str,
    (sign, exponent, mantissa): (u32, u32, u32),
    bias: i32,
    specials: Specials,
) -> Float {
    Float { name, signed: sign == 1, exponent, mantissa, bias, specials, zero: true }
}

/// The float formats.
///
/// Sources: IEEE 754; OCP OFP8 1.0 and MX 1.0; arXiv 2206.02915 for `fnuz`; NVIDIA's PTX for `tf32` and `ue4m3`.
pub const FLOATS: &[Float] = &[
    row("tf32", (1, 8, 10), 127, Specials::Ieee),
    row("bf16", (1, 8, 7), 127, Specials::Ieee),
    FP16,
    E4M3FN,
    E5M2,
    row("e4m3fnuz", (1, 4, 3), 8, Specials::NegativeZero),
    row("e5m2fnuz", (1, 5, 2), 16, Specials::NegativeZero),
    E3M2FN,
    E2M3FN,
    E2M1FN,
    E8M0FNU,
    UE4M3,
];

pub(crate) const FP16: Float = row("fp16", (1, 5, 10), 15, Specials::Ieee);
pub(crate) const E4M3FN: Float = row("e4m3fn", (1, 4, 3), 7, Specials::AllOnes);
pub(crate) const E5M2: Float = row("e5m2", (1, 5, 2), 15, Specials::Ieee);
pub(crate) const E3M2FN: Float = row("e3m2fn", (1, 3, 2), 3, Specials::None);
pub(crate) const E2M3FN: Float = row("e2m3fn", (1, 2, 3), 1, Specials::None);
pub(crate) const E2M1FN: Float = row("e2m1fn", (1, 2, 1), 1, Specials::None);
pub(crate) const E8M0FNU: Float = Float { zero: false, ..row("e8m0fnu", (0, 8, 0), 127, Specials::AllOnes) };
pub(crate) const UE4M3: Float = row("ue4m3", (0, 4, 3), 7, Specials::AllOnes);

impl Float {
    /// The format of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FLOATS.iter().find(|float| float.name == name)
    }

    /// Bits of a code.
    pub const fn bits(&self) -> u32 {
        self.signed as u32 + self.exponent + self.mantissa
    }

    /// Exponent and mantissa of a code.
    pub const fn magnitude_mask(&self) -> u32 {
        (1 << (self.exponent + self.mantissa)) - 1
    }

    /// Code of the largest finite number.
    pub const fn largest_code(&self) -> u32 {
        match self.specials {
            Specials::Ieee => self.magnitude_mask() - (1 << self.mantissa),
            Specials::AllOnes => self.magnitude_mask() - 1,
            Specials::NegativeZero | Specials::None => self.magnitude_mask(),
        }
    }

    /// Code of +∞, if there is one.
    pub const fn infinity_code(&self) -> Option<u32> {
        match self.specials {
            Specials::Ieee => Some(self.largest_code() + 1),
            _ => None,
        }
    }

    /// A code of NaN, if there is one: for IEEE formats the quiet one.
    pub const fn nan_code(&self) -> Option<u32> {
        match self.specials {
            Specials::Ieee => Some(self.largest_code() + 1 + (1 << (self.mantissa - 1))),
            Specials::AllOnes => Some(self.magnitude_mask()),
            Specials::NegativeZero => Some(self.magnitude_mask() + 1),
            Specials::None => None,
        }
    }

    /// How many codes are NaN.
    pub const fn nan_codes(&self) -> u32 {
        let magnitudes = match self.specials {
            Specials::Ieee => self.magnitude_mask() - self.largest_code() - 1,
            Specials::AllOnes => 1,
            Specials::NegativeZero => return 1,
            Specials::None => 0,
        };
        magnitudes << (self.signed as u32)
    }

    /// Whether −0 has a code of its own.
    pub const fn negative_zero(&self) -> bool {
        self.signed && !matches!(self.specials, Specials::NegativeZero)
    }

    /// Largest finite value.
    pub fn max(&self) -> f32 {
        self.decode(self.largest_code())
    }

    /// Smallest finite value: −max, 0, or the smallest power where there is no zero.
    pub fn min(&self) -> f32 {
        if self.signed { -self.max() } else { self.decode(0) }
    }

    /// Smallest positive value with a full mantissa.
    pub fn smallest_normal(&self) -> f32 {
        self.decode(if self.zero { 1 << self.mantissa } else { 0 })
    }

    /// Smallest positive value, if it is below the smallest normal one.
    pub fn smallest_subnormal(&self) -> Option<f32> {
        (self.zero && self.mantissa > 0).then(|| self.decode(1))
    }

    /// Distance from 1 to the next larger value, 2^−m.
    pub fn epsilon(&self) -> f32 {
        exp2(-(self.mantissa as i32)) as f32
    }

    /// floor(log2(max)).
    pub const fn largest_exponent(&self) -> i32 {
        (self.largest_code() >> self.mantissa) as i32 - self.bias
    }

    /// The value of a code; bits above the format's are ignored.
    pub fn decode(&self, code: u32) -> f32 {
        let magnitude = code & self.magnitude_mask();
        let negative = self.signed && (code & (self.magnitude_mask() + 1)) != 0;
        if negative && magnitude == 0 && self.specials == Specials::NegativeZero {
            return f32::NAN;
        }
        let value = match Some(magnitude) {
            _ if magnitude <= self.largest_code() => self.finite(magnitude),
            infinity if infinity == self.infinity_code() => f32::INFINITY,
            _ => f32::NAN,
        };
        if negative { -value } else { value }
    }

    fn finite(&self, magnitude: u32) -> f32 {
        let fraction = magnitude & ((1 << self.mantissa) - 1);
        let exponent = (magnitude >> self.mantissa) as i32;
        let value = match (exponent, self.zero) {
            (0, true) => f64::from(fraction) * exp2(1 - self.bias - self.mantissa as i32),
            _ => {
                f64::from(fraction + (1 << self.mantissa)) * exp2(exponent - self.bias - self.mantissa as i32)
            }
        };
        // Exact: no format here is wider than f32.
        value as f32
    }

    /// Decodes many codes of a format with zero, without a table.
    pub(crate) fn decoder(&self) -> Decoder {
        Decoder {
            magnitude: self.magnitude_mask(),
            shift: 23 - self.mantissa,
            rebias: ((127 - self.bias) as u32) << 23,
            normal: 1 << self.mantissa,
            first: f32::from_bits(((128 - self.bias) as u32) << 23),
            largest: self.largest_code(),
            infinity: self.infinity_code().unwrap_or(self.magnitude_mask() + 1),
        }
    }

    /// The value of every code.
    pub fn table(&self) -> Vec<f32> {
        (0..1 << self.bits()).map(|code| self.decode(code)).collect()
    }
}

/// [`Float::decode`] for loops, of formats with a sign and −0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    magnitude: u32,
    shift: u32,
    /// Difference of the biases, at the place of f32's exponent.
    rebias: u32,
    /// Code of the smallest normal number, and its value.
    normal: u32,
    first: f32,
    largest: u32,
    infinity: u32,
}

impl Decoder {
    /// The value of a code.
    #[inline(always)]
    pub(crate) fn value(self, code: u32) -> f32 {
        let size = code & self.magnitude;
        let normal = f32::from_bits((size << self.shift) + self.rebias);
        // With the exponent of the smallest normal number, whose leading bit then goes away again.
        let small = f32::from_bits((size << self.shift) + self.first.to_bits()) - self.first;
        let value = if size < self.normal { small } else { normal };
        let special = if size == self.infinity { f32::INFINITY } else { f32::NAN };
        let value = if size > self.largest { special } else { value };
        if code > self.magnitude { -value } else { value }
    }
}

/// 2^n for exponents of normal 64-bit floats.
pub(crate) fn exp2(n: i32) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}
