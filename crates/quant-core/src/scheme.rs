//! How numbers are rounded, in three words: `int8 channel symmetric`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::format::FORMATS;
use crate::{Error, Format};

/// A format, what shares a scale, and where zero is.
///
/// In a recipe it is a string of three words in this order: a format ([`FORMATS`]), `tensor` or `channel`,
/// `symmetric` or `affine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheme {
    /// Codes.
    pub format: Format,
    /// What shares a scale.
    pub granularity: Granularity,
    /// Where zero is.
    pub symmetry: Symmetry,
}

/// What shares a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// The whole tensor.
    Tensor,
    /// Everything that belongs to an output unit of a layer.
    Channel,
}

/// Where zero is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Symmetry {
    /// At code 0, and the most negative code is not used: scale = max|x| / 127 for 8 bits (TFLite's weights,
    /// ONNX Runtime's symmetric int8).
    Symmetric,
    /// At an integer zero point; scale = (max − min) / 255 for 8 bits, the range widened to contain 0.
    Affine,
}

impl Scheme {
    /// A scheme of these parts.
    ///
    /// # Errors
    ///
    /// [`Error::UnsignedSymmetric`].
    pub fn new(format: Format, granularity: Granularity, symmetry: Symmetry) -> Result<Self, Error> {
        match (format.signed, symmetry) {
            (false, Symmetry::Symmetric) => Err(Error::UnsignedSymmetric { format: format.name }),
            _ => Ok(Self { format, granularity, symmetry }),
        }
    }

    /// Smallest and largest code in use.
    pub const fn limits(&self) -> (i32, i32) {
        match self.symmetry {
            Symmetry::Symmetric => (-self.format.max(), self.format.max()),
            Symmetry::Affine => (self.format.min(), self.format.max()),
        }
    }
}

impl Granularity {
    /// Every granularity with its word.
    pub const WORDS: [(&'static str, Self); 2] = [("tensor", Self::Tensor), ("channel", Self::Channel)];
}

impl Symmetry {
    /// Every symmetry with its word.
    pub const WORDS: [(&'static str, Self); 2] = [("symmetric", Self::Symmetric), ("affine", Self::Affine)];
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.format.name, self.granularity, self.symmetry)
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(&Self::WORDS, *self))
    }
}

impl fmt::Display for Symmetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(&Self::WORDS, *self))
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[format, granularity, symmetry] = words.as_slice() else {
            return Err(Error::SchemeWords { found: text.into() });
        };
        let formats: Vec<(&'static str, Format)> =
            FORMATS.iter().map(|format| (format.name, *format)).collect();
        Self::new(
            pick("format", format, &formats)?,
            pick("granularity", granularity, &Granularity::WORDS)?,
            pick("symmetry", symmetry, &Symmetry::WORDS)?,
        )
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

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("?", |(word, _)| word)
}

fn pick<T: Copy>(what: &'static str, word: &str, known: &[(&'static str, T)]) -> Result<T, Error> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == word) {
        return Ok(*value);
    }
    let names = || known.iter().map(|(name, _)| *name);
    let nearest =
        names().map(|name| (distance(word, name), name)).min().filter(|(d, name)| *d <= name.len() / 2);
    Err(Error::SchemeWord {
        what,
        word: word.into(),
        expected: names().collect(),
        nearest: nearest.map(|(_, name)| name),
    })
}

/// Edits that turn one word into the other (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_scheme_survives_its_text() {
        for format in FORMATS {
            for (_, granularity) in Granularity::WORDS {
                for (_, symmetry) in Symmetry::WORDS {
                    match Scheme::new(*format, granularity, symmetry) {
                        Ok(scheme) => assert_eq!(scheme.to_string().parse(), Ok(scheme)),
                        Err(error) => assert_eq!(error, Error::UnsignedSymmetric { format: format.name }),
                    }
                }
            }
        }
    }

    #[test]
    fn limits_are_those_of_eight_bits() {
        let limits = |text: &str| text.parse::<Scheme>().expect("a scheme").limits();
        assert_eq!(limits("int8 tensor symmetric"), (-127, 127));
        assert_eq!(limits("int8 tensor affine"), (-128, 127));
        assert_eq!(limits("uint8 tensor affine"), (0, 255));
    }

    #[test]
    fn a_wrong_word_is_named_with_the_nearest() {
        let message = |text: &str| text.parse::<Scheme>().expect_err("not a scheme").to_string();
        assert_eq!(
            message("int8 chanel symmetric"),
            "unknown granularity `chanel`; expected `tensor`, `channel`; did you mean `channel`?"
        );
        assert_eq!(
            message("int9 tensor affine"),
            "unknown format `int9`; expected `int8`, `uint8`; did you mean `int8`?"
        );
        assert_eq!(message("int8 tensor blue"), "unknown symmetry `blue`; expected `symmetric`, `affine`");
        assert!(message("int8").starts_with("expected a format, a granularity and a symmetry"));
        assert!(message("uint8 tensor symmetric").contains("cannot be symmetric"));
    }

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, d) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
