//! Patterns as a command line writes them: `keep=2 of=4`, `block 4x1 sparsity=0.5`.
//!
//! Recipes have tables for the same values; a line of words is what fits into an option.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::{Block, Connections, Error, Lines, NM, Pattern, Removal, Scope, Sparsity, Unstructured};

/// `unstructured sparsity=S [scope=global]`, `keep=K of=M`, `block RxC sparsity=S`, `rows sparsity=S`,
/// `columns sparsity=S`, `random sparsity=S [seed=N]`, `channels sparsity=S`.
impl FromStr for Removal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::PatternText { text: text.into(), reason };
        let mut words = Words::of(text).map_err(wrong)?;
        let kind = words.bare.first().copied();
        let read = match kind {
            None if words.has("keep") || words.has("of") => {
                let (keep, of) = (words.take("keep", "K")?, words.take("of", "M")?);
                Removal::Elements(Pattern::NM(NM::new(keep, of)?))
            }
            Some("unstructured") => {
                let scope = match words.find("scope") {
                    None | Some("local") => Scope::Local,
                    Some("global") => Scope::Global,
                    Some(other) => {
                        return Err(wrong(format!("`scope` is `{other}`, expected `local` or `global`")));
                    }
                };
                Removal::Elements(Pattern::Unstructured(Unstructured { sparsity: words.sparsity()?, scope }))
            }
            Some("block") => {
                let size = words.bare.get(1).copied().and_then(|size| size.split_once('x'));
                let number = |text: &str| text.parse::<NonZeroUsize>().ok();
                let size = size.and_then(|(rows, columns)| Some((number(rows)?, number(columns)?)));
                let Some((rows, columns)) = size else {
                    return Err(wrong(
                        "expected a size of rows and columns behind `block`, such as `4x1`".into(),
                    ));
                };
                words.bare.remove(1);
                Removal::Elements(Pattern::Block(Block { rows, columns, sparsity: words.sparsity()? }))
            }
            Some("rows") => Removal::Elements(Pattern::Rows(Lines { sparsity: words.sparsity()? })),
            Some("columns") => Removal::Elements(Pattern::Columns(Lines { sparsity: words.sparsity()? })),
            Some("random") => {
                let seed = if words.has("seed") { words.take("seed", "N")? } else { 0 };
                Removal::Elements(Pattern::Random(Connections { sparsity: words.sparsity()?, seed }))
            }
            Some("channels") => Removal::Channels(words.sparsity()?),
            _ => {
                return Err(wrong(
                    "expected `unstructured sparsity=S`, `keep=K of=M`, `block RxC sparsity=S`, `rows sparsity=S`, \
                     `columns sparsity=S`, `random sparsity=S` or `channels sparsity=S`"
                        .into(),
                ));
            }
        };
        match words.bare.get(1).copied().or(words.pairs.first().map(|(name, _)| *name)) {
            Some(word) => Err(wrong(format!("`{word}` does not belong there"))),
            None => Ok(read),
        }
    }
}

/// The words of a pattern, taken as they are read.
struct Words<'a> {
    text: &'a str,
    bare: Vec<&'a str>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let mut words = Words { text, bare: Vec::new(), pairs: Vec::new() };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((name, _)) if words.has(name) => return Err(format!("`{name}` stands there twice")),
                Some(pair) => words.pairs.push(pair),
                None => words.bare.push(word),
            }
        }
        Ok(words)
    }

    fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| pair.0 == name)
    }

    fn find(&mut self, name: &str) -> Option<&'a str> {
        let index = self.pairs.iter().position(|pair| pair.0 == name)?;
        Some(self.pairs.remove(index).1)
    }

    fn take<T: FromStr>(&mut self, name: &str, letter: &str) -> Result<T, Error> {
        let wrong = |reason| Error::PatternText { text: self.text.into(), reason };
        let missing = wrong(format!("there is no `{name}={letter}`"));
        let value = self.find(name).ok_or(missing)?;
        let reason = format!("`{name}` is `{value}`, expected a number");
        value.parse().map_err(|_| Error::PatternText { text: self.text.into(), reason })
    }

    fn sparsity(&mut self) -> Result<Sparsity, Error> {
        Sparsity::new(self.take("sparsity", "S")?)
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Unstructured(Unstructured { sparsity, scope }) => {
                write!(f, "unstructured sparsity={}", sparsity.get())?;
                match scope {
                    Scope::Local => Ok(()),
                    Scope::Global => f.write_str(" scope=global"),
                }
            }
            Pattern::NM(nm) => write!(f, "keep={} of={}", nm.keep(), nm.of()),
            Pattern::Block(Block { rows, columns, sparsity }) => {
                write!(f, "block {rows}x{columns} sparsity={}", sparsity.get())
            }
            Pattern::Rows(Lines { sparsity }) => write!(f, "rows sparsity={}", sparsity.get()),
            Pattern::Columns(Lines { sparsity }) => write!(f, "columns sparsity={}", sparsity.get()),
            Pattern::Random(Connections { sparsity, seed: 0 }) => {
                write!(f, "random sparsity={}", sparsity.get())
            }
            Pattern::Random(Connections { sparsity, seed }) => {
                write!(f, "random sparsity={} seed={seed}", sparsity.get())
            }
        }
    }
}

impl Display for Removal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Removal::Elements(pattern) => pattern.fmt(f),
            Removal::Channels(sparsity) => write!(f, "channels sparsity={}", sparsity.get()),
        }
    }
}
