//! WordNet's noun glosses, embedded: real text for sequence models, with no file to find and no tokenizer to agree on.
//!
//! A token is a byte. The definitions are ASCII, so that a byte is a letter, and 256 numbers are a vocabulary that
//! every language of bindings, every engine and every test has for free.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Place;
use crate::{Dataset, Error, Examples, Folders, Form, Pixels, Source, WORDNET_GLOSSES, file};

/// `[data.wordnet-glosses]`: 73,974 and 8,141 definitions of nouns, `[length]` bytes each, 26 classes.
///
/// An example is the first `length` bytes of the definition as numbers, `0 ..= 255`, and zeros after its end; no
/// definition holds a zero. Labels count [`WordnetGlosses::CLASSES`]. Values are not normalized: they are indices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WordnetGlosses {
    /// Bytes of an example.
    pub length: GlossLength,
    /// Training examples set aside to choose an epoch.
    pub validation: usize,
}

/// Bytes of an example, 1 to 512; the longest definition has 505.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct GlossLength(u64);

impl GlossLength {
    /// Its value.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u64> for GlossLength {
    type Error = Error;

    fn try_from(value: u64) -> Result<Self, Error> {
        if (1..=512).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::Number { expected: "a length of 1 to 512 bytes", found: value as f64 })
        }
    }
}

impl From<GlossLength> for u64 {
    fn from(value: GlossLength) -> u64 {
        value.0
    }
}

/// The packed files, in the order of [`WORDNET_GLOSSES`]`.files`.
pub(crate) const FILES: [&[u8]; 2] =
    [include_bytes!("../wordnet-glosses/train.tsv.gz"), include_bytes!("../wordnet-glosses/test.tsv.gz")];

impl WordnetGlosses {
    /// The names of the classes by label: WordNet's lexicographer files of nouns, in WordNet's order, which numbers
    /// them from 3 (`lexnames(5WN)`).
    pub const CLASSES: [&'static str; 26] = [
        "noun.Tops",
        "noun.act",
        "noun.animal",
        "noun.artifact",
        "noun.attribute",
        "noun.body",
        "noun.cognition",
        "noun.communication",
        "noun.event",
        "noun.feeling",
        "noun.food",
        "noun.group",
        "noun.location",
        "noun.motive",
        "noun.object",
        "noun.person",
        "noun.phenomenon",
        "noun.plant",
        "noun.possession",
        "noun.process",
        "noun.quantity",
        "noun.relation",
        "noun.shape",
        "noun.state",
        "noun.substance",
        "noun.time",
    ];
}

impl Default for WordnetGlosses {
    fn default() -> Self {
        Self { length: GlossLength(64), validation: 5000 }
    }
}

impl Source for WordnetGlosses {
    fn name(&self) -> &'static str {
        WORDNET_GLOSSES.name
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn form(&self) -> Option<Form> {
        Some(Form { shape: vec![self.length.get()], classes: WORDNET_GLOSSES.classes })
    }

    fn load(&self, _folders: &Folders) -> Result<Dataset, Error> {
        let length = self.length.get();
        let half = |index: usize| {
            let published = &WORDNET_GLOSSES.files[index];
            let path = Path::new(WORDNET_GLOSSES.name).join(file::packed_name(published));
            let content = file::check(published, FILES[index])
                .map_err(|damage| file::damaged(&WORDNET_GLOSSES, published, path.clone(), damage))?;
            let (bytes, labels) = parse(&path, &content, length)?;
            Examples::new(Pixels::Bytes(bytes), labels, WORDNET_GLOSSES.normalization)
        };
        let classes = WORDNET_GLOSSES.classes;
        Dataset::new(WORDNET_GLOSSES.name, [length], classes, half(0)?, half(1)?)
    }
}

/// Rows of `length` bytes and labels, of lines `class TAB definition`; `path` is for messages.
fn parse(path: &Path, content: &[u8], length: usize) -> Result<(Vec<u8>, Vec<u32>), Error> {
    let (mut bytes, mut labels) = (Vec::new(), Vec::new());
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let at = index as u64 + 1;
        let tab = line.iter().position(|&byte| byte == b'\t').ok_or_else(|| Error::Ragged {
            path: path.to_owned(),
            line: at,
            expected: 2,
            found: 1,
        })?;
        let (class, definition) = (&line[..tab], &line[tab + 1..]);
        let known = WordnetGlosses::CLASSES.iter().position(|name| name.as_bytes() == class);
        let label = known.ok_or_else(|| Error::Label {
            path: path.to_owned(),
            place: Place::Cell { line: at, column: 1, name: None },
            classes: WordnetGlosses::CLASSES.len(),
            found: String::from_utf8_lossy(class).into_owned(),
        })?;
        let taken = definition.len().min(length);
        bytes.extend_from_slice(&definition[..taken]);
        bytes.resize(bytes.len() + length - taken, 0);
        labels.push(label as u32);
    }
    Ok((bytes, labels))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parsed(text: &str) -> Result<(Vec<u8>, Vec<u32>), String> {
        parse(Path::new("glosses.tsv"), text.as_bytes(), 4).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_cut_and_filled_to_the_length() {
        let (bytes, labels) = parsed("noun.time\ta day\nnoun.Tops\tit\n\nnoun.act\ta\tb").unwrap();
        assert_eq!(bytes, *b"a dait\0\0a\tb\0");
        assert_eq!(labels, [25, 0, 1]);
    }

    #[test]
    fn other_lines_are_refused() {
        assert_eq!(
            parsed("noun.act\ta\nnoun.act").unwrap_err(),
            "`glosses.tsv`, line 2: expected 2 columns as in the first line, found 1"
        );
        assert_eq!(
            parsed("verb.act\ta").unwrap_err(),
            "`glosses.tsv`, line 1, column 1: expected a label, a whole number from 0 to 25, found `verb.act`"
        );
    }
}
