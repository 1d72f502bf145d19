//! The IDX format: `00 00`, a type, a rank, one big-endian u32 a dimension, then the values, big-endian, row-major.
//!
//! Source: Y. LeCun's description of MNIST's files.

use std::path::PathBuf;

use crate::error::Place;
use crate::{Error, Pixels};

/// A file that has been checked: as many values as its shape holds, and at least one.
#[derive(Debug)]
pub(crate) struct IdxFile {
    pub(crate) path: PathBuf,
    shape: Vec<usize>,
    element: &'static Element,
    content: Vec<u8>,
}

/// A type of the format.
#[derive(Debug)]
struct Element {
    code: u8,
    name: &'static str,
    bytes: usize,
    /// One value, from its big-endian bytes.
    value: fn(&[u8]) -> Value,
}

enum Value {
    Whole(i32),
    Real(f32),
}

const ELEMENTS: [Element; 6] = [
    Element { code: 0x08, name: "u8", bytes: 1, value: |b| Value::Whole(i32::from(b[0])) },
    Element { code: 0x09, name: "i8", bytes: 1, value: |b| Value::Whole(i32::from(b[0].cast_signed())) },
    Element {
        code: 0x0b,
        name: "i16",
        bytes: 2,
        value: |b| Value::Whole(i32::from(i16::from_be_bytes(array(b)))),
    },
    Element { code: 0x0c, name: "i32", bytes: 4, value: |b| Value::Whole(i32::from_be_bytes(array(b))) },
    Element { code: 0x0d, name: "f32", bytes: 4, value: |b| Value::Real(f32::from_be_bytes(array(b))) },
    Element {
        code: 0x0e,
        name: "f64",
        bytes: 8,
        value: |b| Value::Real(f64::from_be_bytes(array(b)) as f32),
    },
];

impl IdxFile {
    /// Reads the header of `content` and checks the length.
    pub(crate) fn parse((path, content): (PathBuf, Vec<u8>)) -> Result<Self, Error> {
        let element = match content[..] {
            [0, 0, code, 1..=4, ..] => ELEMENTS.iter().find(|element| element.code == code),
            _ => None,
        };
        let Some(element) = element else {
            return Err(Error::IdxMagic { path, found: content[..content.len().min(4)].to_vec() });
        };
        let rank = usize::from(content[3]);
        let shape: Vec<usize> = content[4..]
            .chunks_exact(4)
            .take(rank)
            .map(|dim| u32::from_be_bytes(array(dim)) as usize)
            .collect();
        let values: u128 = shape.iter().map(|&dim| dim as u128).product();
        let expected = 4 + 4 * rank as u128 + values * element.bytes as u128;
        if shape.len() < rank || content.len() as u128 != expected {
            return Err(Error::IdxLength { path, shape, expected, found: content.len() });
        }
        if values == 0 {
            return Err(Error::Empty { path });
        }
        Ok(Self { path, shape, element, content })
    }

    /// The shape of one example: `[h, w]` images get a channel.
    pub(crate) fn example_shape(&self) -> Result<Vec<usize>, Error> {
        match self.shape[1..] {
            [features] => Ok(vec![features]),
            [height, width] => Ok(vec![1, height, width]),
            [channels, height, width] => Ok(vec![channels, height, width]),
            _ => Err(Error::IdxRank {
                path: self.path.clone(),
                expected: "examples of shape [n, h, w], [n, c, h, w] or [n, features]",
                found: self.shape.clone(),
            }),
        }
    }

    /// What the values of this type are divided by unless someone says otherwise.
    pub(crate) fn usual_divisor(&self) -> f32 {
        if self.element.name == "u8" { 255.0 } else { 1.0 }
    }

    /// The values; bytes stay bytes, and fractions must be finite.
    pub(crate) fn into_pixels(self) -> Result<Pixels, Error> {
        let start = self.values_start();
        if self.element.name == "u8" {
            let mut content = self.content;
            content.drain(..start);
            return Ok(Pixels::Bytes(content));
        }
        let row: usize = self.shape[1..].iter().product();
        let values =
            self.content[start..].chunks_exact(self.element.bytes).enumerate().map(|(index, bytes)| {
                match (self.element.value)(bytes) {
                    Value::Whole(value) => Ok(value as f32),
                    Value::Real(value) if value.is_finite() => Ok(value),
                    Value::Real(value) => Err(Error::Cell {
                        path: self.path.clone(),
                        place: Place::Example(index / row),
                        found: value.to_string(),
                    }),
                }
            });
        Ok(Pixels::Floats(values.collect::<Result<_, Error>>()?))
    }

    /// The labels of `images`: as many, each below `classes`.
    pub(crate) fn labels(self, classes: usize, images: &IdxFile) -> Result<Vec<u32>, Error> {
        let [count] = self.shape[..] else {
            return Err(Error::IdxRank {
                path: self.path,
                expected: "labels of shape [n]",
                found: self.shape,
            });
        };
        if count != images.shape[0] {
            return Err(Error::Counts {
                images: images.path.clone(),
                labels: self.path,
                expected: images.shape[0],
                found: count,
            });
        }
        let values = self.content[self.values_start()..].chunks_exact(self.element.bytes);
        let labels = values.enumerate().map(|(index, bytes)| match (self.element.value)(bytes) {
            Value::Whole(value) => match u32::try_from(value) {
                Ok(label) if (label as usize) < classes => Ok(label),
                _ => Err(Error::Label {
                    path: self.path.clone(),
                    place: Place::Example(index),
                    classes,
                    found: value.to_string(),
                }),
            },
            Value::Real(_) => Err(Error::IdxLabels { path: self.path.clone(), found: self.element.name }),
        });
        labels.collect()
    }

    fn values_start(&self) -> usize {
        4 + 4 * self.shape.len()
    }
}

/// Exactly `N` bytes, which `chunks_exact` has seen to.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
