//! How numbers are rounded, in a few words: `int8 channel symmetric`, `int4 group=32 affine scale=fp16`, `nf4 group=64`.
//!
//! A scheme is a number format, what shares a scale, where zero is, and what the scale itself is stored in. It is one
//! value, so that a recipe, a command line and a file say the same thing in the same words.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::number::{CodebookRule, Int, Number};

mod bits;
mod fit;
mod words;

pub(crate) use fit::{fit, fit_as, legal};
pub(crate) use words::distance;

/// A format, what shares a scale, where zero is, and the scale's own format.
///
/// As text, words in this order: a [`Number`], a [`Granularity`], a [`Symmetry`] for integers (none means affine), and
/// `scale=FORMAT` ([`ScaleFormat`]; none means f32). Formats that bring their scales along (`mxfp4`, `nvfp4`, `q4_0`,
/// …) or have none (`bf16` alone, `pow2`) stand alone. `nf4`, `ternary` and `binary` alone have the scales of
/// [`cast`](crate::number::cast): of 64 columns, of the tensor, of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheme {
    number: Number,
    granularity: Granularity,
    symmetry: Option<Symmetry>,
    scale: ScaleFormat,
}

/// What shares a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// What the format itself says: its own blocks, or no scale at all. No word.
    Own,
    /// The whole tensor: `tensor`.
    Tensor,
    /// Everything that belongs to an output unit of a layer, a row of `[out, K]`: `channel`.
    Channel,
    /// So many neighboring columns of a row; the last group of a row may be shorter: `group=32`.
    Group(usize),
    /// So many rows by so many columns; blocks at the ends may be smaller: `block=128x128`.
    Block(usize, usize),
    /// Every row of an activation `[tokens, K]`, at run time: `token`.
    Token,
}

/// Where zero is and what the ends of a range are mapped to. With lo ≤ 0 ≤ hi the range, amax the larger of its ends'
/// sizes, and b bits:
///
/// | symmetry | word | codes | scale | zero point |
/// | --- | --- | --- | --- | --- |
/// | `Narrow` | `narrow` | −(2^(b−1) − 1) ..= 2^(b−1) − 1 | amax / qmax | 0 |
/// | `FullHalfStep` | `symmetric` | −2^(b−1) ..= 2^(b−1) − 1 | amax / ((qmax − qmin) / 2) | 0 |
/// | `NoClip` | `no-clip` | as above | max(lo / qmin, hi / qmax) | 0 |
/// | `Affine` | `affine` | as above; unsigned too | (hi − lo) / (qmax − qmin) | clamp(qmin − round(lo / s), qmin, qmax) |
///
/// Sources: TFLite's weights; torch's observers and compressed-tensors; torchao's `SYMMETRIC_NO_CLIPPING_ERR`;
/// gemmlowp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symmetry {
    /// Symmetric codes. At least 2 bits.
    Narrow,
    /// All codes; +amax is half a step beyond the largest.
    #[serde(rename = "symmetric")]
    FullHalfStep,
    /// All codes, and nothing is clipped. At least 2 bits.
    NoClip,
    /// An integer zero point.
    Affine,
}

/// What a scale is stored in. Codes are computed from the stored scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleFormat {
    /// 32 bits.
    F32,
    /// 16 bits of IEEE 754, to nearest even; a scale that would be 0 is the smallest number instead.
    Fp16,
    /// The upper 16 bits of f32, to nearest even.
    Bf16,
    /// A power of two in 8 bits, rounded up, so that no value is clipped for it.
    E8m0,
    /// Unsigned e4m3 in 8 bits, to nearest even; a scale that would be 0 is the smallest number instead.
    Ue4m3,
}

impl Scheme {
    /// A scheme of these parts, with scales in f32. `symmetry` is for integers alone; none means affine.
    ///
    /// # Errors
    ///
    /// [`Error::SchemeParts`] for parts that do not go together.
    pub fn new(number: Number, granularity: Granularity, symmetry: Option<Symmetry>) -> Result<Self, Error> {
        let wrong = |expected| Err(Error::SchemeParts { format: number.name(), expected });
        let symmetry = match number {
            Number::Int(_) => Some(symmetry.unwrap_or(Symmetry::Affine)),
            _ if symmetry.is_some() => return wrong("no word of symmetry: it has no zero point"),
            _ => None,
        };
        if let (Number::Int(int), Some(symmetry)) = (number, symmetry) {
            if !int.signed && symmetry != Symmetry::Affine {
                return wrong("`affine`, as it has no negative codes; or take a signed format");
            }
            if int.bits == 1 && matches!(symmetry, Symmetry::Narrow | Symmetry::NoClip) {
                return wrong("`symmetric` or `affine`, as one bit has no positive code of its own");
            }
        }
        let shared = granularity != Granularity::Own;
        match number {
            Number::Float(float) if !float.signed => {
                return wrong("no weights: it holds scales, which have no sign");
            }
            Number::Int(_) if !shared => return wrong("`tensor`, `channel`, `group=N` or `block=RxC`"),
            Number::Block(_) | Number::Gguf(_) if shared => {
                return wrong("no word of granularity: its blocks have their scales");
            }
            Number::Codebook(row) if shared && row.rule == CodebookRule::PowersOfTwo => {
                return wrong("no word of granularity: it has no scale");
            }
            _ => {}
        }
        if matches!(granularity, Granularity::Group(0) | Granularity::Block(0, _) | Granularity::Block(_, 0))
        {
            return wrong("a group or a block of at least one number");
        }
        Ok(Self { number, granularity, symmetry, scale: ScaleFormat::F32 })
    }

    /// The same with scales in another format.
    ///
    /// # Errors
    ///
    /// [`Error::SchemeParts`] where the format has no scale, or scales of its own.
    pub fn with_scale(self, scale: ScaleFormat) -> Result<Self, Error> {
        match self.granularity == Granularity::Own && scale != ScaleFormat::F32 {
            true => Err(Error::SchemeParts {
                format: self.number.name(),
                expected: "no word of a scale unless it is shared by `tensor`, `channel`, `group=N` or `block=RxC`",
            }),
            false => Ok(Self { scale, ..self }),
        }
    }

    /// The format of codes.
    pub fn number(&self) -> Number {
        self.number
    }

    /// The format of codes, where that is an integer.
    pub fn int(&self) -> Option<&'static Int> {
        match self.number {
            Number::Int(int) => Some(int),
            _ => None,
        }
    }

    /// What shares a scale.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Where zero is, for integers.
    pub fn symmetry(&self) -> Option<Symmetry> {
        self.symmetry
    }

    /// What scales are stored in.
    pub fn scale(&self) -> ScaleFormat {
        self.scale
    }

    /// Smallest and largest code in use, for integers.
    pub fn limits(&self) -> Option<(i32, i32)> {
        let int = self.int()?;
        Some(if self.symmetry == Some(Symmetry::Narrow) { int.narrow() } else { (int.min(), int.max()) })
    }
}

impl Scheme {
    /// Symmetry and limits of an integer scheme.
    ///
    /// # Errors
    ///
    /// [`Error::SchemeParts`] for a format without a grid.
    pub fn grid(&self) -> Result<(Symmetry, (i32, i32)), Error> {
        self.symmetry.zip(self.limits()).ok_or(Error::SchemeParts {
            format: self.number.name(),
            expected: "no range: ranges and zero points are for integer formats",
        })
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        words::parse(text)
    }
}

impl TryFrom<String> for Scheme {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> String {
        scheme.to_string()
    }
}
