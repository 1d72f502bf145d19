//! Profiles: how a value finds its code, where public packages and standards differ.
//!
//! Rounding is to nearest even in all of them, on the target's grid with its subnormals, but for ONNX's e8m0. They differ
//! in what lies above the largest value, in codes of NaN, and in what e8m0 does with numbers that it does not have.

use super::{Number, Rounding, nearest};
use crate::Error;

/// What values above the largest become, infinities too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The largest value.
    Saturate,
    /// Infinity; NaN where there is none; the largest value where there is neither.
    Special,
}

/// Which of several codes NaN gets, beside the sign. Formats with one NaN use that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanCode {
    /// A one and zeros.
    Quiet,
    /// Ones.
    Ones,
    /// The upper bits of the mantissa that came in, or a one at the end if they are zero.
    Payload,
    /// The upper bits of the mantissa that came in, the first of them set.
    QuietPayload,
}

/// What a negative number becomes in a format without a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    /// NaN.
    Nan,
    /// Its absolute value.
    Magnitude,
    /// An error.
    Refuse,
}

/// What zero becomes in a format without zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroless {
    /// NaN.
    Nan,
    /// The smallest value.
    Smallest,
}

/// How values find their codes in one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Name of the float format.
    pub format: &'static str,
    /// Which neighbour.
    pub rounding: Rounding,
    /// What is too large.
    pub overflow: Overflow,
    /// NaN.
    pub nan: NanCode,
    /// Negative numbers where there is no sign.
    pub unsigned: Unsigned,
    /// Zero where there is none.
    pub zeroless: Zeroless,
}

/// How integers with a scale divide by it, in 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// x / s; a scale of 0 is 1.
    ByScale,
    /// x · (1 / s), which differs near ties; a scale of 0 is the smallest normal number.
    ByInverse,
}

/// A named set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for lists.
    pub about: &'static str,
    /// A rule for each float format that it defines.
    pub rules: &'static [Rule],
    /// How integers with a scale divide by it.
    pub division: Division,
    /// Whether it defines blocks with scales of few bits.
    pub blocks: bool,
    /// Whether it defines GGUF's blocks.
    pub gguf: bool,
}

/// The profiles.
pub const NUMERICS: &[Numerics] = &[ONNX, TORCH, GGUF, OCP, ML_DTYPES];

const fn rule(format: &'static str, overflow: Overflow, nan: NanCode) -> Rule {
    Rule {
        format,
        rounding: Rounding::NearestEven,
        overflow,
        nan,
        unsigned: Unsigned::Nan,
        zeroless: Zeroless::Nan,
    }
}

/// The same in every profile.
const EVERYWHERE: &[Rule] = &[
    rule("tf32", Overflow::Special, NanCode::QuietPayload),
    Rule { unsigned: Unsigned::Refuse, ..rule("ue4m3", Overflow::Special, NanCode::Quiet) },
];

/// `Cast` of ONNX's operators with its default attributes: `saturate`, and e8m0 rounded up.
///
/// Where the package's own evaluator differs from the operator's text, the text holds.
pub(crate) const ONNX: Numerics = Numerics {
    name: "onnx",
    about: "Cast of ONNX: 8-bit floats saturate, e8m0 rounds up",
    rules: &[
        rule("bf16", Overflow::Special, NanCode::Quiet),
        rule("fp16", Overflow::Special, NanCode::Payload),
        rule("e4m3fn", Overflow::Saturate, NanCode::Quiet),
        rule("e5m2", Overflow::Saturate, NanCode::Quiet),
        rule("e4m3fnuz", Overflow::Saturate, NanCode::Quiet),
        rule("e5m2fnuz", Overflow::Saturate, NanCode::Quiet),
        rule("e3m2fn", Overflow::Saturate, NanCode::Quiet),
        rule("e2m3fn", Overflow::Saturate, NanCode::Quiet),
        rule("e2m1fn", Overflow::Saturate, NanCode::Quiet),
        Rule {
            rounding: Rounding::Away,
            zeroless: Zeroless::Smallest,
            ..rule("e8m0fnu", Overflow::Saturate, NanCode::Quiet)
        },
    ],
    division: Division::ByScale,
    blocks: false,
    gguf: false,
};

/// `Tensor.to` of torch 2.15 on the CPU.
pub(crate) const TORCH: Numerics = Numerics {
    name: "torch",
    about: "Tensor.to of torch 2.15: e4m3fn saturates, e5m2 goes to infinity, fnuz to NaN",
    rules: &[
        rule("bf16", Overflow::Special, NanCode::Quiet),
        rule("fp16", Overflow::Special, NanCode::QuietPayload),
        rule("e4m3fn", Overflow::Saturate, NanCode::Quiet),
        rule("e5m2", Overflow::Special, NanCode::Ones),
        rule("e4m3fnuz", Overflow::Special, NanCode::Quiet),
        rule("e5m2fnuz", Overflow::Special, NanCode::Quiet),
        Rule {
            unsigned: Unsigned::Magnitude,
            zeroless: Zeroless::Smallest,
            ..rule("e8m0fnu", Overflow::Special, NanCode::Quiet)
        },
    ],
    division: Division::ByInverse,
    blocks: false,
    gguf: false,
};

/// The `gguf` package 0.19.
pub(crate) const GGUF: Numerics = Numerics {
    name: "gguf",
    about: "the gguf package: halves round away, scales are fp16",
    rules: &[
        rule("bf16", Overflow::Special, NanCode::QuietPayload),
        rule("fp16", Overflow::Special, NanCode::Payload),
    ],
    division: Division::ByScale,
    blocks: false,
    gguf: true,
};

/// OCP's OFP8 1.0 and MX 1.0, in the saturating mode.
pub(crate) const OCP: Numerics = Numerics {
    name: "ocp",
    about: "OFP8 and MX of the Open Compute Project, in the saturating mode",
    rules: &[
        rule("e4m3fn", Overflow::Saturate, NanCode::Quiet),
        rule("e5m2", Overflow::Saturate, NanCode::Quiet),
        rule("e3m2fn", Overflow::Saturate, NanCode::Quiet),
        rule("e2m3fn", Overflow::Saturate, NanCode::Quiet),
        rule("e2m1fn", Overflow::Saturate, NanCode::Quiet),
        rule("e8m0fnu", Overflow::Saturate, NanCode::Quiet),
    ],
    division: Division::ByScale,
    blocks: true,
    gguf: false,
};

/// `astype` of ml_dtypes 0.6, and of NumPy for fp16.
pub(crate) const ML_DTYPES: Numerics = Numerics {
    name: "ml-dtypes",
    about: "astype of ml_dtypes: infinity, else NaN, else the largest",
    rules: &[
        rule("bf16", Overflow::Special, NanCode::Quiet),
        rule("fp16", Overflow::Special, NanCode::Payload),
        rule("e4m3fn", Overflow::Special, NanCode::Quiet),
        rule("e5m2", Overflow::Special, NanCode::Quiet),
        rule("e4m3fnuz", Overflow::Special, NanCode::Quiet),
        rule("e5m2fnuz", Overflow::Special, NanCode::Quiet),
        rule("e3m2fn", Overflow::Special, NanCode::Quiet),
        rule("e2m3fn", Overflow::Special, NanCode::Quiet),
        rule("e2m1fn", Overflow::Special, NanCode::Quiet),
        rule("e8m0fnu", Overflow::Special, NanCode::Quiet),
    ],
    division: Division::ByScale,
    blocks: false,
    gguf: false,
};

impl Numerics {
    /// The profile of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownNumerics`], with the nearest name.
    pub fn named(name: &str) -> Result<&'static Self, Error> {
        let names = || NUMERICS.iter().map(|numerics| numerics.name);
        NUMERICS.iter().find(|numerics| numerics.name == name).ok_or_else(|| Error::UnknownNumerics {
            found: name.into(),
            expected: names().collect(),
            nearest: nearest(name, names()),
        })
    }

    /// The rule for a float format, if there is one.
    pub fn rule(&self, format: &str) -> Option<&'static Rule> {
        self.rules.iter().chain(EVERYWHERE).find(|rule| rule.format == format)
    }

    /// Whether it says how values become codes of `number`.
    pub fn defines(&self, number: Number) -> bool {
        match number {
            Number::Float(float) => self.rule(float.name).is_some(),
            Number::Int(_) | Number::Codebook(_) => true,
            Number::Block(_) => self.blocks,
            Number::Gguf(_) => self.gguf,
        }
    }

    /// Nothing, if it defines `number`.
    ///
    /// # Errors
    ///
    /// [`Error::Undefined`], with the profiles that do.
    pub fn check(&self, number: Number) -> Result<(), Error> {
        let defined = NUMERICS.iter().filter(|numerics| numerics.defines(number));
        match self.defines(number) {
            true => Ok(()),
            false => Err(Error::Undefined {
                format: number.name(),
                numerics: self.name,
                defined: defined.map(|numerics| numerics.name).collect(),
            }),
        }
    }
}
