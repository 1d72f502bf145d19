//! Schemes as text.

use std::fmt;

use super::{Granularity, ScaleFormat, Scheme, Symmetry};
use crate::Error;
use crate::number::Number;

impl Granularity {
    /// Every granularity without a size, with its word.
    pub const WORDS: [(&'static str, Self); 3] =
        [("tensor", Self::Tensor), ("channel", Self::Channel), ("token", Self::Token)];
}

impl Symmetry {
    /// Every symmetry with its word.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("narrow", Self::Narrow),
        ("symmetric", Self::FullHalfStep),
        ("no-clip", Self::NoClip),
        ("affine", Self::Affine),
    ];
}

impl ScaleFormat {
    /// Every format of scales with its word.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("f32", Self::F32),
        ("fp16", Self::Fp16),
        ("bf16", Self::Bf16),
        ("e8m0fnu", Self::E8m0),
        ("ue4m3", Self::Ue4m3),
    ];
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number.name())?;
        if self.granularity != Granularity::Own {
            write!(f, " {}", self.granularity)?;
        }
        if let Some(symmetry) = self.symmetry {
            write!(f, " {symmetry}")?;
        }
        match self.scale {
            ScaleFormat::F32 => Ok(()),
            scale => write!(f, " scale={}", word_of(&ScaleFormat::WORDS, scale)),
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(columns) => write!(f, "group={columns}"),
            Self::Block(rows, columns) => write!(f, "block={rows}x{columns}"),
            plain => f.write_str(word_of(&Self::WORDS, *plain)),
        }
    }
}

impl fmt::Display for Symmetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(&Self::WORDS, *self))
    }
}

pub(super) fn parse(text: &str) -> Result<Scheme, Error> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return Err(Error::SchemeWords { found: text.into() });
    }
    // `nvfp4 global=none` is one format in two words.
    let format = match words.as_slice() {
        [first, second, ..] if second.starts_with("global=") => {
            let both = format!("{first} {second}");
            words.remove(0);
            both
        }
        _ => words[0].to_owned(),
    };
    let number = Number::named(&format)?;
    let (mut granularity, mut symmetry, mut scale) = (None, None, None);
    for word in &words[1..] {
        let twice = |what| Error::SchemeTwice { what, word: (*word).into(), found: text.into() };
        match part(word)? {
            Part::Granularity(_) if granularity.is_some() => return Err(twice("granularity")),
            Part::Symmetry(_) if symmetry.is_some() => return Err(twice("symmetry")),
            Part::Scale(_) if scale.is_some() => return Err(twice("format of scales")),
            Part::Granularity(part) => granularity = Some(part),
            Part::Symmetry(part) => symmetry = Some(part),
            Part::Scale(part) => scale = Some(part),
        }
    }
    let scheme = Scheme::new(number, granularity.unwrap_or(Granularity::Own), symmetry)?;
    scale.map_or(Ok(scheme), |scale| scheme.with_scale(scale))
}

enum Part {
    Granularity(Granularity),
    Symmetry(Symmetry),
    Scale(ScaleFormat),
}

fn part(word: &str) -> Result<Part, Error> {
    let size = |text: &str| text.parse::<usize>().ok().filter(|size| *size > 0);
    let wrong = |expected: &[&'static str]| Error::SchemeWord {
        what: "word",
        word: word.into(),
        expected: expected.to_vec(),
        nearest: None,
    };
    match word.split_once('=') {
        Some(("group", columns)) => {
            let columns = size(columns).ok_or_else(|| wrong(&["group=N with N from 1"]))?;
            return Ok(Part::Granularity(Granularity::Group(columns)));
        }
        Some(("block", sizes)) => {
            let sizes = sizes.split_once('x').and_then(|(rows, columns)| Some((size(rows)?, size(columns)?)));
            let (rows, columns) = sizes.ok_or_else(|| wrong(&["block=RxC with both from 1"]))?;
            return Ok(Part::Granularity(Granularity::Block(rows, columns)));
        }
        Some(("scale", format)) => {
            let known = ScaleFormat::WORDS.iter().find(|(name, _)| *name == format);
            return match known {
                Some((_, scale)) => Ok(Part::Scale(*scale)),
                None => Err(Error::SchemeWord {
                    what: "format of scales",
                    word: format.into(),
                    expected: ScaleFormat::WORDS.map(|(word, _)| word).to_vec(),
                    nearest: None,
                }),
            };
        }
        _ => {}
    }
    if let Some((_, granularity)) = Granularity::WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(Part::Granularity(*granularity));
    }
    if let Some((_, symmetry)) = Symmetry::WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(Part::Symmetry(*symmetry));
    }
    let names: Vec<&'static str> = Granularity::WORDS
        .map(|(word, _)| word)
        .into_iter()
        .chain(["group=N", "block=RxC"])
        .chain(Symmetry::WORDS.map(|(word, _)| word))
        .chain(["scale=FORMAT"])
        .collect();
    let nearest = names.iter().map(|name| (distance(word, name), *name)).min();
    let nearest = nearest.filter(|(d, name)| *d <= name.len() / 2).map(|(_, name)| name);
    Err(Error::SchemeWord { what: "word", word: word.into(), expected: names, nearest })
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("?", |(word, _)| word)
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
        let mut legal = 0;
        let granularities = Granularity::WORDS.map(|(_, granularity)| granularity).into_iter().chain([
            Granularity::Own,
            Granularity::Group(32),
            Granularity::Block(128, 64),
        ]);
        for granularity in granularities {
            for number in Number::all() {
                for symmetry in Symmetry::WORDS.map(|(_, symmetry)| Some(symmetry)).into_iter().chain([None])
                {
                    for (_, scale) in ScaleFormat::WORDS {
                        let scheme = Scheme::new(number, granularity, symmetry);
                        let Ok(scheme) = scheme.and_then(|scheme| scheme.with_scale(scale)) else { continue };
                        assert_eq!(scheme.to_string().parse(), Ok(scheme));
                        legal += 1;
                    }
                }
            }
        }
        assert!(legal > 1000, "{legal}");
    }

    #[test]
    fn limits_are_those_of_the_format_or_narrower() {
        let limits = |text: &str| text.parse::<Scheme>().expect("a scheme").limits();
        assert_eq!(limits("int8 tensor narrow"), Some((-127, 127)));
        assert_eq!(limits("int8 tensor symmetric"), Some((-128, 127)));
        assert_eq!(limits("int8 tensor"), Some((-128, 127)));
        assert_eq!(limits("uint4 group=32"), Some((0, 15)));
        assert_eq!(limits("int2 channel narrow"), Some((-1, 1)));
        assert_eq!(limits("nf4 group=64"), None);
    }

    #[test]
    fn a_wrong_word_is_named_with_the_nearest() {
        let message = |text: &str| text.parse::<Scheme>().expect_err("not a scheme").to_string();
        assert_eq!(
            message("int8 chanel symmetric"),
            "unknown word `chanel`; expected `tensor`, `channel`, `token`, `group=N`, `block=RxC`, `narrow`, \
             `symmetric`, `no-clip`, `affine`, `scale=FORMAT`; did you mean `channel`?"
        );
        assert!(message("int9 tensor affine").contains("did you mean `int"), "{}", message("int9 tensor"));
        assert_eq!(message("int8 group=0"), "unknown word `group=0`; expected `group=N with N from 1`");
        assert!(message("").starts_with("expected a format"));
        assert!(message("int8 tensor channel").contains("a second granularity"));
        assert!(message("uint8 tensor symmetric").contains("no negative codes"));
        assert!(message("nf4 group=64 affine").contains("no zero point"));
        assert!(message("mxfp4 group=64").contains("its blocks have their scales"));
        assert!(message("int4").contains("`tensor`, `channel`"));
    }

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, d) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
