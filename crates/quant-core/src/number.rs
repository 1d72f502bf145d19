//! Every number format as a row of data, and casts that are exact to the bit.
//!
//! A format is what a code means; a profile ([`Numerics`]) is how a value finds its code. The two are kept apart because
//! public packages agree about the first and not about the second. Rows hold bits and biases only: limits, tables
//! and special codes are computed from them, and there is one rounding function for all floats and one for all integers.
//!
//! [`Number`] is any format by its name, [`cast`] turns a tensor into codes and back, [`codes`] into codes alone.

mod block;
mod blocked;
mod cast;
mod codebook;
mod decode;
mod draw;
mod element;
mod float;
mod gguf;
mod int;
mod limits;
mod near;
mod numerics;
pub(crate) mod parallel;
mod round;
mod widen;

pub(crate) use block::SATURATING;
pub use block::{BLOCKS, Block, BlockScale, Element};
pub use cast::{Cast, Coded, Codes, Scales, cast, codes};
pub use codebook::{CODEBOOKS, Codebook, NF4, Rule as CodebookRule};
pub(crate) use codebook::{nearest_codes, power};
pub(crate) use draw::draw;
pub use float::{FLOATS, Float, Specials};
pub use gguf::{GGUFS, Gguf, Statistic};
pub use int::{INTS, Int};
pub(crate) use numerics::ONNX;
pub use numerics::{Division, NUMERICS, NanCode, Numerics, Overflow, Rule, Unsigned, Zeroless};
pub(crate) use parallel::exists;
pub(crate) use round::SIGNED_WHOLE;
pub use round::{FloatRounder, IntRounder, Rounding};
pub use widen::{from_bf16, from_f16, from_f64, to_odd};

use crate::Error;
use crate::scheme::distance;

/// Any number format.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Number {
    /// A float, a value a code.
    Float(&'static Float),
    /// An integer, a value a code.
    Int(&'static Int),
    /// Values that need a scale, or the powers of two.
    Codebook(&'static Codebook),
    /// Blocks with a scale of few bits.
    Block(&'static Block),
    /// Blocks as GGUF files hold them.
    Gguf(&'static Gguf),
}

impl Number {
    /// Every format, in the order of lists.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        let floats = FLOATS.iter().map(Self::Float);
        let ints = INTS.iter().map(Self::Int);
        let codebooks = CODEBOOKS.iter().map(Self::Codebook);
        let blocks = BLOCKS.iter().map(Self::Block);
        floats.chain(ints).chain(codebooks).chain(blocks).chain(GGUFS.iter().map(Self::Gguf))
    }

    /// The format of that name; blanks between words do not count.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownNumber`], with the nearest name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let words = name.split_whitespace().collect::<Vec<_>>().join(" ");
        Self::all().find(|number| number.name() == words).ok_or_else(|| Error::UnknownNumber {
            nearest: nearest(&words, Self::all().map(Self::name)),
            found: words,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float(row) => row.name,
            Self::Int(row) => row.name,
            Self::Codebook(row) => row.name,
            Self::Block(row) => row.name,
            Self::Gguf(row) => row.name,
        }
    }

    /// The profile that a cast follows unless another is asked for: `gguf` for GGUF's blocks, `ocp` for the other
    /// blocks, `ml-dtypes` for all else.
    pub fn home(self) -> &'static Numerics {
        match self {
            Self::Gguf(_) => &numerics::GGUF,
            Self::Block(_) => &numerics::OCP,
            _ => &numerics::ML_DTYPES,
        }
    }

    /// Bits a value takes where rows are long: codes, scales of blocks and, for GGUF, all of the block.
    pub fn bits_per_value(self) -> f64 {
        match self {
            Self::Float(row) => f64::from(row.bits()),
            Self::Int(row) => f64::from(row.bits),
            Self::Codebook(row) => row.bits_per_value(),
            Self::Block(row) => f64::from(row.element.bits()) + 8.0 / row.len as f64,
            Self::Gguf(row) => 8.0 * row.bytes() as f64 / row.len as f64,
        }
    }

    /// Smallest and largest finite value; of formats with scales, those of a code with the scale 1.
    pub fn range(self) -> (f32, f32) {
        match self {
            Self::Float(row) => (row.min(), row.max()),
            Self::Int(row) => (row.min() as f32, row.max() as f32),
            Self::Codebook(row) => row.range(),
            Self::Block(row) => (-row.element.max(), row.element.max()),
            Self::Gguf(row) => row.range(),
        }
    }
}

impl std::fmt::Display for Number {
    /// One line of limits, all computed from the row.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (min, max) = self.range();
        let bits = (self.bits_per_value() * 1000.0).round() / 1000.0;
        write!(f, "{bits} bit{}", if bits == 1.0 { "" } else { "s" })?;
        match self {
            Self::Float(row) => {
                write!(f, "; {min:?} ..= {max:?}; smallest normal {:?}", row.smallest_normal())?;
                match row.smallest_subnormal() {
                    Some(x) => write!(f, ", subnormal {x:?}")?,
                    None => f.write_str(", no zero, no subnormals")?,
                }
                write!(f, "; epsilon {:?}", row.epsilon())?;
                let infinity = if row.infinity_code().is_some() { "infinity" } else { "no infinity" };
                match row.nan_codes() {
                    0 => write!(f, "; {infinity}, no NaN"),
                    1 => write!(f, "; {infinity}, 1 code of NaN"),
                    count => write!(f, "; {infinity}, {count} codes of NaN"),
                }
            }
            Self::Int(row) => {
                write!(f, "; {} ..= {}", row.min(), row.max())?;
                if row.signed {
                    let (min, max) = row.narrow();
                    write!(f, ", narrow {min} ..= {max}")?;
                }
                f.write_str("; steps of 1; no infinity, no NaN")
            }
            Self::Codebook(row) => write!(f, "; {min:?} ..= {max:?} {}", row.about()),
            Self::Block(row) => write!(f, "; {}", row.about()),
            Self::Gguf(row) => write!(f, "; {min:?} ..= {max:?} {}", row.about()),
        }
    }
}

/// The name among `names` that was probably meant: one that begins like it, else one that few edits reach.
pub(crate) fn nearest(word: &str, names: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    if word.len() > 2
        && let Some(name) = names.clone().find(|name| name.starts_with(word))
    {
        return Some(name);
    }
    let best = names.map(|name| (distance(word, name), name)).min()?;
    (best.0 <= best.1.len() / 2).then_some(best.1)
}
